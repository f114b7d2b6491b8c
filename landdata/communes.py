"""Communes: dated units with boundaries. A code is used again, so it is asked with a date."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from landdata.errors import BadRequest, Conflict
from landdata.models import Commune
from landdata.settings import Settings
from landdata.survey.crs import transformer


def add(
    session: Session,
    code: str,
    name: str,
    *,
    valid_from: dt.date,
    boundary: shapely.MultiPolygon | None = None,
) -> None:
    """Store a commune from a date on, or correct the one of that date.

    `boundary` is in the storage CRS. An earlier unit of the same code ends on that date.
    Raises `BadRequest` for an ill-formed code, `Conflict` where a later unit bears the code.
    """
    if not (code.isascii() and code.isdigit() and len(code) == 5):
        raise BadRequest(
            f"Commune code {code!r} is not five digits.",
            hint="Give the code of the General Statistics Office with its leading zeros.",
            code="bad-commune-code",
        )
    later = session.scalar(
        sa.select(Commune.valid_from).where(Commune.code == code, Commune.valid_from > valid_from)
    )
    if later:
        raise Conflict(
            f"Code {code} is borne by a later commune, from {later} on.",
            hint="Give a later --valid-from, or correct the later unit.",
            code="commune-exists",
        )
    session.execute(
        sa.update(Commune)
        .where(Commune.code == code, Commune.valid_from < valid_from, Commune.valid_to.is_(None))
        .values(valid_to=valid_from)
    )
    values: dict[str, Any] = {"name": name}
    if boundary is not None:
        values["geom"] = shapely.to_wkt(boundary, rounding_precision=-1)
        srid = shapely.get_srid(boundary)
        values["geom"] = sa.func.ST_GeomFromText(values["geom"], srid)
    statement = insert(Commune).values(code=code, valid_from=valid_from, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["code", "valid_from"], set_=values)
    )


def find(session: Session, code: str, on: dt.date | None = None) -> Commune:
    """Return the commune that bears `code` on a day (today unless told).

    Raises `BadRequest` with code `unknown-commune`.
    """
    day = on or dt.datetime.now(dt.UTC).date()
    found = session.scalar(
        sa.select(Commune).where(
            Commune.code == code,
            Commune.valid_from <= day,
            sa.or_(Commune.valid_to.is_(None), Commune.valid_to > day),
        )
    )
    if found is None:
        raise BadRequest(
            f"There is no commune {code} on {day}.",
            hint=f"Check the code, or add it: landdata communes add {code} NAME.",
            code="unknown-commune",
        )
    return found


def import_file(
    session: Session, settings: Settings, path: Path, *, valid_from: dt.date | None = None
) -> int:
    """Store the communes of a GeoJSON file with the properties code, name and valid_from.

    Coordinates are WGS 84 longitude and latitude (RFC 7946) and go through the pinned datum
    operation. Returns how many; raises `BadRequest` for a file that is not that.
    """
    try:
        features = json.loads(path.read_text("utf-8"))["features"]
        to_storage = transformer(4326, settings.srid)
        for feature in features:
            properties = feature["properties"]
            since = valid_from or dt.date.fromisoformat(properties["valid_from"])
            shape = shapely.geometry.shape(feature["geometry"])
            boundary: Any = shapely.transform(
                shapely.multipolygons(shapely.get_parts(shape)),
                lambda lonlat: np.column_stack(to_storage.transform(*lonlat.T)),
            )
            add(
                session,
                str(properties["code"]).zfill(5),
                properties["name"],
                valid_from=since,
                boundary=shapely.set_srid(boundary, settings.srid),
            )
    except FileNotFoundError:
        raise BadRequest(
            f"There is no file {path.name}.", hint="Check the path.", code="no-file"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise BadRequest(
            f"{path.name} is not a GeoJSON file of communes: {type(error).__name__} {error}.",
            hint="Each feature needs a polygon and the properties code, name and valid_from.",
            code="bad-communes",
        ) from None
    return len(features)
