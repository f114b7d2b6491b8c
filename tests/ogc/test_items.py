"""Features through the OGC API: what they hold, how they page, and what is refused."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import psycopg
import pytest
import shapely
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from support import served, stored
from support.property_tests import examples

from landdata.embedded.cluster import Cluster
from landdata.embedded.roles import READER
from landdata.errors import Unavailable
from landdata.features import crs
from landdata.settings import Settings
from landdata.store import database, parcels
from landdata.store.read_connections import fetch_rows
from landdata.store.tables import READABLE

ITEMS = "/ogc/collections/parcels/items"
BETWEEN = "2025-08-01T00:00:00Z"
SMALL = "POLYGON((106.4 11.5,106.401 11.5,106.401 11.501,106.4 11.5))"


@pytest.fixture
def made(engine: sa.Engine) -> dict[str, uuid.UUID]:
    return stored.lattice(engine)


@pytest.fixture
def client(
    settings: Settings, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> Iterator[served.Client]:
    with served.client(settings, engine) as opened:
        yield opened


@pytest.fixture(scope="module")
def still(make_store: Callable[..., Settings]) -> Iterator[served.Client]:
    """A client of a store that no test changes."""
    with served.lattice(make_store()) as opened:
        yield opened


def numbers(told: dict[str, Any]) -> list[int]:
    return sorted(int(each["properties"]["number"]) for each in told["features"])


def ids(told: dict[str, Any]) -> list[str]:
    return [each["id"] for each in told["features"]]


def follow(client: served.Client, url: str | None, rel: str = "next") -> Iterator[dict[str, Any]]:
    """All pages from `url` on."""
    while url:
        told = client.get(url).json
        yield told
        url = next((link["href"] for link in told["links"] if link["rel"] == rel), None)


# -- what a feature holds


def test_a_feature_has_the_public_properties_and_no_other(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    told = client.get(f"{ITEMS}/{made['12']}").json
    with database.session(engine) as session:
        state = parcels.get(session, made["12"])
    assert told["id"] == str(made["12"])
    assert told["properties"] == state.as_dict()
    assert list(told["properties"]) == list(state.as_dict())
    assert told["geometry"]["type"] == "MultiPolygon"


def test_no_answer_names_a_person_or_an_address(still: served.Client) -> None:
    for url in (ITEMS, f"{ITEMS}?datetime=../..", f"{ITEMS}?f=html", "/ogc/openapi"):
        text = still.get(url).text
        assert "Chủ sử dụng" not in text
        assert "Thôn" not in text
    assert still.get(f"{ITEMS}?address=Thôn 1").status_code == 400


def test_an_address_is_public_only_where_the_deployment_says_so(
    make_store: Callable[..., Settings],
) -> None:
    settings = make_store(publish_address=True)
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, engine) as client:
        told = client.get(f"{ITEMS}?address=Thôn 1&limit=100").json
        assert len(told["features"]) == 16
        assert told["features"][0]["properties"]["address"] == "Thôn 1"
    engine.dispose()


def test_odd_values_are_still_json(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    label = 'quote " backslash \\ percent % newline \n tab \t ế'
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE parcel_versions SET label = :label, area = 'NaN', legal_area = 'Infinity',"
                " land_use = NULL WHERE parcel_id = :id"
            ),
            {"label": label, "id": made["3"]},
        )
    told = client.get(f"{ITEMS}/{made['3']}").json["properties"]
    assert told["label"] == label
    assert (told["area"], told["legal_area"], told["land_use"]) == (None, None, [])
    found = client.get(ITEMS, query_string={"label": label}).json
    assert ids(found) == [str(made["3"])]


# -- asking


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("number=7", [7]),
        ("commune=99901&sheet=1&number=7", [7]),
        ("number=007", []),
        ("land_use=NTS", [4, 8, 12, 16]),
        ("land_use=N", []),
        ("national_id=w6bqz3k8n1p0", [12]),
        ("version=2", [12]),
        ("area=400", list(range(1, 17))),
        ("area=4e2&legal_area=398.5&label=LUC", [2, 6, 10, 14]),
        ("scale=1000&surveyed_on=2025-05-20&label=ONT", [1, 5, 9, 13]),
        ("valid_from=2026-03-01T08:00:00%2B07:00", [12]),
        ("label=%27%20OR%201=1--", []),
    ],
)
def test_features_are_filtered_by_property(
    still: served.Client, query: str, expected: list[int]
) -> None:
    told = still.get(f"{ITEMS}?limit=100&{query}").json
    assert numbers(told) == expected
    assert told["numberMatched"] == told["numberReturned"] == len(expected)


def test_a_parcel_as_of_a_time_and_over_all_its_versions(
    client: served.Client, made: dict[str, uuid.UUID]
) -> None:
    one = f"{ITEMS}?id={made['12']}&datetime="

    def areas(when: str) -> list[tuple[int, int]]:
        told = client.get(one + when).json
        return [(f["properties"]["version"], f["properties"]["area"]) for f in told["features"]]

    assert areas(BETWEEN) == [(1, 440.0)]
    assert areas("2026-03-01T01:00:00Z") == [(2, 400.0)]
    assert areas("2026-03-01T00:59:59.999999Z") == [(1, 440.0)]
    assert areas("2026-02-28") == [(1, 440.0)]
    assert areas("2026-03-01") == [(2, 400.0)]  # a date is the end of its day in Vietnam
    assert areas("2025-06-30T00:00:00Z") == []
    assert areas("../..") == areas("2020-01-01/..") == [(1, 440.0), (2, 400.0)]
    assert areas("../2025-12-31") == [(1, 440.0)]
    assert areas("2026-03-01T01:00:00Z/..") == [(2, 400.0)]
    assert areas("2026-03-01/2026-03-01") == [(1, 440.0), (2, 400.0)]
    assert areas("../2025-01-01") == []
    assert areas("2026-03-01t00:59:59z") == [(1, 440.0)]  # RFC 3339 allows either case
    assert areas("2026-01-01T00:00:00Z/9999-12-31T23:59:59Z") == [(1, 440.0), (2, 400.0)]
    assert areas("9999-12-31T23:59:59Z") == [(2, 400.0)]
    told = client.get(f"{ITEMS}/{made['12']}?datetime={BETWEEN}").json
    assert told["properties"]["version"] == 1
    assert client.get(f"{ITEMS}/{made['12']}?datetime=2020-01-01").status_code == 404
    assert client.get(f"{ITEMS}/{made['12']}?datetime=../..").status_code == 400


def test_a_box_as_of_a_time_uses_the_geometry_of_then(still: served.Client) -> None:
    x, y = stored.EAST + 81, stored.NORTH + 50  # 12 was 2 m wider then: its east side at 82 m
    storage = "http://www.opengis.net/def/crs/EPSG/0/9212"
    box = f"bbox={x},{y},{x + 0.5},{y + 0.5}&bbox-crs={storage}"
    assert numbers(still.get(f"{ITEMS}?{box}").json) == []
    assert numbers(still.get(f"{ITEMS}?{box}&datetime={BETWEEN}").json) == [12]


def test_a_commune_as_of_a_date(client: served.Client, engine: sa.Engine) -> None:
    base = "/ogc/collections/communes/items"
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO communes (code, name, valid_from, valid_to) VALUES"
                " ('99901', 'Xã Cũ', '2004-01-01', '2025-07-01'),"
                " ('99902', 'Xã Mai Sau', '2999-01-01', NULL)"
            )
        )
    now = client.get(base).json
    assert [f["properties"]["name"] for f in now["features"]] == ["Xã Suối Mẫu"]
    then = client.get(f"{base}/99901?datetime=2020-05-05").json
    assert (then["properties"]["name"], then["geometry"]) == ("Xã Cũ", None)
    every = client.get(f"{base}?datetime=../..&limit=1")
    pages = list(follow(client, str(every.url)))
    assert [f["properties"]["valid_from"] for page in pages for f in page["features"]] == [
        "2004-01-01",
        "2025-07-01",
        "2999-01-01",
    ]
    assert client.get(f"{base}/99902").status_code == 404


# -- paging


@pytest.mark.parametrize("limit", [1, 3, 5, 15, 16, 17])
@pytest.mark.parametrize(
    "query", ["", "&land_use=NTS", f"&datetime={BETWEEN}", "&datetime=../..", "&bbox=106,11,107,12"]
)
def test_paging_forwards_and_backwards_reads_every_feature_once(
    still: served.Client, limit: int, query: str
) -> None:
    every = still.get(f"{ITEMS}?limit=1000{query}").json
    assert "next" not in [link["rel"] for link in every["links"]]
    pages = list(follow(still, f"{ITEMS}?limit={limit}{query}"))
    assert [each for page in pages for each in ids(page)] == ids(every)
    assert all(len(page["features"]) == limit for page in pages[:-1])
    assert pages[-1]["features"]
    if len(pages) > 1:
        prev = next(link["href"] for link in pages[-1]["links"] if link["rel"] == "prev")
        back = list(follow(still, prev, "prev"))
        assert [each for page in reversed(back) for each in ids(page)] == [
            each for page in pages[:-1] for each in ids(page)
        ]


@pytest.mark.parametrize("query", ["", "&sortby=-area&datetime=2026-03-02"])
def test_paging_while_a_batch_is_accepted_reads_every_parcel_once(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID], query: str
) -> None:
    """In an order too, of one time: what is accepted may put a parcel elsewhere in that of now."""
    seen = []
    for turn, page in enumerate(follow(client, f"{ITEMS}?limit=4{query}")):
        seen += ids(page)
        if turn in (0, 1):  # every parcel gets a new state, as an accepted batch gives it
            now = stored.SECOND + dt.timedelta(days=30 * (turn + 1))
            batch = stored.batch(engine, "cd"[turn])
            for place, key in enumerate(made.values()):
                with engine.begin() as connection:
                    connection.execute(
                        sa.text(
                            "UPDATE parcel_versions SET valid_to = :now"
                            " WHERE parcel_id = :id AND valid_to IS NULL"
                        ),
                        {"now": now, "id": key},
                    )
                stored.parcel(
                    engine,
                    batch,
                    stored.square(place % 4, place // 4),
                    parcel_id=key,
                    number=str(place + 1),
                    version=turn + 3,
                    valid_from=now,
                    area=300.0 if key == made["1"] else 500.0,
                )
    assert len(seen) == len(set(seen)) == 16


def test_states_are_in_the_order_of_their_numbers(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    batch = stored.batch(engine, "c")
    for version in range(3, 14):
        begins = stored.SECOND - dt.timedelta(days=3000 - 100 * version)
        values = {"valid_from": begins, "valid_to": begins + dt.timedelta(days=100)}
        square = stored.square(3, 2)
        stored.parcel(engine, batch, square, parcel_id=made["12"], version=version, **values)
    for limit in (1, 4, 100):
        pages = follow(client, f"{ITEMS}?id={made['12']}&datetime=../..&limit={limit}")
        versions = [f["properties"]["version"] for page in pages for f in page["features"]]
        assert versions == [*range(1, 14)]


def test_rings_turn_as_geojson_wants_them(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    """A shapefile's exterior rings are clockwise, RFC 7946's counterclockwise."""
    ring = stored.square(9, 9).split("(((")[1].removesuffix(")))").split(", ")
    hole = "548185 1281185, 548190 1281185, 548190 1281190, 548185 1281190, 548185 1281185"
    clockwise = f"SRID=9212;MULTIPOLYGON((({', '.join(reversed(ring))}), ({hole})))"
    key = stored.parcel(engine, stored.batch(engine, "c"), clockwise, number="99")
    for uri in ("OGC/1.3/CRS84", "EPSG/0/9212", "EPSG/0/5899"):
        query = {"crs": f"http://www.opengis.net/def/crs/{uri}"}
        told = client.get(f"{ITEMS}/{key}", query_string=query).json
        outer, inner = (shapely.LinearRing(each) for each in told["geometry"]["coordinates"][0])
        assert outer.is_ccw
        assert not inner.is_ccw


def test_an_offset_is_answered_and_leads_on_by_key(still: served.Client) -> None:
    every = ids(still.get(f"{ITEMS}?limit=100").json)
    for when in ("", f"&datetime={BETWEEN}"):
        pages = list(follow(still, f"{ITEMS}?limit=5&offset=4{when}"))
        assert [each for page in pages for each in ids(page)] == every[4:]
    told = still.get(f"{ITEMS}?offset=100").json
    assert told["features"] == []
    assert {link["rel"] for link in told["links"]} == {"self", "alternate", "collection"}


def test_number_matched_is_given_where_it_is_free_or_requested(still: served.Client) -> None:
    every = "datetime=../.."
    assert "numberMatched" not in still.get(f"{ITEMS}?limit=3&{every}").json
    assert "numberMatched" not in still.get(f"{ITEMS}?limit=3&land_use=ONT").json
    assert still.get(f"{ITEMS}?limit=3&land_use=ONT&count=exact").json["numberMatched"] == 4
    assert still.get(f"{ITEMS}?limit=1&count=exact&datetime=../..").json["numberMatched"] == 17
    assert still.get(f"{ITEMS}?limit=16").json["numberMatched"] == 16
    for much in ("99999999", "0" * 30 + "17", "9" * 5000):
        assert still.get(f"{ITEMS}?limit={much}").json["numberReturned"] == 16


def test_a_page_and_a_feature_cost_one_statement(
    settings: Settings, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with served.client(settings, engine) as client:
        asked = served.statements(client)
        client.get(f"{ITEMS}?limit=5")
        client.get(f"{ITEMS}/{made['1']}")
        assert len(asked) == 2


def test_a_sheet_is_found_in_every_commune_that_has_it(
    client: served.Client, engine: sa.Engine
) -> None:
    for n, commune in enumerate(("99901", "99902", "99905")):
        stored.parcel(
            engine, 1, stored.square(n, 9), commune=commune, sheet="77", number="7", version=1
        )
    told = client.get(f"{ITEMS}?sheet=77&number=7").json["features"]
    assert sorted(each["properties"]["commune"] for each in told) == ["99901", "99902", "99905"]
    assert client.get(f"{ITEMS}?sheet=78").json["features"] == []


def test_today_and_the_past_are_read_through_their_indexes(
    engine: sa.Engine, settings: Settings, made: dict[str, uuid.UUID]
) -> None:
    """A statement that no partial index fits would read years of history for each page."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO parcel_versions (parcel_id, version, valid_from, valid_to, commune,"
            " sheet, number, measured_area, batch_id, batch_row, geom)"
            " SELECT id, state, '2025-07-01'::timestamptz + state * interval '30 days',"
            " CASE WHEN state < 4 THEN '2025-07-31'::timestamptz + state * interval '30 days' END,"
            " '99901', '2', row_number() OVER () || '', 1, 1, 0, ST_Multi(ST_MakeEnvelope("
            " 548000 + x * 10, 1281000 + y * 10, 548010 + x * 10, 1281010 + y * 10, 9212))"
            " FROM (SELECT gen_random_uuid() AS id, mod(n, 150) AS x, n / 150 AS y"
            " FROM generate_series(1, 10000) AS n) AS p,"
            " generate_series(1, 4) AS state ON CONFLICT DO NOTHING"
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE parcel_versions")
    box = "bbox=106.695,11.585,106.6955,11.5855"
    now = ["", f"&{box}", "&commune=99901&sheet=2&number=77"]
    then = "&datetime=2025-08-15T00:00:00Z"
    number = "commune='99901' AND sheet='2' AND number='77'"
    here = "S_INTERSECTS(geometry, POINT(548105 1281105))"
    storage = "&filter-crs=http://www.opengis.net/def/crs/EPSG/0/9212"
    filters = [number, f"scale = 500 AND {here}", f"({number}) OR {here}"]
    past = [f"&{box}{then}", then, f"&commune=99901&sheet=2&number=77{then}"]
    past += [f"&filter={each}{storage}{then}" for each in filters]
    with served.client(settings, engine) as client:
        asked = served.statements(client)
        for query in [*now, *past]:
            client.get(f"{ITEMS}?limit=10{query}")
        client.get(f"{ITEMS}/{made['1']}")
        client.get(f"{ITEMS}?sheet=2&number=77")
    plans = []
    with engine.connect() as connection:
        for each in asked:
            plan = connection.exec_driver_sql("EXPLAIN " + each.sql, each.parameters)
            plans.append("\n".join(row[0] for row in plan))
    assert "Seq Scan" not in "".join(plans)
    used = [re.findall(r"(?:using|Scan on) ((?:uq|ix)_parcel_\w+)", plan) for plan in plans]
    assert used[0] == ["uq_parcel_versions_current"]
    assert used[1] == ["ix_parcel_versions_geom_current"]
    assert used[2] == ["uq_parcel_versions_number"]
    places = ["ix_parcel_versions_geom_current", "ix_parcel_versions_geom_past"]
    assert used[3] == places
    assert used[4] == ["ix_parcel_versions_as_of"]
    assert used[5] == used[6] == ["ix_parcel_versions_number"]
    assert used[7] == places
    # of alternatives each by its own index, now and in the past
    assert used[8][1::2] == places
    assert {*used[8][::2]} <= {"uq_parcel_versions_number", "ix_parcel_versions_number"}
    assert used[9] == ["uq_parcel_versions_current"]
    assert set(used[10]) == {"uq_parcel_versions_number"}
    assert "(commune = ANY ($" in plans[10]


