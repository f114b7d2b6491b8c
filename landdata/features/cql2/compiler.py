"""From the tree of a filter to SQL: conditions, typed operands, space, time and lists."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from landdata.features import crs
from landdata.features.collections import Collection, Kind, Property
from landdata.features.cql2 import literals
from landdata.features.cql2.literals import shown
from landdata.features.cql2.operators import ARRAY, COMPARISONS, CONDITIONS, SPATIAL, TEMPORAL, TEXT
from landdata.features.cql2.parsing import bad_filter
from landdata.reference import calendar
from landdata.translations import sentence

_SqlType = Literal["text", "double precision", "boolean", "date", "timestamptz", "uuid", "jsonb"]
_TYPES: dict[Kind, _SqlType] = {
    "string": "text",
    "integer": "double precision",
    "number": "double precision",
    "boolean": "boolean",
    "date": "date",
    "time": "timestamptz",
    "uuid": "uuid",
    "codes": "jsonb",
}
_TYPE_NAMES: dict[_SqlType, str] = {
    "text": sentence("text"),
    "double precision": sentence("a number"),
    "boolean": sentence("true or false"),
    "date": sentence("a date (DATE('2026-01-31'))"),
    "timestamptz": sentence("a time (TIMESTAMP('2026-01-31T01:00:00Z'))"),
    "uuid": sentence("a UUID"),
    "jsonb": sentence("a list"),
}


@dataclass(frozen=True, slots=True)
class _Operand:
    """A typed value: SQL, or a literal that is bound once its type is certain."""

    type: _SqlType
    sql: str = ""
    literal: Any = None
    name: str | None = None
    is_bigint: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    """A span of time as SQL, its first and last moment included."""

    type: Literal["date", "timestamptz"]
    first: str
    last: str

    def as_times(self) -> _Span:
        """Return it in times; a date is that day in Vietnam."""
        if self.type == "timestamptz":
            return self
        zone = f"interval '{calendar.VIETNAM.utcoffset(None)}'"
        first = f"(({self.first})::timestamp AT TIME ZONE {zone})"
        last = (
            f"((({self.last})::timestamp + interval '1 day') AT TIME ZONE {zone}"
            " - interval '1 microsecond')"
        )
        return _Span("timestamptz", first, last)


class Compiler:
    """Compiles one filter; `parameters` are what its SQL binds."""

    def __init__(self, collection: Collection, filter_crs: crs.Crs, storage: int) -> None:
        self.parameters: dict[str, Any] = {}
        self.is_selective = False
        self.spatial = False
        self._queryables = collection.queryables
        self._crs = filter_crs
        self._storage = storage

    # -- conditions --

    def condition(self, node: Any, *, required: bool = False) -> str:
        """Return a node that is true or false as SQL. Raises `BadRequest`.

        `required`: whether the filter is true only where the node is.
        """
        if isinstance(node, bool):
            return "true" if node else "false"
        if not isinstance(node, dict) or not isinstance(node.get("op"), str):
            raise bad_filter(sentence("{node} is not a condition", node=shown(node)))
        name, arguments = node["op"], node.get("args")
        op = name.lower()
        if not isinstance(arguments, list):
            raise bad_filter(sentence("{name!r} has no list of arguments", name=name[:50]))
        if op in ("and", "or"):
            if len(arguments) < 2:
                raise bad_filter(sentence("{op!r} takes two or more conditions", op=op))
            required = required and op == "and"
            parts = [self.condition(part, required=required) for part in arguments]
            return "(" + f" {op.upper()} ".join(parts) + ")"
        operators: dict[str, tuple[int, Callable[..., str]]] = {
            "not": (1, self._not),
            "isnull": (1, self._is_null),
            "like": (2, self._like),
            "in": (2, self._in),
            "between": (3, self._between),
            **dict.fromkeys(COMPARISONS, (2, partial(self._compare, op))),
            **dict.fromkeys(SPATIAL, (2, partial(self._spatial, op, required))),
            **dict.fromkeys(TEMPORAL, (2, partial(self._temporal, op))),
            **dict.fromkeys(ARRAY, (2, partial(self._array, op))),
        }
        if op not in operators:
            raise bad_filter(
                sentence(
                    "there is no operator or function {name!r} for conditions; available: {names}",
                    name=name[:50],
                    names=CONDITIONS,
                )
            )
        count, compile_operator = operators[op]
        return compile_operator(*_exactly(count, name, arguments))

    def _not(self, node: Any) -> str:
        return f"NOT ({self.condition(node)})"

    def _is_null(self, node: Any) -> str:
        if _property_name(node) == "geometry":
            return "geom IS NULL"
        return f"{self._sql(self._operand(node))} IS NULL"

    def _compare(self, sign: str, left: Any, right: Any) -> str:
        a, b = self._unify(self._operand(left), self._operand(right))
        if "boolean" in (a.type, b.type) and sign not in ("=", "<>"):
            raise bad_filter(sentence("true and false can't be compared by {sign!r}", sign=sign))
        return f"{self._sql(a)} {sign} {self._sql(b)}"

    def _like(self, left: Any, right: Any) -> str:
        a, pattern = self._operand(left), self._operand(right)
        if a.type != "text" or pattern.type != "text":
            raise bad_filter(sentence("'like' compares text with a pattern"))
        innermost = right
        while isinstance(innermost, dict) and innermost.get("args"):
            innermost = innermost["args"][0]
        if not isinstance(innermost, str):
            raise bad_filter(sentence("the pattern of 'like' must be text in quotes"))
        if (len(innermost) - len(innermost.rstrip("\\"))) % 2:
            raise bad_filter(sentence("the pattern of 'like' ends within an escape"))
        return f"{self._sql(a)} LIKE {self._sql(pattern)}"

    def _in(self, left: Any, right: Any) -> str:
        if not isinstance(right, list) or not right:
            raise bad_filter(sentence("'in' takes a list of values"))
        a = self._operand(left)
        pairs = [self._unify(a, self._operand(value)) for value in right]
        if a.literal is None:
            return f"{self._sql(a)} IN ({', '.join(self._sql(other) for _, other in pairs)})"
        # a literal takes the type of each value, and they may differ
        equal = [f"{self._sql(one)} = {self._sql(other)}" for one, other in pairs]
        return f"({' OR '.join(equal)})"

    def _between(self, value: Any, low: Any, high: Any) -> str:
        a, b = self._unify(self._operand(value), self._operand(low))
        a, c = self._unify(a, self._operand(high))
        if a.type not in ("double precision", "date", "timestamptz"):
            raise bad_filter(sentence("'between' compares numbers, dates or times"))
        return f"{self._sql(a)} BETWEEN {self._sql(b)} AND {self._sql(c)}"

    # -- operands --

    def _operand(self, node: Any) -> _Operand:
        """Return a node that is a value. Raises `BadRequest`."""
        if isinstance(node, bool):
            return _Operand("boolean", literal=node)
        if type(node) is int and -(2**63) <= node < 2**63:
            return _Operand("double precision", literal=node)  # an int: a float has 53 bits
        if isinstance(node, int | float):
            with suppress(OverflowError):  # an integer of more than 308 digits
                if math.isfinite(number := float(node)):
                    return _Operand("double precision", literal=number)
            raise bad_filter(sentence("a number in it is too large"))
        if isinstance(node, str):
            return _Operand("text", literal=literals.text(node))
        if isinstance(node, dict):
            return self._expression(node)
        raise bad_filter(sentence("{node} is not a value", node=shown(node)))

    def _expression(self, node: dict[str, Any]) -> _Operand:
        if (name := _property_name(node)) is not None:
            queryable = self._queryable(name)
            is_bigint = queryable.kind == "integer" and queryable.bits == 64
            return _Operand(
                _TYPES[queryable.kind], _column(queryable), name=name, is_bigint=is_bigint
            )
        if "date" in node:
            return _Operand("date", literal=literals.date(node["date"]))
        if "timestamp" in node:
            return _Operand("timestamptz", literal=literals.time(node["timestamp"]))
        op, arguments = node.get("op"), node.get("args")
        if not isinstance(op, str) or not isinstance(arguments, list):
            raise bad_filter(sentence("{node} is not a value", node=shown(node)))
        if op.lower() not in TEXT:
            raise bad_filter(
                sentence(
                    "there is no function {op!r} for values; available: {names}",
                    op=op[:50],
                    names=", ".join(TEXT),
                )
            )
        inner = self._operand(*_exactly(1, op, arguments))
        if inner.type != "text":
            raise bad_filter(sentence("{op!r} takes text", op=op))
        return _Operand("text", TEXT[op.lower()].format(self._sql(inner)))

    def _queryable(self, name: str) -> Property:
        queryable = self._queryables.get(name)
        if queryable is None:
            if name == "geometry":
                raise bad_filter(sentence("geometry can be used in spatial functions only"))
            names = ", ".join(("geometry", *self._queryables))
            raise bad_filter(
                sentence(
                    "there is no property {name!r} to filter by, only {names}",
                    name=name[:100],
                    names=names,
                )
            )
        return queryable

    def _unify(self, a: _Operand, b: _Operand) -> tuple[_Operand, _Operand]:
        """Bring two operands to one type, a literal to that of the property."""
        if a.type == b.type and a.type != "jsonb":
            for one, other in ((a, b), (b, a)):
                if one.is_bigint and _may_be_rounded(other.literal):
                    raise bad_filter(
                        sentence(
                            "{name} is a whole number of 64 bits, of which CQL2 text keeps those up"
                            " to 9,007,199,254,740,992; write a larger one in CQL2 JSON, with all"
                            " its digits",
                            name=one.name,
                        )
                    )
            return a, b
        if a.literal is not None and b.literal is None:
            converted = _converted(a, b.type)
            if converted is not None:
                return converted, b
        elif b.literal is not None and a.literal is None:
            converted = _converted(b, a.type)
            if converted is not None:
                return a, converted
        lists = next((operand.name for operand in (a, b) if operand.type == "jsonb"), None)
        if lists:
            raise bad_filter(
                sentence("{lists} is a list: write A_CONTAINS({lists}, ('ONT'))", lists=lists)
            )
        named, other = (a, b) if a.name else (b, a)
        raise bad_filter(
            sentence(
                "{name} is {type}, and it is compared with {other}",
                name=named.name or sentence("a value"),
                type=_TYPE_NAMES[named.type],
                other=_TYPE_NAMES[other.type],
            )
        )

    def _sql(self, operand: _Operand) -> str:
        """Return an operand as SQL, its literal bound."""
        if operand.sql:
            return operand.sql
        literal = operand.literal
        return self._bind(literal, "bigint" if type(literal) is int else operand.type)

    def _bind(self, value: Any, sql_type: str) -> str:
        name = f"f_{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s::{sql_type}"

    # -- space --

    def _spatial(self, op: str, required: bool, left: Any, right: Any) -> str:
        operands, bounds = [], []
        for node in (left, right):
            if (name := _property_name(node)) == "geometry":
                operands.append("geom")
                continue
            is_literal = isinstance(node, dict) and {"bbox", "coordinates", "geometries"} & {*node}
            if not is_literal:
                if name is not None:
                    self._queryable(name)
                raise bad_filter(sentence("{name} is not a geometry", name=name or shown(node)))
            shape = literals.geometry(node, self._crs, self._storage)
            is_mixed = shape.geom_type == "GeometryCollection"
            if is_mixed and op not in ("s_intersects", "s_disjoint"):
                raise bad_filter(
                    sentence("{op!r} takes no collection of geometries of different kinds", op=op)
                )
            operands.append(self._bind(crs.ewkb(shape, self._storage), "geometry"))
            bounds.append(shape.bounds)
        if required and op != "s_disjoint" and len(bounds) == 1 and crs.is_selective(bounds[0]):
            self.is_selective = True
        self.spatial |= "geom" in operands
        return "(" + SPATIAL[op].format(*operands) + ")"

    # -- time --

    def _temporal(self, op: str, left: Any, right: Any) -> str:
        a, b = self._span(left), self._span(right)
        if a.type != b.type:
            a, b = a.as_times(), b.as_times()
        return f"({TEMPORAL[op].format(as_=a.first, ae=a.last, bs=b.first, be=b.last)})"

    def _span(self, node: Any) -> _Span:
        if isinstance(node, dict) and "interval" in node:
            ends = node["interval"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise bad_filter(sentence("an interval has two ends"))
            return self._interval(ends)
        instant = self._instant(node)
        sql = self._sql(instant)
        return _Span("date" if instant.type == "date" else "timestamptz", sql, sql)

    def _interval(self, nodes: Sequence[Any]) -> _Span:
        ends = [None if node in ("..", "") else self._instant(node) for node in nodes]
        values = [end.literal for end in ends if end is not None and end.literal is not None]
        if len(values) == 2 and type(values[0]) is type(values[1]) and values[0] > values[1]:
            raise bad_filter(sentence("an interval in it ends before it begins"))
        types = {end.type for end in ends if end is not None}
        common: Literal["date", "timestamptz"] = "date" if types == {"date"} else "timestamptz"
        spans = []
        for end, infinity in zip(ends, ("-infinity", "infinity"), strict=True):
            if end is None:
                sql = f"'{infinity}'::{common}"
                spans.append(_Span(common, sql, sql))
                continue
            sql = self._sql(end)
            if end.name and infinity == "infinity":  # a version without an end is still current
                sql = f"coalesce({sql}, 'infinity'::{end.type})"
            own = _Span("date" if end.type == "date" else "timestamptz", sql, sql)
            spans.append(own if own.type == common else own.as_times())
        return _Span(common, spans[0].first, spans[1].last)

    def _instant(self, node: Any) -> _Operand:
        if isinstance(node, str):
            if len(node) == len("2026-01-31"):
                return _Operand("date", literal=literals.date(node))
            return _Operand("timestamptz", literal=literals.time(node))
        operand = self._operand(node)
        if operand.type not in ("date", "timestamptz"):
            raise bad_filter(
                sentence("{name} is not a date or time", name=operand.name or shown(node))
            )
        return operand

    # -- lists --

    def _array(self, op: str, left: Any, right: Any) -> str:
        return ARRAY[op].format(self._list(left), self._list(right))

    def _list(self, node: Any) -> str:
        if isinstance(node, str):  # CQL2 text reads ('ONT') as a value in parentheses
            node = [node]
        if isinstance(node, list):
            if not all(isinstance(item, str) for item in node):
                raise bad_filter(sentence("a list holds text"))
            return self._bind(json.dumps([*map(literals.text, node)]), "jsonb")
        name = _property_name(node)
        if name is None:
            raise bad_filter(sentence("{node} is not a list", node=shown(node)))
        queryable = self._queryable(name)
        if queryable.kind != "codes":
            raise bad_filter(sentence("{name} is not a list", name=name))
        return f"coalesce(jsonb_path_query_array({queryable.column}, '$[*].code'), '[]')"


def _converted(operand: _Operand, target: _SqlType) -> _Operand | None:
    """Read text as a UUID, date or time, for which JSON has no literals of its own."""
    if operand.type != "text":
        return None
    text = operand.literal
    if target == "uuid":
        try:
            return _Operand("uuid", literal=uuid.UUID(text))
        except ValueError:
            raise bad_filter(sentence("{text!r} is not a UUID", text=text[:100])) from None
    if target == "date":
        return _Operand("date", literal=literals.date(text))
    if target == "timestamptz":
        return _Operand("timestamptz", literal=literals.time(text))
    return None


def _column(queryable: Property) -> str:
    """A property as SQL; a number that JSON can't hold is null, as in responses."""
    if queryable.kind == "number":
        return f"CASE WHEN {queryable.column} BETWEEN -1e15 AND 1e15 THEN {queryable.column} END"
    return queryable.column


def _property_name(node: Any) -> str | None:
    if isinstance(node, dict) and isinstance(node.get("property"), str):
        return str(node["property"])
    return None


def _exactly(count: int, op: str, arguments: list[Any]) -> list[Any]:
    if len(arguments) != count:
        raise bad_filter(
            sentence("{op!r} takes {count} arguments", op=op[:50], count=count)
            if count > 1
            else sentence("{op!r} takes 1 argument", op=op[:50])
        )
    return arguments


def _may_be_rounded(number: Any) -> bool:
    """Whether a 64-bit integer may have lost digits as a float, which has 53 bits."""
    return isinstance(number, float) and 2.0**53 <= abs(number) < 2.0**63
