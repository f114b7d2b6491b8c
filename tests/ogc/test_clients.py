"""Clients that others wrote read the OGC API on a real port: GDAL, pyogrio's GDAL, OWSLib."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from owslib.ogcapi.features import Features
from support import served, stored

from landdata.settings import Settings
from landdata.store import database

COUNT = 2_345  # more than two of GDAL's pages


@pytest.fixture(scope="module")
def url(make_store: Callable[..., Settings]) -> Iterator[str]:
    settings = make_store()
    engine = database.engine(settings)
    stored.commune(engine)
    batch = stored.batch(engine, "a")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO parcel_versions (parcel_id, version, valid_from, commune, sheet, number,"
            " measured_area, area, label, batch_id, batch_row, geom)"
            f" SELECT gen_random_uuid(), 1, '2025-07-01', '99901', '2', n || '', 100, 100, 'ONT+ế',"
            f" {batch}, n,"
            " ST_Multi(ST_MakeEnvelope(548000 + 10 * mod(n, 50), 1281000 + 10 * (n / 50),"
            " 548010 + 10 * mod(n, 50), 1281010 + 10 * (n / 50), 9212))"
            f" FROM generate_series(1, {COUNT}) AS n"
        )
    with served.server(settings) as address:
        yield address
    engine.dispose()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="gdal-bin is not installed")
def test_ogrinfo_lists_collections_and_reads_one(url: str) -> None:
    listed = run("ogrinfo", "-ro", "-q", f"OAPIF:{url}")
    assert "parcels" in listed
    assert "communes" in listed
    told = run("ogrinfo", "-ro", "-al", "-so", f"OAPIF:{url}", "parcels")
    assert f"Feature Count: {COUNT}" in told
    assert "national_id: String" in told
    commune = run("ogrinfo", "-ro", "-al", f"OAPIF:{url}", "communes")
    assert "name (String) = Xã Suối Mẫu" in commune


@pytest.mark.skipif(shutil.which("ogr2ogr") is None, reason="gdal-bin is not installed")
def test_ogr2ogr_copies_every_parcel_once(url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.geojson"
    run("ogr2ogr", "-f", "GeoJSON", str(copy), f"OAPIF:{url}", "parcels")
    told = json.loads(copy.read_text("utf-8"))
    assert sorted(int(f["properties"]["number"]) for f in told["features"]) == [
        *range(1, COUNT + 1)
    ]
    assert {f["properties"]["label"] for f in told["features"]} == {"ONT+ế"}
    few = tmp_path / "few.geojson"
    where = ("-where", "number = '77'")
    run("ogr2ogr", "-f", "GeoJSON", *where, str(few), f"OAPIF:{url}", "parcels")
    assert len(json.loads(few.read_text("utf-8"))["features"]) == 1


# in a process of its own: fiona's GDAL, which other tests load, is another one
READ = """
import json, sys
import pyogrio
meta, table = pyogrio.read_arrow("OAPIF:" + sys.argv[1], layer="parcels")
import shapely
shapes = shapely.from_wkb(table[meta["geometry_name"] or "wkb_geometry"].to_numpy())
box = pyogrio.read_info("OAPIF:" + sys.argv[1], layer="parcels")
print(json.dumps({
    "rows": table.num_rows,
    "numbers": len(set(table["number"].to_pylist())),
    "crs": meta["crs"],
    "bounds": shapely.total_bounds(shapes).tolist(),
}))
"""


def test_pyogrio_reads_every_parcel_once(url: str) -> None:
    told = json.loads(run(sys.executable, "-c", READ, url))
    assert told["rows"] == told["numbers"] == COUNT
    west, south, east, north = told["bounds"]
    if "4326" in told["crs"] or "CRS84" in told["crs"]:
        assert 106.69 < west < east < 106.70
        assert 11.58 < south < north < 11.59
    else:
        assert (west, south) == (stored.EAST, stored.NORTH)
        assert (east, north) == (stored.EAST + 500, stored.NORTH + 470)


def test_owslib_finds_its_way(url: str) -> None:
    service = Features(url)
    assert service.links
    assert set(service.feature_collections()) == {"parcels", "communes", "sheets"}
    assert (
        "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"
        in (service.conformance()["conformsTo"])
    )
    assert service.api()["openapi"].startswith("3.0")
    told = service.collection_items("parcels", limit=3, bbox=[106.6, 11.5, 106.8, 11.6])
    assert told["numberReturned"] == 3
    assert "commune" in service.collection_queryables("parcels")["properties"]
    one = service.collection_item("parcels", told["features"][0]["id"])
    assert one["properties"] == told["features"][0]["properties"]
    assert service.collection_items("parcels", number="77")["numberMatched"] == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="gdal-bin is not installed")
def test_gdal_lets_the_server_filter_in_cql2(url: str) -> None:
    """A client that finds the conformance classes sends its filter, and loads what matches."""
    where = "area > 50 AND number IN ('77', '78', 'x')"
    debugged = subprocess.run(
        ["ogrinfo", "-ro", "-al", "-where", where, "--config", "CPL_DEBUG", "ON",
         f"OAPIF:{url}", "parcels"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Feature Count: 2" in debugged.stdout
    sent = [line for line in debugged.stderr.splitlines() if "filter=" in line]
    assert sent, debugged.stderr[-2000:]
    assert "area" in sent[0]
