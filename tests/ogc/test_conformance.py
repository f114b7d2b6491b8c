"""The abstract tests of OGC API - Features 1 (core) and 2 (CRS), walked as a client walks.

Beginning at the landing page, only links that were given are followed. Each test names what of
the standard it holds. Schemas are those of our own API definition, which is itself validated.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import shapely
import sqlalchemy as sa
from openapi_spec_validator import OpenAPIV30SpecValidator
from support import served, stored

from landdata.features import collections as config
from landdata.features.exports import formats
from landdata.settings import Settings
from landdata.store import communes, database
from ogc.conformance import CONFORMANCE

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
SCHEMAS = {"parcels": "Parcel", "communes": "Commune", "sheets": "Sheet"}
TIMES = "valid_from", "valid_to"


@pytest.fixture(scope="module")
def client(make_store: Callable[..., Settings]) -> Iterator[served.Client]:
    with served.lattice(make_store()) as opened:
        yield opened


def follow(
    client: served.Client, document: dict[str, Any], rel: str, media: None = None
) -> served.Response:
    """The answer at the link of this relation."""
    links = [
        link
        for link in document["links"]
        if link["rel"] == rel and (media is None or link["type"].startswith(media))
    ]
    assert links, f"no link {rel} ({media}) in {document['links']}"
    answer = client.get(links[0]["href"], headers={"Accept": links[0]["type"]})
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == links[0]["type"].partition(";")[0]
    return answer


@pytest.fixture(scope="module")
def landing(client: served.Client) -> Any:
    answer = client.get("/ogc/")
    assert answer.status_code == 200
    return answer.json


@pytest.fixture(scope="module")
def definition(client: served.Client, landing: Any) -> Any:
    return json.loads(follow(client, landing, "service-desc").data)


@pytest.fixture(scope="module")
def collections(client: served.Client, landing: Any) -> Any:
    return follow(client, landing, "data").json


@pytest.fixture(scope="module", params=["parcels", "communes", "sheets"])
def collection(request: pytest.FixtureRequest, client: served.Client, collections: Any) -> Any:
    told = next(each for each in collections["collections"] if each["id"] == request.param)
    return follow(client, told, "self").json


def items(client: served.Client, collection: dict[str, Any], **query: Any) -> served.Response:
    href = next(
        link["href"]
        for link in collection["links"]
        if link["rel"] == "items" and link["type"] == "application/geo+json"
    )
    return client.get(href.partition("?")[0], query_string={**query, "f": "json"})


def checked(definition: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    """Validate against a schema of the definition, read as JSON Schema."""

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(each) for each in node]
        if not isinstance(node, dict):
            return node
        made = {key: plain(each) for key, each in node.items() if key != "nullable"}
        if node.get("nullable"):
            made = {"anyOf": [made, {"type": "null"}]}
        return made

    whole = plain(copy.deepcopy(definition))
    whole["$ref"] = f"#/components/schemas/{name}"
    validator = jsonschema.Draft7Validator
    validator(whole, format_checker=validator.FORMAT_CHECKER).validate(value)


# -- landing page, definition, conformance (A.2.2 to A.2.4)


def test_the_landing_page_leads_to_all_parts(
    client: served.Client, landing: Any, definition: Any
) -> None:
    checked(definition, "LandingPage", landing)
    assert {"service-desc", "service-doc", "conformance", "data", "self"} <= {
        link["rel"] for link in landing["links"]
    }
    for link in landing["links"]:
        answer = client.get(link["href"], headers={"Accept": link["type"]})
        assert answer.status_code == 200, link
        assert answer.mimetype == link["type"].partition(";")[0], link
    assert client.get("/ogc").json == landing


def test_the_definition_is_valid_and_whole(definition: Any) -> None:
    OpenAPIV30SpecValidator(definition).validate()
    text = json.dumps(definition)
    references = [part.split('"')[0] for part in text.split('"$ref": "')[1:]]
    assert references
    assert all(each.startswith("#/") for each in references)


def test_every_path_of_the_definition_answers_as_it_says(
    client: served.Client, definition: Any, collections: Any
) -> None:
    base = definition["servers"][0]["url"]
    for path, methods in definition["paths"].items():
        assert list(methods) == ["get"]
        url = base + path
        if "{jobID}" in path:
            asked = client.get(
                f"{base}/collections/parcels/export?f=csv", headers={"Prefer": "respond-async"}
            )
            checked(definition, "ExportJob", asked.json)
            assert client.get(url).status_code == 404
            continue
        if "{featureId}" in path:
            first = client.get(url.replace("/{featureId}", "?limit=1")).json["features"][0]
            url = url.replace("{featureId}", first["id"])
        url = url.replace("{tileMatrixSetId}", "WebMercatorQuad")
        # the one tile of level 0 has the units that are large enough: none of the store's
        empty = "{tileMatrix}" in url
        url = re.sub(r"\{tile(Matrix|Row|Col)\}", "0", url)
        content = methods["get"]["responses"]["200"]["content"]
        if path.endswith("/export"):
            files = formats.FORMATS.items()
            assert {each.media_type for _, each in files} == content.keys()
            for name, each in files:
                answer = client.get(f"{url}?f={name}")
                assert answer.status_code == 200, answer.text
                assert answer.headers["Content-Type"] == each.content_type
                assert answer.data
            continue
        for media, body in content.items():
            answer = client.get(url, headers={"Accept": media})
            if empty:
                assert answer.status_code == 204
                assert "204" in methods["get"]["responses"]
                continue
            assert answer.status_code == 200, (url, media, answer.text)
            assert answer.headers["Content-Type"].startswith(media)
            reference = body["schema"].get("$ref")
            if reference:
                checked(definition, reference.rpartition("/")[2], json.loads(answer.data))


def test_the_examples_of_the_definition_work(client: served.Client, definition: Any) -> None:
    """Each alone, and all of an operation together."""
    base, tried = definition["servers"][0]["url"], 0
    needs = {"bbox-crs": "bbox", "filter-lang": "filter", "filter-crs": "filter"}
    for path, methods in definition["paths"].items():
        url, examples, always = base + path, {}, {}
        if "{jobID}" in path:
            continue  # there is none before it is asked for
        if "{featureId}" in path:
            first = client.get(url.replace("/{featureId}", "?limit=1")).json["features"][0]
            url = url.replace("{featureId}", first["id"])
        for each in methods["get"]["parameters"]:
            name = each.get("$ref", "").rpartition("/")[2]
            known = definition["components"]["parameters"][name] if name else each
            default = (known["schema"].get("enum") or [None])[0]
            given = known.get("example", default if known["in"] == "path" else None)
            if given is None:
                continue
            text = ",".join(map(str, given)) if isinstance(given, list) else str(given)
            if known["in"] == "path":
                url = url.replace(f"{{{known['name']}}}", text)
            elif known.get("required"):
                always[known["name"]] = text
            else:
                examples[known["name"]] = text
        assert "{" not in url
        assert not needs.keys() & examples.keys()
        for query in ({}, examples, *({name: text} for name, text in examples.items())):
            answer = client.get(url, query_string={**always, **query})
            assert answer.status_code == (204 if "{tileMatrix}" in path else 200), (url, query)
            tried += 1
    assert tried > 60


def test_errors_are_as_the_definition_says(client: served.Client, definition: Any) -> None:
    for url, status in (
        ("/ogc/collections/parcels/items?limit=x", 400),
        ("/ogc/collections/parcels/items/x", 404),
        ("/ogc?x=1", 400),
        ("/ogc/collections?limit=1", 400),
        ("/ogc/conformance?f=xml", 400),
        ("/ogc/collections/parcels/items/x?limit=1", 400),
    ):
        answer = client.get(url)
        assert answer.status_code == status, url
        checked(definition, "Exception", answer.json)


def test_conformance_lists_the_same_classes_every_time(
    client: served.Client, landing: Any, definition: Any
) -> None:
    answers = [follow(client, landing, "conformance").json for _ in range(3)]
    checked(definition, "Conformance", answers[0])
    assert answers[0] == answers[1] == answers[2] == {"conformsTo": list(CONFORMANCE)}
    for part in ("core", "geojson", "html", "oas30"):
        uri = f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{part}"
        assert uri in answers[0]["conformsTo"]


# -- collections (A.2.5, A.2.6)


def test_every_collection_is_listed(
    client: served.Client, collections: Any, definition: Any
) -> None:
    checked(definition, "Collections", collections)
    assert [each["id"] for each in collections["collections"]] == ["parcels", "communes", "sheets"]
    assert {"self", "alternate"} <= {link["rel"] for link in collections["links"]}
    for each in collections["collections"]:
        assert {"items", "self"} <= {link["rel"] for link in each["links"]}
        assert all(link["type"] for link in each["links"])


def test_a_collection_says_the_same_alone(
    client: served.Client, collections: Any, collection: Any, definition: Any
) -> None:
    checked(definition, "Collection", collection)
    listed = next(e for e in collections["collections"] if e["id"] == collection["id"])
    assert listed == collection
    for link in collection["links"]:
        answer = client.get(link["href"], headers={"Accept": link["type"]})
        assert (answer.status_code, answer.mimetype) == (200, link["type"]), link


def test_extents_hold_what_is_there(client: served.Client, collection: Any) -> None:
    west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
    begins, ends = collection["extent"]["temporal"]["interval"][0]
    if collection["id"] == "sheets":  # they have no time
        assert begins is None
    else:
        assert dt.datetime.fromisoformat(begins).utcoffset() == dt.timedelta(0)
    assert ends is None
    told = items(client, collection, limit=100).json
    inside = items(client, collection, limit=100, bbox=f"{west},{south},{east},{north}").json
    assert len(told["features"]) == len(inside["features"]) > 0


# -- items (A.2.7)


def test_items_are_a_valid_collection(
    client: served.Client, collection: Any, definition: Any
) -> None:
    answer = items(client, collection)
    assert (answer.status_code, answer.mimetype) == (200, "application/geo+json")
    told = answer.json
    checked(
        definition,
        SCHEMAS[collection["id"]] + "Collection",
        told,
    )
    assert {"self", "alternate"} <= {link["rel"] for link in told["links"]}
    assert told["numberReturned"] == len(told["features"]) <= 10
    assert dt.datetime.fromisoformat(told["timeStamp"]).tzinfo
    assert answer.headers["Content-Crs"] == f"<{CRS84}>"


@pytest.mark.parametrize("limit", [1, 5, 10_000, 10_001, 10**15])
def test_a_limit_is_kept(client: served.Client, collection: Any, limit: int) -> None:
    told = items(client, collection, limit=limit).json
    assert told["numberReturned"] == len(told["features"]) <= limit


def test_the_parameters_are_defined_as_the_standard_defines_them(
    definition: Any, collection: Any
) -> None:
    path = definition["paths"][f"/collections/{collection['id']}/items"]["get"]["parameters"]
    known = {}
    for each in path:
        reference = each.get("$ref", "").rpartition("/")[2]
        found = definition["components"]["parameters"][reference] if reference else each
        known[found["name"]] = found
    for name in ("limit", "bbox", "datetime", "crs", "bbox-crs"):
        assert known[name]["in"] == "query"
        assert known[name]["required"] is False
        assert (known[name]["style"], known[name]["explode"]) == ("form", False)
    limit = known["limit"]["schema"]
    assert (limit["type"], limit["minimum"], limit["maximum"], limit["default"]) == (
        "integer",
        1,
        10_000,
        10,
    )
    box = known["bbox"]["schema"]
    assert (box["type"], box["minItems"], box["maxItems"]) == ("array", 4, 6)
    assert box["items"] == {"type": "number"}
    assert known["datetime"]["schema"]["type"] == "string"
    queryables = config.collections(Settings(home=Path()))[collection["id"]].queryables
    assert set(queryables) <= set(known)


def test_a_bbox_selects_the_features_that_it_intersects(
    client: served.Client, collection: Any
) -> None:
    every = items(client, collection, limit=100).json["features"]
    for feature in every[:4]:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        west, south, east, north = shape.bounds
        box = f"{west},{south},{east},{north}"
        with_height = f"{west},{south},-5,{east},{north},5"
        told = items(client, collection, limit=100, bbox=box).json
        assert feature["id"] in [each["id"] for each in told["features"]]
        again = items(client, collection, limit=100, **{"bbox": box, "bbox-crs": CRS84}).json
        third = items(client, collection, limit=100, bbox=with_height).json
        assert told["features"] == again["features"] == third["features"]


def test_features_without_geometry_are_in_every_bbox(settings: Settings, engine: sa.Engine) -> None:
    """Abstract test 15 of core, which the suite leaves out: /req/core/fc-bbox-response, C."""
    stored.lattice(engine)
    with database.session(engine) as session:
        for code in ("99902", "99903"):
            communes.add(session, code, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
    with served.client(settings, engine) as client:
        here = "/ogc/collections/communes"
        for box, with_place in (("0,0,1,1", []), ("106,11,107,12", ["99901"])):
            for more in ({}, {"datetime": "2026-01-01"}, {"datetime": "../.."}, {"limit": "1"}):
                told = client.get(f"{here}/items", query_string={"bbox": box, **more}).json
                found = [each["id"] for each in told["features"]]
                every = [*with_place, "99902", "99903"]
                assert found == every[: int(more.get("limit", 10))]
                assert told["numberMatched"] == len(every)
            lines = client.get(f"{here}/export?f=geojsonl&bbox={box}").text.splitlines()
            assert sorted(json.loads(line)["id"] for line in lines) == every
        told = client.get(f"{here}/items?filter=S_INTERSECTS(geometry,BBOX(0,0,1,1))").json
        assert told["features"] == []  # what is not known is not true


def test_datetime_takes_instants_and_intervals(
    client: served.Client, collection: Any, definition: Any
) -> None:
    """What it chooses is as valid as the whole; what has no time is there at all times."""
    begins = collection["extent"]["temporal"]["interval"][0][0] or "2025-07-01T00:00:00Z"
    begins = begins.replace("+00:00", "Z")
    first, later = dt.datetime.fromisoformat(begins), "2026-05-01T12:30:00.25+07:00"
    last = dt.datetime.fromisoformat(later)
    for text, since, until in (
        (begins, first, first),
        (later, last, last),
        (f"{begins}/{later}", first, last),
        (f"{begins}/..", first, None),
        (f"{begins}/", first, None),
        (f"../{later}", None, last),
        (f"/{later}", None, last),
        ("../..", None, None),
        (f"0000-01-01T00:00:00Z/{later}", None, last),  # QGIS, which writes no open end
        (f"{begins}/9999-12-31T00:00:00Z", first, None),
    ):
        answer = items(client, collection, datetime=text)
        assert answer.status_code == 200, (text, answer.text)
        told = answer.json
        checked(definition, SCHEMAS[collection["id"]] + "Collection", told)
        found, more = [*told["features"]], told
        while links := [link["href"] for link in more["links"] if link["rel"] == "next"]:
            more = client.get(links[0]).json
            found += more["features"]
        assert found, text
        assert told.get("numberMatched", len(found)) == len(found)
        for each in found:
            begun, ended = (time(each["properties"].get(name)) for name in TIMES)
            assert begun is None or until is None or begun <= until, text
            assert ended is None or since is None or ended > since, text
    before = items(client, collection, datetime="1900-01-01T00:00:00Z").json
    assert bool(before["features"]) == (collection["id"] == "sheets")


def time(text: str | None) -> dt.datetime | None:
    """A time, or the beginning of a day in Vietnam."""
    if text is None:
        return None
    made = dt.datetime.fromisoformat(text)
    return made if made.tzinfo else made.replace(tzinfo=dt.timezone(dt.timedelta(hours=7)))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "x"},
        {"bbox": "1,2,3"},
        {"bbox": "a,b,c,d"},
        {"datetime": "x"},
        {"datetime": "2026-01-01T00:00:00Z/x"},
        {"noSuchParameter": "x"},
        {"crs": "http://www.opengis.net/def/crs/OGC/0/unknown"},
        {"bbox": "1,2,3,4", "bbox-crs": "unknown"},
    ],
)
def test_bad_parameters_are_400(
    client: served.Client, collection: Any, query: dict[str, str]
) -> None:
    assert items(client, collection, **query).status_code == 400


# -- one feature (A.2.8)


def test_a_feature_is_the_one_of_the_list(
    client: served.Client, collection: Any, definition: Any
) -> None:
    for listed in items(client, collection).json["features"][:3]:
        base = next(link["href"] for link in collection["links"] if link["rel"] == "self")
        answer = client.get(base.partition("?")[0] + f"/items/{listed['id']}")
        assert (answer.status_code, answer.mimetype) == (200, "application/geo+json")
        feature = answer.json
        assert {"self", "alternate", "collection"} <= {link["rel"] for link in feature["links"]}
        for link in feature["links"]:
            assert client.get(link["href"]).status_code == 200
        del feature["links"]
        assert feature == listed


# -- part 2: reference systems


def test_every_listed_crs_is_served(client: served.Client, collection: Any) -> None:
    assert collection["crs"][0] == CRS84
    assert collection["storageCrs"] in collection["crs"]
    plain = items(client, collection, limit=2).json["features"]
    for uri in collection["crs"]:
        answer = items(client, collection, limit=2, crs=uri)
        assert answer.headers["Content-Crs"] == f"<{uri}>"
        assert [each["id"] for each in answer.json["features"]] == [each["id"] for each in plain]
        one = client.get(
            f"/ogc/collections/{collection['id']}/items/{plain[0]['id']}", query_string={"crs": uri}
        )
        assert one.headers["Content-Crs"] == f"<{uri}>"
        for page in ("", f"/{plain[0]['id']}"):
            there = f"/ogc/collections/{collection['id']}/items{page}"
            shown = client.get(there, query_string={"crs": uri, "f": "html"})
            assert shown.headers["Content-Crs"] == f"<{uri}>"
        assert one.json["geometry"] == answer.json["features"][0]["geometry"]
        if uri == CRS84:
            assert answer.json["features"] == plain


def test_queryables_and_schema_tell_the_properties(client: served.Client, collection: Any) -> None:
    relation = "http://www.opengis.net/def/rel/ogc/1.0/"
    schema = json.loads(follow(client, collection, f"{relation}schema").data)
    queryables = json.loads(follow(client, collection, f"{relation}queryables").data)
    feature = items(client, collection, limit=1).json["features"][0]
    assert set(schema["properties"]) == {"geometry", *feature["properties"]}
    assert queryables["additionalProperties"] is False
    assert set(queryables["properties"]) <= set(schema["properties"])
    assert "address" not in queryables["properties"]
    for told in (schema, queryables):
        assert told["$schema"].startswith("http")
        assert told["$id"].startswith("http://localhost/ogc/")
        assert told["properties"]["geometry"]["x-ogc-role"] == "primary-geometry"
    for name in set(queryables["properties"]) - {"geometry"}:
        value = feature["properties"][name]
        if value is None:
            continue
        text = value[0]["code"] if isinstance(value, list) else str(value)
        told = items(client, collection, limit=100, **{name: text}).json
        assert feature["id"] in [each["id"] for each in told["features"]], name


def descriptions(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every description of a definition, by where it stands."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    for name, each in node.items() if isinstance(node, dict) else ():
        if name == "description" and isinstance(each, str):
            yield path, each
        yield from descriptions(each, f"{path}/{name}")


def test_the_definition_is_in_the_requested_language(client: served.Client) -> None:
    vi, en = (dict(descriptions(client.get(f"/ogc/openapi?lang={language}").json))
              for language in ("vi", "en"))  # fmt: skip
    assert vi.keys() == en.keys()
    assert [path for path, text in vi.items() if text == en[path]] == []
    assert {c for text in en.values() for c in text if not c.isascii()} <= {"²"}  # of m²
