"""Communes: dated units with boundaries. Codes are reused, so a code is looked up with a date."""

from __future__ import annotations

import csv
import datetime as dt
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from shapely.geometry.base import BaseGeometry
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from landdata import characters
from landdata.errors import BadRequest, Conflict, NotFound
from landdata.reference import calendar, parcel_keys
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store.tables import Commune, CommuneRecoding
from landdata.survey import archive, fields, reader
from landdata.survey.declared_crs import identify
from landdata.survey.encodings import EncodingEvidence, decode, detect
from landdata.translations import sentence

_UNKNOWN = dt.date(1900, 1, 1)  # the beginning of a unit of which only the end is known


def add(
    session: Session,
    code: str,
    name: str,
    *,
    valid_from: dt.date,
    valid_to: dt.date | None = None,
    boundary: shapely.MultiPolygon | None = None,
) -> None:
    """Store a commune over [valid_from, valid_to), or correct the one that begins on that day.

    `boundary` is in the storage CRS. An earlier unit of the same code without an end ends on that
    day. Raises `BadRequest` for an ill-formed code or an empty name, `Conflict` where a later unit
    has the code in that time.
    """
    if not (code.isascii() and code.isdigit() and len(code) == 5):
        raise BadRequest(
            "Commune code {name!r} is not five digits.",
            hint="Give the code of the General Statistics Office with its leading zeros.",
            code="bad-commune-code",
            name=code,
        )
    name = characters.remove(name)
    if not name:
        raise BadRequest(
            "Commune {name} has no name.",
            hint='Give it after the code: landdata communes add 99901 "Xã Suối Mẫu".',
            code="no-commune-name",
            name=code,
        )
    later = session.scalar(
        sa.select(sa.func.min(Commune.valid_from)).where(
            Commune.code == code,
            Commune.valid_from > valid_from,
            sa.true() if valid_to is None else Commune.valid_from < valid_to,
        )
    )
    if later:
        raise Conflict(
            "Code {name} belongs to a later commune, from {later} on.",
            hint="Give a later --valid-from, or correct the later unit.",
            code="commune-exists",
            name=code,
            later=later,
        )
    session.execute(
        sa.update(Commune)
        .where(Commune.code == code, Commune.valid_from < valid_from, Commune.valid_to.is_(None))
        .values(valid_to=valid_from)
    )
    values: dict[str, Any] = {"name": name, "valid_to": valid_to}
    if boundary is not None:
        values["geom"] = shapely.to_wkt(boundary, rounding_precision=-1)
        srid = shapely.get_srid(boundary)
        values["geom"] = sa.func.ST_GeomFromText(values["geom"], srid)
    statement = insert(Commune).values(code=code, valid_from=valid_from, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["code", "valid_from"], set_=values)
    )


def find(session: Session, commune: str, on: dt.date | None = None) -> Commune:
    """Return the commune of a code or a name on a day, by default today in Vietnam.

    A code may lack leading zeros; case, accents and the kind of unit do not count in a name. Raises
    `BadRequest` with code `unknown-commune`, or `ambiguous-commune` for a name of several.
    """
    day = on or calendar.day()
    code = parcel_keys.commune_code(commune) or _code_by_name(session, commune, day)
    return _by_code(session, code, day)


def _code_by_name(session: Session, name: str, day: dt.date) -> str:
    """Return the code of the commune of a name; the name itself if there is none."""
    rows = session.execute(sa.select(Commune.code, Commune.name).where(*_valid(day))).all()
    exact = [row for row in rows if fields.plain(row.name) == fields.plain(name)]
    named = exact or [row for row in rows if _plain_name(row.name) == _plain_name(name)]
    if len(named) > 1:
        choices = ", ".join(f"{row.code} {row.name}" for row in sorted(named))
        raise BadRequest(
            "Several communes are called {name}: {choices}.",
            hint="Give the code of five digits.",
            code="ambiguous-commune",
            name=name,
            choices=choices,
        )
    return named[0].code if named else name


