"""The SQL of a query: its page, its count, one feature as JSON.

All fragments here are constants of ours; the values of a client are bound, never formatted. A
statement comes with its parameters, as `Sql`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from landdata.features import crs
from landdata.features.collections import Collection, Property
from landdata.features.query import Cursor, Query, Sort, TimeInterval
from landdata.reference import calendar

Sql = tuple[str, dict[str, Any]]

_TYPES = {
    "string": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
}

_LAST_PUBLICATION = "ORDER BY valid_from DESC, number DESC LIMIT 1"


def page_statement(query: Query) -> Sql:
    """Return the statement of a page, or of the one feature of `query.key`.

    The inner part selects rows by their columns alone, so that only those of the page are written
    as text; one row more than the limit shows that there is a next page. The last column is that
    of `_publication_column`, from the same snapshot.
    """
    collection, bbox, key = query.collection, query.bbox, query.key
    if query.filters or query.filter or query.cursor or query.time or not collection.open_ended:
        return _page_statement(query)
    statement = _plain_statement(
        collection, query.crs, query.storage, query.limit, query.offset, query.sort,
        query.properties, query.geometry, bbox is not None, key is not None,
    )  # fmt: skip
    bound: dict[str, Any] = {} if bbox is None else {"bbox": bbox.ewkb}
    return statement, bound if key is None else {**bound, "key": key}


@lru_cache(1000)
def _plain_statement(
    collection: Collection,
    target: crs.Crs,
    storage: int,
    limit: int,
    offset: int,
    sort: tuple[Sort, ...],
    properties: tuple[Property, ...] | None,
    geometry: bool,
    has_bbox: bool,
    has_key: bool,
) -> str:
    """The most frequent statements, which are the same for every box and key."""
    query = Query(
        collection=collection, crs=target, storage=storage, limit=limit, offset=offset, sort=sort,
        properties=properties, geometry=geometry, key="" if has_key else None,
        bbox=crs.BBox("", (0, 0, 0, 0)) if has_bbox else None,
    )  # fmt: skip
    return _page_statement(query)[0]


def _page_statement(query: Query) -> Sql:
    collection, has_key = query.collection, query.key is not None
    order = _order(query)
    order_by = ", ".join(column.sql for column in order)
    conditions, parameters = filter_conditions(query)
    if collection.number_index and query.time is None:
        first, second = collection.number_index
        if second in query.filters and first not in query.filters:
            conditions.append(_skip_scan(collection, first))
    skip = f" OFFSET {query.offset:d}" if query.offset else ""
    tail = " LIMIT 1" if has_key else f" ORDER BY {order_by} LIMIT {query.limit + 1:d}{skip}"
    if has_key:
        conditions.append(f"{collection.key} = %(key)s")
        parameters["key"] = query.key
    elif query.cursor is not None:
        after, bound = _after(order, query.cursor)
        conditions.append(after)
        parameters |= bound
    branches, bound = time_conditions(query)
    parameters |= bound
    feature = feature_json(query)
    # other columns would only be sorted along with a feature that is stored as text
    stored = feature == collection.feature
    selected = ", ".join(sorted({feature, *(column.name for column in order)})) if stored else "*"
    selects = [
        f"SELECT {selected} FROM {collection.table} WHERE {' AND '.join([branch, *conditions])}"  # noqa: S608
        for branch in branches
    ]
    if len(selects) == 1:
        inner = selects[0] + tail
    else:
        # each branch has its own partial index, hence its own order and limit
        own = f" ORDER BY {order_by} LIMIT {query.limit + 1 + query.offset:d}"
        own = tail if has_key else own
        inner = " UNION ALL ".join(f"({select}{own})" for select in selects) + tail
    publication, bound = _publication_column(query)
    parameters |= bound
    columns = [f"({feature})::varchar"]  # a text type whose values are passed on as they are
    if not has_key:
        # names of their own, else ORDER BY would take the text, in which '10' is before '9'
        columns.append(f"{collection.key} AS after_key")
        if query.covers_interval:
            columns.append(f"{collection.order} AS after_order")
        columns += [f"{step.by.column} AS by_{n}" for n, step in enumerate(query.sort)]
    statement = f"SELECT {', '.join([*columns, publication])} FROM ({inner}) AS picked"  # noqa: S608
    return statement + ("" if has_key else f" ORDER BY {order_by}"), parameters


def _publication_column(query: Query) -> Sql:
    """SQL of 'STAMP MATCHED' as text; null where the collection has no publications.

    STAMP is that of the last publication (`landdata.store.publications`), also as of an earlier
    time, because a publication gives earlier versions their `valid_to`. MATCHED is how many
    features match, or nothing where no count is stored.
    """
    collection, when = query.collection, query.time
    if not collection.changes_by_publication:
        return "NULL", {}
    matched, parameters = "''", {}
    by = collection.precounted_by
    if by is not None and query.bbox is None and query.filter is None and query.key is None:
        if when is None and not query.filters:
            matched = "parcels"
        elif when is None and query.filters.keys() <= {*by}:
            values = " AND ".join(f"{name} = %(p_{name})s::text" for name in query.filters)
            matched = f"coalesce((SELECT sum(parcels) FROM sheets WHERE {values}), 0)"  # noqa: S608
        elif when is not None and when.is_instant and not query.filters:
            count = "SELECT parcels FROM publications WHERE valid_from <= %(at)s"
            matched = f"coalesce(({count} {_LAST_PUBLICATION}), 0)"
            parameters = {"at": when.since}
    stamp = f"SELECT stamp || ' ' || {matched} FROM publications {_LAST_PUBLICATION}"  # noqa: S608
    return f"({stamp})::varchar", parameters


def stamp_sql(collection: Collection) -> str:
    """Return SQL of the stamp of the last publication; null where a collection has none."""
    last = f"(SELECT stamp FROM publications {_LAST_PUBLICATION})"  # noqa: S608
    return last if collection.changes_by_publication else "NULL::bigint"


def _skip_scan(collection: Collection, column: str) -> str:
    """SQL, always true, that a column has one of its values, found one by one in an index.

    It lets PostgreSQL enter an index that begins with the column at each of them.
    """
    least = f"SELECT {column} FROM {collection.table} WHERE valid_to IS NULL"  # noqa: S608
    return (
        f"{column} = ANY(ARRAY(WITH RECURSIVE each AS ("  # noqa: S608
        f"({least} ORDER BY {column} LIMIT 1) UNION ALL"
        f" SELECT ({least} AND {column} > each.{column} ORDER BY {column} LIMIT 1) FROM each"
        f" WHERE each.{column} IS NOT NULL) SELECT {column} FROM each))"
    )


@dataclass(frozen=True, slots=True)
class _OrderColumn:
    """A column of the order in which a page is read: reversed, where it is read backwards."""

    name: str
    type: str
    descending: bool
    not_null: bool

    @property
    def sql(self) -> str:
        """Its part of ORDER BY; PostgreSQL sorts null as the greatest value by itself."""
        return self.name + (" DESC" if self.descending else "")


def _order(query: Query) -> list[_OrderColumn]:
    """Return the total order: the sort of the query, then the key."""
    collection = query.collection
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    order = [
        _OrderColumn(
            step.by.column, _TYPES[step.by.kind], step.descending != backwards, step.by.not_null
        )
        for step in query.sort
    ]
    # the key has the direction of the column before it, so that one row comparison cuts the page
    down = order[-1].descending if order else backwards
    order.append(_OrderColumn(collection.key, _TYPES[collection.key_kind], down, not_null=True))
    # at an instant the key is unique by itself, and an order by it alone fits the index
    if query.covers_interval:
        kind = _TYPES[collection.order_kind]
        order.append(_OrderColumn(collection.order, kind, down, not_null=True))
    return order


def _after(order: Sequence[_OrderColumn], cursor: Cursor) -> Sql:
    """Return the condition on the rows that come after a cursor's feature."""
    values = [*cursor.by, cursor.key, cursor.order][: len(order)]
    parameters = {f"after_{n}": value for n, value in enumerate(values)}
    marks = [f"%(after_{n})s::{column.type}" for n, column in enumerate(order)]
    if all(column.not_null for column in order) and len({c.descending for c in order}) == 1:
        sign = "<" if order[0].descending else ">"
        columns = ", ".join(column.name for column in order)
        return f"({columns}) {sign} ({', '.join(marks)})", parameters
    alternatives, equal_so_far = [], ""
    for column, mark, value in zip(order, marks, values, strict=True):
        if value is None:
            beyond = f"{column.name} IS NOT NULL" if column.descending else "false"
            equal = f"{column.name} IS NULL"
        else:
            beyond = f"{column.name} {'<' if column.descending else '>'} {mark}"
            if not column.descending and not column.not_null:
                beyond = f"({beyond} OR {column.name} IS NULL)"
            equal = f"{column.name} = {mark}"
        alternatives.append(equal_so_far + beyond)
        equal_so_far += f"{equal} AND "
    # a null has no mark: bound, it would be a parameter that nothing uses
    used = {name: value for name, value in parameters.items() if value is not None}
    return f"({' OR '.join(alternatives)})", used


