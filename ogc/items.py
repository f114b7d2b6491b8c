"""The hot path: features as text, from PostGIS to the socket.

PostGIS writes each feature as JSON text; we only join the rows. A page is read whole and its
connection given back before the first byte goes out, so a slow client holds none; pages are
bounded by `MAX_LIMIT`. Pages go by key, not by number: page 10,000 costs what page 1 costs, and a
reader who pages while a batch is accepted meets each parcel once.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import psycopg
import shapely
import sqlalchemy as sa
from shapely.geometry.base import BaseGeometry

from landdata import parcels
from landdata.errors import BadRequest, NotFound, Unavailable
from ogc import crs
from ogc.config import Collection, Kind, Property

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
_MAX_OFFSET = 2**31 - 1
_INT32 = 2**31

#: What an items request may carry besides its queryables.
PARAMETERS = (
    "f",
    "lang",
    "bbox",
    "bbox-crs",
    "crs",
    "datetime",
    "limit",
    "offset",
    "cursor",
    "count",
)
ITEM_PARAMETERS = ("f", "lang", "crs", "datetime")

_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "double precision",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
}


_NUMBERS = {
    "integer": re.compile(r"[+-]?[0-9]{1,18}"),
    "number": re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"),
}


_READERS: dict[Kind, Callable[[str], Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "date": dt.date.fromisoformat,
    "time": dt.datetime.fromisoformat,
    "uuid": uuid.UUID,
    "codes": lambda text: json.dumps([{"code": text}]),
}
_WANTED: dict[Kind, str] = {
    "integer": "a whole number of 32 bits",
    "number": "a number",
    "date": "a date (2026-01-31)",
    "time": "a time with its offset (2026-01-31T08:00:00+07:00)",
    "uuid": "a UUID",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time or interval [since, until]; `until` as null has no end, likewise `since`."""

    since: dt.datetime | None
    until: dt.datetime | None

    @property
    def instant(self) -> bool:
        """Whether it is a single time: at most one state of each feature."""
        return self.since is not None and self.since == self.until


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after (or before) the feature of this key."""

    direction: Literal["next", "prev"]
    key: str
    order: str

    def token(self) -> str:
        """Return it as the opaque text of a link."""
        plain = json.dumps([self.direction[0], self.key, self.order], separators=(",", ":"))
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
    area: BaseGeometry | None = None
    moment: Moment | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    count: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page of features as JSON text, and how to go on."""

    features: list[str]
    next: Cursor | None
    prev: Cursor | None
    matched: int | None


