"""Features as text, from PostGIS to a page.

PostGIS writes each feature as JSON text; we only join the rows. A page is read whole and its
connection given back before the first byte goes out, so a slow client holds none; pages are
bounded by `MAX_LIMIT`. Pages go by key, not by number: page 10,000 costs what page 1 costs, and a
reader who pages while a batch is accepted meets each parcel once.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from psycopg.pq.abc import PGresult

from landdata import parcels
from ogc import crs
from ogc.config import Collection
from ogc.queries import (
    Cursor,
    Query,
    count_statement,
    estimate_statement,
    missing,
    page_statement,
    stamp_of,
)
from ogc.reader import Question, Reader, Steps


@dataclass(frozen=True, slots=True)
class Page:
    """A page of features as JSON text, and how to go on.

    `stamp` is the second in which what it tells was last published, if that is known.
    """

    features: list[bytes]
    stamp: int | None
    next: Cursor | None
    prev: Cursor | None
    matched: int | None
    estimated: int | None = None


def page(query: Query) -> Steps[Page]:
    """Return a page of features."""
    statement, bound = page_statement(query)
    found = yield Question(statement, bound, query.quick)
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    more = found.ntuples > query.limit
    rows: Sequence[int] = range(min(found.ntuples, query.limit))
    if backwards:
        rows = rows[::-1]
    value = found.get_value
    has_next = bool(rows) if backwards else more
    has_prev = more if backwards else bool(query.cursor or query.offset) and bool(rows)
    stamp, matched = _standing(value(rows[0], found.nfields - 1)) if rows else (None, None)
    estimated = None
    if matched is None and query.cursor is None and not more and (rows or not query.offset):
        matched = query.offset + len(rows)
    if matched is not None:
        pass  # it is known already
    elif query.count == "exact" or query.collection.few:
        counted = yield Question(*count_statement(query), quick=False)
        matched = int(counted.get_value(0, 0) or 0)
    elif query.count == "estimate":
        plan = yield Question(*estimate_statement(query), quick=False)
        estimated = int(json.loads(plan.get_value(0, 0) or b"")[0]["Plan"]["Plan Rows"])
    return Page(
        features=cast("list[bytes]", [value(row, 0) for row in rows]),
        stamp=stamp,
        next=_at("next", found, rows[-1], query) if has_next else None,
        prev=_at("prev", found, rows[0], query) if has_prev else None,
        matched=matched,
        estimated=estimated,
    )


def _at(direction: Literal["next", "prev"], found: PGresult, row: int, query: Query) -> Cursor:
    values = [found.get_value(row, n) for n in range(1, found.nfields - 1)]
    key, *by = [each if each is None else each.decode() for each in values]
    order = by.pop(0) if query.interval else None
    return Cursor(direction, str(key), order, query.sorted_by, tuple(by))


def _standing(told: bytes | None) -> tuple[int | None, int | None]:
    """Read the last column of `page_statement`."""
    if told is None:
        return None, None
    stamp, matched = told.split(b" ")
    return int(stamp), int(matched) if matched else None


def item(query: Query) -> Steps[tuple[bytes, int | None]]:
    """Return the one feature of `query.key` as JSON text, and its stamp as in `Page`.

    Raises `NotFound`.
    """
    found = yield Question(*page_statement(query))
    if not found.ntuples:
        raise missing(query.collection, str(query.key), query.moment)
    return cast("bytes", found.get_value(0, 0)), _standing(found.get_value(0, 1))[0]


# -- extents ---------------------------------------------------------------------------------


def extent(reader: Reader, of: Collection, storage: int) -> tuple[dict[str, Any], int | None]:
    """Return the extent of a collection and its stamp as in `Page`.

    The box is in CRS84, the first beginning as RFC 3339 has it; the whole world where there is
    nothing yet. The box encloses the transformed bounds, edges included, and is rounded outward.
    """
    moving = crs.outgoing(
        f"ST_Segmentize(ST_SetSRID(box::geometry, {storage:d}), 1000)",
        storage,
        crs.offered(storage)[crs.CRS84],
        leads_back=False,
    )
    bounds = ", ".join(f"ST_{name}(moved)" for name in ("XMin", "YMin", "XMax", "YMax"))
    rows = reader.rows(
        f"SELECT {bounds}, began, {stamp_of(of)} FROM (SELECT {moving} AS moved, began FROM"  # noqa: S608
        f" (SELECT ST_Extent(geom) AS box, min(valid_from)::text AS began FROM {of.table}) AS a)"
        " AS b",
        {},
    )
    west, south, east, north, began, stamp = rows[0]
    if west is None:
        return WORLD, stamp
    low = [math.floor(each * 1e7) / 1e7 for each in (west, south)]
    box = low + [math.ceil(each * 1e7) / 1e7 for each in (east, north)]
    first = None
    if began is not None and began != "-infinity":
        first = _first(of, began)
    return _extent(box, first), stamp


def _extent(box: list[float], begin: dt.datetime | None) -> dict[str, Any]:
    return {
        "spatial": {"bbox": box, "crs": crs.CRS84},
        "temporal": {"begin": begin, "end": None},
    }


#: The extent of what is not known.
WORLD = _extent([-180.0, -90.0, 180.0, 90.0], None)


def _first(of: Collection, began: str) -> dt.datetime:
    if of.valid == "time":
        return dt.datetime.fromisoformat(began)
    day = dt.date.fromisoformat(began)
    return dt.datetime.combine(day, dt.time.min, tzinfo=parcels.VIETNAM).astimezone(dt.UTC)
