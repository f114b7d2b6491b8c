"""CQL2 to SQL: filters as clients write them, compiled from an allow-list of typed queryables.

The `cql2` package reads the text encoding into CQL2-JSON; the JSON is walked here. Only names of
queryables and of the operators below become SQL, all of them constants of ours; every value is
bound. What is not known, or is of the wrong type, is refused in one sentence.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import cql2
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.errors import BadRequest
from landdata.features import crs
from landdata.features.collections import Collection, Kind, Property
from landdata.reference import calendar

#: Encodings of a filter, the default first; the last is text as GDAL still calls it.
LANGUAGES = ("cql2-text", "cql2-json", "cql-text")

_MAX_LENGTH, _KEPT_LENGTH = 50_000, 2_000
_MAX_DEPTH = 60
_MAX_NODES = 5_000

_SqlType = Literal["text", "number", "boolean", "date", "time", "uuid", "list"]
_SORTS: dict[Kind, _SqlType] = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "time": "time",
    "uuid": "uuid",
    "codes": "list",
}
_TYPES: dict[_SqlType, str] = {
    "text": "text",
    "number": "double precision",
    "boolean": "boolean",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
    "list": "jsonb",
}
_WORDS: dict[_SqlType, str] = {
    "text": "text",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date (DATE('2026-01-31'))",
    "time": "a time (TIMESTAMP('2026-01-31T01:00:00Z'))",
    "uuid": "a UUID",
    "list": "a list",
}

_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
_SPATIAL = {
    "s_intersects": "ST_Intersects({0}, {1})",
    "s_disjoint": "NOT ST_Intersects({0}, {1})",
    "s_contains": "ST_Contains({0}, {1})",
    "s_within": "ST_Within({0}, {1})",
    "s_touches": "ST_Touches({0}, {1})",
    "s_crosses": "ST_Crosses({0}, {1})",
    "s_overlaps": "ST_Overlaps({0}, {1})",
    "s_equals": "ST_Equals({0}, {1})",
}
#: On two spans of time [as, ae] and [bs, be]; an instant is a span without length.
_TEMPORAL = {
    "t_after": "{as_} > {be}",
    "t_before": "{ae} < {bs}",
    "t_contains": "{as_} < {bs} AND {ae} > {be}",
    "t_disjoint": "{as_} > {be} OR {ae} < {bs}",
    "t_during": "{as_} > {bs} AND {ae} < {be}",
    "t_equals": "{as_} = {bs} AND {ae} = {be}",
    "t_finishedby": "{as_} < {bs} AND {ae} = {be}",
    "t_finishes": "{as_} > {bs} AND {ae} = {be}",
    "t_intersects": "{as_} <= {be} AND {ae} >= {bs}",
    "t_meets": "{ae} = {bs}",
    "t_metby": "{as_} = {be}",
    "t_overlappedby": "{as_} > {bs} AND {as_} < {be} AND {ae} > {be}",
    "t_overlaps": "{as_} < {bs} AND {ae} > {bs} AND {ae} < {be}",
    "t_startedby": "{as_} = {bs} AND {ae} > {be}",
    "t_starts": "{as_} = {bs} AND {ae} < {be}",
}
_ARRAY = {
    "a_contains": "{0} @> {1}",
    "a_containedby": "{0} <@ {1}",
    "a_equals": "({0} @> {1} AND {0} <@ {1})",
    "a_overlaps": "EXISTS (SELECT FROM jsonb_array_elements({0}) AS each WHERE {1} @> each)",
}
_TEXT = {
    "casei": "lower({0})",
    # NFD writes a letter and its marks apart; đ has no mark of its own
    "accenti": (
        "translate(regexp_replace(normalize({0}, NFD), '[\\u0300-\\u036f]', '', 'g'), 'đĐ', 'dD')"
    ),
}
#: What one writes to use each operator, for the sentence that says what there is.
_OFFERED = (
    "and, or, not, =, <>, <, <=, >, >=, like, between, in, isNull, casei, accenti,"
    f" {', '.join((*_SPATIAL, *_TEMPORAL, *_ARRAY))}"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter as SQL over a row of its collection's table, and what it binds.

    `is_selective`: whether it holds on a small ground alone, so its index is always the way to it.
    `spatial`: whether it asks for geometry at all.
    """

    sql: str
    parameters: Mapping[str, Any]
    is_selective: bool
    spatial: bool