class Reader:
    """Runs statements that only read, each its own snapshot, on connections of its own.

    Its connections are read-only and give up after `statement_seconds`: no URL changes anything,
    and no request runs for ever.
    """

    def __init__(self, url: sa.URL, *, statement_seconds: int = 30, pool: int = 8) -> None:
        self._engine = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=pool,
            max_overflow=0,
            pool_timeout=statement_seconds,
            pool_recycle=1800,
            connect_args={
                "application_name": "landdata-ogc",
                "connect_timeout": 10,
                "options": "-c timezone=UTC -c default_transaction_read_only=on"
                f" -c statement_timeout={statement_seconds * 1000}",
            },
        )

    def rows(
        self, statement: str, parameters: Mapping[str, Any], *, prepare: bool | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows. Raises `Unavailable` where the database is not there or too slow."""
        try:
            return self._rows(statement, parameters, prepare)
        except (psycopg.errors.QueryCanceled, sa.exc.TimeoutError):
            raise Unavailable(
                "The question took too long to answer.",
                hint="Ask for less: a smaller bbox, limit or offset, or without count=exact.",
                code="timeout",
            ) from None
        except psycopg.errors.DataError:
            # whatever slipped through our own checks was still the client's value
            raise BadRequest(
                "A value of the query is out of the range of its property.",
                hint="The collection's queryables name the types.",
            ) from None
        except (psycopg.OperationalError, sa.exc.OperationalError):
            raise Unavailable(
                "The database does not answer.", hint="Try again later.", code="database-down"
            ) from None

    def _rows(
        self, statement: str, parameters: Mapping[str, Any], prepare: bool | None
    ) -> list[tuple[Any, ...]]:
        for attempt in (1, 2):
            pooled = self._engine.raw_connection()
            try:
                connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
                with connection.cursor() as cursor:
                    cursor.execute(cast("Any", statement), parameters, prepare=prepare)
                    return cursor.fetchall()
            except psycopg.OperationalError as error:
                if isinstance(error, psycopg.errors.QueryCanceled) or attempt == 2:
                    raise
                # the database was started anew since this connection was made: so were they all
                pooled.invalidate()
                self._engine.dispose()
            finally:
                pooled.close()
        raise AssertionError

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._engine.dispose()


# -- from a query string to a Query ----------------------------------------------------------


def read_query(collection: Collection, arguments: Sequence[tuple[str, str]], storage: int) -> Query:
    """Check the parameters of an items request. Raises `BadRequest` naming the first bad one."""
    values = single(arguments, (*PARAMETERS, *collection.queryables))
    query = Query(
        collection=collection,
        storage=storage,
        crs=crs.named(values.get("crs", crs.CRS84), storage, "crs"),
        limit=min(_integer(values, "limit", DEFAULT_LIMIT, least=1), MAX_LIMIT),
        offset=_integer(values, "offset", 0, least=0, most=_MAX_OFFSET),
        moment=moment(values["datetime"]) if "datetime" in values else None,
        filters={
            name: _value(known, values[name])
            for name, known in collection.queryables.items()
            if name in values
        },
        count=_choice(values, "count", ("none", "exact"), "none") == "exact",
    )
    if "bbox" in values:
        asked = crs.named(values.get("bbox-crs", crs.CRS84), storage, "bbox-crs")
        query = replace(query, area=crs.box(values["bbox"], asked, storage))
    elif "bbox-crs" in values:
        raise _bad("bbox-crs", "it needs a bbox", values["bbox-crs"])
    if "cursor" in values:
        if query.offset:
            raise _bad("offset", "it can't be combined with cursor", str(query.offset))
        query = replace(query, cursor=_cursor(values["cursor"], collection))
    return query


def single(arguments: Iterable[tuple[str, str]], allowed: Iterable[str]) -> dict[str, str]:
    """Return each parameter once. Raises `BadRequest` for an unknown or repeated one."""
    known = tuple(allowed)
    values: dict[str, str] = {}
    for name, value in arguments:
        if name not in known:
            raise BadRequest(
                f"There is no parameter {name[:100]!r} here.",
                hint=f"Known: {', '.join(known)}.",
            )
        if name in values:
            raise _bad(name, "it is given twice", value)
        if "\0" in value:
            raise _bad(name, "it holds a null character", value)
        values[name] = value
    return values


def moment(text: str) -> Moment:
    """Read `datetime`: a time, or an interval `a/b` open (`..` or nothing) at an end.

    A date is that day in Vietnam: as an instant and as an end its last moment, as a beginning
    its first. Raises `BadRequest`.
    """
    ends = text.split("/")
    if len(ends) == 1:
        time = _instant(text)
        return Moment(time, time)
    if len(ends) != 2:
        raise _bad("datetime", "an interval has two ends", text)
    since, until = (None if end in ("", "..") else end for end in ends)
    first = _instant(since) if since else None
    if since and first and len(since) == len("2026-01-31"):
        first = dt.datetime.combine(first.date(), dt.time.min, tzinfo=parcels.VIETNAM)
    last = _instant(until) if until else None
    if first and last and first > last:
        raise _bad("datetime", "it ends before it begins", text)
    return Moment(first, last)


def _instant(text: str) -> dt.datetime:
    time = parcels.instant(text)
    try:
        time.astimezone(parcels.VIETNAM)
    except OverflowError:
        raise _bad("datetime", "it is at the end of the calendar", text) from None
    return time


def _value(known: Property, text: str) -> Any:
    """Read a property's value as its type. Raises `BadRequest`."""
    try:
        if known.kind in _NUMBERS and not _NUMBERS[known.kind].fullmatch(text):
            raise ValueError(text)  # Python itself would also take 1_000 and other alphabets
        value = _READERS[known.kind](text)
        if known.kind == "integer" and not -_INT32 <= value < _INT32:
            raise ValueError(text)
        if known.kind == "time" and value.tzinfo is None:
            raise ValueError(text)
        if known.kind == "number" and not math.isfinite(value):
            raise ValueError(text)
    except ValueError:
        raise _bad(known.name, f"it must be {_WANTED[known.kind]}", text) from None
    return value


def _integer(
    values: Mapping[str, str], name: str, default: int, *, least: int, most: int | None = None
) -> int:
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) < least:
        raise _bad(name, f"it must be a whole number from {least}", text)
    if most is not None and int(text) > most:
        raise _bad(name, f"it must be at most {most}", text)
    return int(text)


def _choice(values: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    text = values.get(name, default)
    if text not in choices:
        raise _bad(name, f"it must be one of {', '.join(choices)}", text)
    return text


def _cursor(token: str, collection: Collection) -> Cursor:
    try:
        plain = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        direction, key, order = json.loads(plain)
        if not (isinstance(key, str) and isinstance(order, str)) or "\0" in key:
            raise ValueError(token)
        if collection.key_kind == "uuid":
            uuid.UUID(key)
        if collection.order_kind == "date":
            dt.date.fromisoformat(order)
        elif not -_INT32 <= int(order) < _INT32:
            raise ValueError(token)
        return Cursor({"n": "next", "p": "prev"}[direction], key, order)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, binascii.Error, UnicodeDecodeError, RecursionError):
        raise _bad("cursor", "take it from a link as it is", token) from None


