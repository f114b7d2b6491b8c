"""Filters in CQL2: what they choose, in both encodings, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import shapely
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from support import served, stored
from support.property_tests import examples

from landdata.features import collections, cql2, crs
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"
STORAGE = "http://www.opengis.net/def/crs/EPSG/0/9212"
ALL = list(range(1, 17))


@pytest.fixture(scope="module")
def client(make_store: Callable[..., Settings]) -> Iterator[Any]:
    settings = make_store()
    engine = database.engine(settings)
    stored.lattice(engine)
    batch = stored.batch(engine, "f")
    stored.parcel(
        engine,
        batch,
        stored.square(9, 9),
        number="17",
        label="Đất ở Xã Suối Mẫu",
        area=123.5,
        legal_area=None,
        scale=500,
        surveyed_on=None,
        land_use=[{"code": "ONT", "area": 1}, {"code": "CLN", "area": None}],
    )
    opened: Any
    with served.client(settings, engine) as opened:
        opened.key = opened.get(f"{ITEMS}?number=5").json["features"][0]["id"]
        yield opened
    engine.dispose()


def chosen(
    client: served.Client | FlaskClient, text: str, language: str = "cql2-text", **query: Any
) -> list[int]:
    response = client.get(
        ITEMS,
        query_string={"filter": text, "filter-lang": language, "limit": 100, **query},
    )
    assert response.status_code == 200, response.text
    return sorted(int(feature["properties"]["number"]) for feature in response.json["features"])


def corner(column: float, row: float) -> str:
    return f"{stored.EAST + 20 * column} {stored.NORTH + 20 * row}"


def ring(column: float, row: float, wide: float, high: float) -> str:
    places = [
        (column, row),
        (column + wide, row),
        (column + wide, row + high),
        (column, row + high),
        (column, row),
    ]
    return ", ".join(corner(*place) for place in places)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # basic
        ("number = '7'", [7]),
        ("number='7' OR number='8' OR number='x'", [7, 8]),
        ("area < 400", [17]),
        ("area > 399.5 AND area <= 400", ALL),
        ("NOT (area = 400)", [17]),
        ("area <> 400", [17]),
        ("scale = 500", [17]),
        ("scale = 500.5", []),
        ("legal_area IS NULL", [17]),
        ("legal_area IS NOT NULL AND number < '11'", [1, 10]),
        ("geometry IS NULL", []),
        ("TRUE", [*ALL, 17]),
        ("FALSE", []),
        ("1 = 1", [*ALL, 17]),
        ("number = 'O''Brien'", []),
        ("national_id = 'w6bqz3k8n1p0'", [12]),
        ("surveyed_on = DATE('2025-05-20') AND number IN ('1', '2')", [1, 2]),
        ("surveyed_on >= '2025-05-21'", []),
        ("valid_from = TIMESTAMP('2026-03-01T01:00:00Z')", [12]),
        ("valid_from > TIMESTAMP('2026-03-01T07:59:59+07:00')", [12]),
        ("version = 2", [12]),
        # advanced comparison
        ("number LIKE '1_'", [10, 11, 12, 13, 14, 15, 16, 17]),
        ("label LIKE '%Suối%'", [17]),
        ("label NOT LIKE 'L%' AND label LIKE '__T'", [1, 5, 9, 13]),
        (r"label LIKE '\%%'", []),
        ("area BETWEEN 100 AND 200", [17]),
        ("area NOT BETWEEN 100 AND 200", ALL),
        ("label IN ('NTS', 'none')", [4, 8, 12, 16]),
        ("label NOT IN ('NTS', 'LUC', 'CLN', 'ONT')", [17]),
        ("scale IN (500, 2000)", [17]),
        # case and accents
        ("CASEI(label) = CASEI('đẤT Ở xã suối MẪU')", [17]),
        ("CASEI(label) LIKE casei('ĐẤT Ở%')", [17]),
        ("CASEI(label) IN (casei('nts'), casei('Luc'))", [2, 4, 6, 8, 10, 12, 14, 16]),
        ("ACCENTI(label) = ACCENTI('Dat o Xa Suoi Mau')", [17]),
        ("ACCENTI(CASEI(label)) LIKE accenti(casei('dat O%'))", [17]),
        # lists
        ("A_CONTAINS(land_use, ('NTS'))", [4, 8, 12, 16]),
        ("A_CONTAINS(land_use, ('ONT','CLN'))", [17]),
        ("A_CONTAINEDBY(land_use, ('ONT','LUC'))", [1, 2, 5, 6, 9, 10, 13, 14]),
        ("A_EQUALS(land_use, ('CLN','ONT'))", [17]),
        ("A_OVERLAPS(land_use, ('CLN','x'))", [3, 7, 11, 15, 17]),
        ("A_EQUALS(land_use, land_use)", [*ALL, 17]),
        # times
        ("T_AFTER(valid_from, TIMESTAMP('2026-01-01T00:00:00Z'))", [12]),
        ("T_AFTER(valid_from, DATE('2026-02-28'))", [12]),
        ("T_AFTER(valid_from, DATE('2026-03-01'))", []),
        ("T_INTERSECTS(valid_from, DATE('2026-03-01'))", [12]),
        ("T_BEFORE(surveyed_on, DATE('2025-05-21'))", ALL),
        ("T_DURING(valid_from, INTERVAL('2026-01-01','2026-12-31'))", [12]),
        ("T_DURING(valid_from, INTERVAL('2026-01-01T00:00:00Z','..'))", [12]),
        ("T_DISJOINT(valid_from, INTERVAL('..','2025-12-31'))", [12]),
        (
            "T_INTERSECTS(INTERVAL(valid_from, valid_to),"
            " INTERVAL('2025-12-01T00:00:00Z','2025-12-31T00:00:00Z'))",
            [n for n in [*ALL, 17] if n != 12],
        ),
        ("T_EQUALS(surveyed_on, DATE('2025-05-20'))", ALL),
        ("T_STARTS(INTERVAL('2025-01-01','2025-02-01'), INTERVAL('2025-01-01','..'))",
         [*ALL, 17]),
        ("T_MEETS(INTERVAL('2025-01-01','2025-02-01'), INTERVAL('2025-02-01','..'))",
         [*ALL, 17]),
        ("T_OVERLAPS(INTERVAL('2025-01-01','2025-02-01'), INTERVAL('2025-02-01','..'))", []),
        ("T_FINISHEDBY(INTERVAL('2025-01-01','..'), INTERVAL('2025-02-01','..'))", [*ALL, 17]),
        # property with property, and with what is in the other place
        ("area = legal_area", []),
        ("area > legal_area", ALL),
        ("number = label", []),
        ("400 > area", [17]),
        ("'NTS' = label", [4, 8, 12, 16]),
        ("'7' IN (label, number, 'x')", [7]),
        ("'2025-05-20' IN (surveyed_on, label)", ALL),
        ("'2025-05-20' NOT IN (label, surveyed_on)", []),  # of 17 that day is not known
        # numbers at their limits
        ("area < 1.7e308 AND area > -1.7e308", [*ALL, 17]),
        ("version > 1e-400 AND scale < 99999999999999999999", [*ALL, 17]),
    ],
)  # fmt: skip
def test_a_filter_chooses(client: Any, text: str, expected: list[int]) -> None:
    assert chosen(client, text) == sorted(expected)
    # the other encoding of the same, as the parser gives it
    import cql2  # noqa: PLC0415  # beside what it is for

    tree = json.dumps(cql2.parse_text(text).to_json())
    assert chosen(client, tree, "cql2-json") == sorted(expected)


def test_a_filter_may_name_an_id(client: Any) -> None:
    assert chosen(client, f"id = '{client.key}'") == [5]
    assert chosen(client, f"id IN ('{client.key}', '{client.key.upper()}')") == [5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # parcel 6 is the square (1, 1); its neighbours share corners and sides
        (f"S_INTERSECTS(geometry, POINT({corner(1.5, 1.5)}))", [6]),
        (f"S_INTERSECTS(geometry, POLYGON(({ring(1.2, 1.2, 0.2, 0.2)})))", [6]),
        (f"S_INTERSECTS(geometry, POLYGON(({ring(1, 1, 1, 1)})))",
         [1, 2, 3, 5, 6, 7, 9, 10, 11]),
        (f"S_WITHIN(geometry, POLYGON(({ring(1, 1, 1, 1)})))", [6]),
        (f"S_WITHIN(geometry, POLYGON(({ring(0.9, 0.9, 2.2, 1.2)})))", [6, 7]),
        (f"S_EQUALS(geometry, POLYGON(({ring(1, 1, 1, 1)})))", [6]),
        (f"S_CONTAINS(geometry, POLYGON(({ring(1.2, 1.2, 0.2, 0.2)})))", [6]),
        (f"S_TOUCHES(geometry, POLYGON(({ring(1, 1, 1, 1)})))", [1, 2, 3, 5, 7, 9, 10, 11]),
        (f"S_OVERLAPS(geometry, POLYGON(({ring(1.5, 1, 1, 1)})))", [6, 7]),
        (f"S_CROSSES(geometry, LINESTRING({corner(-1, 1.5)}, {corner(1.5, 1.5)}))", [5, 6]),
        (f"S_DISJOINT(geometry, POLYGON(({ring(-1, -1, 9, 9)})))", [17]),
        (f"NOT S_INTERSECTS(geometry, POLYGON(({ring(-1, -1, 9, 9)})))", [17]),
        (f"S_INTERSECTS(geometry, MULTIPOINT(({corner(0.5, 0.5)}), ({corner(3.5, 3.5)})))",
         [1, 16]),
        (f"S_INTERSECTS(geometry, GEOMETRYCOLLECTION(POINT({corner(0.5, 0.5)}),"
         f" LINESTRING({corner(3.5, 3.5)}, {corner(3.6, 3.6)})))", [1, 16]),
        (f"S_WITHIN(POINT({corner(1.5, 1.5)}), geometry)", [6]),
        (f"S_INTERSECTS(geometry, BBOX({corner(1.2, 1.2).replace(' ', ',')},"
         f"{corner(1.4, 1.4).replace(' ', ',')}))", [6]),
        (f"S_INTERSECTS(geometry, POINT({corner(1.5, 1.5)})) AND label = 'ONT'", []),
        ("S_INTERSECTS(geometry, geometry)", [*ALL, 17]),
    ],
)  # fmt: skip
def test_a_filter_chooses_by_place(client: Any, text: str, expected: list[int]) -> None:
    assert chosen(client, text, **{"filter-crs": STORAGE}) == expected


@pytest.mark.parametrize(
    ("uri", "srid", "flip"),
    [
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326, False),
        ("http://www.opengis.net/def/crs/EPSG/0/4326", 4326, True),
        ("http://www.opengis.net/def/crs/EPSG/0/4756", 4756, True),
        ("http://www.opengis.net/def/crs/EPSG/0/3857", 3857, False),
        ("http://www.opengis.net/def/crs/EPSG/0/5899", 5899, False),
    ],
)
def test_a_geometry_may_be_in_any_supported_crs(
    client: Any, uri: str, srid: int, flip: bool
) -> None:
    x, y = map(float, corner(1.5, 1.5).split())
    a, b = transformer(9212, srid).transform(x, y)
    point = [b, a] if flip else [a, b]
    tree = {
        "op": "s_intersects",
        "args": [{"property": "geometry"}, {"type": "Point", "coordinates": point}],
    }
    assert chosen(client, json.dumps(tree), "cql2-json", **{"filter-crs": uri}) == [6]
    if uri.endswith("CRS84"):
        assert chosen(client, json.dumps(tree), "cql2-json") == [6]


@pytest.mark.parametrize("uri", [*crs.supported(9212)])
def test_a_parcel_that_was_read_is_itself_and_touches_its_neighbours(client: Any, uri: str) -> None:
    """Whatever the system: rounded to 0.1 mm it would overlap some of them and miss others."""
    for number, around in (("6", [1, 2, 3, 5, 7, 9, 10, 11]), ("12", [7, 8, 11, 15, 16])):
        (feature,) = client.get(ITEMS, query_string={"number": number, "crs": uri}).json["features"]
        for op, expected in (
            ("s_equals", [int(number)]),
            ("s_within", [int(number)]),
            ("s_touches", around),
            ("s_overlaps", []),
            ("s_intersects", sorted([*around, int(number)])),
        ):
            tree = {"op": op, "args": [{"property": "geometry"}, feature["geometry"]]}
            numbers = chosen(client, json.dumps(tree), "cql2-json", **{"filter-crs": uri})
            assert numbers == expected, (uri, op)


def test_geometries_may_cover_the_world_or_be_far_away(client: Any) -> None:
    every = [*ALL, 17]
    world = "POLYGON((-180 -90, 180 -90, 180 90, -180 90, -180 -90))"
    assert chosen(client, f"S_WITHIN(geometry, {world})") == every
    assert chosen(client, "S_INTERSECTS(geometry, BBOX(-180,-90,180,90))") == every
    for far in ("POINT(0 0)", "POINT(-74 40)", "LINESTRING(0 0, 10 80)"):
        assert chosen(client, f"S_INTERSECTS(geometry, {far})") == []
    box = shapely.box(-2e7, -2e7, 2e7, 2e7).wkt
    uri = "http://www.opengis.net/def/crs/EPSG/0/3857"
    assert chosen(client, f"S_WITHIN(geometry, {box})", **{"filter-crs": uri}) == every


def test_a_filter_combines_with_all_other_parameters(client: Any) -> None:
    page = client.get(
        ITEMS,
        query_string={
            "filter": "scale = 1000",
            "land_use": "NTS",
            "datetime": "2025-08-01T00:00:00Z",
            "sortby": "-area,number",
            "properties": "number,area",
            "limit": 3,
            "count": "exact",
        },
    ).json
    assert page["numberMatched"] == 4
    assert [feature["properties"] for feature in page["features"]] == [
        {"number": "12", "area": 440},
        {"number": "16", "area": 400},
        {"number": "4", "area": 400},
    ]
    onward = next(link["href"] for link in page["links"] if link["rel"] == "next")
    assert [f["properties"]["number"] for f in client.get(onward).json["features"]] == ["8"]
    names = client.get(
        "/ogc/collections/communes/items", query_string={"filter": "CASEI(name) LIKE casei('XÃ%')"}
    ).json["features"]
    assert [feature["properties"]["code"] for feature in names] == ["99901"]


# -- what is refused


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not CQL2 text"),
        ("number =", "not CQL2 text (line 1, column 9)"),
        ("number = 'x", "not CQL2 text"),
        ("number", "not a condition"),
        ("owner = 'x'", "no property 'owner'"),
        ("address = 'x'", "no property 'address'"),
        ("measured_area = 1", "no property 'measured_area'"),
        ("geom IS NULL", "no property 'geom'"),
        ("area = 'x'", "area is a number"),
        ("'x' < area", "area is a number"),
        ("number = 7", "number is text"),
        ("number = area", "compared"),
        ("area = TRUE", "area is a number"),
        ("id = 'x'", "not a UUID"),
        ("surveyed_on = 'yesterday'", "not a date"),
        ("surveyed_on = DATE('2025-02-30')", "not a date"),
        ("surveyed_on = TIMESTAMP('2025-02-01T00:00:00Z')", "surveyed_on is a date"),
        ("valid_from = TIMESTAMP('2025-02-30T00:00:00Z')", "not a time with its offset"),
        ("land_use = 'ONT'", "A_CONTAINS"),
        ("area LIKE '4%'", "'like'"),
        ("label LIKE number", "pattern"),
        ("label LIKE 'x\\'", "escape"),
        ("number IN (1, 2)", "number is text"),
        ("label BETWEEN 1 AND 2", "label is text"),
        ("CASEI(area) = 'x'", "takes text"),
        ("area + 1 = 2", "no function '+'"),
        ("pg_sleep(10) = 1", "no function 'pg_sleep'"),
        ("pg_sleep(10)", "pg_sleep"),
        ("S_INTERSECTS(number, POINT(1 2))", "number is not a geometry"),
        ("S_INTERSECTS(geometry, number)", "number is not a geometry"),
        ("S_INTERSECTS(geometry, 'x')", "not a geometry"),
        ("S_INTERSECTS(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))", "not valid"),
        ("S_INTERSECTS(geometry, POINT(1))", "filter"),
        ("S_WITHIN(geometry, GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(1 2, 3 4)))", "kinds"),
        ("S_INTERSECTS(geometry, POINT(90 180))", "not on the globe"),
        ("S_DISJOINT(geometry, LINESTRING(11.5 106.7, 11.6 106.7))", "longitude first"),
        ("S_INTERSECTS(geometry, POINT(180.1 11))", "not on the globe"),
        ("S_INTERSECTS(geometry, POINT EMPTY)", "not CQL2 text"),
        ("S_INTERSECTS(geometry, POLYGON EMPTY)", "empty"),
        ("S_INTERSECTS(geometry, BBOX(106, 11, 107, 95))", "BBOX: latitudes are from -90"),
        ("geometry = 'x'", "spatial functions"),
        ("T_AFTER(number, DATE('2025-01-01'))", "not a date"),
        ("T_AFTER(valid_from, INTERVAL('2026-01-01','2025-01-01'))", "ends before"),
        ("A_CONTAINS(number, ('x'))", "number is not a list"),
        ("A_CONTAINS(land_use, (1, 2))", "a list holds text"),
        ("(" * 100 + "area = 1" + ")" * 100, "nested"),
        ("NOT " * 5000 + "area = 1", "nested"),
        ("area = " + "-" * 5000 + "1", "nested"),
        ("area = " + "1+" * 5000 + "1", "nested"),
        ("number = '" + "x" * 60_000 + "'", "longer"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_in_one_sentence(
    client: Any, text: str, reason: str
) -> None:
    response = client.get(ITEMS, query_string={"filter": text})
    assert response.status_code == 400, response.text
    message = response.json["error"]["message"]
    assert message.startswith("Parameter filter is not usable: ")
    assert reason in message
    assert len(message) < 900


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("number = '7'", "not JSON"),
        ("[1", "not JSON"),
        ("NaN", "not JSON"),
        ("7", "condition"),
        ("{}", "condition"),
        ('{"op":"=","args":[{"property":"area"},1e999]}', "too large"),
        ('{"op":"=","args":[{"property":"area"}]}', "takes 2 arguments"),
        ('{"op":"=","args":[{"property":"area"},' + "9" * 400 + "]}", "too large"),
        ('{"op":"=","args":[{"property":"number"},"\\u0000"]}', "null character"),
        ('{"op":"=","args":[{"property":"number"},"\\ud800"]}', "surrogate"),
        ('{"op":"like","args":[{"property":"label"},"%\\udfff"]}', "surrogate"),
        ('{"op":"a_contains","args":[{"property":"land_use"},["\\ud800"]]}', "surrogate"),
        ('{"op":"not","args":7}', "list of arguments"),
        ('{"op":["="],"args":[1,1]}', "condition"),
        ('{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Point",'
         '"coordinates":["x",1]}]}', "not a GeoJSON geometry"),
        ('{"op":"s_intersects","args":[{"property":"geometry"},{"bbox":[1,"2",3,4]}]}', "BBOX"),
        ('{"op":"not","args":[' * 200 + "true" + "]}" * 200, "nested"),
        ("1" * 60_000, "longer"),
        ("[" * 20_000, "not JSON"),
    ],
)  # fmt: skip
def test_bad_json_is_refused_in_one_sentence(client: Any, text: str, reason: str) -> None:
    response = client.get(ITEMS, query_string={"filter": text, "filter-lang": "cql2-json"})
    assert response.status_code == 400, response.text
    assert reason in response.json["error"]["message"]


def test_parameters_of_a_filter_need_one(client: Any) -> None:
    for query in ("filter-lang=cql2-text", f"filter-crs={STORAGE}"):
        assert client.get(f"{ITEMS}?{query}").status_code == 400
    for query in ("filter-lang=sql", "filter-crs=EPSG:1", "filter=TRUE"):
        response = client.get(f"{ITEMS}?filter=TRUE&{query}")
        assert response.status_code == 400


pieces = st.sampled_from(
    ["area", "number", "label", "land_use", "geometry", "valid_from", "surveyed_on", "owner", "x",
     "=", "<>", "<", ">=", "LIKE", "BETWEEN", "AND", "OR", "NOT", "IN", "IS NULL", "(", ")", ",",
     "1", "-1", "1e308", "'a'", "'%'", "''''", "CASEI(", "S_INTERSECTS(", "S_WITHIN(", "T_AFTER(",
     "A_CONTAINS(", "INTERVAL(", "DATE('2025-01-01')", "TIMESTAMP('2025-01-01T00:00:00Z')", "'..'",
     "POINT(106 11)", "POLYGON((0 0,1 0,1 1,0 0))", "BBOX(1,2,3,4)", "TRUE", "+", "*", "/", "%",
     "; DROP TABLE parcels", "--", "\\", "\"", "%s", "%(key)s", "ế", "\u0000"]
)  # fmt: skip
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([{"property": "area"}, {"property": "geometry"}, {"property": "land_use"}]),
    lambda inner: st.lists(inner, max_size=3)
    | st.fixed_dictionaries(
        {
            "op": st.sampled_from(
                ["and", "or", "not", "=", "like", "in", "between", "isNull", "casei", "a_equals",
                 "s_within", "t_during", "+"]
            ),
            "args": st.lists(inner, max_size=3),
        }
    )
    | st.dictionaries(
        st.sampled_from(["date", "timestamp", "interval", "bbox", "type", "coordinates"]), inner
    ),
    max_leaves=8,
)  # fmt: skip


def test_no_filter_is_a_server_error(client: Any) -> None:
    @tuned(
        max_examples=examples(6),
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )
    @given(st.lists(pieces, max_size=9).map(" ".join) | trees.map(json.dumps), st.booleans())
    def send(text: str, as_json: bool) -> None:
        language = "cql2-json" if as_json else "cql2-text"
        response = client.get(ITEMS, query_string={"filter": text, "filter-lang": language})
        assert response.status_code in (200, 400), (text, response.text)

    send()


def test_the_parser_survives_the_largest_filters() -> None:
    """It is native code: a stack overflow would end the server without a traceback."""
    code = """
