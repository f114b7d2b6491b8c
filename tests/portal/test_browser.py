"""The map as a person meets it: a real Chromium on a real port over a real store."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support import served, stored

from landdata.settings import Settings
from landdata.store import database


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def store(
    make_store: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, uuid.UUID], sa.Engine]]:
    """The address of a server over sixteen parcels and a well, their ids, and the engine."""
    path = tmp_path_factory.mktemp("more") / "collections.toml"
    path.write_text('[wells]\ntable = "wells"\nkey = "id"\ngeometry = "geom"\n', "utf-8")
    settings = make_store(collections=path)
    engine = database.engine(settings)
    made = stored.lattice(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE wells (id int PRIMARY KEY, geom geometry(Point, 9212));"
            "INSERT INTO wells VALUES (1, 'SRID=9212;POINT(548000 1281000)')"
        )
    with served.server(settings) as address:
        yield address.removesuffix("/ogc"), made, engine
    engine.dispose()


@pytest.fixture
def page(browser: Browser, store: tuple[str, dict[str, uuid.UUID], sa.Engine]) -> Iterator[Page]:
    """A page that must write no error and ask no other host."""
    context = browser.new_context(
        viewport={"width": 1100, "height": 760},
        locale="en-GB",
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    opened = context.new_page()
    errors: list[str] = []
    hosts: set[str] = set()
    opened.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    opened.expected_errors = 0  # type: ignore[attr-defined]
    yield opened
    context.close()
    assert hosts <= {urlsplit(store[0]).netloc}
    assert len(errors) == opened.expected_errors, errors  # type: ignore[attr-defined]


def drawn(page: Any, count: int = 16) -> None:
    """Wait until the map holds so many parcels and waits for no more."""
    # attributes: the page's policy forbids what evaluates text, `wait_for_function` among it
    expect(page.locator("body")).to_have_attribute("data-features", str(count))
    expect(page.locator("body")).to_have_attribute("data-state", "ready")


def chosen(page: Any, id: uuid.UUID) -> None:  # noqa: A002
    expect(page.locator("body")).to_have_attribute("data-selected", str(id))


def search(page: Any, text: str) -> None:
    page.get_by_label("Commune").fill(text)
    page.get_by_role("button", name="Find").click()


def test_the_map_draws_every_parcel_in_the_storage_crs(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(store[0])
    drawn(page)
    # the colour of rice, in the picture itself: parcel 2 lies beside the south-west corner
    counts = page.evaluate(
        """() => {
          const canvas = document.querySelector('#map canvas');
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          const seen = {};
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] !== 255) continue;
            const key = [data[i], data[i + 1], data[i + 2]].join();
            seen[key] = (seen[key] || 0) + 1;
          }
          return seen;
        }"""
    )
    colours = {"home": "243,195,204", "rice": "246,234,164", "perennial": "216,227,173"}
    areas = [counts.get(colour, 0) for colour in colours.values()]
    assert min(areas) > 5000
    assert max(areas) < 1.1 * min(areas)  # four parcels of 400 m² each


def test_a_parcel_is_found_by_its_number_and_shown_with_its_history(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, made, _ = store
    page.goto(base)
    drawn(page)
    search(page, "99901/1/12")
    expect(page.get_by_role("heading", name="Parcel 12, sheet 1")).to_be_visible()
    panel = page.locator("#panel")
    expect(panel).to_contain_text("400.0 m²")
    expect(panel).to_contain_text("398.5 m²")
    expect(panel).to_contain_text("Aquaculture")
    expect(panel).to_contain_text("Xã Suối Mẫu (99901)")
    expect(panel.locator(".versions li")).to_have_count(2)
    expect(panel.locator(".versions li").last).to_contain_text("440.0 m²")
    chosen(page, made["12"])
    panel.locator(".versions button").last.click()
    expect(panel.locator(".versions button").last).to_have_attribute("aria-pressed", "true")
    assert "Chủ sử dụng" not in page.content()
    panel.get_by_role("link", name="Parcel page").click()
    expect(page.get_by_role("heading", name="Parcel 12, sheet 1")).to_be_visible()
    expect(page.get_by_role("columnheader", name="X (N), m")).to_be_visible()


def test_three_fields_find_as_one_does_and_what_is_not_there_is_said(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(store[0])
    drawn(page)
    page.get_by_label("Sheet").fill("1")
    page.get_by_role("textbox", name="Parcel").fill("7")  # the only commune stands there already
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Parcel 7, sheet 1")).to_be_visible()
    page.expected_errors = 1  # the browser itself writes a 404 to its console
    search(page, "99901/1/77")
    expect(page.locator("#notice")).to_have_text("There is no parcel 99901/1/77 now.")


def test_a_click_and_the_keyboard_choose_a_parcel(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, made, _ = store
    page.goto(base)
    drawn(page)
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2 - 40)
    # just north-east of the middle of the lattice: third column, third row
    chosen(page, made["11"])
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    page.goto(f"{base}/#view={stored.EAST + 10},{stored.NORTH + 10},0.2")
    page.reload()
    drawn(page)
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Parcel 1, sheet 1")).to_be_visible()


def test_the_pointer_tells_x_north_and_y_east(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(f"{store[0]}/#view={stored.EAST + 40},{stored.NORTH + 40},0.5")
    drawn(page)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2)
    told = page.locator("#grid").inner_text()
    x, y = (float(re.sub(r"\s", "", part)) for part in re.findall(r"[XY] ([\d\s.]+)", told))
    assert abs(x - (stored.NORTH + 40)) <= 0.5
    assert abs(y - (stored.EAST + 50)) <= 0.5
    lat, lon = map(float, page.locator("#wgs84").inner_text().split(","))
    assert 11.5 < lat < 11.7
    assert 106.6 < lon < 106.8


def test_the_address_can_be_shared(
    page: Any, browser: Browser, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, made, _ = store
    page.goto(base)
    drawn(page)
    search(page, "99901/1/5")
    page.wait_for_url(f"**/#*{made['5']}*")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    shared = page.evaluate("navigator.clipboard.readText()")
    other = browser.new_page(locale="vi-VN")
    other.goto(shared)
    expect(other.get_by_role("heading", name="Thửa 5, tờ 1")).to_be_visible()
    other.close()


def test_as_of_a_day_draws_and_finds_what_was_then(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(store[0])
    drawn(page)
    answers: list[Any] = []
    page.on("response", lambda r: answers.append(r) if "datetime=2025-08-01" in r.url else None)
    page.get_by_label("As of").fill("2025-08-01")
    drawn(page)
    features = [f for answer in answers for f in answer.json()["features"]]
    assert {f["properties"]["version"] for f in features if f["properties"]["number"] == "12"} == {
        1
    }
    search(page, "99901/1/12")
    expect(page.locator("#panel")).to_contain_text("A past version, until 01 Mar 2026")
    assert "as_of=2025-08-01" in page.url
    page.get_by_label("As of").fill("2020-01-01")
    drawn(page, 0)
    expect(page.locator("#panel")).to_be_hidden()  # the chosen parcel was not there: 404
    page.expected_errors = 1


def test_the_language_is_switched_in_place(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(store[0])
    drawn(page)
    page.get_by_role("link", name="Tiếng Việt").click()
    expect(page.get_by_role("button", name="Tìm")).to_be_visible()
    drawn(page)
    page.goto(store[0])
    expect(page.get_by_role("button", name="Tìm")).to_be_visible()  # and stays


def test_from_afar_communes_stand_for_parcels(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(f"{store[0]}/#view={stored.EAST},{stored.NORTH},9")
    expect(page.locator("#notice")).to_have_text("Zoom in to see parcels.")
    drawn(page, 0)


def test_from_afar_sheets_stand_for_parcels_of_a_commune_without_boundary(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    with store[2].connect() as connection:
        sheets = connection.scalar(sa.text("SELECT count(*) FROM sheets"))
    assert sheets > 0
    page.goto(f"{store[0]}/#view={stored.EAST},{stored.NORTH},9")
    expect(page.locator("body")).to_have_attribute("data-sheets", str(sheets))


def test_an_answer_of_several_pages_is_drawn_whole(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, _, _ = store
    page.route(
        "**/ogc/collections/parcels/items?*limit=1000*",
        lambda route: route.continue_(url=route.request.url.replace("limit=1000", "limit=3")),
    )
    page.goto(base)
    drawn(page)


def test_a_failed_request_is_shown_and_repeated(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, _, _ = store
    page.expected_errors = 0
    failing = re.compile(r"/ogc/collections/parcels/items\?")
    body = json.dumps({"error": {"code": "unavailable", "message": "The database rests."}})
    page.route(failing, lambda route: route.fulfill(status=503, body=body))
    page.goto(base)
    expect(page.locator("#notice")).to_contain_text("The database rests.")
    page.unroute(failing)
    page.get_by_role("button", name="Zoom in").click()
    drawn(page)
    page.expected_errors = page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.responseStatus === 503).length"
    )


def test_a_small_screen_has_room_for_the_map_and_the_panel(
    browser: Browser, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    base, _, _ = store
    page = browser.new_page(viewport={"width": 390, "height": 780}, locale="en-GB")
    page.goto(base)
    drawn(page)
    search(page, "99901/1/5")
    expect(page.locator("#panel")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    panel, shown = page.locator("#panel").bounding_box(), page.locator("#map").bounding_box()
    assert panel
    assert shown
    assert panel["height"] < 0.6 * shown["height"]
    page.close()


@pytest.mark.parametrize(
    ("language", "heading", "next_page"),
    [
        ("vi", "Thửa 12, tờ 1, xã 99901", "Trang sau"),
        ("en", "Parcel 12, sheet 1, commune 99901", ""),
    ],
)
def test_the_pages_of_the_ogc_api_show_features_on_a_map(
    page: Any,
    store: tuple[str, dict[str, uuid.UUID], sa.Engine],
    language: str,
    heading: str,
    next_page: str,
) -> None:
    base, made, _ = store
    page.goto(f"{base}/ogc/collections/parcels/items?f=html&lang={language}&limit=13&sortby=number")
    expect(page.locator(".map canvas").first).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(13)
    page.locator(f"a[title='{made['12']}']").click()
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator(".map canvas").first).to_be_visible()
    expect(page.locator("tbody")).to_contain_text(
        "01/03/2026 08:00:00" if language == "vi" else "2026-03-01 08:00:00"
    )
    if next_page:
        page.go_back()
        page.get_by_role("link", name=next_page).click()
        expect(page.locator("tbody tr")).to_have_count(3)


def test_a_page_of_the_ogc_api_draws_a_point(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine]
) -> None:
    page.goto(f"{store[0]}/ogc/collections/wells/items/1?f=html")
    canvas = page.locator(".map canvas").first
    expect(canvas).to_be_visible()
    painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    end = time.monotonic() + 10
    while not canvas.evaluate(painted):
        assert time.monotonic() < end
        page.wait_for_timeout(50)


@pytest.mark.parametrize(
    "path", ["", "/collections/parcels", "/collections/parcels/tiles/WebMercatorQuad", "/openapi"]
)
def test_the_other_pages_of_the_ogc_api_load_in_a_small_window(
    page: Any, store: tuple[str, dict[str, uuid.UUID], sa.Engine], path: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 780})
    page.goto(f"{store[0]}/ogc{path}?f=html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
