"""What is claimed at /ogc/conformance, class by class: each holds, and nothing else is claimed.

A probe asks, in our own words, for what the abstract tests of its class ask for. The official
suites (script/conformance) know no more than parts 1 and 2 of Features, and Tiles.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from support import mvt, served, stored

from landdata.settings import Settings
from ogc.conformance import CONFORMANCE

PARCELS = "/ogc/collections/parcels"
RELATION = "http://www.opengis.net/def/rel/ogc/1.0/"
MINE = {  # the lattice: sixteen squares of 20 m, ONT, LUC, CLN, NTS in turn
    "all": 16,
    "of one use": 4,
}


@pytest.fixture(scope="module")
def client(make_store: Callable[..., Settings]) -> Iterator[served.Client]:
    with served.lattice(make_store(publish_address=True)) as opened:
        yield opened


def get(
    client: served.Client,
    path: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **query: Any,
) -> served.Response:
    answer = client.get(path, query_string=query or None, headers=headers)
    assert answer.status_code == status, (path, query, answer.text[:300])
    return answer


def told(client: served.Client, path: str, **query: Any) -> Any:
    return json.loads(get(client, path, **query).data)


def matched(client: served.Client, text: str, **query: Any) -> int:
    """How many parcels a condition finds; the same as JSON, where it is text."""
    found = told(client, f"{PARCELS}/items", filter=text, limit=100, **query)
    return len(found["features"])


def refused(client: served.Client, text: str, **query: Any) -> None:
    answer = get(client, f"{PARCELS}/items", status=400, filter=text, **query)
    assert answer.json["description"]


def links(document: dict[str, Any], rel: str) -> list[Any]:
    return [each for each in document["links"] if each["rel"] == rel]


def schema_of(client: served.Client, rel: str) -> Any:
    href = links(told(client, PARCELS), RELATION + rel)[0]["href"]
    answer = get(client, href, headers={"Accept": "application/schema+json"})
    assert answer.mimetype == "application/schema+json"
    schema = json.loads(answer.data)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert urlsplit(schema["$id"]).path.endswith(rel)
    assert schema["type"] == "object"
    return schema


# -- CQL2


def cql2_text(client: served.Client) -> None:
    assert matched(client, "number='5'") == 1
    assert matched(client, "number = '5' OR sheet = '1' AND NOT number = '6'") == 15
    assert matched(client, "\"number\" = '5'", **{"filter-lang": "cql2-text"}) == 1
    refused(client, "number = ")
    refused(client, "number == '5'")


def cql2_json(client: served.Client) -> None:
    tree: dict[str, Any] = {"op": "=", "args": [{"property": "number"}, "5"]}
    as_json = {"filter-lang": "cql2-json"}
    assert matched(client, json.dumps(tree), **as_json) == 1
    assert matched(client, json.dumps({"op": "not", "args": [tree]}), **as_json) == 15
    refused(client, '{"op": "="}', **as_json)
    refused(client, "number = '5'", **as_json)
    refused(client, json.dumps(tree))  # text is the default


def basic_cql2(client: served.Client) -> None:
    for sign, count in (("=", 1), ("<>", 15), ("<", 5), ("<=", 6), (">", 10), (">=", 11)):
        # '13' < '2' among texts
        assert matched(client, f"number {sign} '14'") == count, sign
    assert matched(client, "area = 400.0") == MINE["all"]
    assert matched(client, "area > 400 OR scale = 1000") == MINE["all"]
    assert matched(client, "national_id IS NULL") == MINE["all"] - 1
    assert matched(client, "national_id IS NOT NULL") == 1
    assert matched(client, "surveyed_on >= DATE('2025-05-20')") == MINE["all"]
    assert matched(client, "valid_from < TIMESTAMP('2025-12-31T00:00:00Z')") == MINE["all"] - 1
    refused(client, "nothing = 1")
    refused(client, "area = 'x'")


def advanced(client: served.Client) -> None:
    assert matched(client, "label LIKE 'O%'") == MINE["of one use"]
    assert matched(client, "label LIKE '_LN'") == MINE["of one use"]
    assert matched(client, "label NOT LIKE 'O%'") == 12
    assert matched(client, "area BETWEEN 399 AND 401") == MINE["all"]
    assert matched(client, "area NOT BETWEEN 399 AND 401") == 0
    assert matched(client, "number IN ('1', '2', 'x')") == 2
    assert matched(client, "number NOT IN ('1', '2', 'x')") == 14


def case_insensitive(client: served.Client) -> None:
    assert matched(client, "label = 'ont'") == 0
    assert matched(client, "CASEI(label) = CASEI('oNt')") == MINE["of one use"]
    assert matched(client, "CASEI(label) LIKE casei('O%')") == MINE["of one use"]
    assert matched(client, "CASEI(label) IN (CASEI('ont'), CASEI('luc'))") == 8


def accent_insensitive(client: served.Client) -> None:
    assert matched(client, "address = 'Thon 1'") == 0
    assert matched(client, "ACCENTI(address) = ACCENTI('Thon 1')") == MINE["all"]
    assert matched(client, "ACCENTI(CASEI(address)) LIKE ACCENTI(CASEI('THÒN%'))") == MINE["all"]


def property_property(client: served.Client) -> None:
    assert matched(client, "area > legal_area") == MINE["all"]
    assert matched(client, "number = sheet") == 1
    assert matched(client, "'5' = number") == 1


def box(columns: int) -> str:
    """Of the first row of the lattice, in its own reference system."""
    x, y = stored.EAST, stored.NORTH
    return f"BBOX({x + 1}, {y + 1}, {x + 20 * columns - 1}, {y + 19})"


ZONE = {"filter-crs": "http://www.opengis.net/def/crs/EPSG/0/9212"}


def basic_spatial(client: served.Client) -> None:
    assert matched(client, f"S_INTERSECTS(geometry, {box(3)})", **ZONE) == 3
    point = f"POINT({stored.EAST + 5} {stored.NORTH + 5})"
    assert matched(client, f"S_INTERSECTS(geometry, {point})", **ZONE) == 1
    refused(client, "S_INTERSECTS(number, POINT(1 2))")


def basic_spatial_plus(client: served.Client) -> None:
    x, y = stored.EAST + 5, stored.NORTH + 5
    for shape, count in (
        (f"LINESTRING({x} {y}, {x + 20} {y})", 2),
        (f"POLYGON(({x} {y}, {x + 20} {y}, {x + 20} {y + 20}, {x} {y}))", 4),
        (f"MULTIPOINT(({x} {y}), ({x + 40} {y}))", 2),
        (f"MULTILINESTRING(({x} {y}, {x + 1} {y}), ({x + 40} {y}, {x + 41} {y}))", 2),
        (f"MULTIPOLYGON((({x} {y}, {x + 1} {y}, {x + 1} {y + 1}, {x} {y})))", 1),
        (f"GEOMETRYCOLLECTION(POINT({x} {y}), POINT({x + 60} {y}))", 2),
    ):
        assert matched(client, f"S_INTERSECTS(geometry, {shape})", **ZONE) == count, shape


def spatial(client: served.Client) -> None:
    x, y = stored.EAST, stored.NORTH
    whole = f"POLYGON(({x} {y}, {x + 20} {y}, {x + 20} {y + 20}, {x} {y + 20}, {x} {y}))"
    across = f"LINESTRING({x - 5} {y + 5}, {x + 25} {y + 5})"
    for text, count in (
        (f"S_EQUALS(geometry, {whole})", 1),
        (f"S_DISJOINT(geometry, {whole})", 12),
        (f"S_TOUCHES(geometry, {whole})", 3),
        (f"S_WITHIN(geometry, {whole})", 1),
        (f"S_CONTAINS(geometry, POINT({x + 5} {y + 5}))", 1),
        (f"S_CROSSES(geometry, {across})", 2),
        (f"S_OVERLAPS(geometry, {box(1)})", 0),
        (f"S_INTERSECTS(geometry, {across})", 2),
    ):
        assert matched(client, text, **ZONE) == count, text


def temporal(client: served.Client) -> None:
    day = "DATE('2025-05-20')"
    since = "TIMESTAMP('2025-12-31T00:00:00Z')"
    state = "INTERVAL(valid_from, valid_to)"
    for text, count in (
        (f"T_AFTER(valid_from, {since})", 1),
        (f"T_BEFORE(valid_from, {since})", 15),
        (f"T_EQUALS(surveyed_on, {day})", MINE["all"]),
        (f"T_DISJOINT(valid_from, {since})", MINE["all"]),
        (f"T_INTERSECTS({state}, {since})", 15),
        (f"T_CONTAINS({state}, INTERVAL('2025-12-30T00:00:00Z', '2025-12-31T00:00:00Z'))", 15),
        ("T_DURING(valid_from, INTERVAL('2026-01-01T00:00:00Z', '..'))", 1),
        (f"T_OVERLAPS({state}, INTERVAL('2025-12-30T00:00:00Z', '..'))", 0),
        (f"T_STARTEDBY({state}, INTERVAL('2026-03-01T01:00:00Z', '2026-04-01T00:00:00Z'))", 1),
    ):
        assert matched(client, text) == count, text
    for name in ("FINISHEDBY", "FINISHES", "MEETS", "METBY", "OVERLAPPEDBY", "STARTS"):
        assert matched(client, f"T_{name}({state}, INTERVAL('2000-01-01', '2000-02-01'))") == 0


def arrays(client: served.Client) -> None:
    assert matched(client, "A_CONTAINS(land_use, ('ONT'))") == MINE["of one use"]
    assert matched(client, "A_EQUALS(land_use, ('ONT'))") == MINE["of one use"]
    assert matched(client, "A_OVERLAPS(land_use, ('ONT', 'LUC'))") == 8
    assert matched(client, "A_CONTAINEDBY(land_use, ('ONT', 'LUC'))") == 8


# -- common, features


def landing(client: served.Client) -> None:
    page = told(client, "/ogc/")
    assert {"service-desc", "service-doc", "conformance", "data"} <= {
        each["rel"] for each in page["links"]
    }
    assert page["title"]


def as_json(client: served.Client) -> None:
    for path in ("/ogc", "/ogc/conformance", "/ogc/collections", PARCELS):
        assert get(client, path, f="json").mimetype == "application/json"


def as_html(client: served.Client) -> None:
    for path in ("/ogc", "/ogc/conformance", "/ogc/collections", PARCELS, f"{PARCELS}/items"):
        answer = get(client, path, headers={"Accept": "text/html"})
        assert answer.mimetype == "text/html"
        assert answer.text.startswith("<!doctype html>")
        for link in ('rel="alternate"', "</html>"):
            assert link in answer.text


def definition(client: served.Client) -> Any:
    document = told(client, links(told(client, "/ogc"), "service-desc")[0]["href"])
    assert document["openapi"].startswith("3.0")
    for path in ("/", "/conformance", "/collections", "/collections/parcels/items"):
        assert "get" in document["paths"][path]
    return document


def core(client: served.Client) -> None:
    landing(client)
    assert told(client, "/ogc/conformance")["conformsTo"]
    page = told(client, f"{PARCELS}/items", limit=3)
    assert page["numberReturned"] == len(page["features"]) == 3
    ids = [each["id"] for each in page["features"]]
    while links(page, "next"):
        page = told(client, links(page, "next")[0]["href"])
        ids += [each["id"] for each in page["features"]]
    assert len(ids) == len(set(ids)) == MINE["all"]
    assert told(client, f"{PARCELS}/items/{ids[0]}")["id"] == ids[0]
    get(client, f"{PARCELS}/items/x", status=404)
    get(client, f"{PARCELS}/items", status=400, unknown="x")
    get(client, f"{PARCELS}/items", status=406, headers={"Accept": "image/png"})


def collections(client: served.Client) -> None:
    every = told(client, "/ogc/collections")
    assert {each["id"] for each in every["collections"]} == {"parcels", "communes", "sheets"}
    for each in every["collections"]:
        assert each["extent"]["spatial"]["bbox"]
        assert told(client, f"/ogc/collections/{each['id']}") == each


def geojson(client: served.Client) -> None:
    answer = get(client, f"{PARCELS}/items", limit=1)
    assert answer.mimetype == "application/geo+json"
    page = json.loads(answer.data)
    assert page["type"] == "FeatureCollection"
    feature = page["features"][0]
    assert feature["type"] == "Feature"
    ring = feature["geometry"]["coordinates"][0][0]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
    assert area > 0  # RFC 7946: counterclockwise


def reference_systems(client: served.Client) -> None:
    here = told(client, PARCELS)
    assert here["storageCrs"] in here["crs"]
    for uri in here["crs"]:
        answer = get(client, f"{PARCELS}/items", crs=uri, limit=1)
        assert answer.headers["Content-Crs"] == f"<{uri}>"
    get(client, f"{PARCELS}/items", status=400, crs="http://www.opengis.net/def/crs/EPSG/0/1")
    box: dict[str, Any] = {"bbox": "1,1,2,2", "bbox-crs": "x"}
    get(client, f"{PARCELS}/items", status=400, **box)


# -- filter, schemas


def filtering(client: served.Client) -> None:
    x = "http://www.opengis.net/def/crs/EPSG/0/1"
    refused(client, "S_INTERSECTS(geometry, POINT(1 2))", **{"filter-crs": x})
    refused(client, "number = '5'", **{"filter-lang": "x"})
    default = matched(client, "S_INTERSECTS(geometry, POINT(106.69 11.58))")
    same = {"filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    assert default == matched(client, "S_INTERSECTS(geometry, POINT(106.69 11.58))", **same)


def features_filter(client: served.Client) -> None:
    both = told(client, f"{PARCELS}/items", filter="number > '14'", bbox="106,11,107,12", limit=100)
    assert len(both["features"]) == 10
    page = told(client, f"{PARCELS}/items", filter="number > '14'", limit=4)
    found = len(page["features"])
    while links(page, "next"):
        page = told(client, links(page, "next")[0]["href"])
        found += len(page["features"])
    assert found == 10
    parameters = definition(client)["paths"]["/collections/parcels/items"]["get"]["parameters"]
    names = {each.get("$ref", "").rpartition("/")[2] or each["name"] for each in parameters}
    assert {"filter", "filter-lang", "filter-crs"} <= names


def queryables(client: served.Client) -> None:
    schema = schema_of(client, "queryables")
    assert schema["additionalProperties"] is False
    assert schema["properties"]["geometry"]["format"].startswith("geometry")
    for name, each in schema["properties"].items():
        assert "type" in each or "format" in each or "$ref" in each, name
        if name != "geometry":
            matched(client, f"{name} IS NULL" if each["type"] != "array" else "1 = 1")


def query_parameters(client: served.Client) -> None:
    schema = schema_of(client, "queryables")
    feature = told(client, f"{PARCELS}/items", number="12")["features"][0]
    for name in set(schema["properties"]) - {"geometry"}:
        value = feature["properties"][name]
        if value is not None:
            text = value[0]["code"] if isinstance(value, list) else str(value)
            found = told(client, f"{PARCELS}/items", limit=100, **{name: text})["features"]
            assert feature["id"] in {each["id"] for each in found}
    assert len(told(client, f"{PARCELS}/items", number="5", sheet="1")["features"]) == 1
    assert told(client, f"{PARCELS}/items", number="5", sheet="2")["features"] == []


def roles(client: served.Client) -> None:
    for name, form in (("parcels", "date-time"), ("communes", "date"), ("sheets", None)):
        schema = told(client, f"/ogc/collections/{name}/schema")["properties"]
        by_role: dict[str, Any] = {}
        for each in schema.values():
            if "x-ogc-role" in each:
                assert by_role.setdefault(each["x-ogc-role"], each) is each
        assert by_role["primary-geometry"]["format"] in (
            "geometry-multipolygon",
            "geometry-polygon",
        )
        ends = [by_role.get(f"primary-interval-{end}") for end in ("start", "end")]
        assert [each and each["format"] for each in ends] == [form, form]
        assert "primary-instant" not in by_role


def schemas(client: served.Client) -> None:
    schema = schema_of(client, "schema")
    roles = [each.get("x-ogc-role") for each in schema["properties"].values()]
    assert roles.count("id") == 1
    order = [each["x-ogc-propertySeq"] for each in schema["properties"].values()]
    assert order == sorted(set(order))
    units = {n for n, each in schema["properties"].items() if each.get("x-ogc-unit")}
    assert units == {"area", "legal_area"}


def returnables(client: served.Client) -> None:
    schema = schema_of(client, "schema")
    feature = told(client, f"{PARCELS}/items", number="12")["features"][0]
    assert {"geometry", *feature["properties"]} == set(schema["properties"])
    sent = {**feature["properties"], "geometry": feature["geometry"]}
    assert None in sent.values()
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(sent)
    nulls = dict.fromkeys(sent)
    never = {"id", "commune", "sheet", "number", "land_use", "valid_from", "version"}
    assert {error.path[0] for error in validator.iter_errors(nulls)} == never


def sortables(client: served.Client) -> None:
    schema = schema_of(client, "sortables")
    for name in schema["properties"]:
        for sign in ("", "-", "+"):
            found = told(client, f"{PARCELS}/items", sortby=sign + name, limit=100)["features"]
            assert len(found) == MINE["all"]
            values = [each["properties"][name] for each in found]
            plain = [each for each in values if each is not None]
            assert plain == sorted(plain, reverse=sign == "-"), name
    get(client, f"{PARCELS}/items", status=400, sortby="land_use")


# -- tiles

WEB = "WebMercatorQuad"


def tile(
    client: served.Client, place: str, tiling: str = WEB, status: int = 200
) -> served.Response:
    return get(client, f"{PARCELS}/tiles/{tiling}/{place}", status=status)


def tiles_core(client: served.Client) -> None:
    tile(client, "0/0/0", status=204)
    for wrong in ("0/0/1", "0/1/0", "99/0/0", "x/0/0", "0/0/-1"):
        tile(client, wrong, status=404)
    tile(client, "0/0/0", tiling="nothing", status=404)


def where(client: served.Client) -> str:
    """A tile of the web's level 17 that has the lattice's corner."""
    west, south, *_ = told(client, PARCELS)["extent"]["spatial"]["bbox"][0]
    n = 2**17
    row = int((1 - math.asinh(math.tan(math.radians(south + 1e-4))) / math.pi) / 2 * n)
    return f"17/{row}/{int((west + 1e-4 + 180) / 360 * n)}"


def vector_tiles(client: served.Client) -> None:
    answer = tile(client, where(client))
    assert answer.mimetype == "application/vnd.mapbox-vector-tile"
    layers = mvt.read(answer.data)
    assert set(layers) == {"parcels"}


def tilesets(client: served.Client) -> None:
    for base in ("/ogc", PARCELS):
        listed = told(client, f"{base}/tiles")["tilesets"]
        assert {each["dataType"] for each in listed} == {"vector"}
        for each in listed:
            one = told(client, links(each, "self")[0]["href"])
            assert one["tileMatrixSetId"]
            scheme = links(one, f"{RELATION}tiling-scheme")[0]["href"]
            assert told(client, scheme)["id"] == one["tileMatrixSetId"]
            template = links(one, "item")[0]
            assert template["templated"] is True
            assert "{tileMatrix}" in template["href"]


def dataset_tilesets(client: served.Client) -> None:
    hrefs = [each["href"] for each in links(told(client, "/ogc"), f"{RELATION}tilesets-vector")]
    assert hrefs
    assert told(client, hrefs[0])["tilesets"]


def collection_tilesets(client: served.Client) -> None:
    hrefs = [each["href"] for each in links(told(client, PARCELS), f"{RELATION}tilesets-vector")]
    assert hrefs
    assert told(client, hrefs[0])["tilesets"]


def tiles_definition(client: served.Client) -> None:
    operations = {each["get"]["operationId"] for each in definition(client)["paths"].values()}
    for end in ("getTileSetsList", "getTileSet", "getTile"):
        assert f"dataset.vector.{end}" in operations
        assert f"parcels.collection.vector.{end}" in operations


def matrix_sets(client: served.Client) -> None:
    for each in told(client, "/ogc/tileMatrixSets")["tileMatrixSets"]:
        one = told(client, links(each, "self")[0]["href"])
        assert one["id"] == each["id"]
        cells = [matrix["cellSize"] for matrix in one["tileMatrices"]]
        assert all(a == 2 * b for a, b in itertools.pairwise(cells))
        for matrix in one["tileMatrices"]:
            assert matrix["scaleDenominator"] == pytest.approx(matrix["cellSize"] / 0.00028)


def matrix_limits(client: served.Client) -> None:
    for each in told(client, f"{PARCELS}/tiles/{WEB}")["tileMatrixSetLimits"]:
        most = 2 ** int(each["tileMatrix"])
        assert 0 <= each["minTileRow"] <= each["maxTileRow"] < most
        assert 0 <= each["minTileCol"] <= each["maxTileCol"] < most


PROBES = {
    "cql2/1.0/conf/accent-insensitive-comparison": accent_insensitive,
    "cql2/1.0/conf/advanced-comparison-operators": advanced,
    "cql2/1.0/conf/array-functions": arrays,
    "cql2/1.0/conf/basic-cql2": basic_cql2,
    "cql2/1.0/conf/basic-spatial-functions": basic_spatial,
    "cql2/1.0/conf/basic-spatial-functions-plus": basic_spatial_plus,
    "cql2/1.0/conf/case-insensitive-comparison": case_insensitive,
    "cql2/1.0/conf/cql2-json": cql2_json,
    "cql2/1.0/conf/cql2-text": cql2_text,
    "cql2/1.0/conf/property-property": property_property,
    "cql2/1.0/conf/spatial-functions": spatial,
    "cql2/1.0/conf/temporal-functions": temporal,
    "ogcapi-common-1/1.0/conf/core": core,
    "ogcapi-common-1/1.0/conf/html": as_html,
    "ogcapi-common-1/1.0/conf/json": as_json,
    "ogcapi-common-1/1.0/conf/landing-page": landing,
    "ogcapi-common-1/1.0/conf/oas30": definition,
    "ogcapi-common-2/1.0/conf/collections": collections,
    "ogcapi-features-1/1.0/conf/core": core,
    "ogcapi-features-1/1.0/conf/geojson": geojson,
    "ogcapi-features-1/1.0/conf/html": as_html,
    "ogcapi-features-1/1.0/conf/oas30": definition,
    "ogcapi-features-2/1.0/conf/crs": reference_systems,
    "ogcapi-features-3/1.0/conf/features-filter": features_filter,
    "ogcapi-features-3/1.0/conf/filter": filtering,
    "ogcapi-features-3/1.0/conf/queryables": queryables,
    "ogcapi-features-3/1.0/conf/queryables-query-parameters": query_parameters,
    **{
        f"{family}/1.0/conf/{part}": probe
        for family in ("ogcapi-common-3", "ogcapi-features-5")
        for part, probe in (
            ("advanced-property-roles", roles),
            ("queryables", queryables),
            ("returnables-and-receivables", returnables),
            ("schemas", schemas),
            ("sortables", sortables),
        )
    },
    "ogcapi-tiles-1/1.0/conf/core": tiles_core,
    "ogcapi-tiles-1/1.0/conf/dataset-tilesets": dataset_tilesets,
    "ogcapi-tiles-1/1.0/conf/geodata-tilesets": collection_tilesets,
    "ogcapi-tiles-1/1.0/conf/mvt": vector_tiles,
    "ogcapi-tiles-1/1.0/conf/oas30": tiles_definition,
    "ogcapi-tiles-1/1.0/conf/tileset": tilesets,
    "ogcapi-tiles-1/1.0/conf/tilesets-list": tilesets,
    "tms/2.0/conf/json-tilematrixset": matrix_sets,
    "tms/2.0/conf/json-tilematrixsetlimits": matrix_limits,
    "tms/2.0/conf/json-tilesetmetadata": tilesets,
    "tms/2.0/conf/tilematrixset": matrix_sets,
}


def test_what_is_claimed_is_what_is_probed(client: served.Client) -> None:
    claimed = told(client, "/ogc/conformance")["conformsTo"]
    assert claimed == list(CONFORMANCE)
    assert set(claimed) == {f"http://www.opengis.net/spec/{each}" for each in PROBES}


@pytest.mark.parametrize("name", PROBES)
def test_a_class_that_is_claimed_holds(client: served.Client, name: str) -> None:
    PROBES[name](client)


@pytest.mark.parametrize(
    "text", ["area + 1 > 400", "area * 2 = 800", "area % 2 = 0", "my_function(area) = 1"]
)
def test_a_class_that_is_not_claimed_is_refused(client: served.Client, text: str) -> None:
    """Arithmetic, and functions of one's own."""
    refused(client, text)
