"""Filters at random, in both encodings, beside plain Python and shapely over the same states."""

from __future__ import annotations

import datetime as dt
import json
import operator
import random
import re
import unicodedata
import uuid

import pytest
import shapely
from shapely.geometry import mapping
from support import served, stored

from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"
STORAGE = "http://www.opengis.net/def/crs/EPSG/0/9212"
VIETNAM = dt.timezone(dt.timedelta(hours=7))
BEGIN = dt.datetime(2025, 1, 1, 17, tzinfo=dt.UTC)  # midnight in Vietnam
LABELS = [None, "", "ONT", "ont", "O_T", "O%T", "50%", "\\", "a\\_b", "Đất ở", "ĐẤT Ở", "dat o",
          "Đất ở", "'", "''", "😀", "🏡x", "ờ", "x\ny"]  # fmt: skip
CODES = ["ONT", "CLN", "LUC"]
FIRST, LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)


def states(random_of):
    """One or two states each of some parcels on a grid of 10 m, with nulls in most columns."""
    made = []
    for number in range(70):
        x, y = (
            stored.EAST + 10 * random_of.randrange(6),
            stored.NORTH + 10 * random_of.randrange(6),
        )
        shape = shapely.box(x, y, x + random_of.choice([10, 20]), y + random_of.choice([10, 20]))
        if random_of.random() < 0.3:
            shape = shape.difference(shapely.box(x + 2, y + 2, x + 5, y + 5))
        if random_of.random() < 0.2:
            shape = shapely.union(shape, shapely.box(x + 30, y, x + 40, y + 10))
        days = [random_of.randrange(20), random_of.randrange(20, 40)][: random_of.randint(1, 2)]
        key = uuid.UUID(int=random_of.getrandbits(128), version=4)
        for place, day in enumerate(days):
            ends = days[place + 1] if place + 1 < len(days) else random_of.choice([None, 50])
            made.append({
                "parcel_id": key, "version": place + 1,
                "valid_from": BEGIN + dt.timedelta(days=day, hours=random_of.choice([0, 0, 5])),
                "valid_to": None if ends is None else BEGIN + dt.timedelta(days=ends, hours=6),
                "number": str(number), "sheet": random_of.choice(["1", "2"]),
                "scale": random_of.choice([None, 500, 1000]),
                "area": random_of.choice([None, 0.0, -1.5, 100.5, 200.0]),
                "legal_area": random_of.choice([None, 100.5, 1e14]),
                "label": random_of.choice(LABELS),
                "surveyed_on": random_of.choice(
                    [None, dt.date(2025, 1, 5), dt.date(2025, 1, 9), dt.date(2025, 2, 9)]),
                "land_use": random_of.sample(CODES, random_of.randint(0, 3)),
                "geom": shapely.MultiPolygon(shapely.get_parts(shape).tolist()),
            })  # fmt: skip
    return made


@pytest.fixture(scope="module")
def known(make_store):
    """A client, and the states that its store holds."""
    settings = make_store()
    engine = database.engine(settings)
    stored.commune(engine)
    batch = stored.batch(engine, "a")
    made = states(random.Random(23))
    for each in made:
        columns = {k: v for k, v in each.items() if k not in ("parcel_id", "geom", "land_use")}
        columns["land_use"] = [{"code": code, "area": None} for code in each["land_use"]]
        geom = f"SRID=9212;{each['geom'].wkt}"
        stored.parcel(engine, batch, geom, parcel_id=each["parcel_id"], **columns)
    with served.client(settings, engine) as client:
        yield client, made
    engine.dispose()


# -- operands: JSON, text, and what they are of a state --------------------------------------


class Operand:
    def __init__(self, tree, text, of):
        self.tree, self.text, self.of = tree, text, of


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def named(name):
    return Operand({"property": name}, name, lambda state: state[name])


def literal(value):
    return Operand(value, quoted(value) if isinstance(value, str) else repr(value), lambda _: value)


def lower(text):
    return text.lower()


def plain(text):
    letters = unicodedata.normalize("NFD", text)
    return re.sub("[\u0300-\u036f]", "", letters).replace("đ", "d").replace("Đ", "D")