def _bad(name: str, why: str, given: str) -> BadRequest:
    return BadRequest(
        f"Parameter {name} is not usable: {why} (given: {given[:200]!r}).",
    )


# -- from a Query to SQL ---------------------------------------------------------------------


def page(reader: Reader, query: Query) -> Page:
    """Return a page of features. Raises `Unavailable`."""
    statement, parameters = page_statement(query)
    # A box must be planned for what it is: a plan made for any box is wrong for large ones.
    rows = reader.rows(statement, parameters, prepare=False if query.area is not None else None)
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if backwards:
        rows.reverse()
    has_next = bool(rows) if backwards else more
    has_prev = more if backwards else bool(query.cursor or query.offset) and bool(rows)
    matched = None
    if query.count:
        counting, bound = count_statement(query)
        matched = reader.rows(counting, bound, prepare=False)[0][0]
    elif query.cursor is None and not more and (rows or not query.offset):
        matched = query.offset + len(rows)
    return Page(
        features=[row[0] for row in rows],
        next=Cursor("next", rows[-1][1], rows[-1][2]) if has_next else None,
        prev=Cursor("prev", rows[0][1], rows[0][2]) if has_prev else None,
        matched=matched,
    )


def item(
    reader: Reader, collection: Collection, storage: int, key: str, values: Mapping[str, str]
) -> str:
    """Return one feature as JSON text, its closing brace left off. Raises `NotFound`.

    The state of now, or as of `datetime`, which must be one time.
    """
    when = moment(values["datetime"]) if "datetime" in values else None
    if when is not None and not when.instant:
        raise _bad("datetime", "for one feature it must be one time", values["datetime"])
    target = crs.named(values.get("crs", crs.CRS84), storage, "crs")
    missing = NotFound(
        f"There is no {collection.item['en']} {key[:100]!r} "
        + (f"as of {values['datetime']}." if when else "now."),
        hint="Give `datetime` to ask as of another time.",
    )
    bound: Any = key
    if collection.key_kind == "uuid":
        try:
            bound = uuid.UUID(key)
        except ValueError:
            raise missing from None
        if str(bound) != key.lower():  # one spelling, one URL
            raise missing
    elif "\0" in key:
        raise missing
    query = Query(collection=collection, crs=target, storage=storage, moment=when, limit=1)
    statement, parameters = page_statement(query, one=True)
    rows = reader.rows(statement, {**parameters, "key": bound})
    if not rows:
        raise missing
    return str(rows[0][0])[:-1]


