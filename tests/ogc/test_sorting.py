"""Features in an order, with chosen properties, and the schemas that tell of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from support import served, stored

from landdata.features import collections
from landdata.reference import land_use
from landdata.settings import Settings
from landdata.store import database

ITEMS = "/ogc/collections/parcels/items"


@pytest.fixture(scope="module")
def settings(make_store: Callable[..., Settings]) -> Settings:
    return make_store()


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[served.Client]:
    engine = database.engine(settings)
    stored.lattice(engine)
    with engine.begin() as connection:
        # some without a value, some alike, one that JSON has no number for
        connection.execute(
            sa.text(
                "UPDATE parcel_versions SET legal_area = CASE mod(number::int, 4)"
                " WHEN 0 THEN NULL WHEN 1 THEN 'NaN' ELSE mod(number::int, 3) + 0.1 END,"
                " scale = 500 * mod(number::int, 3),"
                " national_id = CASE WHEN number::int > 9 THEN 'w' || number END"
            )
        )
    with served.client(settings, engine) as opened:
        yield opened
    engine.dispose()


def pages(client: served.Client, url: str | None, rel: str = "next") -> Iterator[list[Any]]:
    while url:
        told = client.get(url).json
        yield told["features"]
        url = next((link["href"] for link in told["links"] if link["rel"] == rel), None)


def states(features: list[Any]) -> list[tuple[str, int]]:
    return [(each["id"], each["properties"]["version"]) for each in features]


ORDERS = [
    "number",
    "-number",
    "+number",
    "%2Bnumber",
    "legal_area",
    "-legal_area",
    "scale,-legal_area",
    "-scale,legal_area,number",
    "-national_id,surveyed_on",
    "commune,sheet,number",
    "-version,-id",
    "valid_to,-valid_from",
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("when", ["", "&datetime=2026-01-01T00:00:00Z", "&datetime=../.."])
def test_pages_keep_an_order_there_and_back(client: served.Client, order: str, when: str) -> None:
    query = f"{ITEMS}?sortby={order}{when}"
    every = client.get(f"{query}&limit=100").json["features"]
    assert len(every) == (17 if ".." in when else 16)
    for step in reversed(order.replace("%2B", "").replace("+", "").split(",")):
        # null, and what is written as null, is greater than every value
        name = step.removeprefix("-")
        values = [each["properties"][name] for each in every]
        if step == order.removeprefix("%2B").removeprefix("+"):
            keys = [(value is None, value) for value in values]
            pairs = itertools.pairwise(keys)
            if step.startswith("-"):
                assert all(a[0] >= b[0] and (a[0] or a[1] >= b[1]) for a, b in pairs)
            else:
                assert all(a[0] <= b[0] and (b[0] or a[1] <= b[1]) for a, b in pairs)
    for limit in (1, 3, 7):
        there = list(pages(client, f"{query}&limit={limit}"))
        assert [each for page in there for each in states(page)] == states(every)
        last = list(client_pages_back(client, f"{query}&limit={limit}"))
        assert [each for page in reversed(last) for each in states(page)] == states(
            [each for page in there[:-1] for each in page]
        )


def client_pages_back(client: served.Client, url: str | None) -> Iterator[Any]:
    told: Any = None
    while url:
        told = client.get(url).json
        url = next((link["href"] for link in told["links"] if link["rel"] == "next"), None)
    prev = next((link["href"] for link in told["links"] if link["rel"] == "prev"), None)
    return pages(client, prev, "prev")


def test_several_steps_are_taken_one_after_the_other(client: served.Client) -> None:
    told = client.get(f"{ITEMS}?sortby=-scale,number&limit=100").json["features"]
    got = [(each["properties"]["scale"], each["properties"]["number"]) for each in told]
    assert got == sorted(got, key=lambda pair: (-pair[0], pair[1]))


def test_a_cursor_is_for_its_own_order_alone(client: served.Client) -> None:
    told = client.get(f"{ITEMS}?sortby=-number&limit=3").json
    url = next(link["href"] for link in told["links"] if link["rel"] == "next")
    assert client.get(url).status_code == 200
    for other in ("sortby=number", "sortby=-number,id", "x"):
        changed = url.replace("sortby=-number", other).replace("x&", "")
        answer = client.get(changed)
        assert (answer.status_code, "cursor" in answer.json["description"]) == (400, True)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("sortby=", "sortby"),
        ("sortby=owner", "sortby"),
        ("sortby=land_use", "sortby"),
        ("sortby=address", "sortby"),
        ("sortby=geometry", "sortby"),
        ("sortby=number,-number", "sortby"),
        ("sortby=--number", "sortby"),
        ("sortby=number;DROP TABLE parcels", "sortby"),
        ("properties=", "properties"),
        ("properties=owner", "properties"),
        ("properties=number,", "properties"),
        ("skipGeometry=yes", "skipGeometry"),
    ],
)
def test_an_invalid_parameter_is_named(client: served.Client, query: str, named: str) -> None:
    answer = client.get(f"{ITEMS}?{query}")
    assert answer.status_code == 400
    assert named in answer.json["description"]


def test_properties_and_geometry_are_left_out_on_request(client: served.Client) -> None:
    told = client.get(f"{ITEMS}?properties=area,number&skipGeometry=true&limit=100").json
    assert len(told["features"]) == 16
    for each in told["features"]:
        assert list(each["properties"]) == ["number", "area"]
        assert each["geometry"] is None
        assert each["id"]
    assert client.get(f"{ITEMS}?skipGeometry=false&limit=1").json["features"][0]["geometry"]
    one = client.get(f"{ITEMS}/{told['features'][0]['id']}?properties=label&skipGeometry=true")
    assert list(one.json["properties"]) == ["label"]
    assert one.json["geometry"] is None
    page = client.get(f"{ITEMS}?properties=number&f=html&lang=en").text
    assert "Parcel number" in page
    assert "Legal area" not in page


# -- schemas


def told(client: served.Client, name: str, kind: str) -> Any:
    answer = client.get(f"/ogc/collections/{name}/{kind}?lang=en")
    assert (answer.status_code, answer.mimetype) == (200, "application/schema+json")
    made = json.loads(answer.data)
    Draft202012Validator.check_schema(made)
    assert made["$id"] == f"http://localhost/ogc/collections/{name}/{kind}"
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    return made


def test_schemas_tell_types_units_roles_and_codes(client: served.Client) -> None:
    schema = told(client, "parcels", "schema")["properties"]
    assert schema["area"] | {"x-ogc-propertySeq": 0} == {
        "title": "Surveyed area (m²)",
        "type": ["number", "null"],
        "x-ogc-unit": "m2",
        "x-ogc-unitLang": "UCUM",
        "x-ogc-propertySeq": 0,
    }
    assert schema["id"]["x-ogc-role"] == "id"
    assert schema["valid_from"]["x-ogc-role"] == "primary-interval-start"
    codes = schema["land_use"]["items"]["properties"]["code"]["anyOf"][0]["enum"]
    assert codes == list(land_use.CURRENT)
    asked = told(client, "parcels", "queryables")["properties"]
    assert set(land_use.CURRENT) | set(land_use.LEGACY) == set(asked["land_use"]["items"]["enum"])
    assert asked["surveyed_on"]["format"] == "date"
    sorting = told(client, "parcels", "sortables")["properties"]
    assert set(sorting) == set(asked) - {"geometry", "land_use"}
    assert [each["x-ogc-propertySeq"] for each in sorting.values()] == list(
        range(1, len(sorting) + 1)
    )


def test_every_feature_is_as_its_schema_says(client: served.Client) -> None:
    for name in ("parcels", "communes"):
        schema = told(client, name, "schema")
        features = client.get(f"/ogc/collections/{name}/items?limit=100").json["features"]
        for each in features:
            Draft202012Validator(schema).validate(
                {"geometry": each["geometry"], **each["properties"]}
            )


def test_the_collection_links_its_sortables(client: served.Client, settings: Settings) -> None:
    for name, of in collections.collections(settings).items():
        links = client.get(f"/ogc/collections/{name}").json["links"]
        hrefs = [link["href"] for link in links if link["rel"].endswith("/sortables")]
        assert len(hrefs) == 2
        assert set(client.get(hrefs[0]).json["properties"]) == set(of.sortables)
        for sortable in of.sortables:
            answer = client.get(f"/ogc/collections/{name}/items?sortby=-{sortable}")
            assert answer.status_code == 200
