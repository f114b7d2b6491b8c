"""From a query string to a `Query`: all parameters are checked, and the first bad one is named."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from landdata.errors import BadRequest
from landdata.features import cql2, crs
from landdata.features.collections import Collection, Kind, Property
from landdata.features.query import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Count,
    Cursor,
    Query,
    Sort,
    TimeInterval,
    not_found,
)
from landdata.reference import calendar
from landdata.translations import sentence

_MAX_OFFSET = 2**31 - 1
_INT32 = 2**31

#: The parameters of an items request besides its queryables.
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
COUNTS: tuple[Count, ...] = ("none", "exact", "estimate")
_PAGING = frozenset({"limit", "offset", "cursor", "count", "sortby", "skipGeometry"})
ITEM_PARAMETERS = ("f", "lang", "crs", "datetime", "properties", "skipGeometry")

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = rf"{_DATE}[Tt][0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(\.[0-9]+)?([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})"
_INSTANT = re.compile(rf"{_DATE}|{_TIME}")  # RFC 3339
_LAST = dt.datetime.max.replace(tzinfo=calendar.VIETNAM)
_LOST_PLUS = re.compile(r":[0-9]{2}(\.[0-9]+)? [0-9]{2}:[0-9]{2}\b")


@dataclass(frozen=True, slots=True)
class _Syntax:
    """How a kind of value is written; Python also reads 1_000, other alphabets and `{uuid}`."""

    description: str
    pattern: re.Pattern[str]
    read: Callable[[str], Any]


_SYNTAX: dict[Kind, _Syntax] = {
    "string": _Syntax(sentence("text"), re.compile(".*", re.DOTALL), str),
    "integer": _Syntax(
        sentence("a whole number of {bits} bits"), re.compile(r"[+-]?[0-9]{1,19}"), int
    ),
    "boolean": _Syntax(
        sentence("true or false"), re.compile("true|false"), lambda text: text == "true"
    ),
    "number": _Syntax(
        sentence("a number"),
        re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"),
        float,
    ),
    "date": _Syntax(sentence("a date (2026-01-31)"), re.compile(_DATE), dt.date.fromisoformat),
    "time": _Syntax(
        sentence("a time with its offset (2026-01-31T08:00:00+07:00)"),
        re.compile(_TIME),
        # PostgreSQL reads no offset of 16 hours and more, which RFC 3339 has
        lambda text: dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC),
    ),
    "uuid": _Syntax(
        sentence("a UUID"),
        re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        uuid.UUID,
    ),
    "codes": _Syntax(
        sentence("a code"), re.compile(".*", re.DOTALL), lambda text: json.dumps([{"code": text}])
    ),
}


def read_query(collection: Collection, arguments: Sequence[tuple[str, str]], storage: int) -> Query:
    """Check the parameters of an items request. Raises `BadRequest` naming the first bad one."""
    values = unique_values(arguments, (*PARAMETERS, *collection.queryables))
    query = Query(
        collection=collection,
        storage=storage,
        crs=_crs(values, "crs", storage),
        limit=read_limit(values, DEFAULT_LIMIT, MAX_LIMIT),
        offset=_offset(values),
        time=read_time(values["datetime"]) if "datetime" in values else None,
        filters={
            name: _value(prop, values[name])
            for name, prop in collection.queryables.items()
            if name in values
        },
        count=cast("Count", _choice(values, "count", COUNTS, "none")),
        filter=_filter(values, collection, storage),
        sort=_sort(values, collection),
        properties=_properties(values, collection),
        geometry=_geometry(values),
        bbox=_bbox(values, storage),
    )
    if "cursor" in values:
        if query.offset:
            raise _bad("offset", sentence("it can't be combined with cursor"), str(query.offset))
        query = replace(query, cursor=_cursor(values["cursor"], query))
    return query


def read_export_query(
    collection: Collection, arguments: Sequence[tuple[str, str]], storage: int
) -> Query:
    """Check the parameters of an export, which has no pages. Raises `BadRequest`."""
    for name, _ in arguments:
        if name in _PAGING:
            raise BadRequest(
                "There is no parameter {name!r} here.",
                hint="An export is all that matches.",
                name=name,
            )
    return read_query(collection, arguments, storage)


def read_item(
    collection: Collection, arguments: Iterable[tuple[str, str]], storage: int, key: str
) -> Query:
    """Check the parameters of a request for one feature, and its id.

    The query is for its current version, or that as of `datetime`, which must be one time. Raises
    `BadRequest`, and `NotFound` for a key that can't be an id.
    """
    values = unique_values(arguments, ITEM_PARAMETERS)
    when = read_time(values["datetime"]) if "datetime" in values else None
    if when is not None and not when.is_instant:
        raise _bad("datetime", sentence("for one feature it must be one time"), values["datetime"])
    return Query(
        collection=collection,
        crs=_crs(values, "crs", storage),
        storage=storage,
        time=when,
        key=_key(collection, key, when),
        properties=_properties(values, collection),
        geometry=_geometry(values),
    )


def _key(collection: Collection, key: str, when: TimeInterval | None) -> uuid.UUID | int | str:
    """Read an id, of which one spelling alone is an address. Raises `NotFound`."""
    if collection.key_kind == "uuid":
        if _SYNTAX["uuid"].pattern.fullmatch(key) and str(read := uuid.UUID(key)) == key.lower():
            return read
    elif collection.key_kind == "integer":
        if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", key):
            return int(key)
    elif "\0" not in key:
        return key
    raise not_found(collection, key, when)


def _crs(values: Mapping[str, str], name: str, storage: int) -> crs.Crs:
    return crs.parse(values.get(name, crs.CRS84), storage, name)


def _bbox(values: Mapping[str, str], storage: int) -> crs.BBox | None:
    if "bbox" in values:
        return crs.parse_bbox(values["bbox"], _crs(values, "bbox-crs", storage), storage)
    if "bbox-crs" in values:
        raise _bad("bbox-crs", sentence("it needs a bbox"), values["bbox-crs"])
    return None


def _filter(
    values: Mapping[str, str], collection: Collection, storage: int
) -> cql2.Condition | None:
    if "filter" not in values:
        for name in ("filter-lang", "filter-crs"):
            if name in values:
                raise _bad(name, sentence("it needs a filter"), values[name])
        return None
    return cql2.read(
        values["filter"],
        _choice(values, "filter-lang", cql2.LANGUAGES, cql2.LANGUAGES[0]),
        collection,
        filter_crs=_crs(values, "filter-crs", storage),
        storage=storage,
    )


def _sort(values: Mapping[str, str], collection: Collection) -> tuple[Sort, ...]:
    steps: list[Sort] = []
    for part in values["sortby"].split(",") if "sortby" in values else ():
        # a plus sign in an address means a space
        name = part[1:] if part[:1] in ("-", "+", " ") else part
        prop = collection.sortables.get(name)
        if prop is None:
            raise _bad(
                "sortby",
                sentence(
                    "features can't be sorted by {name!r}, only by {sortables}",
                    name=name[:100],
                    sortables=", ".join(collection.sortables),
                ),
                values["sortby"],
            )
        if any(step.by == prop for step in steps):
            raise _bad("sortby", sentence("it names {name} twice", name=name), values["sortby"])
        steps.append(Sort(prop, descending=part.startswith("-")))
    return tuple(steps)


def _properties(values: Mapping[str, str], collection: Collection) -> tuple[Property, ...] | None:
    if "properties" not in values:
        return None
    names = values["properties"].split(",")
    available = [prop.name for prop in collection.properties]
    for name in names:
        if name not in available:
            raise _bad(
                "properties",
                sentence(
                    "there is no property {name!r}, only {available}",
                    name=name[:100],
                    available=", ".join(available),
                ),
                values["properties"],
            )
    return tuple(prop for prop in collection.properties if prop.name in names)


def _geometry(values: Mapping[str, str]) -> bool:
    return _choice(values, "skipGeometry", ("false", "true"), "false") == "false"


def unique_values(arguments: Iterable[tuple[str, str]], allowed: Iterable[str]) -> dict[str, str]:
    """Return the parameters by name. Raises `BadRequest` for an unknown or repeated one."""
    names = tuple(allowed)
    values: dict[str, str] = {}
    for name, value in arguments:
        if name not in names:
            raise BadRequest(
                "There is no parameter {name!r} here.",
                hint="Known: {names}.",
                name=name[:100],
                names=", ".join(names),
            )
        if name in values:
            raise _bad(name, sentence("it is given twice"), value)
        if "\0" in value:
            raise _bad(name, sentence("it holds a null character"), value)
        values[name] = value
    return values


def read_time(text: str) -> TimeInterval:
    """Read `datetime`: a time, or an interval `a/b` open (`..` or nothing) at an end.

    A date is that day in Vietnam: as an instant and as an end its last moment, as a beginning
    its first. Raises `BadRequest`.
    """
    ends = text.split("/")
    if len(ends) == 1:
        time = _instant(text)
        return TimeInterval(time, time)
    if len(ends) != 2:
        raise _bad("datetime", sentence("an interval has two ends"), text)
    since, until = (None if end in ("", "..") else end for end in ends)
    if since and since.startswith("0000-"):
        since = None  # how QGIS writes an open beginning
    first = _instant(since) if since else None
    if since and first and len(since) == len("2026-01-31"):
        first = dt.datetime.combine(first.date(), dt.time.min, tzinfo=calendar.VIETNAM)
    last = _instant(until) if until else None
    if first and last and first > last:
        raise _bad("datetime", sentence("it ends before it begins"), text)
    return TimeInterval(first, last)


def _instant(text: str) -> dt.datetime:
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError(text)  # Python itself would also take 2026-W05-6
        time = calendar.instant(text.upper()).astimezone(calendar.VIETNAM)
    except (ValueError, BadRequest):
        raise _bad(
            "datetime",
            sentence(
                "give a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00+07:00)"
            ),
            text,
        ) from None
    except OverflowError:
        if text.startswith("9999"):  # how some clients write an open end
            return _LAST
        raise _bad("datetime", sentence("it is at the beginning of the calendar"), text) from None
    return time


def _value(prop: Property, text: str) -> Any:
    """Read a property's value as its type. Raises `BadRequest`."""
    syntax = _SYNTAX[prop.kind]
    try:
        if not syntax.pattern.fullmatch(text):
            raise ValueError(text)
        value = syntax.read(text)
        if prop.kind == "integer" and not -(1 << prop.bits - 1) <= value < 1 << prop.bits - 1:
            raise ValueError(text)
        if prop.kind == "number" and not math.isfinite(value):
            raise ValueError(text)
    except (ValueError, OverflowError):  # a time before or after all years
        must = sentence("it must be {type}", type=sentence(syntax.description, bits=prop.bits))
        raise _bad(prop.name, must, text) from None
    return value


