"""Features as text, from PostGIS to a page.

PostGIS writes each feature as JSON text; we only join the rows. A page is read whole and its
connection given back before the first byte goes out, so a slow client holds none; pages are
bounded by `MAX_LIMIT`. Pages go by key, not by number: page 10,000 costs what page 1 costs, and a
reader who pages while a batch is accepted meets each parcel once.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any, Literal

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
from ogc.reader import Reader


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


def page(reader: Reader, query: Query) -> Page:
    """Return a page of features. Raises `Unavailable`."""
    statement, bound = page_statement(query)
    # A box must be planned for what it is: a plan made for any box is wrong for large ones.
    chosen = query.area is not None or query.filter is not None
    rows = reader.rows(statement, bound, prepare=False if chosen else None)
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if backwards:
        rows.reverse()
    has_next = bool(rows) if backwards else more
    has_prev = more if backwards else bool(query.cursor or query.offset) and bool(rows)
    stamp, matched = _standing(rows[0][-1]) if rows else (None, None)
    estimated = None
    if matched is None and query.cursor is None and not more and (rows or not query.offset):
        matched = query.offset + len(rows)
    if matched is not None:
        pass  # it is known already
    elif query.count == "exact" or query.collection.few:
        counting, bound = count_statement(query)
        matched = reader.rows(counting, bound, prepare=False)[0][0]
    elif query.count == "estimate":
        statement, parameters = estimate_statement(query)
        plan = reader.rows(statement, parameters, prepare=False)[0][0]
        estimated = int(plan[0]["Plan"]["Plan Rows"])
    return Page(
        features=[row[0] for row in rows],
        stamp=stamp,
        next=_at("next", rows[-1], query) if has_next else None,
        prev=_at("prev", rows[0], query) if has_prev else None,
        matched=matched,
        estimated=estimated,
    )


def _at(direction: Literal["next", "prev"], row: tuple[Any, ...], query: Query) -> Cursor:
    return Cursor(direction, row[1], row[2], query.sorted_by, row[3:-1])


def _standing(told: bytes | None) -> tuple[int | None, int | None]:
    """Read the last column of `page_statement`."""
    if told is None:
        return None, None
    stamp, matched = told.split(b" ")
    return int(stamp), int(matched) if matched else None


def item(reader: Reader, query: Query) -> tuple[bytes, int | None]:
    """Return the one feature of `query.key` as JSON text, and its stamp as in `Page`.

    Raises `NotFound`, `Unavailable`.
    """
    rows = reader.rows(*page_statement(query))
    if not rows:
        raise missing(query.collection, str(query.key), query.moment)
    feature, standing = rows[0]
    return bytes(feature), _standing(standing)[0]


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
    box = [-180.0, -90.0, 180.0, 90.0]
    if west is not None:
        low = [math.floor(each * 1e7) / 1e7 for each in (west, south)]
        box = low + [math.ceil(each * 1e7) / 1e7 for each in (east, north)]
    first = None
    if began is not None and began != "-infinity":
        first = _first(of, began)
    made = {
        "spatial": {"bbox": box, "crs": crs.CRS84},
        "temporal": {"begin": first, "end": None},
    }
    return made, stamp


def _first(of: Collection, began: str) -> dt.datetime:
    if of.valid == "time":
        return dt.datetime.fromisoformat(began)
    day = dt.date.fromisoformat(began)
    return dt.datetime.combine(day, dt.time.min, tzinfo=parcels.VIETNAM).astimezone(dt.UTC)
