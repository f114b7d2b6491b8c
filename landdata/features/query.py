"""A checked question, and the SQL that answers it.

All SQL here is made of constants of ours; what a client sends is only ever bound.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from landdata.errors import NotFound
from landdata.features import cql2, crs
from landdata.features.collections import Collection, Property
from landdata.features.crs import BBox
from landdata.reference import calendar

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000

_TYPES = {
    "string": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
}

_KEYS = {"uuid": "uuid", "string": "text", "integer": "bigint"}


_write = json.JSONEncoder(separators=(",", ":")).encode

Count = Literal["none", "exact", "estimate"]


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """A time or interval [since, until]; `until` as null has no end, likewise `since`."""

    since: dt.datetime | None
    until: dt.datetime | None

    @property
    def is_instant(self) -> bool:
        """Whether it is a single time: at most one state of each feature."""
        return self.since is not None and self.since == self.until


@dataclass(frozen=True, slots=True)
class Sort:
    """One step of an order; null is greater than every value."""

    by: Property
    descending: bool

    @property
    def name(self) -> str:
        """It as one writes it in `sortby`."""
        return f"{'-' if self.descending else ''}{self.by.name}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after (or before) the feature of this key.

    `order` tells which of its states, where many are asked for. `by` holds the values that the
    feature is sorted by, as PostgreSQL writes them; `sort` tells of what order they are.
    """

    direction: Literal["next", "prev"]
    key: str
    order: str | None = None
    sort: str = ""
    by: tuple[str | None, ...] = ()

    def token(self) -> str:
        """Return it as the opaque text of a link."""
        parts: list[Any] = [self.direction[0], self.key, self.order]
        if self.sort:
            parts += [self.sort, self.by]
        plain = _write(parts)
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked of a collection, checked; nothing in it is a client's text as SQL."""

    collection: Collection
    crs: crs.Crs
    storage: int
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    cursor: Cursor | None = None
    key: uuid.UUID | int | str | None = None  # of the one feature that is asked for
    bbox: BBox | None = None
    time: TimeInterval | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    filter: cql2.Condition | None = None
    sort: tuple[Sort, ...] = ()
    properties: tuple[Property, ...] | None = None  # all, where None
    geometry: bool = True
    count: Count = "none"

    @property
    def has_generic_plan(self) -> bool:
        """Whether a page is quick by nature, by one plan for all values.

        What may be long is planned for what it is, and keeps out of the way of what is quick: a
        plan made for any box is wrong for large ones; an order, an offset or a value without an
        index may lead through all.
        """
        if self.sort or self.offset:
            return False
        if self.bbox is not None or self.filter is not None:
            return self.is_selective
        of = self.collection
        return (
            not self.filters
            or of.always_counted
            or any(name in self.filters for name in of.selective_properties)
        )

    @property
    def is_selective(self) -> bool:
        """Whether it asks for a small ground, whose index is always the way."""
        return any(each is not None and each.is_selective for each in (self.bbox, self.filter))

    @property
    def covers_interval(self) -> bool:
        """Whether more than one state of a feature may be told."""
        return self.time is not None and not self.time.is_instant

    @property
    def sorted_by(self) -> str:
        """The order as one writes it in `sortby`."""
        return ",".join(each.name for each in self.sort)


def not_found(of: Collection, key: str, when: TimeInterval | None) -> NotFound:
    """Return the error that there is no such feature at that time."""
    as_of = f"as of {when.since.isoformat()}" if when and when.since else "now"
    return NotFound(
        f"There is no {of.item['en']} {key[:100]!r} {as_of}.",
        hint="Give `datetime` to ask as of another time.",
    )


# -- SQL -------------------------------------------------------------------------------------


def page_statement(query: Query) -> tuple[str, dict[str, Any]]:
    """Return the statement of a page, or of the one feature of `query.key`, and its parameters.

    The inner part picks rows by their columns alone, so that only those of the page are written
    as text; it asks for one more than the limit, which tells whether there is a next page. The
    last column is the `_standing` of the store in the same snapshot.
    """
    of, area, key = query.collection, query.bbox, query.key
    if query.filters or query.filter or query.cursor or query.time or not of.open_ended:
        return _page_statement(query)
    statement = _plain_statement(
        of, query.crs, query.storage, query.limit, query.offset, query.sort, query.properties,
        query.geometry, area is not None, key is not None,
    )  # fmt: skip
    bound: dict[str, Any] = {} if area is None else {"area": area.ewkb}
    return statement, bound if key is None else {**bound, "key": key}