def page_statement(query: Query, *, one: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the statement of a page (or of the feature `%(key)s`), and its parameters.

    The inner part picks rows by their columns alone, so that only those of the page are written
    as text; it asks for one more than the limit, which tells whether there is a next page.
    """
    of = query.collection
    backwards = query.cursor is not None and query.cursor.direction == "prev"
    descending = " DESC" if backwards else ""
    # At one moment the key is unique by itself, and ordering by it alone fits the index.
    by = [of.key] if query.moment is None or query.moment.instant else [of.key, of.order]
    order = ", ".join(name + descending for name in by)
    conditions, parameters = _conditions(query)
    if one:
        conditions.append(f"{of.key} = %(key)s")
        tail = " LIMIT 1"
    else:
        skip = f" OFFSET {query.offset:d}" if query.offset else ""
        tail = f" ORDER BY {order} LIMIT {query.limit + 1:d}{skip}"
        if query.cursor is not None:
            types = ["uuid" if of.key_kind == "uuid" else "text", _TYPES[of.order_kind]]
            names = ["after_key", "after_order"]
            marks = [f"%({n})s::{t}" for n, t in zip(names, types, strict=True)][: len(by)]
            sign = "<" if backwards else ">"
            conditions.append(f"({', '.join(by)}) {sign} ({', '.join(marks)})")
            parameters |= {"after_key": query.cursor.key, "after_order": query.cursor.order}
    branches, moments = _branches(query)
    parameters |= moments
    picked = [
        " ".join(["SELECT * FROM", of.table, "WHERE", " AND ".join([branch, *conditions])])
        for branch in branches
    ]
    if len(picked) == 1:
        inner = picked[0] + tail
    else:
        # each branch has its own partial index, hence its own order and limit
        bare = tail if one else f" ORDER BY {order} LIMIT {query.limit + 1 + query.offset:d}"
        inner = " UNION ALL ".join(f"({each}{bare})" for each in picked) + tail
    text = _feature(query)
    if one:
        return f"SELECT {text} FROM ({inner}) AS picked", parameters  # noqa: S608
    # names of their own, else ORDER BY would take the text, in which '10' is before '9'
    columns = f"{text}, {of.key}::text AS after_key, {of.order}::text AS after_order"
    return f"SELECT {columns} FROM ({inner}) AS picked ORDER BY {order}", parameters  # noqa: S608


def count_statement(query: Query) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts all that a query matches, and its parameters."""
    conditions, parameters = _conditions(query)
    branches, moments = _branches(query)
    counts = [
        " ".join(
            [
                "(SELECT count(*) FROM",
                query.collection.table,
                "WHERE",
                " AND ".join([branch, *conditions]) + ")",
            ]
        )
        for branch in branches
    ]
    return "SELECT " + " + ".join(counts), parameters | moments


def _conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
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
    if query.area is not None:
        # `&&` is the index's part; the exact test is that of the standard: intersects
        area = f"ST_GeomFromWKB(%(area)s, {query.storage:d})"
        conditions.append(f"geom && {area} AND ST_Intersects(geom, {area})")
        parameters["area"] = shapely.to_wkb(query.area)
    return conditions, parameters


def _branches(query: Query) -> tuple[list[str], dict[str, Any]]:
    """Return the disjoint conditions that together say when, in the words of the indexes."""
    of = query.collection
    when = query.moment
    if when is None:
        if of.open_now:
            return ["valid_to IS NULL"], {}
        now = dt.datetime.now(parcels.VIETNAM)
        when = Moment(now, now)
    started, ended, parameters = "", "valid_to IS NOT NULL", {}
    if when.until is not None:
        started = " AND valid_from <= %(until)s"
        parameters["until"] = _bound(of, when.until)
    if when.since is not None:
        ended = "valid_to > %(since)s"
        parameters["since"] = _bound(of, when.since)
    return ["valid_to IS NULL" + started, ended + started], parameters


def _bound(of: Collection, time: dt.datetime) -> dt.datetime | dt.date:
    return time if of.valid == "time" else time.astimezone(parcels.VIETNAM).date()


def _feature(query: Query) -> str:
    """SQL that writes a row as a GeoJSON feature."""
    of = query.collection
    identifier = f"'\"' || {of.key} || '\"'" if of.key_kind == "uuid" else f"to_json({of.key})"
    # RFC 7946 wants exterior rings counterclockwise; shapefiles have them clockwise
    geometry = crs.outgoing("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
    pairs = [f"'\"{each.name}\":' || {each.json}" for each in of.properties]
    return " || ".join(
        [
            '\'{"type":"Feature","id":\'',
            identifier,
            "',\"properties\":{'",
            " || ',' || ".join(pairs),
            "'},\"geometry\":'",
            f"coalesce(ST_AsGeoJSON({geometry}, {query.crs.digits:d}, 0), 'null')",
            "'}'",
        ]
    )


# -- extents ---------------------------------------------------------------------------------


def extent(reader: Reader, of: Collection, storage: int) -> dict[str, Any]:
    """Return the extent of a collection: the box in CRS84, the first beginning (RFC 3339).

    The whole world where there is nothing yet. The box encloses the transformed bounds, edges
    included, and is rounded outward.
    """
    moving = crs.outgoing(
        f"ST_Segmentize(ST_SetSRID(box::geometry, {storage:d}), 1000)",
        storage,
        crs.offered(storage)[crs.CRS84],
    )
    bounds = ", ".join(f"ST_{name}(moved)" for name in ("XMin", "YMin", "XMax", "YMax"))
    rows = reader.rows(
        f"SELECT {bounds}, began FROM (SELECT {moving} AS moved, began FROM"  # noqa: S608
        f" (SELECT ST_Extent(geom) AS box, min(valid_from)::text AS began FROM {of.table}) AS a)"
        " AS b",
        {},
    )
    west, south, east, north, began = rows[0]
    box = [-180.0, -90.0, 180.0, 90.0]
    if west is not None:
        low = [math.floor(each * 1e7) / 1e7 for each in (west, south)]
        box = low + [math.ceil(each * 1e7) / 1e7 for each in (east, north)]
    first = None
    if began is not None:
        first = _first(of, began)
    return {
        "spatial": {"bbox": box, "crs": crs.CRS84},
        "temporal": {"begin": first, "end": None},
    }


def _first(of: Collection, began: str) -> dt.datetime:
    if of.valid == "time":
        return dt.datetime.fromisoformat(began)
    day = dt.date.fromisoformat(began)
    return dt.datetime.combine(day, dt.time.min, tzinfo=parcels.VIETNAM).astimezone(dt.UTC)
