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
from ogc import cql2, crs
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
    "sortby",
    "properties",
    "skipGeometry",
    "filter",
    "filter-lang",
    "filter-crs",
)
ITEM_PARAMETERS = ("f", "lang", "crs", "datetime", "properties", "skipGeometry")

_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "double precision",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
}

_KEYS = {"uuid": "uuid", "string": "text", "integer": "bigint"}


_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = rf"{_DATE}[Tt][0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(\.[0-9]+)?([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})"
_INSTANT = re.compile(rf"{_DATE}|{_TIME}")  # RFC 3339


#: How values are written; Python itself would also take 1_000, other alphabets and `{uuid}`.
_FORMS = {
    "integer": re.compile(r"[+-]?[0-9]{1,18}"),
    "number": re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"),
    "date": re.compile(_DATE),
    "time": re.compile(_TIME),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
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

    `by` holds the values that the feature is sorted by, as PostgreSQL writes them; `sort` tells
    of what order they are.
    """

    direction: Literal["next", "prev"]
    key: str
    order: str
    sort: str = ""
    by: tuple[str | None, ...] = ()

    def token(self) -> str:
        """Return it as the opaque text of a link."""
        parts: list[Any] = [self.direction[0], self.key, self.order]
        if self.sort:
            parts += [self.sort, self.by]
        plain = json.dumps(parts, separators=(",", ":"))
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
    filter: cql2.Condition | None = None
    sort: tuple[Sort, ...] = ()
    properties: tuple[Property, ...] | None = None  # all, where None
    geometry: bool = True
    count: bool = False

    @property
    def sorted_by(self) -> str:
        """The order as one writes it in `sortby`."""
        return ",".join(each.name for each in self.sort)


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
                # compiling a statement takes longer than any that is meant here
                "options": "-c timezone=UTC -c jit=off -c default_transaction_read_only=on"
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
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unavailable(
                f"The role that reads may not read this: {error.diag.message_primary}.",
                hint="Run `landdata migrate`; docs/operating.md tells what a reader needs.",
                code="not-readable",
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
        filter=_filter(values, collection, storage),
        sort=_sort(values, collection),
        properties=_properties(values, collection),
        geometry=_geometry(values),
    )
    if "bbox" in values:
        asked = crs.named(values.get("bbox-crs", crs.CRS84), storage, "bbox-crs")
        query = replace(query, area=crs.box(values["bbox"], asked, storage))
    elif "bbox-crs" in values:
        raise _bad("bbox-crs", "it needs a bbox", values["bbox-crs"])
    if "cursor" in values:
        if query.offset:
            raise _bad("offset", "it can't be combined with cursor", str(query.offset))
        query = replace(query, cursor=_cursor(values["cursor"], query))
    return query


def _filter(
    values: Mapping[str, str], collection: Collection, storage: int
) -> cql2.Condition | None:
    if "filter" not in values:
        for name in ("filter-lang", "filter-crs"):
            if name in values:
                raise _bad(name, "it needs a filter", values[name])
        return None
    return cql2.read(
        values["filter"],
        _choice(values, "filter-lang", cql2.LANGUAGES, cql2.LANGUAGES[0]),
        collection,
        asked=crs.named(values.get("filter-crs", crs.CRS84), storage, "filter-crs"),
        storage=storage,
    )


def _sort(values: Mapping[str, str], collection: Collection) -> tuple[Sort, ...]:
    steps: list[Sort] = []
    for part in values["sortby"].split(",") if "sortby" in values else ():
        # a plus sign in an address means a space
        name = part[1:] if part[:1] in ("-", "+", " ") else part
        known = collection.sortables.get(name)
        if known is None:
            raise _bad(
                "sortby",
                f"features can't be sorted by {name[:100]!r}, only by"
                f" {', '.join(collection.sortables)}",
                values["sortby"],
            )
        if any(each.by == known for each in steps):
            raise _bad("sortby", f"it names {name} twice", values["sortby"])
        steps.append(Sort(known, descending=part.startswith("-")))
    return tuple(steps)


def _properties(values: Mapping[str, str], collection: Collection) -> tuple[Property, ...] | None:
    if "properties" not in values:
        return None
    wanted = values["properties"].split(",")
    known = [each.name for each in collection.properties]
    for name in wanted:
        if name not in known:
            raise _bad(
                "properties",
                f"there is no property {name[:100]!r}, only {', '.join(known)}",
                values["properties"],
            )
    return tuple(each for each in collection.properties if each.name in wanted)


def _geometry(values: Mapping[str, str]) -> bool:
    return _choice(values, "skipGeometry", ("false", "true"), "false") == "false"


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
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError(text)  # Python itself would also take 2026-W05-6
        time = parcels.instant(text)
        time.astimezone(parcels.VIETNAM)
    except (ValueError, BadRequest):
        why = "give a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00+07:00)"
        raise _bad("datetime", why, text) from None
    except OverflowError:
        raise _bad("datetime", "it is at the end of the calendar", text) from None
    return time


def _value(known: Property, text: str) -> Any:
    """Read a property's value as its type. Raises `BadRequest`."""
    try:
        if known.kind in _FORMS and not _FORMS[known.kind].fullmatch(text):
            raise ValueError(text)
        value = _READERS[known.kind](text)
        if known.kind == "integer" and not -_INT32 <= value < _INT32:
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


def _cursor(token: str, query: Query) -> Cursor:
    collection = query.collection
    try:
        plain = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        direction, key, order, *rest = json.loads(plain)
        if not (isinstance(key, str) and isinstance(order, str)) or "\0" in key:
            raise ValueError(token)
        sort, by = rest or ("", ())
        if sort != query.sorted_by or len(by) != len(query.sort):
            raise ValueError(token)
        if not all(each is None or (isinstance(each, str) and "\0" not in each) for each in by):
            raise ValueError(token)
        if collection.key_kind == "uuid":
            uuid.UUID(key)
        elif collection.key_kind == "integer" and not -(2**63) <= int(key) < 2**63:
            raise ValueError(token)
        if collection.order_kind == "date":
            dt.date.fromisoformat(order)
        elif not -_INT32 <= int(order) < _INT32:
            raise ValueError(token)
        known: dict[str, Literal["next", "prev"]] = {"n": "next", "p": "prev"}
        return Cursor(known[direction], key, order, sort, tuple(by))
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
    chosen = query.area is not None or query.filter is not None
    rows = reader.rows(statement, parameters, prepare=False if chosen else None)
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
        next=_at("next", rows[-1], query) if has_next else None,
        prev=_at("prev", rows[0], query) if has_prev else None,
        matched=matched,
    )


