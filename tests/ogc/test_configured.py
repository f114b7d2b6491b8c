# mypy: strict-optional=False
"""Collections of the deployment: any table or view, by a file that is read anew."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import shapely
import sqlalchemy as sa
from openapi_spec_validator import OpenAPIV30SpecValidator
from support import mvt, served, stored

from landdata.errors import BadRequest
from landdata.features import extents, parameters, sql
from landdata.features.exports import formats
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import database

FILE = """
[zones]
table = "planning.zones"
key = "gid"
geometry = "hình"
title = {vi = "Quy hoạch", en = "Planning zones"}
[zones.properties]
gid = {}
kind = {column = "ma_loai", title = {vi = "Loại", en = "Kind"}}
height = {column = "chieu_cao", unit = "m"}
since = {}
note = {queryable = false}

[stations]
table = "stations"
key = "code"
geometry = "geom"
"""

TABLES = """
CREATE SCHEMA planning;
CREATE TABLE planning.zones (
  gid serial PRIMARY KEY, ma_loai varchar(10), chieu_cao numeric(5, 1), since timestamp,
  note text, secret text, "hình" geometry(MultiPolygon, 9212)
);
CREATE INDEX ON planning.zones USING gist ("hình");
INSERT INTO planning.zones (ma_loai, chieu_cao, since, note, secret, "hình")
SELECT CASE WHEN mod(n, 2) = 0 THEN 'ODT' ELSE 'CX' END, n + 0.5, '2026-01-01 07:00',
  'a "quote"', 'x',
  ST_Multi(ST_MakeEnvelope(548000 + 100 * n, 1281000, 548090 + 100 * n, 1281090, 9212))
FROM generate_series(1, 25) AS n;
CREATE TABLE readings (code text PRIMARY KEY, name text, level real, tested boolean,
  geom geometry(Point, 4326));
INSERT INTO readings VALUES ('A/1', 'Trạm 1', 2.5, true, ST_Point(106.69, 11.58, 4326)),
  ('B', 'Trạm 2', NULL, NULL, NULL);
