"""Errors, pages and titles of links are in the language that the client asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from support import served, stored

from landdata.settings import Settings
from landdata.translations import catalogue

VIETNAMESE = {"Accept-Language": "vi-VN,vi;q=0.9,en;q=0.5"}


@pytest.fixture
def client(settings: Settings, engine: sa.Engine) -> Iterator[served.Client]:
    stored.lattice(engine)
    with served.client(settings, engine) as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "language", "message"),
    [
        ("vi", "vi", "Không có bộ dữ liệu 'houses'."),
        ("vi-VN,vi;q=0.9,en;q=0.5", "vi", "Không có bộ dữ liệu 'houses'."),
        ("vi;q=0.4,en;q=0.8", "en", "There is no collection 'houses'."),
        ("fr", "en", "There is no collection 'houses'."),  # the deployment's
    ],
)
def test_an_error_is_in_the_language_that_the_client_prefers(
    client: served.Client, accept: str, language: str, message: str
) -> None:
    response = client.get("/ogc/collections/houses", headers={"Accept-Language": accept})
    assert response.status_code == 404
    assert response.headers["Content-Language"] == language
    error = response.json["error"]
    assert (error["code"], error["message"]) == ("not-found", message)


def test_the_parameter_lang_wins_over_the_header(client: served.Client) -> None:
    response = client.get("/ogc/collections/houses?lang=en", headers=VIETNAMESE)
    assert response.json["error"]["message"] == "There is no collection 'houses'."


@pytest.mark.parametrize(
    "query",
    ["limit=x", "bbox=1,2,3", "datetime=yesterday", "filter=area%20%3E", "sortby=x", "area=big"],
)
def test_what_is_wrong_with_a_parameter_is_said_in_vietnamese(
    client: served.Client, query: str
) -> None:
    path = f"/ogc/collections/parcels/items?{query}"
    english = client.get(path).json["error"]
    error = client.get(path, headers=VIETNAMESE).json["error"]
    assert error["code"] == english["code"]
    assert error["message"].startswith("Tham số ")
    for text in (error["message"], error["hint"]):
        assert not any(word in f" {text} " for word in (" is ", " must ", " it ", " the ", " or "))


def titles(document: Any) -> set[str]:
    """The titles of all links in a document."""
    if isinstance(document, list):
        return set().union(*map(titles, document))
    if not isinstance(document, dict):
        return set()
    found = {document["title"]} if "href" in document and "title" in document else set()
    return found.union(*map(titles, document.values()))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/collections",
        "/collections/parcels",
        "/collections/parcels/items?f=json",
        "/collections/parcels/tiles",
        "/tiles/WebMercatorQuad",
        "/tileMatrixSets",
        "/collections/parcels/changes",
    ],
)
def test_titles_of_links_are_vietnamese(client: served.Client, path: str) -> None:
    english = titles(client.get(f"/ogc{path}").json)
    vietnamese = titles(client.get(f"/ogc{path}", headers=VIETNAMESE).json)
    names = {"GeoJSON", "JSON-FG", "CSV", "GeoPackage", "FlatGeobuf", "GeoParquet"}
    same = {title for title in vietnamese & english if "VN-2000" not in title} - names
    assert same <= {"Google Maps Compatible for the World"}
    assert vietnamese - names <= set(catalogue("vi").values()) | {
        "Google Maps Compatible for the World"
    } | {title for title in vietnamese if "VN-2000" in title}


def test_a_page_writes_numbers_and_times_as_its_language_does(client: served.Client) -> None:
    page = client.get("/ogc/collections/parcels/items?f=html", headers=VIETNAMESE).text
    assert '<html lang="vi">' in page
    assert "398,5" in page
    assert "398.5" in client.get("/ogc/collections/parcels/items?f=html").text