def _at(direction: Literal["next", "prev"], row: tuple[Any, ...], query: Query) -> Cursor:
    return Cursor(direction, row[1], row[2], query.sorted_by, row[3:])


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
    elif collection.key_kind == "integer":
        if not re.fullmatch(r"0|-?[1-9][0-9]{0,17}", key):  # one spelling, one URL
            raise missing
        bound = int(key)
    elif "\0" in key:
        raise missing
    query = Query(
        collection=collection,
        crs=target,
        storage=storage,
        moment=when,
        limit=1,
        properties=_properties(values, collection),
        geometry=_geometry(values),
    )
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
    steps = _steps(query)
    order = ", ".join(step.sql for step in steps)
    conditions, parameters = _conditions(query)
    if one:
        conditions.append(f"{of.key} = %(key)s")
        tail = " LIMIT 1"
    else:
        skip = f" OFFSET {query.offset:d}" if query.offset else ""
        tail = f" ORDER BY {order} LIMIT {query.limit + 1:d}{skip}"
        if query.cursor is not None:
            after, bound = _after(steps, query.cursor)
            conditions.append(after)
            parameters |= bound
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
    columns = [f"{text}", f"{of.key}::text AS after_key", f"{of.order}::text AS after_order"]
    columns += [f"{each.by.column}::text AS by_{n}" for n, each in enumerate(query.sort)]
    return (
        f"SELECT {', '.join(columns)} FROM ({inner}) AS picked ORDER BY {order}",  # noqa: S608
        parameters,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A column of the order as the page is read: turned around where it is read backwards."""

    column: str
    type: str
    descending: bool
    always: bool

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
            each.by.always,
        )
        for each in query.sort
    ]
    # the key goes the way of what is before it, so that one row comparison cuts the page
    last = made[-1].descending if made else backwards
    made.append(_Step(of.key, _KEYS[of.key_kind], last, always=True))
    # At one moment the key is unique by itself, and ordering by it alone fits the index.
    if query.moment is not None and not query.moment.instant:
        made.append(_Step(of.order, _TYPES[of.order_kind], last, always=True))
    return made


def _after(steps: Sequence[_Step], cursor: Cursor) -> tuple[str, dict[str, Any]]:
    """Return the condition of what comes after a cursor's feature, and its parameters."""
    values = [*cursor.by, cursor.key, cursor.order][: len(steps)]
    parameters = {f"after_{n}": value for n, value in enumerate(values)}
    marks = [f"%(after_{n})s::{step.type}" for n, step in enumerate(steps)]
    if all(step.always for step in steps) and len({step.descending for step in steps}) == 1:
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
            if not step.descending and not step.always:
                beyond = f"({beyond} OR {step.column} IS NULL)"
            equal = f"{step.column} = {mark}"
        alternatives.append(same + beyond)
        same += f"{equal} AND "
    # a null bound by nothing but its mark would leave a parameter without use
    used = {f"after_{n}": value for n, value in enumerate(values) if value is not None}
    return f"({' OR '.join(alternatives)})", used


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
    if query.filter is not None:
        conditions.append(query.filter.sql)
        parameters |= query.filter.parameters
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
    """SQL that writes a row as a GeoJSON feature, or has it written already."""
    of = query.collection
    whole = query.properties is None and query.geometry
    if of.feature and whole and query.crs.uri == crs.CRS84:
        return of.feature
    identifier = f"'\"' || {of.key} || '\"'" if of.key_kind == "uuid" else f"to_json({of.key})"
    geometry = "'null'"
    if query.geometry:
        # RFC 7946 wants exterior rings counterclockwise; shapefiles have them clockwise
        moved = crs.outgoing("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
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
        leads_back=False,
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
    if began is not None and began != "-infinity":
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