# -- HTTP


def test_an_answer_is_kept_until_it_changes(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    for url in (f"{ITEMS}?limit=3", f"{ITEMS}/{made['12']}", "/ogc/collections", "/ogc"):
        first = client.get(url)
        tag = first.headers["ETag"]
        again = client.get(url, headers={"If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
        assert {"accept", "accept-encoding", "accept-language"} <= {
            each.lower() for each in first.headers["Vary"].split(", ")
        }
    url = f"{ITEMS}/{made['12']}"
    tag = client.get(url).headers["ETag"]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE parcel_versions SET label = 'x' WHERE version = 2"))
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_a_large_response_is_compressed_for_clients_that_accept_it(still: served.Client) -> None:
    plain = still.get(f"{ITEMS}?limit=16")
    for accepted, name, unpack in (
        ("gzip", "gzip", gzip.decompress),
        ("gzip, deflate, br, zstd", "br", brotli.decompress),
        ("br;q=0.5, gzip;q=1", "gzip", gzip.decompress),
        ("br;q=1, gzip;q=0.5", "br", brotli.decompress),
        ("*", "gzip", gzip.decompress),
    ):
        packed = still.get(f"{ITEMS}?limit=16", headers={"Accept-Encoding": accepted})
        assert packed.headers["Content-Encoding"] == name
        assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 3
        assert json.loads(unpack(packed.data))["features"] == plain.json["features"]
        assert packed.headers["ETag"] == plain.headers["ETag"]
    refused = still.get(f"{ITEMS}?limit=16", headers={"Accept-Encoding": "gzip;q=0, *;q=0"})
    assert "Content-Encoding" not in refused.headers
    error = still.get(f"{ITEMS}?f=bad", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in error.headers
    assert error.json["code"] == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/geo+json"),
        ("application/json", "application/geo+json"),
        ("application/geo+json, application/json", "application/geo+json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/html;q=0.5,application/geo+json", "application/geo+json"),
        ("application/geo+json; charset=utf-8", "application/geo+json"),
        ("text/html;level=1, image/png", "text/html"),
        ("*", "application/geo+json"),
        ("application/geo+json;q=0, text/html;level=1;q=0", None),
        ("image/png", None),
        ("application/ld+json", None),
    ],
)
def test_the_form_is_agreed_upon(still: served.Client, accept: str, media: str | None) -> None:
    made = still.get(ITEMS, headers={"Accept": accept})
    if media is None:
        assert (made.status_code, made.json["error"]["code"]) == (406, "not-acceptable")
    else:
        assert (made.status_code, made.mimetype) == (200, media)
    assert still.get(f"{ITEMS}?f=json", headers={"Accept": accept}).status_code == 200


def test_links_begin_with_the_requested_address(still: served.Client) -> None:
    told = still.get(f"{ITEMS}?limit=1", base_url="https://land.example:8443").json
    for link in told["links"]:
        assert link["href"].startswith("https://land.example:8443/ogc/")
    told = still.get("/ogc", base_url="http://other.example").json
    assert {link["href"].split("/ogc")[0] for link in told["links"]} == {"http://other.example"}


@pytest.mark.parametrize("language", ["vi", "en"])
def test_pages_for_people_load_nothing_from_afar(
    client: served.Client, made: dict[str, uuid.UUID], language: str
) -> None:
    urls = ["/ogc", "/ogc/conformance", "/ogc/openapi", "/ogc/collections"]
    for name in ("parcels", "communes"):
        base = f"/ogc/collections/{name}"
        urls += [base, f"{base}/schema", f"{base}/queryables", f"{base}/items"]
    urls += [f"{ITEMS}/{made['12']}", "/ogc/collections/communes/items/99901"]
    for url in urls:
        page = client.get(f"{url}?f=html&lang={language}")
        assert (page.status_code, page.mimetype) == (200, "text/html"), page.text
        assert f'<html lang="{language}">' in page.text
        loaded = re.findall(r'(?:src|<link rel="stylesheet" href)="([^"]+)"', page.text)
        assert loaded
        assert all(each.startswith("http://localhost/") for each in loaded)
        assert "<script>" not in page.text
        assert "style=" not in page.text
        for href in re.findall(r'href="(http://localhost/ogc[^"]*)"', page.text):
            linked = client.get(href.replace("&amp;", "&"))
            assert linked.status_code == 200, href


def test_a_page_for_people_writes_values_as_text(
    client: served.Client, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE parcel_versions SET label = '<script>alert(1)'"))
    for url in (f"{ITEMS}?f=html", f"{ITEMS}/{made['12']}?f=html"):
        assert "<script>alert" not in client.get(url).text


# -- what is refused


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=abc", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=٣", "limit"),
        ("limit=000", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("offset=2147483648", "offset"),
        ("colour=red", "colour"),
        ("f=xml", "f"),
        ("lang=fr", "lang"),
        ("count=yes", "count"),
        ("cursor=abc", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=WyJuIiwiYSIsIjEiXQ", "cursor"),
        ("cursor=ế", "cursor"),
        ("scale=abc", "scale"),
        ("scale=1.0", "scale"),
        ("scale=99999999999", "scale"),
        ("area=abc", "area"),
        ("area=nan", "area"),
        ("area=1e999", "area"),
        ("area=1_0", "area"),
        ("surveyed_on=20", "surveyed_on"),
        ("valid_from=2026-01-01", "valid_from"),
        ("id=12", "id"),
        ("label=%00", "label"),
        ("owner=x", "owner"),
        ("datetime=yesterday", "yesterday"),
        ("datetime=2026-01-01/2025-01-01", "datetime"),
        ("datetime=a/b/c", "datetime"),
        ("datetime=2026-01-01T00:00:00+07:00", "write %2B"),
        ("valid_from=2026-01-01T00:00:00.5+07:00", "write %2B"),
        ("datetime=0001-01-01T00:00:00%2B14:00", "datetime"),
        ("bbox=1,2,3", "bbox"),
        ("bbox=a,b,c,d", "bbox"),
        ("bbox=1_06,11,107,12", "bbox"),
        ("bbox=١٠٦,11,107,12", "bbox"),
        ("bbox=106,12,107,11", "bbox"),
        ("bbox=106,11,107,nan", "bbox"),
        ("bbox=106,11,5,107,12,1", "bbox"),
        ("bbox=106,-91,107,12", "bbox"),
        ("bbox=1,2,3,4,5,6&bbox-crs=[EPSG:9212]", "bbox"),
        ("bbox-crs=[EPSG:9212]", "bbox-crs"),
        ("bbox=106,11,107,12&bbox-crs=EPSG:99999", "bbox-crs"),
        ("bbox=9,1,8,2&bbox-crs=[EPSG:9212]", "bbox"),
        ("crs=EPSG:2326", "crs"),
        ("crs=", "crs"),
    ],
)
def test_a_bad_parameter_is_named_in_one_sentence(
    still: served.Client, query: str, named: str
) -> None:
    made = still.get(f"{ITEMS}?{query}")
    assert (made.status_code, made.mimetype) == (400, "application/json"), made.text
    assert made.json["code"] == "InvalidParameterValue"
    assert named in made.json["description"]
    assert made.json["error"]["message"] in made.json["description"]


def test_a_cursor_whose_key_is_no_text_is_refused(still: served.Client) -> None:
    token = base64.urlsafe_b64encode(rb'["n","\ud800","2025-07-01"]').decode()
    made = still.get(f"/ogc/collections/communes/items?cursor={token}")
    assert (made.status_code, made.json["code"]) == (400, "InvalidParameterValue")


@pytest.mark.parametrize(
    "path",
    [
        "/ogc/nothing",
        "/ogc/collections/owners",
        "/ogc/collections/holders/items",
        "/ogc/collections/staged_parcels/items",
        "/ogc/collections/parcels/items/12",
        "/ogc/collections/parcels/items/%00",
        "/ogc/collections/parcels/items/" + str(uuid.UUID(int=5)),
        "/ogc/collections/parcels/items/" + uuid.UUID(int=5).hex,
        "/ogc/collections/parcels/items/a/b",
        "/ogc/collections/communes/items/%00",
        "/ogc/collections/communes/items/nowhere",
        "/ogc/collections/../collections/x",
        "/ogc/static/none.css",
    ],
)
def test_a_missing_resource_is_404_in_json(still: served.Client, path: str) -> None:
    made = still.get(path)
    assert (made.status_code, made.mimetype) == (404, "application/json"), made.text
    assert made.json["code"] == "NotFound"


def test_nothing_is_written_over_http(client: served.Client, made: dict[str, uuid.UUID]) -> None:
    for path in ("/ogc", "/ogc/collections", ITEMS, f"{ITEMS}/{made['1']}"):
        for method in ("post", "put", "patch", "delete"):
            refused = getattr(client, method)(path, json={})
            assert (refused.status_code, refused.mimetype) == (405, "application/json")
            assert refused.headers["Allow"] == "GET, HEAD, OPTIONS"
        asked = client.options(path)
        assert asked.headers["Allow"] == "GET, HEAD, OPTIONS"
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert client.post("/ogc/nothing").status_code == 404


def test_the_readers_connection_can_write_nothing(client: served.Client) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        client.call(client.service.pool.rows, "DELETE FROM communes RETURNING 1", {})
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        fetch_rows(client.service.url, "DELETE FROM communes RETURNING 1", {})


def test_the_readers_role_sees_no_person(
    cluster: Cluster, settings: Settings, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    """A mistake in a statement of the service could not even then show who holds what."""
    name = engine.url.database or ""
    reader = cluster.url(name, role=READER).render_as_string(hide_password=False)
    with served.client(settings.model_copy(update={"read_url": reader}), engine) as client:
        rows = client.service.pool.rows
        assert client.call(rows, "SELECT current_user", {}) == [(READER,)]
        for path in (
            "/ogc",
            "/ogc/collections",
            ITEMS,
            f"{ITEMS}/{made['12']}?datetime=2026-01-01",
        ):
            assert client.get(path).status_code == 200
        for collection in client.get("/ogc/collections").json["collections"]:
            items_of = f"/ogc/collections/{collection['id']}/items"
            assert client.get(f"{items_of}?count=exact").status_code == 200
            tile = client.get(f"/ogc/collections/{collection['id']}/tiles/WebMercatorQuad/15/0/0")
            assert tile.status_code == 204
        assert client.get("/ogc/collections/parcels/changes").status_code == 200
        told = sa.inspect(engine).get_table_names()
        for table in set(told) - set(READABLE) - {"spatial_ref_sys"}:
            with pytest.raises(Unavailable, match="may not read") as caught:
                client.call(rows, f"SELECT * FROM {table}", {})
            assert caught.value.code == "not-readable"
        assert {"holders", "staged_parcels", "batches", "findings"} <= set(told) - set(READABLE)
    # nor could it write if it said that it may
    with psycopg.connect(reader.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for table in READABLE:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"DELETE FROM {table}")


def test_the_embedded_cluster_is_read_as_its_reader(cluster: Cluster) -> None:
    own = Settings(home=cluster.home, database_url=None)
    assert database.reading_url(own).username == READER
    assert database.url(own).username != READER
    named = own.model_copy(update={"read_url": "postgresql://r@replica/x"})
    assert database.reading_url(named).host == "replica"


def test_a_bbox_selects_what_intersects_it_and_no_other(
    client: served.Client, engine: sa.Engine
) -> None:
    """Whether a parcel lies well within, on the edge, or is met by a corner alone."""
    exact = sa.text(
        "SELECT parcel_id::text FROM parcel_versions WHERE valid_to IS NULL"
        " AND ST_Intersects(geom, ST_GeomFromWKB(:area, 9212))"
    )
    with engine.connect() as connection:
        extent = "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e) FROM"
        moved = "ST_Transform(ST_SetSRID(geom, 919212), 4326)"
        west, south, east, north = connection.exec_driver_sql(
            f"{extent} (SELECT ST_Extent({moved}) AS e FROM parcel_versions) AS b"
        ).one()
        for n in range(60):
            shares = [(n * step % 61) / 60 for step in (7, 11, 17, 23)]
            x, y = west + (east - west) * shares[0], south + (north - south) * shares[1]
            wide, high = (east - west) * shares[2], (north - south) * shares[3]
            text = f"{x:.8f},{y:.8f},{x + wide + 1e-6:.8f},{y + high + 1e-6:.8f}"
            found = client.get(f"{ITEMS}?limit=100&bbox={text}").json["features"]
            area = crs.bbox_polygon(text, crs.supported(9212)[crs.CRS84], 9212)
            there = connection.execute(exact, {"area": shapely.to_wkb(area)}).scalars()
            assert sorted(each["id"] for each in found) == sorted(there), text


@pytest.mark.parametrize(
    ("asked", "quick"),
    [
        ("", True),
        ("limit=1000&datetime=2026-03-01T00:00:00Z", True),
        ("bbox=106.4,11.5,106.401,11.501", True),
        ("bbox=106.4,11.5,106.401,11.501&land_use=ONT", True),
        ("bbox=106,11,107,12", False),
        ("sheet=1", True),
        ("commune=99901&sheet=1&number=1", True),
        ("commune=99901", False),  # a rare one may be behind all others
        ("land_use=ONT", False),
        ("sortby=area", False),
        ("offset=10", False),
        (f"filter=S_INTERSECTS(geometry,{SMALL})", True),
        (f"filter=area > 1 AND (sheet='1' AND S_WITHIN(geometry,{SMALL}))", True),
        (f"filter=S_DISJOINT(geometry,{SMALL})", False),
        (f"filter=NOT S_INTERSECTS(geometry,{SMALL})", False),
        (f"filter=area > 1 OR S_INTERSECTS(geometry,{SMALL})", False),
        (f"filter=S_INTERSECTS({SMALL},{SMALL})", False),
        ("filter=S_INTERSECTS(geometry,BBOX(106,11,107,12))", False),
        ("filter=area > 1", False),
    ],
)
def test_only_selective_queries_have_a_generic_plan(
    client: served.Client, asked: str, quick: bool
) -> None:
    made = served.statements(client)
    assert client.get(f"{ITEMS}?{asked}").status_code == 200
    assert made[0].has_generic_plan is quick


def test_a_database_that_is_gone_is_503(settings: Settings, engine: sa.Engine) -> None:
    gone = engine.url.set(database="gone")
    with served.client(settings.model_copy(update={"read_url": str(gone)}), engine) as client:
        made = client.get(ITEMS)
    assert (made.status_code, made.json["error"]["code"]) == (503, "database-down")
    assert made.headers["Retry-After"]
    assert "gone" not in made.text


def test_the_service_reconnects_to_a_restarted_database(
    client: served.Client, engine: sa.Engine
) -> None:
    assert client.get(ITEMS).status_code == 200
    with engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'landdata-ogc' AND datname = current_database()"
            )
        )
    assert client.get(ITEMS).status_code == 200


names = st.sampled_from(
    ["bbox", "bbox-crs", "crs", "datetime", "limit", "offset", "cursor", "count", "id", "commune",
     "sheet", "number", "national_id", "scale", "area", "land_use", "label", "surveyed_on",
     "valid_from", "valid_to", "version", "f", "lang", "filter", "x"]
)  # fmt: skip
values = st.one_of(
    st.text(max_size=30),
    st.floats().map(str),
    st.integers().map(str),
    st.lists(st.floats() | st.integers(-200, 200), min_size=3, max_size=7).map(
        lambda numbers: ",".join(map(str, numbers))
    ),
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.dates().map(str),
    st.sampled_from(
        ["'; DROP TABLE parcels; --", "%s", "%(key)s", "${x}", "../..", "..", "[EPSG:4326]",
         "http://www.opengis.net/def/crs/EPSG/0/5899", "json", "exact", "1e308", "{}", "\\"]
    ),
)  # fmt: skip


def test_no_query_whatever_is_our_fault(still: served.Client) -> None:
    @tuned(
        max_examples=examples(4),
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
        database=None,
    )
    @given(st.lists(st.tuples(names, values), max_size=4), st.sampled_from(["parcels", "communes"]))
    def ask(query: list[tuple[str, str]], collection: str) -> None:
        made = still.get(f"/ogc/collections/{collection}/items", query_string=query)
        assert made.status_code in (200, 400), (query, made.text)
        if made.mimetype != "text/html":
            json.loads(made.data)

    ask()


def test_an_estimate_is_marked_and_an_exact_number_given_where_it_is_free(
    client: served.Client,
) -> None:
    told = client.get(f"{ITEMS}?count=estimate&limit=3").json
    assert (told["numberMatched"], told.get("numberEstimated")) == (16, None)
    told = client.get(f"{ITEMS}?count=estimate&limit=3&area=400").json
    assert "numberMatched" not in told
    assert told["numberEstimated"] > 0
    asked = "/ogc/collections/parcels/items?count=estimate&limit=3&number=5&datetime=../.."
    told = client.get(asked).json
    assert (told["numberMatched"], told.get("numberEstimated")) == (1, None)
    asked = (
        "/ogc/collections/parcels/items?count=estimate&limit=1&bbox=106,11,107,12&datetime=../.."
    )
    assert client.get(asked).json["numberEstimated"] >= 0