from landdata.features.cql2 import parsing
for text in (
    "(" * 60 + "area = 1" + ")" * 60,
    "NOT (" * 19 + "area = 1" + ")" * 19,
    " AND ".join(["area = 1"] * 2400),
    " OR ".join(["(area = 1 AND NOT label = 'x')"] * 700),
    "area = 1 AND " * 1000 + "CASEI(" * 25 + "label" + ")" * 25 + " = 'x'",
    "label IN (" + ",".join(["'x'"] * 10000) + ")",
    "S_INTERSECTS(geometry, LINESTRING(" + ",".join(["1 2"] * 10000) + "))",
):
    parsing.parse(text)
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr


def test_a_filter_that_comes_again_is_that_of_its_collection_and_reference_system() -> None:
    offer = collections.collections(Settings())
    parcels, communes = offer["parcels"], offer["communes"]
    systems = crs.supported(9212)
    text = "S_INTERSECTS(geometry, POINT(11.5 16.7))"

    def read(collection: Any, uri: str) -> Any:
        return cql2.read(text, "cql2-text", collection, filter_crs=systems[uri], storage=9212)

    first = read(parcels, f"{crs.EPSG}4326")
    assert read(parcels, f"{crs.EPSG}4326") is first
    assert read(communes, f"{crs.EPSG}4326") is not first
    assert read(parcels, crs.CRS84).parameters != first.parameters
