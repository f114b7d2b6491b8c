"""Random filters, in both encodings, checked against plain Python and shapely."""

from __future__ import annotations

import datetime as dt
import json
import operator
import random
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from support import served, stored

from landdata.settings import Settings
from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"
STORAGE = "http://www.opengis.net/def/crs/EPSG/0/9212"
VIETNAM = dt.timezone(dt.timedelta(hours=7))
BEGIN = dt.datetime(2025, 1, 1, 17, tzinfo=dt.UTC)  # midnight in Vietnam
LABELS = [None, "", "ONT", "ont", "O_T", "O%T", "50%", "\\", "a\\_b", "Đất ở", "ĐẤT Ở", "dat o",
          "Đất ở", "'", "''", "😀", "🏡x", "ờ", "x\ny"]  # fmt: skip
CODES = ["ONT", "CLN", "LUC"]
FIRST, LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)


def parcel_versions(rng: random.Random) -> list[Any]:
    """One or two versions of each of 70 parcels on a 10 m grid, with nulls in most columns."""
    versions = []
    for number in range(70):
        x, y = (
            stored.EAST + 10 * rng.randrange(6),
            stored.NORTH + 10 * rng.randrange(6),
        )
        shape: BaseGeometry = shapely.box(x, y, x + rng.choice([10, 20]), y + rng.choice([10, 20]))
        if rng.random() < 0.3:
            shape = shape.difference(shapely.box(x + 2, y + 2, x + 5, y + 5))
        if rng.random() < 0.2:
            shape = shapely.union(shape, shapely.box(x + 30, y, x + 40, y + 10))
        days = [rng.randrange(20), rng.randrange(20, 40)][: rng.randint(1, 2)]
        key = uuid.UUID(int=rng.getrandbits(128), version=4)
        for place, day in enumerate(days):
            ends = days[place + 1] if place + 1 < len(days) else rng.choice([None, 50])
            versions.append({
                "parcel_id": key, "version": place + 1,
                "valid_from": BEGIN + dt.timedelta(days=day, hours=rng.choice([0, 0, 5])),
                "valid_to": None if ends is None else BEGIN + dt.timedelta(days=ends, hours=6),
                "number": str(number), "sheet": rng.choice(["1", "2"]),
                "scale": rng.choice([None, 500, 1000]),
                "area": rng.choice([None, 0.0, -1.5, 100.5, 200.0]),
                "legal_area": rng.choice([None, 100.5, 1e14]),
                "label": rng.choice(LABELS),
                "surveyed_on": rng.choice(
                    [None, dt.date(2025, 1, 5), dt.date(2025, 1, 9), dt.date(2025, 2, 9)]),
                "land_use": rng.sample(CODES, rng.randint(0, 3)),
                "geom": shapely.MultiPolygon(shapely.get_parts(shape).tolist()),
            })  # fmt: skip
    return versions


@pytest.fixture(scope="module")
def filled(
    make_store: Callable[..., Settings],
) -> Iterator[tuple[served.Client, list[dict[str, Any]]]]:
    """A client, and the versions in its store."""
    settings = make_store()
    engine = database.engine(settings)
    stored.commune(engine)
    batch = stored.batch(engine, "a")
    versions = parcel_versions(random.Random(23))
    for version in versions:
        columns = {k: v for k, v in version.items() if k not in ("parcel_id", "geom", "land_use")}
        columns["land_use"] = [{"code": code, "area": None} for code in version["land_use"]]
        geom = f"SRID=9212;{version['geom'].wkt}"
        stored.parcel(engine, batch, geom, parcel_id=version["parcel_id"], **columns)
    with served.client(settings, engine) as client:
        yield client, versions
    engine.dispose()


# -- operands: JSON, text, and their value for a version -------------------------------------


class Operand:
    def __init__(self, tree: Any, text: str, evaluate: Callable[..., Any]) -> None:
        self.tree, self.text, self.evaluate = tree, text, evaluate


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def named(name: str) -> Operand:
    return Operand({"property": name}, name, lambda version: version[name])


