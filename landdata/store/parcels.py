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
from landdata.store.tables import ParcelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelState:
    """A parcel as it stands, or stood, over [valid_from, valid_to); areas in m².

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


def get(session: Session, id: uuid.UUID, as_of: dt.datetime | None = None) -> ParcelState:  # noqa: A002  # as the property is called
    """Return the parcel of this UUID, as it is or as of a time. Raises `NotFound`."""
    found = _states(session, ParcelVersion.parcel_id == id, _at(as_of))
    if not found:
        known = session.scalar(
            sa.select(ParcelVersion.id).where(ParcelVersion.parcel_id == id).limit(1)
        )
        if known is None:
            raise NotFound(f"There is no parcel {id}.", code="no-parcel")
        raise NotFound(
            f"Parcel {id} did not exist {_when(as_of)}.",
            hint="Ask for its history, or as of another time.",
            code="no-parcel-then",
        )
    return found[0]


def find(
    session: Session, commune: str, sheet: str, number: str, as_of: dt.datetime | None = None
) -> ParcelState:
    """Return the parcel that bears this number, as it is or as of a time.

    Raises `NotFound`, with a hint where another time would have found it, and `Conflict` where
    the number was borne by several parcels at that time.
    """
    numbered = (
        ParcelVersion.commune == commune,
        ParcelVersion.sheet == sheet,
        ParcelVersion.number == number,
    )
    key = f"{commune}/{sheet}/{number}"
    found = _states(session, *numbered, _at(as_of))
    if found:
        return _only(found, key)
    last = session.execute(
        sa.select(ParcelVersion.parcel_id, ParcelVersion.valid_from, ParcelVersion.valid_to)
        .where(*numbered)
        .order_by(ParcelVersion.valid_from.desc())
        .limit(1)
    ).first()
    hint = "Check commune, sheet and number; commune codes have five digits."
    if last:
        until = f"until {_stamp(last.valid_to)}" if last.valid_to else "and bears it now"
        hint = f"Parcel {last.parcel_id} bore it from {_stamp(last.valid_from)} {until}."
    raise NotFound(f"There is no parcel {key} {_when(as_of)}.", hint=hint, code="no-parcel")


def resolve(session: Session, key: str, as_of: dt.datetime | None = None) -> ParcelState:
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
    found = _states(session, ParcelVersion.national_id == national_id, _at(as_of))
    if not found:
        raise NotFound(
            f"There is no parcel with the national identifier {national_id} {_when(as_of)}.",
            code="no-parcel",
        )
    return _only(found, national_id)


def history(session: Session, id: uuid.UUID) -> list[ParcelState]:  # noqa: A002  # as the property is called
    """Return all states of the parcel, the newest first. Raises `NotFound`."""
    found = _states(session, ParcelVersion.parcel_id == id)
    if not found:
        raise NotFound(f"There is no parcel {id}.", code="no-parcel")
    return found


def extent(session: Session) -> tuple[float, float, float, float] | None:
    """Return (min E, min N, max E, max N) of all current parcels, storage CRS; null if none."""
    box = sa.func.ST_Extent(ParcelVersion.geom)
    row = session.execute(
        sa.select(
            sa.func.ST_XMin(box), sa.func.ST_YMin(box), sa.func.ST_XMax(box), sa.func.ST_YMax(box)
        ).where(ParcelVersion.valid_to.is_(None))
    ).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])


_COLUMNS = (
    ParcelVersion.parcel_id.label("id"),
    ParcelVersion.national_id,
    ParcelVersion.commune,
    ParcelVersion.sheet,
    ParcelVersion.number,
    ParcelVersion.scale,
    ParcelVersion.area,
    ParcelVersion.legal_area,
    ParcelVersion.measured_area,
    ParcelVersion.land_use,
    ParcelVersion.address,
    ParcelVersion.label,
    ParcelVersion.old_sheet,
    ParcelVersion.old_number,
    ParcelVersion.surveyed_on,
    ParcelVersion.valid_from,
    ParcelVersion.valid_to,
    ParcelVersion.version,
    ParcelVersion.batch_id.label("batch"),
    ParcelVersion.batch_row,
    sa.func.ST_AsBinary(ParcelVersion.geom, type_=sa.LargeBinary).label("geometry"),
)


def _states(session: Session, *conditions: sa.ColumnElement[bool]) -> list[ParcelState]:
    rows = session.execute(
        sa.select(*_COLUMNS)
        .where(*conditions)
        .order_by(ParcelVersion.valid_from.desc(), ParcelVersion.version.desc())
    )
    return [
        ParcelState(
            **{
                **row,
                "land_use": _land_use(row["land_use"]),
                "geometry": shapely.from_wkb(bytes(row["geometry"])),
            }
        )
        for row in rows.mappings()
    ]


def _at(as_of: dt.datetime | None) -> sa.ColumnElement[bool]:
    """Say which states hold at a time; "now" in the words of the partial indexes."""
    if as_of is None:
        return ParcelVersion.valid_to.is_(None)
    return sa.or_(
        sa.and_(ParcelVersion.valid_to.is_(None), ParcelVersion.valid_from <= as_of),
        sa.and_(
            ParcelVersion.valid_to.is_not(None),
            ParcelVersion.valid_from <= as_of,
            ParcelVersion.valid_to > as_of,
        ),
    )


def _only(found: list[ParcelState], key: str) -> ParcelState:
    if len(found) > 1:
        ids = ", ".join(str(state.id) for state in found)
        raise Conflict(
            f"{key} is ambiguous: {len(found)} parcels bear it.",
            hint=f"Ask by UUID: {ids}.",
            code="ambiguous-parcel",
        )
    return found[0]


def _land_use(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        value = json.loads(value)
    return list(value or [])


def _when(as_of: dt.datetime | None) -> str:
    return "now" if as_of is None else f"as of {_stamp(as_of)}"


def _stamp(time: dt.datetime) -> str:
    """Write a time in UTC, to the second where it has no fraction."""
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
