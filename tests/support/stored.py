"""What tests put into a store: a few parcels straight, communes, and files through the batches."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from landdata.batches import acceptance, checking
from landdata.settings import Settings
from landdata.store import communes, database, publications
from landdata.store.tables import Batch, Commune, Holder, ParcelVersionRow

FIRST = dt.datetime(2025, 7, 1, 1, 0, tzinfo=dt.UTC)
SECOND = dt.datetime(2026, 3, 1, 1, 0, tzinfo=dt.UTC)
EAST, NORTH = 548_000, 1_281_000  # inside Bình Phước in EPSG:9212


def towns(engine: sa.Engine) -> None:
    """Three communes without a boundary, to which surveys may be sent."""
    with database.session(engine) as session:
        for code in ("99901", "99902", "99903"):
            communes.add(session, code, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))


def official(engine: sa.Engine, settings: Settings, path: Path, commune: str = "99901") -> None:
    """Make a survey file official, in two sessions, as an officer does."""
    with database.session(engine) as session:
        batch = checking.receive_and_check(session, settings, path, commune=commune, by="surveyor")
    with database.session(engine) as session:
        acceptance.accept(session, settings, batch.id, by="officer")


def square(column: int, row: int, width: float = 20, srid: int = 9212) -> str:
    """A square of the lattice as EWKT, `width` metres wide."""
    x, y = EAST + 20 * column, NORTH + 20 * row
    ring = [(x, y), (x + width, y), (x + width, y + 20), (x, y + 20), (x, y)]
    text = ", ".join(f"{a} {b}" for a, b in ring)
    return f"SRID={srid};MULTIPOLYGON((({text})))"


def commune(engine: sa.Engine, code: str = "99901", name: str = "Xã Suối Mẫu") -> None:
    """A commune whose boundary is 400 m wide, around the lattice."""
    x, y = EAST - 50, NORTH - 50
    ring = f"{x} {y}, {x + 400} {y}, {x + 400} {y + 400}, {x} {y + 400}, {x} {y}"
    with database.session(engine) as session:
        session.add(
            Commune(
                code=code,
                name=name,
                valid_from=dt.date(2025, 7, 1),
                geom=f"SRID=9212;MULTIPOLYGON((({ring})))",
            )
        )


def batch(engine: sa.Engine, mark: str) -> int:
    """An accepted batch; its number."""
    with database.session(engine) as session:
        row = Batch(
            sha256=mark * 64,
            source=f"{mark}.zip",
            commune="99901",
            options={},
            state="accepted",
            received_by="officer",
        )
        session.add(row)
        session.flush()
        return row.id


def parcel(
    engine: sa.Engine,
    batch_id: int,
    geom: str,
    /,
    parcel_id: uuid.UUID | None = None,
    **columns: Any,
) -> uuid.UUID:
    """A version of a parcel, of a new one unless `parcel_id` names it; returns its key."""
    values: dict[str, Any] = {
        "version": 1,
        "valid_from": FIRST,
        "commune": "99901",
        "sheet": "1",
        "number": "1",
        "scale": 1000,
        "area": 400.0,
        "legal_area": 398.5,
        "measured_area": 400.0,
        "land_use": [{"code": "ONT", "area": 100.0}, {"code": "CLN", "area": None}],
        "address": "Thôn 1",
        "label": "ONT+CLN",
        "surveyed_on": dt.date(2025, 5, 20),
        "batch_row": 0,
        **columns,
    }
    holder = values.pop("holder", None)
    with database.session(engine) as session:
        key = parcel_id or uuid.uuid4()
        version = ParcelVersionRow(parcel_id=key, batch_id=batch_id, geom=geom, **values)
        session.add(version)
        session.flush()
        if holder:
            session.add(Holder(version_id=version.id, name=holder, kind="individual"))
    return key


def lattice(engine: sa.Engine) -> dict[str, uuid.UUID]:
    """Sixteen parcels by number, `12` with a past version that was larger; owners beside them."""
    commune(engine)
    first, second = batch(engine, "a"), batch(engine, "b")
    uses = ("ONT", "LUC", "CLN", "NTS")
    keys: dict[str, uuid.UUID] = {}
    for place in range(16):
        number = str(place + 1)
        use = json.loads(json.dumps([{"code": uses[place % 4], "area": None}]))
        values = {
            "number": number,
            "batch_row": place,
            "land_use": use,
            "label": uses[place % 4],
            "holder": f"Chủ sử dụng {number}",
        }
        column, row = place % 4, place // 4
        if number != "12":
            keys[number] = parcel(engine, first, square(column, row), **values)
            continue
        twelve = parcel(
            engine, first, square(column, row, 22), **values | {"valid_to": SECOND, "area": 440.0}
        )
        parcel(
            engine,
            second,
            square(column, row),
            parcel_id=twelve,
            **values | {"version": 2, "valid_from": SECOND, "national_id": "w6bqz3k8n1p0"},
        )
        keys[number] = twelve
    with database.session(engine) as session:
        for batch_id, time in ((first, FIRST), (second, SECOND)):
            publications.publish(session, batch_id, after=0, valid_from=time)
    return keys
