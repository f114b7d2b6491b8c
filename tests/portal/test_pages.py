# mypy: strict-optional=False
from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
import shapely
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from support import served, stored

from landdata.embedded.cluster import Cluster
from landdata.reference import land_use
from landdata.settings import Settings
from landdata.store import database
from portal import parcels as pages
from portal.app import create_app

PAGE = {"Accept": "text/html"}
PROGRAM = {"Accept": "application/json"}


@pytest.fixture
def made(engine: sa.Engine) -> dict[str, uuid.UUID]:
    return stored.lattice(engine)


@pytest.fixture
def app(settings: Settings, engine: sa.Engine) -> Flask:
    return create_app(settings, engine)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def whole(
    settings: Settings, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> Iterator[served.Client]:
    """A client of the portal and the OGC API."""
    with served.whole(settings, engine) as client:
        yield client


class Config(HTMLParser):
    """What the page hands to the map."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.told: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.told |= json.loads(dict(attrs).get("data-config") or "{}")


def test_the_map_page_names_the_extent_the_crs_and_what_colours_mean(
    client: FlaskClient, whole: served.Client, made: dict[str, uuid.UUID]
) -> None:
    answer = client.get("/", headers=PAGE)
    assert answer.status_code == 200
    told = Config(answer.text).told
    x, y = stored.EAST, stored.NORTH
    assert told["extent"] == [x, y, x + 80, y + 80]
    assert told["crs"]["uri"] == "http://www.opengis.net/def/crs/EPSG/0/9212"
    assert "-191.90441429" in told["crs"]["proj"]  # the pinned operation, not PROJ's choice
    assert told["crs"]["northFirst"] is False
    assert set(told["themes"]) <= set(land_use.CURRENT) | set(land_use.LEGACY)
    assert whole.get(told["items"]).status_code == 200
    assert "Xã Suối Mẫu" in answer.text


def test_an_empty_store_says_so(client: FlaskClient) -> None:
    answer = client.get("/?lang=en", headers=PAGE)
    assert "There are no parcels in the store yet." in answer.text
    assert Config(answer.text).told["extent"] is None


def test_the_page_of_a_parcel_has_its_areas_history_and_corners(
    client: FlaskClient, made: dict[str, uuid.UUID]
) -> None:
    answer = client.get(f"/parcels/{made['12']}?lang=en", headers=PAGE)
    assert answer.status_code == 200
    text = answer.text
    assert "<h1>Parcel 12, sheet 1</h1>" in text
    assert "400.0 m²" in text
    assert "398.5 m²" in text
    assert "Aquaculture" in text
    assert text.count('<tr class="shown"') == 1
    assert "440.0 m²" in text  # the state before
    rows = re.findall(r'<td class="num">(\d+)</td><td class="num">([\d.]+)</td>', text)
    assert [number for number, _ in rows] == ["1", "2", "3", "4"]
    assert f"{stored.NORTH + 40:.3f}" in text
    assert '<path class="parcel"' in text


def test_as_of_shows_the_state_of_then_and_says_that_it_is_past(
    client: FlaskClient, made: dict[str, uuid.UUID]
) -> None:
    text = client.get(f"/parcels/{made['12']}?lang=en&as_of=2025-08-01", headers=PAGE).text
    assert "A past version, valid until" in text
    told = client.get(f"/parcels/{made['12']}?as_of=2025-08-01", headers=PROGRAM).json
    assert told["parcel"]["version"] == 1
    assert told["parcel"]["area"] == 440.0
    assert shapely.geometry.shape(told["geometry"]).area == 440.0


def test_the_json_of_a_parcel_has_its_public_properties_and_every_state(
    whole: served.Client, made: dict[str, uuid.UUID]
) -> None:
    told = whole.get(f"/parcels/{made['12']}", headers=PROGRAM).json
    assert told["commune_name"] == "Xã Suối Mẫu"
    assert told["crs"].endswith("/9212")
    assert [state["version"] for state in told["history"]] == [2, 1]
    item = whole.get(f"/ogc/collections/parcels/items/{made['12']}?f=json").json
    assert told["parcel"] == item["properties"]


def test_a_parcel_that_is_no_more_is_still_shown_as_it_was_last(
    client: FlaskClient, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE parcel_versions SET valid_to = '2026-05-01' WHERE parcel_id = :id"
                " AND valid_to IS NULL"
            ),
            {"id": made["3"]},
        )
    text = client.get(f"/parcels/{made['3']}?lang=en", headers=PAGE).text
    assert "A past version, valid until 1 May 2026" in text


@pytest.mark.parametrize(
    "address",
    [
        "/parcels/99901/1/12",
        "/parcels/w6bqz3k8n1p0",
        "/parcels?commune=99901&sheet=1&number=12",
        "/parcels?commune=99901/1/12&sheet=&number=",
    ],
)
def test_a_number_and_a_national_id_lead_to_the_page(
    client: FlaskClient, made: dict[str, uuid.UUID], address: str
) -> None:
    answer = client.get(address, headers=PAGE)
    assert answer.status_code == 302
    assert answer.location == f"/parcels/{made['12']}"


def test_links_keep_the_requested_time(client: FlaskClient, made: dict[str, uuid.UUID]) -> None:
    answer = client.get("/parcels/99901/1/12?as_of=2025-08-01&f=json")
    assert answer.location == f"/parcels/{made['12']}?as_of=2025-08-01&f=json"


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/parcels/99901/1/99", 404, "no-parcel"),
        ("/parcels/99901/1/12?as_of=2020-01-01", 404, "no-parcel"),
        ("/parcels/00000000-0000-4000-8000-000000000000", 404, "no-parcel"),
        ("/parcels/99901", 400, "bad-key"),
        ("/parcels", 400, "bad-key"),
        ("/parcels/99901/1/12?as_of=tomorrow", 400, "bad-time"),
        ("/nowhere", 404, "not-found"),
    ],
)
def test_an_error_is_a_sentence_for_people_and_json_for_programs(
    client: FlaskClient, made: dict[str, uuid.UUID], address: str, status: int, code: str
) -> None:
    told = client.get(address, headers=PROGRAM)
    assert told.status_code == status
    assert told.json["error"]["code"] == code
    page = client.get(address, headers=PAGE)
    assert page.status_code == status
    assert page.mimetype == "text/html"
    assert str(status) in page.text
    assert "Traceback" not in page.text


def test_a_national_id_borne_twice_is_ambiguous(
    client: FlaskClient, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE parcel_versions SET national_id = 'w6bqz3k8n1p0' WHERE number = '3'")
        )
    answer = client.get("/parcels/w6bqz3k8n1p0", headers=PROGRAM)
    assert answer.status_code == 409
    assert answer.json["error"]["code"] == "ambiguous-parcel"


def test_a_wrong_method_is_405_and_says_which_are_right(client: FlaskClient) -> None:
    answer = client.post("/", headers=PROGRAM)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "X"])
@pytest.mark.parametrize("path", ["", "/", "/collections", "/collections/parcels/items/x", "/no"])
def test_a_method_of_nothing_is_405_of_ogc(whole: served.Client, path: str, method: str) -> None:
    answer = whole.open(f"/ogc{path}", method=method)
    assert (answer.status_code, answer.mimetype) == (405, "application/json")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.json["code"] == "MethodNotAllowed"
    assert answer.json["description"] == f"This address does not allow {method}: it is read."


def test_nothing_anywhere_names_a_holder(whole: served.Client, made: dict[str, uuid.UUID]) -> None:
    for address in ("/", f"/parcels/{made['12']}", "/ogc/collections/parcels/items?limit=100"):
        for headers in (PAGE, PROGRAM):
            answer = whole.get(address, headers=headers)
            assert answer.status_code == 200
            assert "Chủ sử dụng" not in json.dumps(answer.text, ensure_ascii=False)
            assert "Thôn 1" not in answer.text  # an address, not public unless told


def test_an_address_is_shown_where_the_deployment_says_so(
    settings: Settings, engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    app = create_app(settings.model_copy(update={"publish_address": True}), engine)
    client = app.test_client()
    assert "Thôn 1" in client.get(f"/parcels/{made['12']}", headers=PAGE).text
    assert client.get(f"/parcels/{made['12']}?f=json").json["parcel"]["address"] == "Thôn 1"


def test_a_code_has_one_theme_at_most() -> None:
    listed = [code for _, _, _, codes in pages.THEMES for code in codes.split()]
    assert len(listed) == len(set(listed))


# -- language


def test_the_language_is_the_deployments_unless_requested_otherwise(client: FlaskClient) -> None:
    def language(address: str, **headers: str) -> str:
        return re.search(r'<html lang="(\w+)"', client.get(address, headers=headers).text)[1]

    assert language("/") == "en"  # the settings of the tests
    assert language("/", **{"Accept-Language": "vi-VN,vi;q=0.9"}) == "vi"
    assert language("/?lang=vi") == "vi"
    assert language("/") == "vi"  # remembered
    assert language("/?lang=en", **{"Accept-Language": "vi"}) == "en"
    assert language("/?lang=xx") == "en"


def test_errors_are_in_vietnamese(client: FlaskClient, made: dict[str, uuid.UUID]) -> None:
    text = client.get("/parcels/99901/1/99?lang=vi", headers=PAGE).text
    assert "Không có thửa 99901/1/99 hiện nay." in text


# -- what every answer carries


def test_a_page_runs_no_script_of_its_own_and_loads_from_nowhere_else(
    client: FlaskClient, made: dict[str, uuid.UUID]
) -> None:
    for address in ("/", f"/parcels/{made['12']}", "/nowhere"):
        answer = client.get(address, headers=PAGE)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert not re.search(r"<script(?![^>]* src=)", answer.text)
        assert not re.search(r"\son\w+=", answer.text)
        assert " style=" not in answer.text
        for found in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
            assert found.startswith(("/", "#", "?")), found


def test_other_systems_may_read_the_ogc_api_but_not_frame_or_read_the_pages(
    whole: served.Client,
) -> None:
    answer = whole.get("/ogc/collections/parcels/items", headers={"Origin": "http://other.test"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in whole.get("/").headers


# -- health


def test_health_and_readiness(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json["database"] is True


def test_an_old_schema_is_not_ready(client: FlaskClient, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "landdata migrate" in answer.json["hint"]


def test_without_its_database_the_portal_lives_says_so_and_comes_back(
    app: Flask,
    client: FlaskClient,
    settings: Settings,
    engine: sa.Engine,
    cluster: Cluster,
    made: dict[str, uuid.UUID],
) -> None:
    name = engine.url.database
    admin = sa.create_engine(cluster.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name},
        )
        try:
            assert client.get("/healthz").status_code == 200
            answer = client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json["database"] is False
            page = client.get(f"/parcels/{made['12']}", headers=PROGRAM)
            assert page.status_code == 503
            assert page.headers["Retry-After"]
        finally:
            connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    admin.dispose()
    assert client.get("/readyz").status_code == 200


def test_a_bug_is_500_without_a_trace_and_logged_without_the_query(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise RuntimeError("the secret of a person")

    app.add_url_rule("/broken", view_func=broken)
    answer = client.get("/broken?who=somebody", headers=PROGRAM)
    assert answer.status_code == 500
    assert answer.json["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    assert "somebody" not in caplog.text


def test_the_app_opens_the_store_of_its_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDDATA_DATABASE_URL", settings.database_url)
    app = create_app()
    assert app.test_client().get("/readyz").status_code == 200
    app.extensions["landdata"].engine.dispose()


def test_a_store_of_another_country_has_a_map_too(make_store: Callable[..., Settings]) -> None:
    settings = make_store(3740)
    engine = database.engine(settings)
    app = create_app(settings, engine)
    told = Config(app.test_client().get("/").text).told
    assert told["crs"]["code"] == "EPSG:3740"
    assert "+proj=utm" in told["crs"]["proj"]
    engine.dispose()


def test_numbers_and_days_are_written_as_each_language_writes_them(
    client: FlaskClient, made: dict[str, uuid.UUID]
) -> None:
    vi = client.get(f"/parcels/{made['12']}?lang=vi", headers=PAGE).text
    en = client.get(f"/parcels/{made['12']}?lang=en", headers=PAGE).text
    assert "400,0 m²" in vi
    assert "400.0 m²" in en
    assert re.search(r">\d\d/\d\d/\d{4}<", vi)
    assert re.search(r">\d+ [A-Z][a-z]{2} \d{4}<", en)
    assert not re.search(r"\d\.\d+</td>", vi)


def test_errors_of_addresses_are_told_in_the_language_of_the_reader(client: FlaskClient) -> None:
    for accept, sentence in (
        ("vi-VN,vi;q=0.9,en;q=0.5", "Không có trang nào ở địa chỉ này."),
        ("vi;q=0.4,en;q=0.8", "There is no page at this address."),
        ("fr", "There is no page at this address."),  # the deployment's
    ):
        headers = PROGRAM | {"Accept-Language": accept}
        assert client.get("/nowhere", headers=headers).get_json()["error"]["message"] == sentence