@lru_cache(1000)
def _plain_statement(
    of: Collection,
    target: crs.Crs,
    storage: int,
    limit: int,
    offset: int,
    sort: tuple[Sort, ...],
    properties: tuple[Property, ...] | None,
    geometry: bool,
    somewhere: bool,
    one: bool,
) -> str:
    """The statement of what is asked most, which is the same for every box and key."""
    area = BBox("", (0, 0, 0, 0)) if somewhere else None
    query = Query(
        collection=of, crs=target, storage=storage, limit=limit, offset=offset, sort=sort,
        properties=properties, geometry=geometry, bbox=area, key="" if one else None,
    )  # fmt: skip
    return _page_statement(query)[0]


def _page_statement(query: Query) -> tuple[str, dict[str, Any]]:
    of = query.collection
    steps = _steps(query)
    order = ", ".join(step.sql for step in steps)
    conditions, parameters = filter_conditions(query)
    if of.number_index and query.time is None:
        first, second = of.number_index
        if second in query.filters and first not in query.filters:
            conditions.append(_each(of, first))
    one = query.key is not None
    if one:
        conditions.append(f"{of.key} = %(key)s")
        parameters["key"] = query.key
        tail = " LIMIT 1"
    else:
        skip = f" OFFSET {query.offset:d}" if query.offset else ""
        tail = f" ORDER BY {order} LIMIT {query.limit + 1:d}{skip}"
        if query.cursor is not None:
            after, bound = _after(steps, query.cursor)
            conditions.append(after)
            parameters |= bound
    branches, bound = time_conditions(query)
    parameters |= bound
    text = feature_json(query)  # as varchar, which is passed on as it is
    # a text that is ready is all that is needed, and the rest would only be sorted with it
    needed = {text, *(step.column for step in steps)}
    what = ", ".join(sorted(needed)) if text == of.feature else "*"
    picked = [
        f"SELECT {what} FROM {of.table} WHERE {' AND '.join([branch, *conditions])}"  # noqa: S608
        for branch in branches
    ]
    if len(picked) == 1:
        inner = picked[0] + tail
    else:
        # each branch has its own partial index, hence its own order and limit
        bare = tail if one else f" ORDER BY {order} LIMIT {query.limit + 1 + query.offset:d}"
        inner = " UNION ALL ".join(f"({each}{bare})" for each in picked) + tail
    standing, bound = _standing(query)
    parameters |= bound
    if one:
        return f"SELECT ({text})::varchar, {standing} FROM ({inner}) AS picked", parameters  # noqa: S608
    # names of their own, else ORDER BY would take the text, in which '10' is before '9'
    columns = [f"({text})::varchar", f"{of.key} AS after_key"]
    if query.covers_interval:
        columns.append(f"{of.order} AS after_order")
    columns += [f"{each.by.column} AS by_{n}" for n, each in enumerate(query.sort)]
    columns.append(standing)
    return (
        f"SELECT {', '.join(columns)} FROM ({inner}) AS picked ORDER BY {order}",  # noqa: S608
        parameters,
    )


def _standing(query: Query) -> tuple[str, dict[str, Any]]:
    """SQL of 'STAMP MATCHED' as text, and its parameters; null where nothing is known.

    STAMP is that of the last publication (`landdata.publications`): also for an answer as of an
    earlier time, because a publication gives earlier states their `valid_to`. MATCHED is how
    many features match, where that is written down, else nothing.
    """
    of, when = query.collection, query.time
    if not of.changes_by_publication:
        return "NULL", {}
    matched, parameters = "''", {}
    free = query.bbox is None and query.filter is None and query.key is None
    if of.precounted_by is not None and free:
        if when is None and not query.filters:
            matched = "parcels"
        elif when is None and query.filters.keys() <= {*of.precounted_by}:
            marks = " AND ".join(f"{name} = %(p_{name})s::text" for name in query.filters)
            matched = f"coalesce((SELECT sum(parcels) FROM sheets WHERE {marks}), 0)"  # noqa: S608
        elif when is not None and when.is_instant and not query.filters:
            latest = f"(SELECT parcels FROM publications WHERE valid_from <= %(at)s {_LATEST})"  # noqa: S608
            matched, parameters = f"coalesce({latest}, 0)", {"at": when.since}
    return f"(SELECT stamp || ' ' || {matched} FROM publications {_LATEST})::varchar", parameters  # noqa: S608


