"""Reads of the store: one parcel by key, as it is or as of a time, and its history.

Nothing here touches `holders` or `staged_parcels`: what these functions return names no person.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from typing import Any

import shapely
import sqlalchemy as sa
from shapely.geometry.base import BaseGeometry
from sqlalchemy.orm import Session

from landdata.errors import Conflict, NotFound
from landdata.reference import parcel_keys
from landdata.store.tables import ParcelVersionRow as Row
from landdata.translations import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelVersion:
    """A parcel over [valid_from, valid_to), which has no end for the current version; areas in m².

    `area` is as surveyed, `legal_area` that of the certificate, `measured_area` that of the
    polygon in the zone of the survey. `geometry` is a MultiPolygon in the storage CRS.
    `batch` and `batch_row` name the survey that it came with.
    """

    id: uuid.UUID
    national_id: str | None
    commune: str
    sheet: str
    number: str
    scale: int | None
    area: float | None
    legal_area: float | None
    measured_area: float
    land_use: list[dict[str, Any]]  # [{"code": "ONT", "area": None}, …]
    address: str | None
    label: str | None
    old_sheet: str | None
    old_number: str | None
    surveyed_on: dt.date | None
    valid_from: dt.datetime
    valid_to: dt.datetime | None
    version: int
    batch: int
    batch_row: int
    geometry: BaseGeometry

    @property
    def key(self) -> str:
        """The number of the parcel: `commune/sheet/number`."""
        return f"{self.commune}/{self.sheet}/{self.number}"

    def as_dict(self, *, publish_address: bool = False) -> dict[str, Any]:
        """Return the public properties; an address can be personal, so it takes a yes."""
        return {
            "id": str(self.id),
            "national_id": self.national_id,
            "commune": self.commune,
            "sheet": self.sheet,
            "number": self.number,
            "scale": self.scale,
            "area": self.area,
            "legal_area": self.legal_area,
            "land_use": self.land_use,
            "address": self.address if publish_address else None,
            "label": self.label,
            "surveyed_on": self.surveyed_on.isoformat() if self.surveyed_on else None,
            "valid_from": _stamp(self.valid_from),
            "valid_to": _stamp(self.valid_to) if self.valid_to else None,
            "version": self.version,
        }


def get(session: Session, id: uuid.UUID, as_of: dt.datetime | None = None) -> ParcelVersion:  # noqa: A002  # as the property is called
    """Return the parcel of this UUID, as it is or as of a time. Raises `NotFound`."""
    versions = _versions(session, Row.parcel_id == id, _at(as_of))
    if not versions:
        at_any_time = session.scalar(sa.select(Row.id).where(Row.parcel_id == id).limit(1))
        if at_any_time is None:
            raise NotFound("There is no parcel {id}.", code="no-parcel", id=id)
        raise NotFound(
            "Parcel {id} did not exist {when}.",
            hint="Ask for its history, or as of another time.",
            code="no-parcel-then",
            id=id,
            when=_when(as_of),
        )
    return versions[0]


def find(
    session: Session, commune: str, sheet: str, number: str, as_of: dt.datetime | None = None
) -> ParcelVersion:
    """Return the parcel that bears this number, as it is or as of a time.

    Raises `NotFound`, with a hint where another time would have found it, and `Conflict` where
    the number was borne by several parcels at that time.
    """
    numbered = (
        Row.commune == commune,
        Row.sheet == sheet,
        Row.number.in_({number, parcel_keys.fold(number)}),
    )
    key = f"{commune}/{sheet}/{number}"
    versions = _versions(session, *numbered, _at(as_of))
    if versions:
        return _only(versions, key)
    last = session.execute(
        sa.select(Row.parcel_id, Row.valid_from, Row.valid_to)
        .where(*numbered)
        .order_by(Row.valid_from.desc())
        .limit(1)
    ).first()
    hint = sentence("Check commune, sheet and number; commune codes have five digits.")
    if last:
        template = (
            sentence("Parcel {id} has had it from {first} until {last}.")
            if last.valid_to
            else sentence("Parcel {id} has had it since {first}.")
        )
        hint = sentence(
            template,
            id=last.parcel_id,
            first=_stamp(last.valid_from),
            last=_stamp(last.valid_to) if last.valid_to else None,
        )
    raise NotFound(
        "There is no parcel {key} {when}.", hint=hint, code="no-parcel", key=key, when=_when(as_of)
    )


def resolve(session: Session, key: str, as_of: dt.datetime | None = None) -> ParcelVersion:
    """Return the parcel that a person means: UUID, national id or `commune/sheet/number`.

    Raises `BadRequest` for a key of no such form, else as `get` and `find`.
    """
    match parcel_keys.parse(key):
        case parcel_keys.Number(commune, sheet, number):
            return find(session, commune, sheet, number, as_of)
        case uuid.UUID() as id_:
            return get(session, id_, as_of)
        case national_id:
            pass
    versions = _versions(session, Row.national_id == national_id, _at(as_of))
    if not versions:
        raise NotFound(
            "There is no parcel with the national identifier {national_id} {when}.",
            code="no-parcel",
            national_id=national_id,
            when=_when(as_of),
        )
    return _only(versions, national_id)


def history(session: Session, id: uuid.UUID) -> list[ParcelVersion]:  # noqa: A002  # as the property is called
    """Return all versions of the parcel, the newest first. Raises `NotFound`."""
    versions = _versions(session, Row.parcel_id == id)
    if not versions:
        raise NotFound("There is no parcel {id}.", code="no-parcel", id=id)
    return versions


def extent(session: Session) -> tuple[float, float, float, float] | None:
    """Return (min E, min N, max E, max N) of all current parcels, storage CRS; null if none."""
    box = sa.func.ST_Extent(Row.geom)
    row = session.execute(
        sa.select(
            sa.func.ST_XMin(box), sa.func.ST_YMin(box), sa.func.ST_XMax(box), sa.func.ST_YMax(box)
        ).where(Row.valid_to.is_(None))
    ).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])


_COLUMNS = (
    Row.parcel_id.label("id"),
    Row.national_id,
    Row.commune,
    Row.sheet,
    Row.number,
    Row.scale,
    Row.area,
    Row.legal_area,
    Row.measured_area,
    Row.land_use,
    Row.address,
    Row.label,
    Row.old_sheet,
    Row.old_number,
    Row.surveyed_on,
    Row.valid_from,
    Row.valid_to,
    Row.version,
    Row.batch_id.label("batch"),
    Row.batch_row,
    sa.func.ST_AsBinary(Row.geom, type_=sa.LargeBinary).label("geometry"),
)


def _versions(session: Session, *conditions: sa.ColumnElement[bool]) -> list[ParcelVersion]:
    rows = session.execute(
        sa.select(*_COLUMNS).where(*conditions).order_by(Row.valid_from.desc(), Row.version.desc())
    )
    return [
        ParcelVersion(
            **{
                **row,
                "land_use": _land_use(row["land_use"]),
                "geometry": shapely.from_wkb(bytes(row["geometry"])),
            }
        )
        for row in rows.mappings()
    ]


def _at(as_of: dt.datetime | None) -> sa.ColumnElement[bool]:
    """Return the condition for the versions that hold at a time.

    For now it is the condition of the partial indexes.
    """
    if as_of is None:
        return Row.valid_to.is_(None)
    return sa.or_(
        sa.and_(Row.valid_to.is_(None), Row.valid_from <= as_of),
        sa.and_(
            Row.valid_to.is_not(None),
            Row.valid_from <= as_of,
            Row.valid_to > as_of,
        ),
    )


def _only(versions: list[ParcelVersion], key: str) -> ParcelVersion:
    if len(versions) > 1:
        ids = ", ".join(str(version.id) for version in versions)
        raise Conflict(
            "{key} is ambiguous: {count} parcels bear it.",
            hint="Ask by UUID: {ids}.",
            code="ambiguous-parcel",
            key=key,
            count=len(versions),
            ids=ids,
        )
    return versions[0]


def _land_use(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        value = json.loads(value)
    return list(value or [])


def _when(as_of: dt.datetime | None) -> str:
    return sentence("now") if as_of is None else sentence("as of {time}", time=_stamp(as_of))


def _stamp(time: dt.datetime) -> str:
    """Write a time in UTC, to the second where it has no fraction."""
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