def _plain_name(name: str) -> str:
    return re.sub(r"^(XA|PHUONG|THITRAN|DACKHU)(?=.)", "", fields.plain(name))


def _valid(day: dt.date) -> tuple[sa.ColumnElement[bool], ...]:
    return Commune.valid_from <= day, sa.or_(Commune.valid_to.is_(None), Commune.valid_to > day)


def _by_code(session: Session, code: str, day: dt.date) -> Commune:
    commune = session.scalar(sa.select(Commune).where(Commune.code == code, *_valid(day)))
    if commune is None:
        successors = session.scalars(
            sa.select(CommuneRecoding)
            .where(CommuneRecoding.old_code == code, CommuneRecoding.effective_on <= day)
            .order_by(CommuneRecoding.effective_on.desc(), CommuneRecoding.new_code)
        ).all()
        hint = sentence("Check the code, or add it: landdata communes add {code} NAME.", code=code)
        if successors:
            hint = sentence(
                "It became part of {successors}; give that code.",
                successors=", ".join(
                    f"{row.new_code} {row.new_name} ({row.effective_on})" for row in successors
                ),
            )
        raise BadRequest(
            "There is no commune {name} on {day}.",
            hint=hint,
            code="unknown-commune",
            name=code,
            day=day,
        )
    return commune


def border(session: Session, code: str | None) -> BaseGeometry | None:
    """Return the commune's boundary today, in the storage CRS; null where it is unknown."""
    if code is None:
        return None
    commune = find(session, code)
    wkb = session.scalar(
        sa.select(sa.func.ST_AsBinary(Commune.geom)).where(
            Commune.code == commune.code, Commune.valid_from == commune.valid_from
        )
    )
    return shapely.from_wkb(bytes(wkb)) if wkb is not None else None


def import_file(
    session: Session, settings: Settings, path: Path, *, valid_from: dt.date | None = None
) -> int:
    """Store the communes of a file; returns how many units or recodings it holds.

    A file of polygons (GeoPackage, GeoJSON, shapefile …) holds units with boundaries: fields code
    and name, and valid_from unless the argument gives it. A `.csv` holds recodings: old_code,
    old_name, new_code, new_name. WGS 84 is transformed by the pinned datum operation. Raises
    `BadRequest` or `BadSurvey` for any other file.
    """
    if path.suffix.lower() == ".csv":
        return _import_recodings(session, path, valid_from)
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        dataset = archive.unpack(path, Path(scratch), settings)
        if dataset.format.kind != "polygons":
            raise _bad(
                path, sentence("is a {name}, which holds no polygons", name=dataset.format.name)
            )
        layer, raw, wkb = reader.read(dataset, settings)
        columns = {name.lower(): column.to_pylist() for name, column in raw.items()}
        shapes = shapely.from_wkb(np.array(wkb.to_pylist(), dtype=object))
    epsg = identify(layer.crs or dataset.prj or "")
    if epsg is None:
        raise _bad(path, sentence("does not say its CRS in a known way, and none is guessed"))
    to_storage = transformer(epsg, settings.srid)
    codes = [
        "" if code is None else str(code).zfill(5)
        for code in _column(columns, path, "code", "maxa", "xaid")
    ]
    names = [str(name or "") for name in _column(columns, path, "name", "fullname", "tenxa")]
    if not layer.unicode:
        names = [*decode(names, detect(EncodingEvidence(names), cpg=dataset.cpg).name)]
    dates = [valid_from] * len(codes) if valid_from else _dates(columns, path)
    counts = Counter(zip(codes, dates, strict=True))
    repeated = [code for (code, _), count in counts.items() if count > 1]
    if repeated:  # the last row would replace the others
        raise _bad(
            path,
            sentence("has two rows of commune {code}; join them into one", code=repeated[0]),
        )
    for code, name, since, shape in zip(codes, names, dates, shapes, strict=True):
        parts = shapely.get_parts(shape)
        boundary: Any = shapely.transform(
            shapely.multipolygons(
                parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
            ),
            lambda xy: np.column_stack(to_storage.transform(*xy.T)),
        )
        # later surveys are checked against it, so it must be usable
        if shapely.is_empty(boundary) or not shapely.is_valid(boundary):
            why = "" if shapely.is_empty(boundary) else f" ({shapely.is_valid_reason(boundary)})"
            raise _bad(
                path, sentence("has no usable polygon of commune {code}{why}", code=code, why=why)
            )
        add(
            session,
            code,
            name,
            valid_from=since,
            boundary=shapely.set_srid(boundary, settings.srid),
        )
    return len(codes)