def turned(name, inner):
    turn = {"casei": lower, "accenti": plain}[name]

    def of(state):
        value = inner.of(state)
        return None if value is None else turn(value)

    return Operand({"op": name, "args": [inner.tree]}, f"{name.upper()}({inner.text})", of)


def day(value):
    return Operand({"date": str(value)}, f"DATE('{value}')", lambda _: value)


def time(value):
    text = value.isoformat().replace("+00:00", "Z")
    return Operand({"timestamp": text}, f"TIMESTAMP('{text}')", lambda _: value)


def some_day(random_of):
    return dt.date(2025, 1, 1) + dt.timedelta(days=random_of.randrange(45))


def some_time(random_of):
    time_of = BEGIN + dt.timedelta(days=random_of.randrange(45), hours=random_of.choice([0, 5, 6]))
    return random_of.choice([time_of, time_of.astimezone(VIETNAM)])


# -- conditions: each a pair of trees and what it is of a state: true, false or unknown (None)

SIGNS = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le,
         ">": operator.gt, ">=": operator.ge}  # fmt: skip


def strict(function):
    """Unknown where anything is."""
    return lambda *values: None if None in values else function(*values)


def condition(op, operands, text, function):
    tree = {"op": op, "args": [each.tree for each in operands]}
    return Operand(tree, text, lambda state: function(*[each.of(state) for each in operands]))


def comparable(random_of):
    kind = random_of.choice(["text", "number", "date", "time"])
    if kind == "text":
        made = [named("label"), named(random_of.choice(["label", "sheet"])),
                literal(random_of.choice(LABELS[1:]))]  # fmt: skip
        for name in random_of.sample(["casei", "accenti"], random_of.choice([0, 0, 1, 2])):
            made = [turned(name, each) for each in made]
    elif kind == "number":
        made = [named("area"), named(random_of.choice(["legal_area", "scale", "version"])),
                literal(random_of.choice([0, -1.5, 100.5, 1, 1000, 1e14, 1.7e308]))]  # fmt: skip
    elif kind == "date":
        made = [named("surveyed_on"), named("surveyed_on"), day(some_day(random_of))]
    else:
        made = [named("valid_from"), named("valid_to"), time(some_time(random_of))]
    return kind, random_of.sample(made, 2)


def compared(random_of):
    sign = random_of.choice([*SIGNS])
    _, pair = comparable(random_of)
    a, b = pair
    return condition(sign, pair, f"{a.text} {sign} {b.text}", strict(SIGNS[sign]))


def like(random_of):
    pieces = ["%", "_", "\\%", "\\_", "\\\\", "O", "n", "t", "đ", "Ấ", "'", "😀", "50", "a"]
    pattern = "".join(random_of.choices(pieces, k=random_of.randint(0, 4)))
    a, b = named("label"), literal(pattern)
    for name in random_of.sample(["casei", "accenti"], random_of.choice([0, 1, 2])):
        a, b = turned(name, a), turned(name, b)

    def matches(value, pattern):
        parts = re.findall(r"\\.|.", pattern, re.DOTALL)
        wild = {"%": ".*", "_": "."}
        expression = "".join(wild.get(each) or re.escape(each[-1]) for each in parts)
        return re.fullmatch(expression, value, re.DOTALL) is not None

    no = random_of.random() < 0.3
    made = condition("like", [a, b], f"{a.text}{' NOT' * no} LIKE {b.text}", strict(matches))
    return negated(made, made.text) if no else made


def contrary(value):
    return None if value is None else not value


def negated(inner, text):
    tree = {"op": "not", "args": [inner.tree]}
    return Operand(tree, text, lambda state: contrary(inner.of(state)))


def between(random_of):
    days = day(dt.date(2025, 1, 5)), day(dt.date(2025, 1, 9))
    name, *ends = random_of.choice([("area", literal(-1.5), literal(100.5)),
                                    ("scale", named("area"), literal(700)),
                                    ("surveyed_on", *days),
                                    ("valid_from", time(BEGIN), named("valid_to"))])  # fmt: skip

    def within(value, low, high):
        return both(strict(operator.ge)(value, low), strict(operator.le)(value, high))

    a = named(name)
    text = f"{name} BETWEEN {ends[0].text} AND {ends[1].text}"
    return condition("between", [a, *ends], text, within)