def count_statement(query: Query) -> Sql:
    """Return the statement that counts all that a query matches."""
    sources, parameters = _sources(query)
    return "SELECT " + " + ".join(f"(SELECT count(*) FROM {s})" for s in sources), parameters  # noqa: S608


def estimate_statement(query: Query) -> Sql:
    """Return the statement whose plan, as JSON, estimates how many features a query matches."""
    statement, parameters = all_statement(query, "1")
    return f"EXPLAIN (FORMAT JSON) {statement}", parameters


def all_statement(query: Query, columns: str) -> Sql:
    """Return the statement that selects columns of all that a query matches, in no order."""
    sources, parameters = _sources(query)
    return " UNION ALL ".join(f"SELECT {columns} FROM {s}" for s in sources), parameters  # noqa: S608


def _sources(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return table and condition of the disjoint parts of what matches."""
    conditions, parameters = filter_conditions(query)
    branches, bound = time_conditions(query)
    table = query.collection.table
    sources = [f"{table} WHERE {' AND '.join([branch, *conditions])}" for branch in branches]
    return sources, parameters | bound


def filter_conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions of a query but those on time: values, box and CQL2 filter."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for name, value in query.filters.items():
        prop = query.collection.queryables[name]
        mark = f"p_{name}"
        if prop.kind == "codes":
            conditions.append(f"{prop.column} @> %({mark})s::jsonb")
        else:
            conditions.append(f"{prop.column} = %({mark})s::{_TYPES[prop.kind]}")
        parameters[mark] = value
    if query.bbox is not None:
        meets = "ST_Intersects(geom, %(bbox)s::geometry)"
        # OGC API - Features: a feature without geometry is in every box
        required = query.collection.geometry_required
        conditions.append(meets if required else f"(geom IS NULL OR {meets})")
        parameters["bbox"] = query.bbox.ewkb
    if query.filter is not None:
        conditions.append(query.filter.sql)
        parameters |= query.filter.parameters
    return conditions, parameters


def time_conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the disjoint conditions on time, each as the predicate of an index has it.

    Current versions have a spatial index, ended ones another; the indexes of key and number hold
    all versions, with their times behind, and so pass over those that ended before or began after.
    """
    collection, when = query.collection, query.time
    if when is None:
        if collection.open_ended:
            return ["valid_to IS NULL"], {}
        now = dt.datetime.now(calendar.VIETNAM)
        when = TimeInterval(now, now)
    spatial = query.bbox is not None or (query.filter is not None and query.filter.spatial)
    if collection.has_time_index and when.is_instant:
        at = {"at": when.since}
        if not spatial:
            return ["valid_from <= %(at)s AND coalesce(valid_to, 'infinity') > %(at)s"], at
        if query.is_selective:
            # One scan of the table takes both spatial indexes, planned in half the time of two.
            # IS TRUE keeps out the others: PostgreSQL estimates a test of shapes to be so dear
            # that it might rather read an index of time alone from end to end.
            return [
                "(valid_from <= %(at)s) IS TRUE AND (valid_to IS NULL"
                " OR valid_to IS NOT NULL AND tstzrange(valid_from, valid_to) @> %(at)s)"
            ], at
    started, ended, parameters = "", "valid_to IS NOT NULL", {}
    if when.until is not None:
        started = " AND valid_from <= %(until)s"
        parameters["until"] = _bound(collection, when.until)
    if when.since is not None:
        ended = "valid_to > %(since)s"
        parameters["since"] = _bound(collection, when.since)
    if collection.has_time_index and when.is_instant:
        ended += " AND tstzrange(valid_from, valid_to) @> %(since)s"  # for the spatial index
    return ["valid_to IS NULL" + started, ended + started], parameters


def _bound(collection: Collection, time: dt.datetime) -> dt.datetime | dt.date:
    return time if collection.valid == "time" else time.astimezone(calendar.VIETNAM).date()


def feature_json(query: Query) -> str:
    """Return SQL of a row as a GeoJSON feature: computed, or a column that holds it."""
    collection = query.collection
    whole = query.properties is None and query.geometry
    if collection.feature and whole and query.crs.uri == crs.CRS84:
        return collection.feature
    key = collection.key
    identifier = f"'\"' || {key} || '\"'" if collection.key_kind == "uuid" else f"to_json({key})"
    geometry = "'null'"
    if query.geometry:
        # RFC 7946 wants exterior rings counterclockwise; shapefiles have them clockwise
        polygon = crs.output_sql("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
        geometry = f"coalesce(ST_AsGeoJSON({polygon}, {query.crs.digits:d}, 0), 'null')"
    properties = collection.properties if query.properties is None else query.properties
    pairs = [f"'\"{prop.name}\":' || {prop.json_sql}" for prop in properties]
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
