"""Features as text, from PostGIS to a page.

PostGIS writes each feature as JSON text; we only join the rows. A page is read whole and its
connection released before the first byte goes out, so a slow client holds none; pages are
bounded by `MAX_LIMIT`. Pages go by key, not by number: page 10,000 costs what page 1 costs, and a
reader who pages while a batch is accepted meets each parcel once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from psycopg.pq.abc import PGresult

from landdata.features.query import Cursor, Query, not_found
from landdata.features.sql import count_statement, estimate_statement, page_statement
from landdata.store.read_connections import Statement
from landdata.store.read_pool import ReadPool

#: Features of a page that may share a connection: all others on it would wait for a longer one.
SHORT_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """A page of features as JSON text, and how to go on.

    `stamp` is the second in which its content was last published, where that is recorded.
    """

    features: list[bytes]
    stamp: int | None
    next: Cursor | None
    prev: Cursor | None
    matched: int | None
    estimated: int | None = None


async def page(pool: ReadPool, query: Query) -> Page:
    """Return a page of features."""
    quick = query.has_generic_plan and query.limit <= SHORT_PAGE
    result = await pool.fetch(Statement(*page_statement(query), has_generic_plan=quick))
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    more = result.ntuples > query.limit
    rows: Sequence[int] = range(min(result.ntuples, query.limit))
    if backwards:
        rows = rows[::-1]
    value = result.get_value
    has_next = bool(rows) if backwards else more
    has_prev = more if backwards else bool(query.cursor or query.offset) and bool(rows)
    stamp, matched = _standing(value(rows[0], result.nfields - 1)) if rows else (None, None)
    estimated = None
    if matched is None and query.cursor is None and not more and (rows or not query.offset):
        matched = query.offset + len(rows)
    if matched is not None:
        pass
    elif query.count == "exact" or query.collection.always_counted:
        counted = await pool.fetch(Statement(*count_statement(query), has_generic_plan=False))
        matched = int(counted.get_value(0, 0) or 0)
    elif query.count == "estimate":
        plan = await pool.fetch(Statement(*estimate_statement(query), has_generic_plan=False))
        estimated = int(json.loads(plan.get_value(0, 0) or b"")[0]["Plan"]["Plan Rows"])
    return Page(
        features=cast("list[bytes]", [value(row, 0) for row in rows]),
        stamp=stamp,
        next=_at("next", result, rows[-1], query) if has_next else None,
        prev=_at("prev", result, rows[0], query) if has_prev else None,
        matched=matched,
        estimated=estimated,
    )


def _at(direction: Literal["next", "prev"], result: PGresult, row: int, query: Query) -> Cursor:
    values = [result.get_value(row, n) for n in range(1, result.nfields - 1)]
    key, *by = [value if value is None else value.decode() for value in values]
    order = by.pop(0) if query.covers_interval else None
    return Cursor(direction, str(key), order, query.sorted_by, tuple(by))


def _standing(value: bytes | None) -> tuple[int | None, int | None]:
    """Read the last column of `page_statement`."""
    if value is None:
        return None, None
    stamp, matched = value.split(b" ")
    return int(stamp), int(matched) if matched else None


async def item(pool: ReadPool, query: Query) -> tuple[bytes, int | None]:
    """Return the one feature of `query.key` as JSON text, and its stamp as in `Page`.

    Raises `NotFound`.
    """
    result = await pool.fetch(Statement(*page_statement(query)))
    if not result.ntuples:
        raise not_found(query.collection, str(query.key), query.time)
    return cast("bytes", result.get_value(0, 0)), _standing(result.get_value(0, 1))[0]