def both(a, b):
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a, b):
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


def listed(random_of):
    kind, (a, _) = comparable(random_of)
    several = [comparable(random_of) for _ in range(20)]
    others = [each for found, pair in several if found == kind for each in pair][:3] or [a]
    text = f"{a.text} IN ({', '.join(each.text for each in others)})"

    def of(state):
        made = False
        for each in others:
            made = either(made, strict(operator.eq)(a.of(state), each.of(state)))
        return made

    return Operand({"op": "in", "args": [a.tree, [each.tree for each in others]]}, text, of)


def unknown(random_of):
    a = named(random_of.choice(["label", "area", "surveyed_on", "valid_to", "scale"]))
    no = random_of.random() < 0.5
    made = condition("isNull", [a], f"{a.text} IS{' NOT' * no} NULL", lambda value: value is None)
    return negated(made, made.text) if no else made


# -- time: spans of first and last moment; one that is not known may not matter

same, before = strict(operator.eq), strict(operator.lt)

#: On the spans from `a` to `z` and from `b` to `y`.
TEMPORAL = {
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


def first_moment(value):
    """Of a date, which is a day in Vietnam, where times are compared with it."""
    if value is None or isinstance(value, dt.datetime):
        return value
    if value == dt.date.min:
        return FIRST
    return dt.datetime.combine(value, dt.time.min, VIETNAM)


def last_moment(value):
    if value is None or isinstance(value, dt.datetime):
        return value
    if value == dt.date.max:
        return LAST
    return first_moment(value) + dt.timedelta(days=1) - dt.timedelta(microseconds=1)


def span(random_of):
    """An instant or an interval, and its kind; its value is a pair, each of which may be None."""
    kind = random_of.choice(["date", "time"])
    make, some = (day, some_day) if kind == "date" else (time, some_time)
    column = named(
        random_of.choice(["valid_from", "valid_to"]) if kind == "time" else "surveyed_on"
    )
    if random_of.random() < 0.5:
        one = random_of.choice([column, make(some(random_of))])
        return kind, Operand(one.tree, one.text, lambda state: (one.of(state), one.of(state)))
    if random_of.random() < 0.4:
        kind = "time"
        ends = [column, named("valid_to")]
    else:
        values = sorted(some(random_of) for _ in range(2))
        ends = [make(each) if random_of.random() < 0.8 else None for each in values]
        kind = kind if any(ends) else "time"
    least, most = (dt.date.min, dt.date.max) if kind == "date" else (FIRST, LAST)

    def of(state):
        first = least if ends[0] is None else ends[0].of(state)
        last = None if ends[1] is None else ends[1].of(state)
        if kind == "time":
            first, last = first_moment(first), last_moment(last)
        return first, last or most  # what has no end yet goes on for ever

    def written(end):
        if end is None:
            return "..", "'..'"
        bare = end.tree.get("date") or end.tree.get("timestamp")
        return (bare, quoted(bare)) if bare else (end.tree, end.text)

    trees, texts = zip(*map(written, ends), strict=True)
    return kind, Operand({"interval": [*trees]}, f"INTERVAL({', '.join(texts)})", of)


def temporal(random_of):
    op = random_of.choice([*TEMPORAL])
    (one, a), (other, b) = span(random_of), span(random_of)

    def holds(a, b):
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


def array(random_of):
    op = random_of.choice([*ARRAY])
    codes = random_of.sample([*CODES, "x'"], random_of.randint(1, 3))
    value = Operand(codes, f"({', '.join(map(quoted, codes))})", lambda _: codes)
    a, b = random_of.choice([(named("land_use"), value), (value, named("land_use"))])
    return condition(op, [a, b], f"{op.upper()}({a.text}, {b.text})", ARRAY[op])


def place(random_of):
    x, y = stored.EAST + 5 * random_of.randrange(14), stored.NORTH + 5 * random_of.randrange(14)
    point, other = shapely.Point(x, y), shapely.Point(x + 12.125, y + 40)
    line = shapely.LineString([(x, y), (x + random_of.choice([0, 10, 33.25]), y + 10)])
    box = shapely.box(x, y, x + random_of.choice([3, 10, 20]), y + random_of.choice([3, 10, 20]))
    return random_of.choice([
        point, shapely.MultiPoint([point, other]), line,
        shapely.MultiLineString([line, shapely.LineString([(x, y - 20), (x + 60, y - 20)])]),
        box, shapely.MultiPolygon([box, shapely.box(x + 50, y, x + 60, y + 10)]),
        box.difference(shapely.box(x + 1, y + 1, x + 2, y + 2)),
    ])  # fmt: skip


def spatial(random_of):
    name = random_of.choice(SPATIAL)
    shape = place(random_of)
    here = Operand({"property": "geometry"}, "geometry", lambda state: state["geom"])
    tree = json.loads(json.dumps(mapping(shape)))
    there = Operand(tree, shapely.to_wkt(shape, rounding_precision=3), lambda _: shape)
    a, b = random_of.choice([(here, there), (here, there), (there, here)])
    text = f"S_{name.upper()}({a.text}, {b.text})"
    return condition(f"s_{name}", [a, b], text, lambda a, b: bool(getattr(shapely, name)(a, b)))


def filters(random_of, depth=0):
    if depth < 3 and random_of.random() < 0.45:
        op = random_of.choice(["and", "or", "not"])
        inner = [filters(random_of, depth + 1) for _ in range(1 if op == "not" else 2)]
        if op == "not":
            return negated(inner[0], f"NOT ({inner[0].text})")
        a, b = inner
        text = f"({a.text}) {op.upper()} ({b.text})"
        return condition(op, inner, text, both if op == "and" else either)
    make = random_of.choice([compared, compared, like, between, listed, unknown, temporal, temporal,
                             array, spatial, spatial])  # fmt: skip
    return make(random_of)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_filter_chooses_what_plain_python_chooses(known, seed):
    client, made = known
    random_of = random.Random(seed)
    some = 0
    for _ in range(120):
        wanted = filters(random_of)
        expected = sorted((str(each["parcel_id"]), each["version"]) for each in made
                          if wanted.of(each) is True)  # fmt: skip
        some += bool(expected)
        for language, text in (("cql2-text", wanted.text), ("cql2-json", json.dumps(wanted.tree))):
            answer = client.get(
                ITEMS,
                query_string={"filter": text, "filter-lang": language, "filter-crs": STORAGE,
                              "datetime": "../..", "limit": 1000},
            )  # fmt: skip
            assert answer.status_code == 200, (text, answer.text)
            found = sorted((each["id"], each["properties"]["version"])
                           for each in answer.json["features"])  # fmt: skip
            assert found == expected, text
    assert some > 40


@pytest.mark.parametrize("seed", range(3))
def test_as_of_a_time_filter_and_box_choose_among_the_states_of_then(known, seed):
    client, made = known
    random_of = random.Random(seed)
    some = 0
    for _ in range(100):
        wanted = filters(random_of)
        at = BEGIN + dt.timedelta(days=random_of.randrange(55), hours=random_of.choice([0, 5, 6]))
        asked = {"filter": wanted.text, "filter-crs": STORAGE, "limit": 1000,
                 "datetime": at.isoformat().replace("+00:00", "Z")}  # fmt: skip
        then = [each for each in made if each["valid_from"] <= at
                and (each["valid_to"] is None or each["valid_to"] > at)]  # fmt: skip
        if random_of.random() < 0.4:
            x, y = (side + 5 * random_of.randrange(14) for side in (stored.EAST, stored.NORTH))
            box = shapely.box(x, y, x + 25, y + 15)
            asked |= {"bbox": ",".join(map(str, box.bounds)), "bbox-crs": STORAGE}
            then = [each for each in then if shapely.intersects(each["geom"], box)]
        expected = sorted((str(each["parcel_id"]), each["version"])
                          for each in then if wanted.of(each) is True)  # fmt: skip
        some += bool(expected)
        answer = client.get(ITEMS, query_string=asked)
        assert answer.status_code == 200, (asked, answer.text)
        found = sorted((each["id"], each["properties"]["version"])
                       for each in answer.json["features"])  # fmt: skip
        assert found == expected, asked
    assert some > 30