@dataclass(frozen=True, slots=True)
class _Term:
    """An operand: its SQL, or a literal that waits for the type it is compared with."""

    sort: _SqlType
    sql: str = ""
    literal: Any = None
    name: str | None = None
    long: bool = False  # a whole number of 64 bits


@dataclass(frozen=True, slots=True)
class _Span:
    """A time as SQL from its first to its last moment, both in it."""

    sort: Literal["date", "time"]
    first: str
    last: str


def read(
    text: str, language: str, collection: Collection, *, asked: crs.Crs, storage: int
) -> Condition:
    """Compile a filter in `language` (one of `LANGUAGES`) on a collection's queryables.

    Geometries in it are in `asked`, in its axis order. Raises `BadRequest`: a syntax error, an
    unknown property or operator, a value of the wrong type.
    """
    compiled = _compile if len(text) > _KEPT_LENGTH else _compiled
    return compiled(text, language, collection, asked, storage)


def _compile(
    text: str, language: str, collection: Collection, asked: crs.Crs, storage: int
) -> Condition:
    if len(text) > _MAX_LENGTH:
        raise _bad(f"it is longer than {_MAX_LENGTH:,} characters")
    tree = _from_json(text) if language == LANGUAGES[1] else _from_text(text)
    _measure(tree)
    made = _Compiler(collection, asked, storage)
    sql = made.condition(tree, required=True)
    return Condition(f"({sql})", made.parameters, made.is_selective, made.spatial)


#: Who pages, or looks at a map through a filter, asks with the same one again and again.
_compiled = lru_cache(500)(_compile)


def _bad(why: str) -> BadRequest:
    return BadRequest(
        f"Parameter filter is not usable: {why}.",
        hint="The collection's queryables name the properties and their types.",
    )


# -- reading ---------------------------------------------------------------------------------

# The parser goes down one call for each level; a deep filter would end the process.
_CHAIN = re.compile(r"(?:\bnot\b[\s(]*){20}|(?:[-+*/^%][\s(]*){20}", re.IGNORECASE)
_PLACE = re.compile(r"--> (\d+):(\d+)")


def _from_text(text: str) -> Any:
    bare = re.sub(r"'(?:[^']|'')*'", "''", text)
    depth = deepest = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    operators = sum(bare.count(sign) for sign in "+*/^%") + len(re.findall(r"\w\s*-", bare))
    if deepest > _MAX_DEPTH or operators > _MAX_DEPTH or _CHAIN.search(bare):
        raise _bad(f"it is nested deeper than {_MAX_DEPTH} levels")
    try:
        return cql2.parse_text(text).to_json()
    except Exception as error:  # of some empty geometries it says so by no class of its own
        place = _PLACE.search(str(error))
        where = f" (line {place[1]}, column {place[2]})" if place else ""
        raise _bad(f"it is no CQL2 text{where}") from None


