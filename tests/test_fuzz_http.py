"""A short run of script/fuzz-http, over the whole application on a real port."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import served, stored

from landdata.settings import Settings
from landdata.store import database

SCRIPT = Path(__file__).parents[1] / "script" / "fuzz_http.py"


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("fuzz_http", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_http"] = made  # dataclasses look their module up
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec.loader.exec_module(made)
        yield made
    finally:
        sys.path.remove(str(SCRIPT.parent))
        del sys.modules["fuzz_http"]


@pytest.fixture(scope="module")
def url(make_store: Callable[..., Settings]) -> Iterator[str]:
    settings = make_store()
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.server(settings) as address:
        yield address
    engine.dispose()


def test_every_answer_is_as_the_definition_says(fuzz: ModuleType, url: str) -> None:
    found = fuzz.run(url, range(1500))
    assert found.faults == []
    assert found.requests == 1500
    for meant, status in (("good", 200), ("bad", 400), ("bad", 404), ("bad", 405)):
        assert found.statuses[meant, status] > 20


@pytest.mark.slow
def test_schemathesis_finds_nothing(fuzz: ModuleType, url: str) -> None:
    made, faults = fuzz.schemathesis_run(url, examples=2, seed=7)
    assert faults == []
    assert made > 100


@pytest.mark.parametrize("path", ["items", "changes"])
def test_only_a_limit_above_the_maximum_is_no_bad_value(
    fuzz: ModuleType, url: str, path: str
) -> None:
    """The definition has a maximum, and the standard has more mean the maximum."""
    client = fuzz.Client(url)
    for limit in ("0", "-10001", "10001.0", "1e6", "x", "['10001']"):
        request = fuzz.Request("", f"/ogc/collections/parcels/{path}?limit={limit}")
        assert (client.ask(request).status, fuzz.beyond(limit)) == (400, False)
    for limit in ("10001", "0010001", str(10**50)):
        request = fuzz.Request("", f"/ogc/collections/parcels/{path}?limit={limit}")
        assert (client.ask(request).status, fuzz.beyond(limit)) == (200, True)


@pytest.mark.parametrize(
    ("meant", "status", "body", "what"),
    [
        ({}, 500, b"{}", "status 500"),
        ({}, 400, b"{}", "a good request is refused"),
        ({"good": False, "bad": "a wrong value"}, 200, b"{}", "not refused"),
        ({}, 200, b'{"type": "FeatureCollection"}', "features"),
        ({"good": False}, 400, b'{"code": "x", "description": "no"}', "no sentence"),
        (
            {"good": False},
            400,
            b'{"code": "x", "description": "Error in psycopg at or near SELECT."}',
            "it tells too much",
        ),
    ],
)
def test_a_fault_is_seen(
    fuzz: ModuleType, url: str, meant: dict[str, Any], status: int, body: bytes, what: str
) -> None:
    client = fuzz.Client(url)
    definition = fuzz.Definition(client.json("/ogc/openapi?lang=en"))
    media = "application/json" if status >= 400 else "application/geo+json"
    headers = {
        "content-type": media,
        "etag": "x",
        "vary": "Accept, Accept-Language, Accept-Encoding",
    }
    answer = fuzz.Answer(status, headers, body, 0.1)
    asked = fuzz.Request("/collections/parcels/items", "/x", **meant)
    assert what in fuzz.fault(definition, asked, answer)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("collections/communes/items/a%0D%0Ab", 404),  # no rule takes a line break
        ("collections/parcels/export?f=geojson&lang=x", 400),
        ("collections/parcels/export?f=geojson&f=geojson", 400),
        ("collections/parcels/items?datetime=2026-W05-6", 400),
        ("collections/parcels/items?surveyed_on=2026-W05-6", 400),
        ("collections/parcels/items?id=%7B019f00000000700080000000000000%7D", 400),
        ("tiles/WebMercatorQuad/javascript:x/1/1", 404),
    ],
)
def test_paths_that_once_failed_return_an_ogc_error(
    fuzz: ModuleType, url: str, path: str, status: int
) -> None:
    answer = fuzz.Client(url).ask(fuzz.Request("", f"/ogc/{path}"))
    definition = fuzz.Definition(fuzz.Client(url).json("/ogc/openapi"))
    assert answer.status == status
    assert fuzz.wrong_error(definition, "application/json", answer.body) is None