def read_limit(values: Mapping[str, str], default: int, most: int) -> int:
    """Return the limit of a page, `most` at most. Raises `BadRequest`."""
    return min(read_integer(values, "limit", default, least=1), most)


def read_integer(values: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    """Read a whole number; those over 18 digits become 10^18. Raises `BadRequest`."""
    text = values.get(name)
    if text is None:
        return default
    digits = text.lstrip("0") or text[:1]
    if not (text.isascii() and text.isdigit()) or int(digits[:18]) < least:
        raise _bad(name, sentence("it must be a whole number from {least}", least=least), text)
    return int(digits) if len(digits) <= 18 else 10**18


def _offset(values: Mapping[str, str]) -> int:
    offset = read_integer(values, "offset", 0, least=0)
    if offset > _MAX_OFFSET:
        raise _bad(
            "offset",
            sentence("it must be at most {most}", most=_MAX_OFFSET),
            values["offset"],
        )
    return offset


def _choice(values: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    text = values.get(name, default)
    if text not in choices:
        raise _bad(name, sentence("it must be one of {choices}", choices=", ".join(choices)), text)
    return text


def _cursor(token: str, query: Query) -> Cursor:
    collection = query.collection
    try:
        plain = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        direction, key, order, *rest = json.loads(plain)
        sort, by = rest or ("", ())
        if sort != query.sorted_by or len(by) != len(query.sort):
            raise ValueError(token)
        for text in (key, *(value for value in by if value is not None)):
            if b"\0" in text.encode():  # raises AttributeError where it is not text
                raise ValueError(token)
        if collection.key_kind == "uuid":
            uuid.UUID(key)
        elif collection.key_kind == "integer" and not -(2**63) <= int(key) < 2**63:
            raise ValueError(token)
        if not query.covers_interval:
            order = None
        elif collection.order_kind == "date":
            dt.date.fromisoformat(order)
        elif not -_INT32 <= int(order) < _INT32:
            raise ValueError(token)
        directions: dict[str, Literal["next", "prev"]] = {"n": "next", "p": "prev"}
        return Cursor(directions[direction], key, order, sort, tuple(by))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _bad("cursor", sentence("take it from a link as it is"), token) from None


def _bad(name: str, why: str, given: str) -> BadRequest:
    lost = _LOST_PLUS.search(given)
    return BadRequest(
        "Parameter {name} is not usable: {why} (given: {given!r}).",
        hint="In an address + means a space: write %2B." if lost else None,
        name=name,
        why=why,
        given=given[:200],
    )