def _from_json(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise _bad("it is no JSON") from None


def _measure(tree: Any) -> None:
    """Refuse what is too deep or too long to be walked, counted without recursion."""
    nodes, level = 0, [tree]
    for _ in range(_MAX_DEPTH + 10):
        if not level:
            return
        nodes += sum(isinstance(each, dict) for each in level)
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                # coordinates are counted by their text, not as nodes
                below += [value for name, value in each.items() if name != "coordinates"]
            elif isinstance(each, list):
                below += each
        level = below
        if nodes > _MAX_NODES:
            raise _bad(f"it has more than {_MAX_NODES:,} parts")
    raise _bad(f"it is nested deeper than {_MAX_DEPTH} levels")


# -- compiling -------------------------------------------------------------------------------


class _Compiler:
    def __init__(self, collection: Collection, asked: crs.Crs, storage: int) -> None:
        self.collection = collection
        self.asked = asked
        self.storage = storage
        self.parameters: dict[str, Any] = {}
        self.is_selective = False
        self.spatial = False

    def bind(self, value: Any, sql_type: str) -> str:
        """Bind a value; return its mark."""
        name = f"f_{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s::{sql_type}"

    # -- conditions --

    def condition(self, node: Any, *, required: bool = False) -> str:
        """Return a node that is true or false as SQL.

        `required`: whether the filter holds only where it does.
        """
        if isinstance(node, bool):
            return "true" if node else "false"
        if not isinstance(node, dict) or not isinstance(node.get("op"), str):
            raise _bad(f"{_shown(node)} stands where a condition belongs")
        op, arguments = node["op"], node.get("args")
        low = op.lower()
        if not isinstance(arguments, list):
            raise _bad(f"{op[:50]!r} has no list of arguments")
        if low in ("and", "or"):
            if len(arguments) < 2:
                raise _bad(f"{low!r} takes two or more conditions")
            required = required and low == "and"
            made = [self.condition(each, required=required) for each in arguments]
            return "(" + f" {low.upper()} ".join(made) + ")"
        makers: dict[str, tuple[int, Callable[..., str]]] = {
            "not": (1, self._not),
            "isnull": (1, self._is_null),
            "like": (2, self._like),
            "in": (2, self._in),
            "between": (3, self._between),
            **dict.fromkeys(_COMPARISONS, (2, partial(self._compare, low))),
            **dict.fromkeys(_SPATIAL, (2, partial(self._spatial, low, required))),
            **dict.fromkeys(_TEMPORAL, (2, partial(self._temporal, low))),
            **dict.fromkeys(_ARRAY, (2, partial(self._array, low))),
        }
        if low not in makers:
            raise _bad(
                f"there is no operator or function {op[:50]!r} here that gives a condition;"
                f" there are: {_OFFERED}"
            )
        count, make = makers[low]
        return make(*_exactly(count, op, arguments))

    def _not(self, node: Any) -> str:
        return f"NOT ({self.condition(node)})"

    def _is_null(self, node: Any) -> str:
        if _property(node) == "geometry":
            return "geom IS NULL"
        return f"{self.sql(self.term(node))} IS NULL"

    def _compare(self, sign: str, left: Any, right: Any) -> str:
        a, b = self._alike(self.term(left), self.term(right))
        if "boolean" in (a.sort, b.sort) and sign not in ("=", "<>"):
            raise _bad(f"true and false can't be compared by {sign!r}")
        return f"{self.sql(a)} {sign} {self.sql(b)}"

    def _like(self, left: Any, right: Any) -> str:
        a, pattern = self.term(left), self.term(right)
        if a.sort != "text" or pattern.sort != "text":
            raise _bad("'like' compares text with a pattern")
        innermost = right
        while isinstance(innermost, dict) and innermost.get("args"):
            innermost = innermost["args"][0]
        if not isinstance(innermost, str):
            raise _bad("the pattern of 'like' must be text in quotes")
        if (len(innermost) - len(innermost.rstrip("\\"))) % 2:
            raise _bad("the pattern of 'like' ends within an escape")
        return f"{self.sql(a)} LIKE {self.sql(pattern)}"

    def _in(self, left: Any, right: Any) -> str:
        if not isinstance(right, list) or not right:
            raise _bad("'in' takes a list of values")
        a = self.term(left)
        pairs = [self._alike(a, self.term(each)) for each in right]
        if a.literal is None:
            return f"{self.sql(a)} IN ({', '.join(self.sql(other) for _, other in pairs)})"
        # a literal becomes what each of them is, which may be of several types
        return (
            "(" + " OR ".join(f"{self.sql(one)} = {self.sql(other)}" for one, other in pairs) + ")"
        )

    def _between(self, value: Any, low: Any, high: Any) -> str:
        a, b = self._alike(self.term(value), self.term(low))
        a, c = self._alike(a, self.term(high))
        if a.sort not in ("number", "date", "time"):
            raise _bad("'between' compares numbers, dates or times")
        return f"{self.sql(a)} BETWEEN {self.sql(b)} AND {self.sql(c)}"

    # -- operands --

    def term(self, node: Any) -> _Term:
        """Return an operand with its type. Raises `BadRequest`."""
        if isinstance(node, bool):
            return _Term("boolean", literal=node)
        if type(node) is int and -(2**63) <= node < 2**63:
            return _Term("number", literal=node)  # not as a float: of 64 bits it has 53
        if isinstance(node, int | float):
            with suppress(OverflowError):  # a whole number of more than 308 digits
                if math.isfinite(number := float(node)):
                    return _Term("number", literal=number)
            raise _bad("a number in it is too large")
        if isinstance(node, str):
            return _Term("text", literal=_storable(node))
        if isinstance(node, dict):
            return self._term_of(node)
        raise _bad(f"{_shown(node)} stands where a value belongs")

    def _term_of(self, node: dict[str, Any]) -> _Term:
        if (name := _property(node)) is not None:
            known = self._known(name)
            column = _column(known)
            long = known.kind == "integer" and known.bits == 64
            return _Term(_SORTS[known.kind], column, name=name, long=long)
        if "date" in node:
            return _Term("date", literal=_date(node["date"]))
        if "timestamp" in node:
            return _Term("time", literal=_time(node["timestamp"]))
        op, arguments = node.get("op"), node.get("args")
        if isinstance(op, str) and isinstance(arguments, list):
            low = op.lower()
            if low in _TEXT:
                inner = self.term(*_exactly(1, op, arguments))
                if inner.sort != "text":
                    raise _bad(f"{op!r} takes text")
                return _Term("text", _TEXT[low].format(self.sql(inner)))
            raise _bad(f"there is no function {op[:50]!r} here that gives a value;"
                       " there are: casei, accenti")  # fmt: skip
        raise _bad(f"{_shown(node)} stands where a value belongs")

    def _known(self, name: str) -> Property:
        known = self.collection.queryables.get(name)
        if known is None:
            if name == "geometry":
                raise _bad("geometry can be used in spatial functions alone")
            there = ", ".join(("geometry", *self.collection.queryables))
            raise _bad(f"there is no property {name[:100]!r} to ask for, only {there}")
        return known

    def _alike(self, a: _Term, b: _Term) -> tuple[_Term, _Term]:
        """Bring two operands to one type, the literal to that of the property."""
        if a.sort == b.sort and a.sort != "list":
            for one, other in ((a, b), (b, a)):
                if one.long and _rounded(other.literal):
                    raise _bad(f"{one.name} is a whole number of 64 bits, of which CQL2 text"
                               " keeps those up to 9,007,199,254,740,992; write a larger one in"
                               " CQL2 JSON, with all its digits")  # fmt: skip
            return a, b
        for one, other, turned in ((a, b, False), (b, a, True)):
            if one.literal is None or other.literal is not None:
                continue
            made = self._as(one, other.sort)
            if made is not None:
                return (other, made) if turned else (made, other)
        lists = next((each.name for each in (a, b) if each.sort == "list"), None)
        if lists:
            raise _bad(f"{lists} is a list: write A_CONTAINS({lists}, ('ONT'))")
        named, other = (a, b) if a.name else (b, a)
        what = named.name or "a value"
        raise _bad(f"{what} is {_WORDS[named.sort]}, and it is compared with {_WORDS[other.sort]}")

    def _as(self, given: _Term, sort: _SqlType) -> _Term | None:
        """Read text as a date, time or UUID, for which JSON has no literals of its own."""
        if given.sort != "text":
            return None
        text = given.literal
        if sort == "uuid":
            try:
                return _Term("uuid", literal=uuid.UUID(text))
            except ValueError:
                raise _bad(f"{text[:100]!r} is no UUID") from None
        if sort == "date":
            return _Term("date", literal=_date(text))
        if sort == "time":
            return _Term("time", literal=_time(text))
        return None

    def sql(self, term: _Term) -> str:
        """Return an operand as SQL, its value bound."""
        if term.sql:
            return term.sql
        return self.bind(term.literal, "bigint" if type(term.literal) is int else _TYPES[term.sort])

    # -- space --

    def _spatial(self, op: str, required: bool, left: Any, right: Any) -> str:
        shapes, grounds = [], []
        for node in (left, right):
            if _property(node) == "geometry":
                shapes.append("geom")
            elif isinstance(node, dict) and ("bbox" in node or "coordinates" in node
                                             or "geometries" in node):  # fmt: skip
                made = _geometry(node, self.asked, self.storage)
                mixed = made.geom_type == "GeometryCollection"
                if mixed and op not in ("s_intersects", "s_disjoint"):
                    raise _bad(f"{op!r} takes no collection of geometries of different kinds")
                shapes.append(self.bind(crs.ewkb(made, self.storage), "geometry"))
                grounds.append(made.bounds)
            else:
                if (name := _property(node)) is not None:
                    self._known(name)
                    raise _bad(f"{name} is no geometry")
                raise _bad(f"{_shown(node)} stands where a geometry belongs")
        if required and op != "s_disjoint" and len(grounds) == 1 and crs.is_selective(grounds[0]):
            self.is_selective = True
        self.spatial |= "geom" in shapes
        return "(" + _SPATIAL[op].format(*shapes) + ")"

    # -- time --

    def _temporal(self, op: str, left: Any, right: Any) -> str:
        a, b = self._span(left), self._span(right)
        if a.sort != b.sort:
            a, b = _as_times(a), _as_times(b)
        made = _TEMPORAL[op].format(as_=a.first, ae=a.last, bs=b.first, be=b.last)
        return f"({made})"

    def _span(self, node: Any) -> _Span:
        if isinstance(node, dict) and "interval" in node:
            ends = node["interval"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise _bad("an interval has two ends")
            return self._interval(ends)
        term = self._moment(node)
        sql = self.sql(term)
        return _Span("date" if term.sort == "date" else "time", sql, sql)

    def _interval(self, ends: Sequence[Any]) -> _Span:
        terms = [None if each in ("..", "") else self._moment(each) for each in ends]
        given = [each.literal for each in terms if each is not None and each.literal is not None]
        if len(given) == 2 and type(given[0]) is type(given[1]) and given[0] > given[1]:
            raise _bad("an interval in it ends before it begins")
        spans = []
        sorts = {each.sort for each in terms if each is not None}
        sort: Literal["date", "time"] = "date" if sorts == {"date"} else "time"
        for place, term in enumerate(terms):
            if term is None:
                moment = f"'{'-' if place == 0 else ''}infinity'::{_TYPES[sort]}"
                spans.append(_Span(sort, moment, moment))
                continue
            sql = self.sql(term)
            if term.name and place == 1:
                # what has no end yet goes on for ever
                sql = f"coalesce({sql}, 'infinity'::{_TYPES[term.sort]})"
            own = _Span("date" if term.sort == "date" else "time", sql, sql)
            spans.append(own if own.sort == sort else _as_times(own))
        return _Span(sort, spans[0].first, spans[1].last)

    def _moment(self, node: Any) -> _Term:
        if isinstance(node, str):
            is_date = len(node) == len("2026-01-31")
            return _Term("date", literal=_date(node)) if is_date else _Term(
                "time", literal=_time(node)
            )  # fmt: skip
        term = self.term(node)
        if term.sort not in ("date", "time"):
            raise _bad(f"{term.name or _shown(node)} is no date and no time")
        return term

    # -- lists --

    def _array(self, op: str, left: Any, right: Any) -> str:
        return _ARRAY[op].format(self._list(left), self._list(right))

    def _list(self, node: Any) -> str:
        if isinstance(node, str):  # ('ONT') in text is a value in brackets
            node = [node]
        if isinstance(node, list):
            if not all(isinstance(each, str) for each in node):
                raise _bad("a list holds text")
            return self.bind(json.dumps([*map(_storable, node)]), "jsonb")
        name = _property(node)
        if name is None:
            raise _bad(f"{_shown(node)} stands where a list belongs")
        known = self._known(name)
        if known.kind != "codes":
            raise _bad(f"{name} is no list")
        return f"coalesce(jsonb_path_query_array({known.column}, '$[*].code'), '[]')"


def _column(known: Property) -> str:
    """A property as SQL; what JSON has no number for is null, as in the answers."""
    if known.kind == "number":
        return f"CASE WHEN {known.column} BETWEEN -1e15 AND 1e15 THEN {known.column} END"
    return known.column


def _property(node: Any) -> str | None:
    if isinstance(node, dict) and isinstance(node.get("property"), str):
        return str(node["property"])
    return None


def _exactly(count: int, op: str, arguments: list[Any]) -> list[Any]:
    if len(arguments) != count:
        raise _bad(f"{op[:50]!r} takes {count} argument{'s' if count > 1 else ''}")
    return arguments


def _storable(text: str) -> str:
    """Return a text that the database can hold; JSON can write others."""
    if "\0" in text:
        raise _bad("it holds a null character")
    if not text.isprintable() and re.search("[\ud800-\udfff]", text):
        raise _bad("it holds half of a surrogate pair, which is no character")
    return text


def _shown(node: Any) -> str:
    return repr(json.dumps(node, ensure_ascii=False)[:100])


# -- values ----------------------------------------------------------------------------------

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?\d*(Z|[+-]\d{2}:\d{2})", re.ASCII
)


def _date(text: Any) -> dt.date:
    try:
        if not isinstance(text, str) or not _DATE.fullmatch(text):
            raise ValueError(text)
        return dt.date.fromisoformat(text)
    except ValueError:
        raise _bad(f"{str(text)[:100]!r} is no date (2026-01-31)") from None


def _time(text: Any) -> dt.datetime:
    try:
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            raise ValueError(text)
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise _bad(f"{str(text)[:100]!r} is no time with its offset"
                   " (2026-01-31T01:00:00Z)") from None  # fmt: skip


def _as_times(span: _Span) -> _Span:
    """A date among times is that day in Vietnam, from its first to its last moment."""
    if span.sort == "time":
        return span
    zone = f"interval '{calendar.VIETNAM.utcoffset(None)}'"
    first = f"(({span.first})::timestamp AT TIME ZONE {zone})"
    last = (
        f"((({span.last})::timestamp + interval '1 day') AT TIME ZONE {zone}"
        " - interval '1 microsecond')"
    )
    return _Span("time", first, last)


def _geometry(node: dict[str, Any], asked: crs.Crs, storage: int) -> BaseGeometry:
    """Return a geometry of a filter in the storage CRS. Raises `BadRequest`.

    Its edges are straight in `asked` and follow that in the store, as those of a box do.
    """
    if "bbox" in node:
        numbers = node["bbox"]
        if not isinstance(numbers, list) or not all(_is_number(each) for each in numbers):
            raise _bad("a BBOX is four numbers")
        return crs.bbox_polygon(",".join(map(repr, numbers)), asked, storage, "filter")
    try:
        made = shapely.force_2d(shapely.from_geojson(json.dumps(node)))
    except (shapely.errors.ShapelyError, ValueError, TypeError):
        raise _bad(f"{_shown(node)} is no geometry of GeoJSON") from None
    if made is None or made.is_empty or not np.isfinite(shapely.get_coordinates(made)).all():
        raise _bad("a geometry in it is empty")
    most = (90.0, 180.0) if asked.north_first else (180.0, 90.0)
    if asked.geographic and (np.abs(shapely.get_coordinates(made)) > most).any():
        raise _bad(
            "a geometry in it is not on the globe: in the axis order of filter-crs (CRS84:"
            " longitude first) longitudes are from -180 to 180, latitudes from -90 to 90"
        )
    why = shapely.is_valid_reason(made)
    if why != "Valid Geometry":
        raise _bad(f"a geometry in it is not valid: {why.partition('[')[0].lower()}")
    parts = shapely.get_parts(made)
    if made.geom_type == "GeometryCollection" and len({p.geom_type for p in parts}) == 1:
        made = shapely.union_all(parts)
    return crs.to_storage(made, asked, storage)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rounded(number: Any) -> bool:
    """Tell whether a number of 64 bits may be another one than was written: a float has 53."""
    return isinstance(number, float) and 2.0**53 <= abs(number) < 2.0**63