CREATE VIEW stations AS SELECT code, name, level, tested, geom FROM readings;
"""


@pytest.fixture(scope="module")
def store(
    make_store: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    path = tmp_path_factory.mktemp("more") / "collections.toml"
    path.write_text(FILE, "utf-8")
    settings = make_store(collections=path)
    engine = database.engine(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql(TABLES)
        if connection.scalar(
            sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'landdata_reader')")
        ):
            connection.exec_driver_sql(
                "GRANT USAGE ON SCHEMA planning TO landdata_reader;"
                "GRANT SELECT ON planning.zones, stations TO landdata_reader"
            )
    yield settings
    engine.dispose()


@pytest.fixture
def engine(store: Settings) -> Iterator[sa.Engine]:
    made = database.engine(store)
    yield made
    made.dispose()


@pytest.fixture
def client(store: Settings) -> Iterator[served.Client]:
    store.collections.write_text(FILE, "utf-8")
    with served.client(store, None) as opened:
        yield opened


def test_a_table_is_a_collection_like_ours(client: served.Client) -> None:
    told = client.get("/ogc/collections").json
    assert [each["id"] for each in told["collections"]] == [
        "parcels", "communes", "sheets", "zones", "stations",
    ]  # fmt: skip
    page = client.get("/ogc/collections/zones/items?limit=2").json
    first = page["features"][0]
    assert first["id"] == 1
    assert first["properties"] == {
        "gid": 1, "kind": "CX", "height": 1.5, "since": "2026-01-01T00:00:00Z",
        "note": 'a "quote"',
    }  # fmt: skip
    assert client.get("/ogc/collections/zones/items/1").json["geometry"] == first["geometry"]
    for missing in ("0", "01", "x", "99", "1/2", "9" * 30):
        assert client.get(f"/ogc/collections/zones/items/{missing}").status_code == 404


@pytest.mark.parametrize(("query", "ids"), [
    ("kind=ODT&limit=3", [2, 4, 6]),
    ("filter=height>24", [24, 25]),
    ("filter=kind='CX' AND height BETWEEN 3 AND 6", [3, 5]),
    ("sortby=-height&limit=2", [25, 24]),
    ("bbox=548150,1281000,548250,1281010&bbox-crs=EPSG:9212", [1, 2]),
    ("datetime=2020-01-01&limit=2", [1, 2]),
    ("datetime=2020-01-01/..&limit=2", [1, 2]),
    ("gid=7", [7]),
])  # fmt: skip
def test_a_custom_collection_is_filtered_as_ours_are(
    client: served.Client, query: str, ids: list[int]
) -> None:
    told = client.get(f"/ogc/collections/zones/items?{query}").json
    assert [each["id"] for each in told["features"]] == ids


def test_a_row_without_a_geometry_is_in_every_box(client: served.Client) -> None:
    for box, ids in (("0,0,1,1", ["B"]), ("106.6,11.5,106.7,11.6", ["A/1", "B"])):
        told = client.get(f"/ogc/collections/stations/items?bbox={box}").json
        assert [each["id"] for each in told["features"]] == ids


def test_pages_go_by_its_key(client: served.Client) -> None:
    url: str | None = "/ogc/collections/zones/items?limit=4"
    found: list[int] = []
    while url:
        page = client.get(url).json
        found += [each["id"] for each in page["features"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert found == list(range(1, 26))
    assert client.get("/ogc/collections/zones/items?cursor=WyJuIiwieCIsIjEiXQ").status_code == 400


def test_what_is_not_named_is_not_served(client: served.Client) -> None:
    assert client.get("/ogc/collections/zones/items?secret=x").status_code == 400
    assert client.get("/ogc/collections/zones/items?note=x").status_code == 400
    assert "secret" not in client.get("/ogc/collections/zones/items").text
    assert "secret" not in client.get("/ogc/openapi").text


def test_a_view_in_another_crs_is_served_where_it_is(client: served.Client) -> None:
    told = client.get("/ogc/collections/stations/items").json["features"]
    assert [each["id"] for each in told] == ["A/1", "B"]
    lon, lat = told[0]["geometry"]["coordinates"]
    assert (lon, lat) == pytest.approx((106.69, 11.58), abs=2e-9)
    assert told[0]["properties"] == {
        "code": "A/1", "name": "Trạm 1", "level": 2.5, "tested": True,
    }  # fmt: skip
    assert told[1]["geometry"] is None
    assert client.get("/ogc/collections/stations/items/A%2F1").json["id"] == "A/1"
    own = client.get("/ogc/collections/stations/items/A/1?crs=EPSG:9212").json
    there = transformer(4326, 9212).transform(106.69, 11.58)
    assert own["geometry"]["coordinates"] == pytest.approx(there, abs=0.0002)


def test_it_has_tiles_files_schemas_and_a_definition(client: served.Client) -> None:
    x, y = stored.EAST + 150, stored.NORTH + 50
    side = 2_097_152 / 2**13
    path = f"13/{int((2_700_000 - y) // side)}/{int((x + 548_576) // side)}"
    tile = client.get(f"/ogc/collections/zones/tiles/VN2000Quad-9212/{path}")
    kinds = {each["gid"]: each["kind"] for each in mvt.read(tile.data)["zones"]}
    assert kinds[1] == "CX"
    lines = client.get("/ogc/collections/stations/export?f=geojsonl").text.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"A/1", "B"}
    assert client.get("/ogc/collections/zones/export?f=gpkg").data.startswith(b"SQLite format 3")
    assert client.get("/ogc/collections/stations/export?f=fgb").data.startswith(b"fgb")
    schema = client.get("/ogc/collections/zones/schema").json["properties"]
    assert schema["height"]["type"] in ("number", ["number", "null"])
    assert schema["kind"]["title"] == "Kind"
    OpenAPIV30SpecValidator(client.get("/ogc/openapi").json).validate()
    for page in ("", "/items", "/items/1", "/tiles"):
        assert client.get(f"/ogc/collections/zones{page}?f=html").status_code == 200


def test_the_file_is_read_anew_without_a_restart(
    client: served.Client, store: Settings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.collections
    assert client.get("/ogc/collections/levels").status_code == 404
    more = FILE + '\n[levels]\ntable = "readings"\nkey = "code"\ngeometry = "geom"\n'
    with engine.begin() as connection:
        connection.exec_driver_sql("GRANT SELECT ON readings TO PUBLIC")
    path.write_text(more, "utf-8")
    assert client.get("/ogc/collections/levels").json["id"] == "levels"
    assert len(client.get("/ogc/collections/levels/items").json["features"]) == 2
    with caplog.at_level(logging.ERROR):
        path.write_text("[levels", "utf-8")
        assert client.get("/ogc/collections/levels").status_code == 200  # as it was
    assert "no TOML" in caplog.text
    path.write_text("", "utf-8")
    assert client.get("/ogc/collections/levels").status_code == 404
    path.write_text(FILE, "utf-8")
    assert client.get("/ogc/collections/zones").status_code == 200


@pytest.mark.parametrize(("told", "reason"), [
    ("[parcels]\n", "parcels"),
    ("[Zones]\n", "Zones"),
    ("[x]\n", "table"),
    ('[x]\ntable = "planning.none"\nkey = "a"\ngeometry = "b"', "no table or view"),
    ('[x]\ntable = "a; DROP TABLE parcels"\nkey = "a"\ngeometry = "b"', "no table"),
    ('[x]\ntable = "holders"\nkey = "version_id"\ngeometry = "name"', "not for readers"),
    ('[x]\ntable = "readings"\nkey = "none"\ngeometry = "geom"', "no column"),
    ('[x]\ntable = "readings"\nkey = "code"\ngeometry = "name"', "no geometry"),
    ('[x]\ntable = "readings"\nkey = "code"\ngeometry = "geom"\nsql = "x"', "sql"),
    ('[x]\ntable = "readings"\nkey = "code"\ngeometry = "geom"\nproperties = {"a b" = {}}', "a b"),
    ('[x]\ntable = "readings"\nkey = "code"\ngeometry = "geom"\nproperties = {a = {column ='
     ' "name\\" || secret"}}', "no name of a column"),
    ("x = 3", r"\[x\] is no table"),
    ('[x]\ntable = "readings"\nkey = 1\ngeometry = "geom"', "must say key, as text"),
    *((f'[x]\ntable = "readings"\nkey = "code"\ngeometry = "geom"\n{told}', reason)
      for told, reason in (
        ('widest = "far"', "widest is a number"),
        ("widest = 0", "widest is a number of metres, at least 10"),
        ("widest = nan", "widest is a number"),
        ("title = 5", "title or description is"),
        ('description = {vi = "Trạm"}', "title or description is"),
        ("properties = []", r"\[x.properties\] is no table"),
        ("properties = {}", "there is no property"),
        ("properties = {name = 1}", r"\[x.properties.name\] is no table"),
        ("properties = {name = {column = 1}}", "must say column"),
        ("properties = {name = {unit = 1}}", "must say unit"),
        ('properties = {name = {queryable = "no"}}', "queryable is true or false"),
    )),
    ("\\", "no TOML"),
])  # fmt: skip
def test_an_invalid_file_of_collections_is_an_error_at_the_start(
    store: Settings, tmp_path: Path, told: str, reason: str
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(told, "utf-8")
    settings = store.model_copy(update={"collections": path})
    with pytest.raises(BadRequest, match=reason), served.client(settings, None):
        pass


def test_the_server_does_not_begin_with_a_file_that_makes_no_sense(
    store: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    path.write_text("x = 3", "utf-8")
    done = served.refused(store.model_copy(update={"collections": path}))
    assert done.returncode == 2
    assert "LANDDATA_COLLECTIONS is not usable: [x]" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_worker_that_begins_later_serves_what_it_can(
    store: Settings, engine: sa.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.toml"
    path.write_text("x = 3", "utf-8")
    settings = store.model_copy(update={"collections": path})
    with caplog.at_level(logging.ERROR), served.whole(settings, engine, strict=False) as client:
        assert "LANDDATA_COLLECTIONS" in caplog.text
        told = client.get("/ogc/collections").json["collections"]
        assert [each["id"] for each in told] == ["parcels", "communes", "sheets"]
        path.write_text(FILE, "utf-8")
        assert client.get("/ogc/collections/zones/items").status_code == 200


def test_a_row_of_another_crs_is_never_shown_at_a_wrong_place(
    store: Settings, engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE loose (id int PRIMARY KEY, geom geometry);"
            "GRANT SELECT ON loose TO PUBLIC;"
            "INSERT INTO loose VALUES (1, 'SRID=9212;POINT(548000 1281000)')"
        )
    path = tmp_path / "x.toml"
    path.write_text('[x]\ntable = "loose"\nkey = "id"\ngeometry = "geom"\n', "utf-8")
    settings = store.model_copy(update={"collections": path})
    with served.client(settings, None) as client:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO loose VALUES (2, 'SRID=4326;POINT(106.69 11.58)')"
            )
        first, second = client.get("/ogc/collections/x/items?crs=EPSG:9212").json["features"]
        assert first["geometry"]["coordinates"] == [548000, 1281000]
        assert second["geometry"] is None
        for box, ids in (("106,11,107,12", [1, 2]), ("0,0,1,1", [2])):
            told = client.get(f"/ogc/collections/x/items?bbox={box}").json
            assert [each["id"] for each in told["features"]] == ids
    with (
        pytest.raises(BadRequest, match=r"several reference systems \(SRID 4326, 9212\)"),
        served.client(settings, None),
    ):
        pass


@pytest.mark.parametrize("change", [
    "REVOKE ALL ON spoilt FROM PUBLIC, CURRENT_USER",
    "ALTER TABLE spoilt RENAME TO gone",
    "ALTER TABLE spoilt DROP COLUMN geom",
])  # fmt: skip
def test_a_table_that_became_unreadable_leaves_the_others_served(
    store: Settings,
    engine: sa.Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: str,
) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[x]\ntable = "spoilt"\nkey = "id"\ngeometry = "geom"\n', "utf-8")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "DROP TABLE IF EXISTS spoilt, gone;"
            "CREATE TABLE spoilt (id int PRIMARY KEY, geom geometry(Point, 9212));"
            "GRANT SELECT ON spoilt TO PUBLIC"
        )
    settings = store.model_copy(update={"collections": path})
    with served.client(settings, None) as client, caplog.at_level(logging.ERROR):
        with engine.begin() as connection:
            connection.exec_driver_sql(change)
        for place in ("", "/collections", "/collections/parcels", "/collections/x", "/tiles"):
            answer = client.get(f"/ogc{place}")
            assert answer.status_code == 200, (place, answer.text)
        assert "The extent of x is not known" in caplog.text
        answer = client.get("/ogc/collections/x/items")
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "not-readable")


SLOW = """
CREATE FUNCTION when_free() RETURNS integer VOLATILE LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_lock_shared(77), pg_advisory_unlock_shared(77); RETURN 1; END';
CREATE VIEW slow AS SELECT when_free() AS id,
  ST_SetSRID(ST_Point(548000, 1281000), 9212)::geometry(Point, 9212) AS geom OFFSET 0;