def literal(value: float | str) -> Operand:
    return Operand(value, quoted(value) if isinstance(value, str) else repr(value), lambda _: value)


def lower(text: str) -> str:
    return text.lower()


def plain(text: str) -> str:
    letters = unicodedata.normalize("NFD", text)
    return re.sub("[\u0300-\u036f]", "", letters).replace("đ", "d").replace("Đ", "D")


def turned(name: str, inner: Operand) -> Operand:
    turn = {"casei": lower, "accenti": plain}[name]

    def evaluate(version: dict[str, Any]) -> Any:
        value = inner.evaluate(version)
        return None if value is None else turn(value)

    return Operand({"op": name, "args": [inner.tree]}, f"{name.upper()}({inner.text})", evaluate)


def day(value: dt.date) -> Operand:
    return Operand({"date": str(value)}, f"DATE('{value}')", lambda _: value)


def time(value: dt.datetime) -> Operand:
    text = value.isoformat().replace("+00:00", "Z")
    return Operand({"timestamp": text}, f"TIMESTAMP('{text}')", lambda _: value)


def some_day(rng: random.Random) -> dt.date:
    return dt.date(2025, 1, 1) + dt.timedelta(days=rng.randrange(45))


def some_time(rng: random.Random) -> dt.datetime:
    time_of = BEGIN + dt.timedelta(days=rng.randrange(45), hours=rng.choice([0, 5, 6]))
    return rng.choice([time_of, time_of.astimezone(VIETNAM)])


# -- conditions, whose value for a version is true, false or unknown (None)

