"""A stock pygeoapi that publishes the parcels by our provider, asked over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from support import served, stored

from landdata.settings import Settings

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
VN2000 = "http://www.opengis.net/def/crs/EPSG/0/9212"
EAST, NORTH = stored.EAST, stored.NORTH
PROGRAM = Path(sys.executable).with_name("pygeoapi")


def configuration(settings: Settings, port: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": url,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "language": "en-US",
            "limits": {"default_items": 10, "max_items": 100},
            "map": {"url": f"{url}/{{z}}/{{x}}/{{y}}", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {
                "title": "Parcels",
                "description": "Parcels",
                "keywords": ["cadastre"],
                "keywords_type": "theme",
                "terms_of_service": "none",
                "url": url,
            },
            "license": {"name": "none", "url": url},
            "provider": {"name": "office", "url": url},
            "contact": {"name": "office", "url": url},
        },
        "resources": {
            "parcels": {
                "type": "collection",
                "title": "Parcels",
                "description": "Parcels",
                "keywords": ["cadastre"],
                "extents": {"spatial": {"bbox": [102, 8, 110, 24], "crs": CRS84}},
                "providers": [
                    {
                        "type": "feature",
                        "name": "ogc.provider.LandDataProvider",
                        "data": settings.database_url,
                        "collection": "parcels",
                        "id_field": "id",
                        "storage_crs": VN2000,
                        "crs": [CRS84, VN2000],
                    }
                ],
            }
        },
    }


class Service:
    """A pygeoapi on a port of this machine."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, expected: int = 200, /, **parameters: str) -> Any:
        response = self._client.get(path, params={"f": "json", **parameters})
        assert response.status_code == expected, response.text
        return response.json()

    def items(self, **parameters: str) -> list[dict[str, Any]]:
        features: list[dict[str, Any]] = self.get("/collections/parcels/items", 200, **parameters)[
            "features"
        ]
        return features

    def numbers(self, **parameters: str) -> set[str]:
        return {item["properties"]["number"] for item in self.items(limit="100", **parameters)}


@pytest.fixture(scope="module")
def service(make_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings: Settings = make_store()
    engine = sa.create_engine(str(settings.database_url))
    stored.lattice(engine)
    engine.dispose()
    folder = tmp_path_factory.mktemp("pygeoapi")
    port = served.free_port()
    config, openapi = folder / "config.yml", folder / "openapi.yml"
    config.write_text(yaml.safe_dump(configuration(settings, port)), "utf-8")
    environment = {**os.environ, "PYGEOAPI_CONFIG": str(config), "PYGEOAPI_OPENAPI": str(openapi)}
    definition: list[str | Path] = [
        PROGRAM,
        "openapi",
        "generate",
        config,
        "--output-file",
        openapi,
    ]
    subprocess.run(definition, env=environment, check=True, timeout=120)
    url = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=url, timeout=30) as client,
        subprocess.Popen(
            [PROGRAM, "serve"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            for _ in range(300):
                assert process.poll() is None
                with suppress(httpx.TransportError):
                    client.get("/")
                    break
                time.sleep(0.1)
            yield Service(client)
        finally:
            process.terminate()


def test_fields_have_their_types(service: Service) -> None:
    properties = service.get("/collections/parcels/queryables")["properties"]
    assert properties["area"]["type"] == "number"
    assert properties["commune"]["type"] == "string"


def test_pages_follow_one_another_and_hold_every_parcel_once(service: Service) -> None:
    seen = [
        item["id"]
        for start in range(0, 16, 5)
        for item in service.items(limit="5", offset=str(start))
    ]
    assert len(seen) == len(set(seen)) == 16


def test_coordinates_are_those_of_landdata_in_each_crs(service: Service) -> None:
    first = service.items(filter="number = '1'", crs=VN2000)[0]
    assert [EAST, NORTH] in first["geometry"]["coordinates"][0][0]
    degrees = service.items(filter="number = '1'")[0]["geometry"]["coordinates"][0][0][0]
    assert degrees[0] == pytest.approx(106.7, abs=0.5)


def test_a_box_a_time_and_a_filter_choose(service: Service) -> None:
    everything = service.numbers()
    assert len(everything) == 16
    box = f"{EAST + 1},{NORTH + 1},{EAST + 2},{NORTH + 2}"
    assert service.numbers(**{"bbox": box, "bbox-crs": VN2000}) == {"1"}
    past = service.items(filter="number = '12'", datetime="2025-08-01T00:00:00Z")
    assert [item["properties"]["area"] for item in past] == [440.0]
    assert service.numbers(filter="number IN ('3', '4') OR label ILIKE 'nts'") >= {"3", "4"}
    assert service.numbers(filter="area NOT BETWEEN 1 AND 500") == set()
    assert service.numbers(sheet="1", sortby="-number") == everything
    inside = f"INTERSECTS(geometry, POINT({EAST + 1} {NORTH + 1}))"
    assert service.numbers(**{"filter": inside, "filter-crs": VN2000}) == {"1"}


def test_a_feature_has_its_address(service: Service) -> None:
    item = service.items(limit="1", crs=VN2000)[0]
    address = f"/collections/parcels/items/{item['id']}"
    assert service.get(address, crs=VN2000)["geometry"] == item["geometry"]
    service.get("/collections/parcels/items/none", 404)


def test_a_filter_on_an_unknown_property_is_refused(service: Service) -> None:
    service.get("/collections/parcels/items", 400, filter="owner = 'x'")


def test_nothing_names_a_person(service: Service) -> None:
    assert "Chủ" not in json.dumps(service.items(limit="100"), ensure_ascii=False)