_LATEST = "ORDER BY valid_from DESC, number DESC LIMIT 1"


def stamp_sql(of: Collection) -> str:
    """SQL of the stamp of the last publication, where a collection changes by those alone."""
    last = f"(SELECT stamp FROM publications {_LATEST})"  # noqa: S608
    return last if of.changes_by_publication else "NULL::bigint"


def _each(of: Collection, column: str) -> str:
    """SQL that a column has one of the values that it has, found one by one in an index.

    It is always true, and lets an index that begins with the column be entered at each of them.
    """
    least = f"SELECT {column} FROM {of.table} WHERE valid_to IS NULL"  # noqa: S608
    return (
        f"{column} = ANY(ARRAY(WITH RECURSIVE each AS ("  # noqa: S608
        f"({least} ORDER BY {column} LIMIT 1) UNION ALL"
        f" SELECT ({least} AND {column} > each.{column} ORDER BY {column} LIMIT 1) FROM each"
        f" WHERE each.{column} IS NOT NULL) SELECT {column} FROM each))"
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A column of the order as the page is read: turned around where it is read backwards."""

    column: str
    type: str
    descending: bool
    not_null: bool

    @property
    def sql(self) -> str:
        """It in ORDER BY; PostgreSQL's own place for nulls is that of the greatest value."""
        return self.column + (" DESC" if self.descending else "")


def _steps(query: Query) -> list[_Step]:
    """Return the whole order: what is asked for, then the key, which makes it total."""
    of = query.collection
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    made = [
        _Step(
            each.by.column,
            _TYPES[each.by.kind],
            each.descending != backwards,
            each.by.not_null,
        )
        for each in query.sort
    ]
    # the key goes the way of what is before it, so that one row comparison cuts the page
    last = made[-1].descending if made else backwards
    made.append(_Step(of.key, _KEYS[of.key_kind], last, not_null=True))
    # At one moment the key is unique by itself, and ordering by it alone fits the index.
    if query.covers_interval:
        made.append(_Step(of.order, _TYPES[of.order_kind], last, not_null=True))
    return made


def _after(steps: Sequence[_Step], cursor: Cursor) -> tuple[str, dict[str, Any]]:
    """Return the condition of what comes after a cursor's feature, and its parameters."""
    values = [*cursor.by, cursor.key, cursor.order][: len(steps)]
    parameters = {f"after_{n}": value for n, value in enumerate(values)}
    marks = [f"%(after_{n})s::{step.type}" for n, step in enumerate(steps)]
    if all(step.not_null for step in steps) and len({step.descending for step in steps}) == 1:
        sign = "<" if steps[0].descending else ">"
        columns = ", ".join(step.column for step in steps)
        return f"({columns}) {sign} ({', '.join(marks)})", parameters
    alternatives, same = [], ""
    for step, mark, value in zip(steps, marks, values, strict=True):
        if value is None:
            beyond = f"{step.column} IS NOT NULL" if step.descending else "false"
            equal = f"{step.column} IS NULL"
        else:
            beyond = f"{step.column} {'<' if step.descending else '>'} {mark}"
            if not step.descending and not step.not_null:
                beyond = f"({beyond} OR {step.column} IS NULL)"
            equal = f"{step.column} = {mark}"
        alternatives.append(same + beyond)
        same += f"{equal} AND "
    # a null bound by nothing but its mark would leave a parameter without use
    used = {f"after_{n}": value for n, value in enumerate(values) if value is not None}
    return f"({' OR '.join(alternatives)})", used


def count_statement(query: Query) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts all that a query matches, and its parameters."""
    chosen, parameters = _chosen(query)
    counts = [f"(SELECT count(*) FROM {each})" for each in chosen]  # noqa: S608
    return "SELECT " + " + ".join(counts), parameters


def estimate_statement(query: Query) -> tuple[str, dict[str, Any]]:
    """Return the statement whose plan, as JSON, tells about how many a query matches."""
    chosen, parameters = _chosen(query)
    rows = " UNION ALL ".join(f"SELECT 1 FROM {each}" for each in chosen)  # noqa: S608
    return f"EXPLAIN (FORMAT JSON) {rows}", parameters


def _chosen(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return table and condition of each disjoint part of what matches, and their parameters."""
    conditions, parameters = filter_conditions(query)
    branches, bound = time_conditions(query)
    table = query.collection.table
    chosen = [f"{table} WHERE {' AND '.join([branch, *conditions])}" for branch in branches]
    return chosen, parameters | bound


def filter_conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions on what is asked for, time aside, and their parameters."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for name, value in query.filters.items():
        known = query.collection.queryables[name]
        mark = f"p_{name}"
        if known.kind == "codes":
            conditions.append(f"{known.column} @> %({mark})s::jsonb")
        else:
            conditions.append(f"{known.column} = %({mark})s::{_TYPES[known.kind]}")
        parameters[mark] = value
    if query.bbox is not None:
        meets = "ST_Intersects(geom, %(area)s::geometry)"
        # OGC API - Features: what has no place is in every box
        conditions.append(
            meets if query.collection.geometry_required else f"(geom IS NULL OR {meets})"
        )
        parameters["area"] = query.bbox.ewkb
    if query.filter is not None:
        conditions.append(query.filter.sql)
        parameters |= query.filter.parameters
    return conditions, parameters


def time_conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the disjoint conditions that together say when, in the words of the indexes.

    There are indexes of place, one of the states of now and one of those that ended; and of the
    key and of the number over all states, with time behind: they lead past all that ended before,
    or began after.
    """
    of = query.collection
    when = query.time
    if when is None:
        if of.open_ended:
            return ["valid_to IS NULL"], {}
        now = dt.datetime.now(calendar.VIETNAM)
        when = TimeInterval(now, now)
    spatial = query.bbox is not None or (query.filter is not None and query.filter.spatial)
    if of.has_time_index and when.is_instant:
        at = {"at": when.since}
        if not spatial:
            return ["valid_from <= %(at)s AND coalesce(valid_to, 'infinity') > %(at)s"], at
        if query.is_selective:
            # One look at the table takes both indexes of place, planned in half the time of two.
            # IS TRUE keeps out the others: PostgreSQL takes a close look at a shape to be so dear
            # that it might rather read all of one for the time alone.
            return [
                "(valid_from <= %(at)s) IS TRUE AND (valid_to IS NULL"
                " OR valid_to IS NOT NULL AND tstzrange(valid_from, valid_to) @> %(at)s)"
            ], at
    started, ended, parameters = "", "valid_to IS NOT NULL", {}
    if when.until is not None:
        started = " AND valid_from <= %(until)s"
        parameters["until"] = _bound(of, when.until)
    if when.since is not None:
        ended = "valid_to > %(since)s"
        parameters["since"] = _bound(of, when.since)
    if of.has_time_index and when.is_instant:
        ended += " AND tstzrange(valid_from, valid_to) @> %(since)s"  # for the index of places
    return ["valid_to IS NULL" + started, ended + started], parameters


def _bound(of: Collection, time: dt.datetime) -> dt.datetime | dt.date:
    return time if of.valid == "time" else time.astimezone(calendar.VIETNAM).date()


def feature_json(query: Query) -> str:
    """SQL that writes a row as a GeoJSON feature, or has it written already."""
    of = query.collection
    whole = query.properties is None and query.geometry
    if of.feature and whole and query.crs.uri == crs.CRS84:
        return of.feature
    identifier = f"'\"' || {of.key} || '\"'" if of.key_kind == "uuid" else f"to_json({of.key})"
    geometry = "'null'"
    if query.geometry:
        # RFC 7946 wants exterior rings counterclockwise; shapefiles have them clockwise
        moved = crs.output_sql("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
        geometry = f"coalesce(ST_AsGeoJSON({moved}, {query.crs.digits:d}, 0), 'null')"
    chosen = of.properties if query.properties is None else query.properties
    pairs = [f"'\"{each.name}\":' || {each.json}" for each in chosen]
    return " || ".join(
        [
            '\'{"type":"Feature","id":\'',
            identifier,
            "',\"properties\":{'",
            " || ',' || ".join(pairs),
            "'},\"geometry\":'",
            geometry,
            "'}'",
        ]
    )