GRANT SELECT ON slow TO PUBLIC
"""


def test_a_table_with_a_slow_extent_delays_no_request(
    store: Settings, engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[slow]\ntable = "slow"\nkey = "id"\ngeometry = "geom"\n', "utf-8")
    monkeypatch.setattr(extents, "_SECONDS", 0)
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND objid = 77")
    hold, free = (sa.text(f"SELECT pg_advisory_{word}(77)") for word in ("lock", "unlock"))
    settings = store.model_copy(update={"collections": path})
    with engine.begin() as connection:
        connection.exec_driver_sql(SLOW)
    with served.client(settings, None) as client, engine.connect() as connection:

        def is_asked_for() -> Any:
            """Its extent, which waits: else it would have been waited for until it failed."""
            until = time.monotonic() + 10
            while not (found := connection.scalar(waiting)) and time.monotonic() < until:
                time.sleep(0.05)
            return found == 1

        connection.execute(hold)
        slow = threading.Thread(target=client.get, args=["/ogc/collections/slow"])
        slow.start()
        assert is_asked_for()
        for place in ("", "/collections/parcels", "/collections/parcels/tiles/WebMercatorQuad"):
            assert client.get(f"/ogc{place}").status_code == 200
        assert slow.is_alive()
        connection.execute(free)
        slow.join()
        known = client.get("/ogc/collections").json["collections"]
        connection.execute(hold)
        again = client.get("/ogc/collections").json["collections"]
        assert is_asked_for()
        connection.execute(free)
    boxes = {each["id"]: each["extent"]["spatial"]["bbox"][0] for each in again}
    assert boxes == {each["id"]: each["extent"]["spatial"]["bbox"][0] for each in known}
    assert boxes["slow"][0] > 100


def test_a_missing_file_of_collections_is_an_error(store: Settings, tmp_path: Path) -> None:
    settings = store.model_copy(update={"collections": tmp_path / "none"})
    with pytest.raises(BadRequest, match="can't be read"), served.client(settings, None):
        pass


def test_a_box_uses_the_index_of_the_table(
    client: served.Client, store: Settings, engine: sa.Engine
) -> None:
    of = client.collections()["zones"]
    box = ("bbox", "548150,1281000,548250,1281010"), ("bbox-crs", "EPSG:9212")
    statement, bound = sql.page_statement(parameters.read_query(of, box, 9212))
    with engine.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off; SET enable_indexscan = off")
        cursor = connection.connection.cursor()
        for needed in (False, True):
            cursor.execute(f"EXPLAIN {statement}", bound)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "zones_hình_idx" in plan
            assert "valid_to" not in plan
            assert ("IS NULL" in plan) == (not needed)
            if not needed:  # the same file, read anew
                cursor.execute('ALTER TABLE planning.zones ALTER "hình" SET NOT NULL')
                connection.commit()
                store.collections.write_text(FILE + "\n", "utf-8")
                of = client.collections()["zones"]
                statement, bound = sql.page_statement(parameters.read_query(of, box, 9212))
        cursor.execute('ALTER TABLE planning.zones ALTER "hình" DROP NOT NULL')
        connection.commit()


@pytest.fixture
def odd(make_store: Callable[..., Settings], tmp_path: Path) -> Iterator[Any]:
    """A table of all that a deployment may have, and one whose keys are not all there."""
    path = tmp_path / "collections.toml"
    path.write_text(ODD, "utf-8")
    settings = make_store(collections=path)
    engine = database.engine(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql(ODD_TABLES)
    opened: Any
    with served.client(settings, None) as opened:
        opened.file, opened.settings = path, settings
        yield opened
    engine.dispose()


ODD = """
[odd]
table = "odd"
key = "id"
geometry = "geom"
[texts]
table = "texts"
key = "code"
geometry = "geom"
"""
ODD_TABLES = """
CREATE TABLE odd (id bigint PRIMARY KEY, big bigint, small smallint, exact numeric, flag boolean,
  day date, at timestamptz, local timestamp, uid uuid, list text[], doc jsonb,
  geom geometry(Geometry, 9212));