def _import_recodings(session: Session, path: Path, on: dt.date | None) -> int:
    """Store which units became which on a day, and the units themselves where they are missing."""
    if on is None:
        raise BadRequest(
            "{name} does not state from which day its recodings hold.",
            hint="Give it: --valid-from 2025-07-01.",
            code="no-date",
            name=path.name,
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        pairs = [(r["old_code"], r["old_name"], r["new_code"], r["new_name"]) for r in rows]
    except FileNotFoundError:
        raise NotFound("There is no file {name}.", hint="Check the path.", name=path.name) from None
    except (UnicodeDecodeError, KeyError, csv.Error) as error:
        raise BadRequest(
            "{name} is no table of recodings ({name2} {error}).",
            hint="It needs the columns old_code, old_name, new_code and new_name, in UTF-8.",
            code="bad-communes",
            name=path.name,
            name2=type(error).__name__,
            error=error,
        ) from None
    for code, name in {old: name for old, name, _, _ in pairs}.items():
        earlier = session.scalar(
            sa.select(Commune.code).where(Commune.code == code, Commune.valid_from < on)
        )
        if earlier is None:
            add(session, code, name, valid_from=_UNKNOWN, valid_to=on)
    session.execute(
        sa.update(Commune)
        .where(Commune.code.in_([old for old, *_ in pairs]))
        .where(Commune.valid_from < on, Commune.valid_to.is_(None))
        .values(valid_to=on)
    )
    for code, name in {new: name for _, _, new, name in pairs}.items():
        if session.get(Commune, (code, on)) is None:
            add(session, code, name, valid_from=on)
    values = [
        {"old_code": old, "new_code": new, "effective_on": on, "new_name": name}
        for old, _, new, name in pairs
    ]
    session.execute(insert(CommuneRecoding).on_conflict_do_nothing(), values)
    return len(pairs)


def _column(columns: dict[str, list[Any]], path: Path, *names: str) -> list[Any]:
    for name in names:
        if name in columns:
            return columns[name]
    raise _bad(
        path,
        sentence(
            "has no field {names}; it has {columns}",
            names=names[0],
            columns=", ".join(columns) or sentence("none"),
        ),
    )


def _bad(path: Path, why: str) -> BadRequest:
    return BadRequest(
        "{name} {why}.",
        hint="Each commune needs a valid polygon in a known CRS and the fields code and name.",
        code="bad-communes",
        name=path.name,
        why=why,
    )


def _dates(columns: dict[str, list[Any]], path: Path) -> list[dt.date]:
    if "valid_from" not in columns:
        raise BadRequest(
            "{name} does not state from which day its communes are: no field valid_from.",
            hint="Give it: --valid-from 2025-07-01.",
            code="no-date",
            name=path.name,
        )
    dates = []
    for value in columns["valid_from"]:
        try:
            dates.append(value if isinstance(value, dt.date) else dt.date.fromisoformat(value))
        except (TypeError, ValueError):
            raise BadRequest(
                "{name}: valid_from {value!r} is no date.",
                hint="Write it like 2025-07-01, or give --valid-from.",
                code="bad-communes",
                name=path.name,
                value=value,
            ) from None
    return dates