SIGNS = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le,
         ">": operator.gt, ">=": operator.ge}  # fmt: skip


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Unknown where an operand is."""
    return lambda *values: None if None in values else function(*values)


def condition(
    op: str,
    operands: list[Operand],
    text: str,
    function: Callable[..., Any],
) -> Operand:
    tree = {"op": op, "args": [operand.tree for operand in operands]}
    return Operand(tree, text, lambda version: function(*[o.evaluate(version) for o in operands]))


def comparable(rng: random.Random) -> tuple[Any, ...]:
    kind = rng.choice(["text", "number", "date", "time"])
    if kind == "text":
        operands = [named("label"), named(rng.choice(["label", "sheet"])),
                literal(rng.choice(LABELS[1:]))]  # fmt: skip
        for name in rng.sample(["casei", "accenti"], rng.choice([0, 0, 1, 2])):
            operands = [turned(name, operand) for operand in operands]
    elif kind == "number":
        operands = [named("area"), named(rng.choice(["legal_area", "scale", "version"])),
                literal(rng.choice([0, -1.5, 100.5, 1, 1000, 1e14, 1.7e308]))]  # fmt: skip
    elif kind == "date":
        operands = [named("surveyed_on"), named("surveyed_on"), day(some_day(rng))]
    else:
        operands = [named("valid_from"), named("valid_to"), time(some_time(rng))]
    return kind, rng.sample(operands, 2)


def compared(rng: random.Random) -> Operand:
    sign = rng.choice([*SIGNS])
    _, pair = comparable(rng)
    a, b = pair
    return condition(sign, pair, f"{a.text} {sign} {b.text}", strict(SIGNS[sign]))


def like(rng: random.Random) -> Operand:
    pieces = ["%", "_", "\\%", "\\_", "\\\\", "O", "n", "t", "đ", "Ấ", "'", "😀", "50", "a"]
    pattern = "".join(rng.choices(pieces, k=rng.randint(0, 4)))
    a, b = named("label"), literal(pattern)
    for name in rng.sample(["casei", "accenti"], rng.choice([0, 1, 2])):
        a, b = turned(name, a), turned(name, b)

    def matches(value: str, pattern: str) -> bool:
        parts = re.findall(r"\\.|.", pattern, re.DOTALL)
        wild = {"%": ".*", "_": "."}
        expression = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
        return re.fullmatch(expression, value, re.DOTALL) is not None

    no = rng.random() < 0.3
    positive = condition("like", [a, b], f"{a.text}{' NOT' * no} LIKE {b.text}", strict(matches))
    return negated(positive, positive.text) if no else positive


def contrary(value: bool | None) -> bool | None:
    return None if value is None else not value


def negated(inner: Operand, text: str) -> Operand:
    tree = {"op": "not", "args": [inner.tree]}
    return Operand(tree, text, lambda version: contrary(inner.evaluate(version)))


def between(rng: random.Random) -> Operand:
    days = day(dt.date(2025, 1, 5)), day(dt.date(2025, 1, 9))
    name, *ends = rng.choice([("area", literal(-1.5), literal(100.5)),
                                    ("scale", named("area"), literal(700)),
                                    ("surveyed_on", *days),
                                    ("valid_from", time(BEGIN), named("valid_to"))])  # fmt: skip

    def within(
        value: dt.date | dt.datetime | float | None,
        low: dt.date | dt.datetime | float | None,
        high: dt.date | dt.datetime | float | None,
    ) -> bool | None:
        return both(strict(operator.ge)(value, low), strict(operator.le)(value, high))

    a = named(name)
    text = f"{name} BETWEEN {ends[0].text} AND {ends[1].text}"
    return condition("between", [a, *ends], text, within)


def both(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


def listed(rng: random.Random) -> Operand:
    kind, (a, _) = comparable(rng)
    several = [comparable(rng) for _ in range(20)]
    others = [other for same, pair in several if same == kind for other in pair][:3] or [a]
    text = f"{a.text} IN ({', '.join(other.text for other in others)})"

    def evaluate(version: dict[str, Any]) -> Any:
        is_in = False
        for other in others:
            equal = strict(operator.eq)(a.evaluate(version), other.evaluate(version))
            is_in = either(is_in, equal)
        return is_in

    return Operand({"op": "in", "args": [a.tree, [other.tree for other in others]]}, text, evaluate)


def unknown(rng: random.Random) -> Operand:
    a = named(rng.choice(["label", "area", "surveyed_on", "valid_to", "scale"]))
    no = rng.random() < 0.5
    positive = condition(
        "isNull", [a], f"{a.text} IS{' NOT' * no} NULL", lambda value: value is None
    )
    return negated(positive, positive.text) if no else positive


# -- time: spans from a first to a last moment; an unknown end may not matter

same, before = strict(operator.eq), strict(operator.lt)

#: On the spans from `a` to `z` and from `b` to `y`.
TEMPORAL: dict[str, Callable[..., bool | None]] = {
    "t_after": lambda a, z, b, y: before(y, a),
    "t_before": lambda a, z, b, y: before(z, b),
    "t_contains": lambda a, z, b, y: both(before(a, b), before(y, z)),
    "t_disjoint": lambda a, z, b, y: either(before(y, a), before(z, b)),
    "t_during": lambda a, z, b, y: both(before(b, a), before(z, y)),
    "t_equals": lambda a, z, b, y: both(same(a, b), same(z, y)),
    "t_finishedby": lambda a, z, b, y: both(before(a, b), same(z, y)),
    "t_finishes": lambda a, z, b, y: both(before(b, a), same(z, y)),
    "t_intersects": lambda a, z, b, y: contrary(either(before(y, a), before(z, b))),
    "t_meets": lambda a, z, b, y: same(z, b),
    "t_metby": lambda a, z, b, y: same(a, y),
    "t_overlappedby": lambda a, z, b, y: both(before(b, a), both(before(a, y), before(y, z))),
    "t_overlaps": lambda a, z, b, y: both(before(a, b), both(before(b, z), before(z, y))),
    "t_startedby": lambda a, z, b, y: both(same(a, b), before(y, z)),
    "t_starts": lambda a, z, b, y: both(same(a, b), before(z, y)),
}


def first_moment(value: dt.date | dt.datetime | None) -> dt.datetime | None:
    """The first moment of a date, a day in Vietnam, for comparisons with times."""
    if value is None or isinstance(value, dt.datetime):
        return value
    if value == dt.date.min:
        return FIRST
    return dt.datetime.combine(value, dt.time.min, VIETNAM)


def last_moment(value: dt.date | dt.datetime | None) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    if value == dt.date.max:
        return LAST
    return first_moment(value) + dt.timedelta(days=1) - dt.timedelta(microseconds=1)


def span(rng: random.Random) -> tuple[Any, ...]:
    """An instant or an interval, and its kind; its value is a pair whose parts may be None."""
    kind = rng.choice(["date", "time"])
    make: Any
    some: Any
    make, some = (day, some_day) if kind == "date" else (time, some_time)
    column = named(rng.choice(["valid_from", "valid_to"]) if kind == "time" else "surveyed_on")
    if rng.random() < 0.5:
        one = rng.choice([column, make(some(rng))])
        return kind, Operand(
            one.tree, one.text, lambda version: (one.evaluate(version), one.evaluate(version))
        )
    if rng.random() < 0.4:
        kind = "time"
        ends = [column, named("valid_to")]
    else:
        values = sorted(some(rng) for _ in range(2))
        ends = [make(value) if rng.random() < 0.8 else None for value in values]
        kind = kind if any(ends) else "time"
    least, most = (dt.date.min, dt.date.max) if kind == "date" else (FIRST, LAST)

    def evaluate(version: dict[str, Any]) -> Any:
        first = least if ends[0] is None else ends[0].evaluate(version)
        last = None if ends[1] is None else ends[1].evaluate(version)
        if kind == "time":
            first, last = first_moment(first), last_moment(last)
        return first, last or most  # a version without an end is still current

    def written(end: Operand | None) -> tuple[Any, ...]:
        if end is None:
            return "..", "'..'"
        bare = end.tree.get("date") or end.tree.get("timestamp")
        return (bare, quoted(bare)) if bare else (end.tree, end.text)

    trees, texts = zip(*map(written, ends), strict=True)
    return kind, Operand({"interval": [*trees]}, f"INTERVAL({', '.join(texts)})", evaluate)


def temporal(rng: random.Random) -> Operand:
    op = rng.choice([*TEMPORAL])
    (one, a), (other, b) = span(rng), span(rng)

    def holds(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool | None:
        if one != other:
            a, b = ((first_moment(first), last_moment(last)) for first, last in (a, b))
        return TEMPORAL[op](*a, *b)

    return condition(op, [a, b], f"{op.upper()}({a.text}, {b.text})", holds)


# -- lists and places

ARRAY = {
    "a_contains": lambda a, b: set(a) >= set(b),
    "a_containedby": lambda a, b: set(a) <= set(b),
    "a_equals": lambda a, b: set(a) == set(b),
    "a_overlaps": lambda a, b: bool(set(a) & set(b)),
}
SPATIAL = (
    "intersects",
    "disjoint",
    "contains",
    "within",
    "touches",
    "crosses",
    "overlaps",
    "equals",
)


def array(rng: random.Random) -> Operand:
    op = rng.choice([*ARRAY])
    codes = rng.sample([*CODES, "x'"], rng.randint(1, 3))
    value = Operand(codes, f"({', '.join(map(quoted, codes))})", lambda _: codes)
    a, b = rng.choice([(named("land_use"), value), (value, named("land_use"))])
    return condition(op, [a, b], f"{op.upper()}({a.text}, {b.text})", ARRAY[op])


def place(rng: random.Random) -> BaseGeometry:
    x, y = stored.EAST + 5 * rng.randrange(14), stored.NORTH + 5 * rng.randrange(14)
    point, other = shapely.Point(x, y), shapely.Point(x + 12.125, y + 40)
    line = shapely.LineString([(x, y), (x + rng.choice([0, 10, 33.25]), y + 10)])
    box = shapely.box(x, y, x + rng.choice([3, 10, 20]), y + rng.choice([3, 10, 20]))
    return rng.choice([
        point, shapely.MultiPoint([point, other]), line,
        shapely.MultiLineString([line, shapely.LineString([(x, y - 20), (x + 60, y - 20)])]),
        box, shapely.MultiPolygon([box, shapely.box(x + 50, y, x + 60, y + 10)]),
        box.difference(shapely.box(x + 1, y + 1, x + 2, y + 2)),
    ])  # fmt: skip


def spatial(rng: random.Random) -> Operand:
    name = rng.choice(SPATIAL)
    shape = place(rng)
    here = Operand({"property": "geometry"}, "geometry", lambda version: version["geom"])
    tree = json.loads(json.dumps(mapping(shape)))
    there = Operand(tree, shapely.to_wkt(shape, rounding_precision=3), lambda _: shape)
    a, b = rng.choice([(here, there), (here, there), (there, here)])
    text = f"S_{name.upper()}({a.text}, {b.text})"
    return condition(f"s_{name}", [a, b], text, lambda a, b: bool(getattr(shapely, name)(a, b)))


def filters(rng: random.Random, depth: int = 0) -> Operand:
    if depth < 3 and rng.random() < 0.45:
        op = rng.choice(["and", "or", "not"])
        inner = [filters(rng, depth + 1) for _ in range(1 if op == "not" else 2)]
        if op == "not":
            return negated(inner[0], f"NOT ({inner[0].text})")
        a, b = inner
        text = f"({a.text}) {op.upper()} ({b.text})"
        return condition(op, inner, text, both if op == "and" else either)
    make = rng.choice([compared, compared, like, between, listed, unknown, temporal, temporal,
                             array, spatial, spatial])  # fmt: skip
    return make(rng)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_filter_selects_what_plain_python_selects(
    filled: tuple[served.Client, list[dict[str, Any]]], seed: int
) -> None:
    client, versions = filled
    rng = random.Random(seed)
    matching = 0
    for _ in range(120):
        predicate = filters(rng)
        expected = sorted((str(v["parcel_id"]), v["version"]) for v in versions
                          if predicate.evaluate(v) is True)  # fmt: skip
        matching += bool(expected)
        for language, text in (
            ("cql2-text", predicate.text),
            ("cql2-json", json.dumps(predicate.tree)),
        ):
            response = client.get(
                ITEMS,
                query_string={"filter": text, "filter-lang": language, "filter-crs": STORAGE,
                              "datetime": "../..", "limit": 1000},
            )  # fmt: skip
            assert response.status_code == 200, (text, response.text)
            chosen = sorted((feature["id"], feature["properties"]["version"])
                           for feature in response.json["features"])  # fmt: skip
            assert chosen == expected, text
    assert matching > 40


@pytest.mark.parametrize("seed", range(3))
def test_as_of_a_time_filter_and_box_choose_among_the_versions_of_then(
    filled: tuple[served.Client, list[dict[str, Any]]], seed: int
) -> None:
    client, versions = filled
    rng = random.Random(seed)
    matching = 0
    for _ in range(100):
        predicate = filters(rng)
        at = BEGIN + dt.timedelta(days=rng.randrange(55), hours=rng.choice([0, 5, 6]))
        query = {"filter": predicate.text, "filter-crs": STORAGE, "limit": 1000,
                 "datetime": at.isoformat().replace("+00:00", "Z")}  # fmt: skip
        then = [v for v in versions if v["valid_from"] <= at
                and (v["valid_to"] is None or v["valid_to"] > at)]  # fmt: skip
        if rng.random() < 0.4:
            x, y = (side + 5 * rng.randrange(14) for side in (stored.EAST, stored.NORTH))
            box = shapely.box(x, y, x + 25, y + 15)
            query |= {"bbox": ",".join(map(str, box.bounds)), "bbox-crs": STORAGE}
            then = [v for v in then if shapely.intersects(v["geom"], box)]
        expected = sorted((str(v["parcel_id"]), v["version"])
                          for v in then if predicate.evaluate(v) is True)  # fmt: skip
        matching += bool(expected)
        response = client.get(ITEMS, query_string=query)
        assert response.status_code == 200, (query, response.text)
        chosen = sorted((feature["id"], feature["properties"]["version"])
                       for feature in response.json["features"])  # fmt: skip
        assert chosen == expected, query
    assert matching > 30