INSERT INTO odd VALUES
  (-5, -9223372036854775808, 1, 1.5, true, '2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01',
   '3ca94dc8-3e70-49c7-841d-87bffbadeb39', '{a}', '[]', 'SRID=9212;POINT(548000 1281000)'),
  (9007199254740993, 5000000000, NULL, 'NaN', NULL, 'infinity', '-infinity', 'infinity', NULL,
   NULL, NULL, NULL),
  (7, 1, 0, 1e20, false, '4713-01-01 BC', '12345-01-01Z', '0001-01-01', NULL, '{}', '{}',
   'SRID=9212;GEOMETRYCOLLECTION(POINT(548000 1281000), LINESTRING(0 0, 548010 1281000))');
CREATE TABLE texts (code text, geom geometry(Point, 9212));
INSERT INTO texts VALUES ('a/b', NULL), ('ế?#&', NULL), (NULL, NULL);
"""


def test_types_are_those_of_the_table(odd: Any) -> None:
    items = "/ogc/collections/odd/items"
    told = {each["id"]: each["properties"] for each in odd.get(items).json["features"]}
    assert [*told] == [-5, 7, 9007199254740993]
    assert told[-5] == {
        "id": -5, "big": -9223372036854775808, "small": 1, "exact": 1.5, "flag": True,
        "day": "2026-01-01", "at": "2026-01-01T00:00:00Z", "local": "2025-12-31T17:00:00Z",
        "uid": "3ca94dc8-3e70-49c7-841d-87bffbadeb39", "list": "{a}", "doc": "[]",
    }  # fmt: skip
    for key in (7, 9007199254740993):  # what JSON and RFC 3339 have no way to write
        assert [told[key][name] for name in ("exact", "day", "at", "local")] == [None] * 4
    schema = odd.get("/ogc/collections/odd/schema").json["properties"]
    assert {n: each.get("type") or each["format"] for n, each in schema.items()} == {
        "geometry": "geometry-any", "id": ["integer", "null"], "big": ["integer", "null"],
        "small": ["integer", "null"], "exact": ["number", "null"], "flag": ["boolean", "null"],
        **{n: ["string", "null"] for n in ("day", "at", "local", "uid", "list", "doc")},
    }  # fmt: skip
    assert schema["uid"]["format"] == "uuid"
    assert schema["id"]["x-ogc-role"] == "id"
    for query, ids in (
        ("big=5000000000", [9007199254740993]), ("id=9007199254740993", [9007199254740993]),
        ("big=-9223372036854775808", [-5]), ("flag=true", [-5]), ("filter=flag = FALSE", [7]),
        ("filter=NOT flag = TRUE", [7]), ("filter=flag IS NULL", [9007199254740993]),
        ("filter=big > 4999999999", [9007199254740993]),
        ("filter-lang=cql2-json&filter=" + json.dumps(
            {"op": "=", "args": [{"property": "id"}, 9007199254740992]}), []),
        ("filter-lang=cql2-json&filter=" + json.dumps(
            {"op": "in", "args": [{"property": "id"}, [9007199254740993, 1.5]]}),
         [9007199254740993]),
        ("sortby=-big&limit=1", [9007199254740993]),
        ("uid=3ca94dc8-3e70-49c7-841d-87bffbadeb39", [-5]),
        ("filter=uid = '3CA94DC8-3e70-49c7-841d-87bffbadeb39'", [-5]),
    ):  # fmt: skip
        page = odd.get(f"{items}?{query}")
        assert [each["id"] for each in page.json["features"]] == ids, (query, page.text)
    for rounded in ("id = 9007199254740993", "id IN (7, 9007199254740993)", "big > -1e17"):
        told = odd.get(items, query_string={"filter": rounded})
        assert (told.status_code, "CQL2 JSON" in told.text) == (400, True), rounded
    assert odd.get(f"{items}?big=9223372036854775808").status_code == 400
    assert odd.get(f"{items}?small=32768").json["features"] == []
    assert odd.get(f"{items}?flag=1").status_code == 400
    for name in formats.FORMATS:
        answer = odd.get(f"/ogc/collections/odd/export?f={name}")
        told = answer.data  # read to its end, which ends the export
        assert answer.status_code == (400 if name == "shp" else 200), (name, told)
    told = odd.get("/ogc/collections/odd/export?f=shp").json
    assert "a shapefile holds one" in told["description"]
    table = pq.read_table(io.BytesIO(odd.get("/ogc/collections/odd/export?f=parquet").data))
    assert sorted(table["big"].to_pylist()) == [-9223372036854775808, 1, 5000000000]
    assert {*table["flag"].to_pylist()} == {True, False, None}
    assert table["day"].null_count == table["at"].null_count == 2


def test_a_definition_has_an_example_however_few_properties_there_are(odd: Any) -> None:
    odd.file.write_text(f"{ODD}[texts.properties]\ncode = {{queryable = false}}\n", "utf-8")
    told = odd.get("/ogc/openapi").json
    OpenAPIV30SpecValidator(told).validate()
    for collection, names in (("texts", {"properties"}), ("odd", {"properties", "sortby"})):
        of = told["paths"][f"/collections/{collection}/items"]["get"]["parameters"]
        listed = {each["name"]: each for each in of if each.get("schema", {}).get("minItems") == 1}
        assert listed.keys() == names
        for each in listed.values():
            assert len(each["example"]) == 1
            assert set(each["example"]) <= set(each["schema"]["items"]["enum"])


def test_a_property_is_filtered_by_a_name_in_any_script(odd: Any) -> None:
    """On a real port: the short way numbers the parameters of a statement by itself."""
    names = 'MaLoai = {column = "small"}\n"loại_đất" = {column = "day"}\n'
    odd.file.write_text(f"{ODD}[odd.properties]\n{names}", "utf-8")
    with served.server(odd.settings) as base:
        for query in ("MaLoai=1", "MaLoai=1&count=exact&limit=1", "loại_đất=2026-01-01"):
            url = f"{base}/collections/odd/items?{quote(query, safe='=&')}"
            with urllib.request.urlopen(url) as answer:
                found = json.load(answer)["features"]
            assert [each["properties"] for each in found] == [
                {"MaLoai": 1, "loại_đất": "2026-01-01"}
            ]


def test_a_row_without_a_key_is_left_out_and_any_other_has_an_address(odd: Any) -> None:
    items = "/ogc/collections/texts/items"
    found = odd.get(f"{items}?count=exact").json
    assert [each["id"] for each in found["features"]] == ["a/b", "ế?#&"]
    assert found["numberMatched"] == 2
    for each in found["features"]:
        one = odd.get(f"{items}/{quote(each['id'], safe='')}")
        assert one.json["id"] == each["id"]
        link = next(link["href"] for link in one.json["links"] if link["rel"] == "self")
        assert odd.get(link).json["id"] == each["id"]


@pytest.mark.parametrize("column", ["limit", "filter", "f", "bbox", "geometry"])
def test_a_name_that_means_something_else_is_refused(
    store: Settings, engine: sa.Engine, tmp_path: Path, column: str
) -> None:
    """`filter=TRUE` would ask for rows in whose column of that name stands TRUE."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f'CREATE TABLE taken_{column} (id int PRIMARY KEY, "{column}" text,'
            " shape geometry(Point, 9212))"
        )
        connection.exec_driver_sql(f"GRANT SELECT ON taken_{column} TO PUBLIC")
    path = tmp_path / "x.toml"
    settings = store.model_copy(update={"collections": path})
    file = f'[x]\ntable = "taken_{column}"\nkey = "id"\ngeometry = "shape"\n'
    path.write_text(file)
    with pytest.raises(BadRequest, match=f"{column}.*another one"), served.client(settings, None):
        pass
    path.write_text(f'{file}[x.properties]\nnamed = {{column = "{column}"}}\n')
    with served.client(settings, None) as client:
        assert client.get("/ogc/collections/x/items?named=a&limit=3").status_code == 200


def test_sheets_tell_of_their_parcels(make_store: Callable[..., Settings]) -> None:
    settings = make_store()
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, None) as client:
        [sheet] = client.get("/ogc/collections/sheets/items").json["features"]
        assert sheet["id"] == "99901-1"
        assert sheet["properties"] == {
            "id": "99901-1", "commune": "99901", "sheet": "1", "parcels": 16,
        }  # fmt: skip
        own = client.get("/ogc/collections/sheets/items/99901-1?crs=EPSG:9212").json
        hull = shapely.geometry.shape(own["geometry"])
        assert hull.equals(
            shapely.box(stored.EAST, stored.NORTH, stored.EAST + 80, stored.NORTH + 80)
        )
        assert client.get("/ogc/collections/sheets/items?commune=99902").json["features"] == []
    engine.dispose()
