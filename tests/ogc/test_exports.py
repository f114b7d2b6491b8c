"""Files of any query: whole, exact, readable by those who read such files."""

from __future__ import annotations

import csv
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
import sqlalchemy as sa
from support import served, stored

from landdata.cli import cli
from landdata.errors import BadRequest, NotFound, Unavailable
from landdata.features import parameters
from landdata.features.exports import formats, reader, stream
from landdata.features.exports.reader import ExportReader
from landdata.features.query import Query
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import database
from landdata.store.read_connections import fetch_rows
from ogc.service import Service

EXPORT = "/ogc/collections/parcels/export"
OWN = "http://www.opengis.net/def/crs/EPSG/0/9212"
LABEL = 'Đất ở, vườn "Ế"\nhai dòng'


@pytest.fixture(scope="module")
def still(make_store: Callable[..., Settings]) -> Iterator[Any]:
    settings = make_store()
    engine = database.engine(settings)
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE parcel_versions SET label = :label, surveyed_on = NULL, scale = NULL,"
                " area = 'NaN' WHERE number = '3'"
            ),
            {"label": LABEL},
        )
    opened: Any
    with served.client(settings, engine) as opened:
        opened.settings = settings
        yield opened
    engine.dispose()


def export(client: served.Client, **parameters: Any) -> served.Response:
    answer = client.get(EXPORT, query_string=parameters)
    assert answer.status_code == 200, answer.text
    return answer


# GDAL in a process of its own: fiona's, which other tests load, is another one
READ = """
import json, sys
import pyogrio, shapely
meta, table = pyogrio.read_arrow(sys.argv[1])
name = meta["geometry_name"] or "wkb_geometry"
shapes = shapely.from_wkb(table[name].to_pylist())
print(json.dumps({
    "crs": meta["crs"], "type": meta["geometry_type"],
    "fields": list(meta["fields"]),
    "rows": [{k: str(v) if v is not None else None for k, v in row.items() if k != name}
             for row in table.drop_columns([name]).to_pylist()],
    "wkt": [shapely.to_wkt(s, rounding_precision=4, trim=True) for s in shapes],
    "encoding": meta.get("encoding"),
}))
"""


def read(path: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wanted(client: served.Client, **parameters: Any) -> dict[str, Any]:
    """What `items` says, by number."""
    told = client.get(
        "/ogc/collections/parcels/items", query_string={"limit": 1000, **parameters}
    ).json
    return {each["properties"]["number"]: each for each in told["features"]}


@pytest.mark.parametrize("name", ["gpkg", "fgb", "shp", "gml", "geojson", "jsonfg"])
def test_gdal_reads_every_parcel_as_it_is(still: Any, tmp_path: Path, name: str) -> None:
    crs = {} if name == "jsonfg" else {"crs": OWN}
    answer = export(still, f=name, **crs)
    of = still.get("/ogc/collections/parcels").json
    assert f"f={name}" in " ".join(
        each["href"] for each in of["links"] if each["rel"] == "enclosure"
    )
    known = formats.FORMATS[name]
    assert answer.headers["Content-Type"] == known.content_type
    path = tmp_path / ("x.zip" if known.zipped else f"x.{known.extension}")
    path.write_bytes(answer.data)
    if name == "jsonfg":
        path = path.rename(tmp_path / "x.json")
    if known.zipped:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / f"parcels.{known.extension}"
    told = read(path)
    rows = {row["number"]: row for row in told["rows"]}
    expected = wanted(still, **crs)
    assert len(told["rows"]) == 16
    assert rows.keys() == expected.keys()
    assert rows["3"]["label"].split() == LABEL.split()
    assert rows["3"]["area"] is None
    assert float(rows["4"]["area"]) == 400
    assert rows["4"]["id"] == expected["4"]["id"]
    assert rows["4"]["surveyed" if name == "shp" else "surveyed_on"].startswith("2025-05-20")
    if name == "shp":
        assert (tmp_path / "parcels.cpg").read_text().strip() == "UTF-8"
        assert rows["4"]["land_use"] == "NTS"
        assert rows["12"]["natl_id"] == "w6bqz3k8n1p0"
    shapes = {
        row["number"]: shapely.from_wkt(wkt)
        for row, wkt in zip(told["rows"], told["wkt"], strict=True)
    }
    if crs:
        for number, feature in expected.items():
            shape = shapely.geometry.shape(feature["geometry"])
            assert shapely.equals_exact(
                shapes[number].normalize(), shape.normalize(), 0.00011
            ) or shapes[number].equals(shape), number
        assert "VN-2000" in told["crs"] or "9212" in told["crs"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["geojson", "geojsonl", "csv", "gpkg", "fgb", "shp"])
@pytest.mark.parametrize("code", [4326, 4756])
def test_longitude_comes_first_whatever_the_system_says(
    still: Any, tmp_path: Path, name: str, code: int
) -> None:
    system = f"http://www.opengis.net/def/crs/EPSG/0/{code}"
    answer = export(still, f=name, crs=system, number="4")
    assert "Content-Crs" not in answer.headers  # its axes are in another order
    assert export(still, f="jsonfg", crs=system).headers["Content-Crs"] == f"<{system}>"
    known = formats.FORMATS[name]
    path = tmp_path / f"x.{known.extension}"
    if known.zipped:
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / f"parcels.{known.extension}"
    else:
        path.write_bytes(answer.data)
    feature = wanted(still, crs=system)["4"]
    shape = shapely.transform(
        shapely.geometry.shape(feature["geometry"]), lambda points: points[:, ::-1]
    )
    if name == "csv":
        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert shapely.from_wkt(row["geometry"]).equals(shape)
        return
    told = read(path)
    if name != "geojsonl" or code == 4326:
        assert pyproj.CRS.from_user_input(told["crs"]).to_epsg(min_confidence=20) == code
    assert shapely.hausdorff_distance(shapely.from_wkt(told["wkt"][0]), shape) < 0.0001


def test_times_are_as_fine_as_a_format_has_them(settings: Settings, engine: sa.Engine) -> None:
    stored.lattice(engine)
    finer = "2025-07-01T01:00:00.123987"
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE parcel_versions SET valid_from = :time WHERE number = '4'"),
            {"time": f"{finer}Z"},
        )
    with served.client(settings, engine) as client:
        table = pq.read_table(io.BytesIO(export(client, f="parquet", number="4").data))
        assert table["valid_from"][0].as_py().isoformat() == f"{finer}+00:00"
        (row,) = csv.DictReader(io.StringIO(export(client, f="csv", number="4").text))
        assert row["valid_from"] == f"{finer}Z"
        assert finer[:-3].encode() + b"Z" in export(client, f="gpkg", number="4").data


@pytest.mark.slow
@pytest.mark.parametrize("name", ["geojson", "gpkg"])
def test_a_time_of_any_offset_is_that_time(still: Any, tmp_path: Path, name: str) -> None:
    """PostgreSQL reads no offset of 16 hours and more where a value stands in a statement."""
    first = "2025-07-01T17:25:00+16:25"
    for asked in (
        {"valid_from": first},
        {"datetime": first},
        {"datetime": f"{first}/2025-07-01T18:24:59.999999+17:24"},
        {"filter": f"valid_from = TIMESTAMP('{first}')"},
        {
            "filter": json.dumps(
                {"op": "=", "args": [{"property": "valid_from"}, {"timestamp": first}]}
            ),
            "filter-lang": "cql2-json",
        },
    ):
        listed = still.get(
            "/ogc/collections/parcels/items", query_string={**asked, "limit": 100}
        ).json["features"]
        assert len(listed) > 10
        path = tmp_path / f"parcels.{name}"
        path.write_bytes(export(still, f=name, **asked).data)
        assert {row["id"] for row in read(path)["rows"]} == {each["id"] for each in listed}, asked


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_failure_before_the_first_row_is_an_error_response(
    settings: Settings, engine: sa.Engine, name: str
) -> None:
    stored.lattice(engine)
    with engine.begin() as connection:  # counted, as ever, but not written
        connection.execute(sa.text("ALTER TABLE parcel_versions RENAME COLUMN label TO gone"))
    with served.client(settings, engine) as client:
        answer = client.get(EXPORT, query_string={"f": name, "properties": "label"})
        assert (answer.status_code, answer.mimetype) == (503, "application/json")


def test_nothing_is_a_list_without_features(still: Any) -> None:
    for name in ("geojson", "jsonfg"):
        told = json.loads(export(still, f=name, number="nowhere").data)
        assert told["type"] == "FeatureCollection"
        assert told["features"] == []


def test_geojson_is_what_items_say(still: Any) -> None:
    answer = export(still, f="geojson")
    told = json.loads(answer.data)
    expected = wanted(still)
    assert {f["properties"]["number"]: f for f in told["features"]} == expected
    lines = export(still, f="geojsonl").text.splitlines()
    assert {json.loads(line)["properties"]["number"] for line in lines} == expected.keys()
    assert all(json.loads(line) in told["features"] for line in lines)


def test_json_fg_has_place_time_and_what_it_conforms_to(still: Any) -> None:
    told = json.loads(export(still, f="jsonfg", crs=OWN, datetime="../..", number="12").data)
    assert told["coordRefSys"] == OWN
    assert told["featureType"] == "parcel"
    assert "http://www.opengis.net/spec/json-fg-1/1.0/conf/core" in told["conformsTo"]
    past, now = sorted(told["features"], key=lambda each: each["properties"]["version"])
    assert past["time"] == {"interval": ["2025-07-01T01:00:00Z", "2026-03-01T01:00:00Z"]}
    assert now["time"] == {"interval": ["2026-03-01T01:00:00Z", ".."]}
    x, y = now["place"]["coordinates"][0][0][0]
    assert stored.EAST < x < stored.EAST + 90
    lon, lat = now["geometry"]["coordinates"][0][0][0]
    np.testing.assert_allclose(transformer(4326, 9212).transform(lon, lat), (x, y), atol=0.001)


def test_csv_is_quoted_and_whole(still: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(export(still, f="csv", crs=OWN).text)))
    by_number = {row["number"]: row for row in rows}
    assert len(by_number) == 16
    assert by_number["3"]["label"] == LABEL
    assert by_number["3"]["area"] == ""
    assert json.loads(by_number["4"]["land_use"]) == [{"area": None, "code": "NTS"}]
    assert by_number["4"]["valid_from"] == "2025-07-01T01:00:00.000000Z"
    shape = shapely.from_wkt(by_number["1"]["geometry"])
    assert shape.equals(shapely.from_wkt(stored.square(0, 0).partition(";")[2]))


def test_geoparquet_tells_its_reference_system(still: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(export(still, f="parquet", crs=OWN).data)
    file = pq.ParquetFile(path)
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 9212}
    table = file.read()
    rows = {row["number"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == 16
    assert rows["3"]["label"] == LABEL
    assert rows["12"]["valid_from"].isoformat() == "2026-03-01T01:00:00+00:00"
    assert rows["4"]["surveyed_on"].isoformat() == "2025-05-20"
    assert (rows["3"]["scale"], rows["4"]["scale"]) == (None, 1000)
    shape = shapely.from_wkb(rows["1"]["geometry"])
    assert shapely.is_ccw(shape.geoms[0].exterior)
    assert shape.equals(shapely.from_wkt(stored.square(0, 0).partition(";")[2]))


@pytest.mark.parametrize(("asked", "expected"), [
    ({"number": "7"}, {"7"}),
    ({"filter": "number IN ('5','6')"}, {"5", "6"}),
    ({"bbox": f"{stored.EAST + 5},{stored.NORTH + 5},{stored.EAST + 25},{stored.NORTH + 6}",
      "bbox-crs": OWN}, {"1", "2"}),
    ({"datetime": "2024-01-01"}, set()),
    ({"version": "2"}, {"12"}),
])  # fmt: skip
@pytest.mark.parametrize("name", ["geojson", "geojsonl", "csv", "gpkg", "parquet"])
def test_a_query_chooses_what_is_exported(
    still: Any, tmp_path: Path, asked: dict[str, str], expected: set[str], name: str
) -> None:
    data = export(still, f=name, **asked).data
    match name:
        case "geojson":
            found = [each["properties"]["number"] for each in json.loads(data)["features"]]
        case "geojsonl":
            found = [json.loads(line)["properties"]["number"] for line in data.splitlines()]
        case "csv":
            found = [row["number"] for row in csv.DictReader(io.StringIO(data.decode()))]
        case _:
            path = tmp_path / f"x.{name}"
            path.write_bytes(data)
            if name == "parquet":
                found = pq.read_table(path)["number"].to_pylist()
            else:
                found = [row["number"] for row in read(path)["rows"]]
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize("name", [*formats.FORMATS])
def test_no_file_names_a_person_or_an_address(still: Any, name: str) -> None:
    data = export(still, f=name).data
    if formats.FORMATS[name].zipped:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = b"".join(archive.read(member) for member in archive.namelist())
    for word in ("Chủ sử dụng", "Thôn"):
        assert word.encode() not in data


@pytest.mark.parametrize(("asked", "status"), [
    ({}, 400), ({"f": "dwg"}, 400), ({"f": "csv", "limit": "3"}, 400),
    ({"f": "csv", "nothing": "3"}, 400), ({"f": "csv", "bbox": "1"}, 400),
    ({"f": "gpkg", "number": "\0"}, 400), ({"f": "csv", "crs": "EPSG:1"}, 400),
])  # fmt: skip
def test_an_invalid_query_is_refused(still: Any, asked: dict[str, str], status: int) -> None:
    answer = still.get(EXPORT, query_string=asked)
    assert answer.status_code == status
    assert answer.json["description"]


@pytest.fixture
def query(still: Any) -> Query:
    return parameters.read_export_query(still.collections()["parcels"], [], 9212)


def service(client: served.Client) -> Service:
    return client.service


@pytest.mark.parametrize("name", ["geojsonl", "parquet"])
def test_an_abandoned_export_cancels_its_query(
    still: Any, query: Query, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = ExportReader.copy
    slow = "SELECT pg_sleep(60)::text FROM generate_series(1, 3)"
    started = threading.Event()

    def waits(self: Any, statement: Any, parameters: Any, options: Any, sink: Any) -> None:
        started.set()
        copy(self, slow, {}, options, sink)

    monkeypatch.setattr(ExportReader, "copy", waits)
    began = time.monotonic()
    source = ExportReader(service(still).url)
    stopping = threading.Timer(0.5, source.stop)
    stopping.start()
    with pytest.raises(Unavailable):
        begun(source, query, name)
    stopping.join()
    assert started.is_set()
    assert time.monotonic() - began < 20
    monkeypatch.undo()
    again = begun(ExportReader(service(still).url), query, "csv")
    assert b"".join(again.blocks()).startswith(b"id,")  # its place was given back


def test_rows_that_are_slow_to_come_do_not_wait_for_each_other(
    still: Any, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = ExportReader.copy
    # PostgreSQL sends full buffers: the second row pushes the first one out
    slow = (
        "SELECT repeat(row[1], 20000) || pg_sleep(row[2]::int)"
        " FROM (VALUES (ARRAY['a', '0']), (ARRAY['b', '1']), (ARRAY['c', '60'])) AS t (row)"
    )
    monkeypatch.setattr(ExportReader, "copy", lambda self, *args: copy(self, slow, {}, *args[2:]))
    made = begun(ExportReader(service(still).url), query, "geojsonl")
    try:
        assert next(made.blocks()) == b"a" * 20000 + b"\n"
    finally:
        made.close()


def test_an_export_stops_when_its_client_disconnects(
    still: Any, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(self: Any, statement: Any, parameters: Any, options: Any, sink: Any) -> None:
        while True:
            sink.write(b"x" * 100_000)

    monkeypatch.setattr(ExportReader, "copy", endless)
    for _ in range(3):  # more than are made at once
        source = ExportReader(service(still).url)
        blocks: Any = begun(source, query, "geojsonl").blocks()
        assert next(blocks)
        blocks.close()


def begun(source: ExportReader, query: Query, name: str) -> stream.Export:
    made = stream.Export(source, query, name)
    made.begin()
    return made


@pytest.fixture
def not_read(still: Any, query: Query, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes an export until its end, of whose first blocks three are kept in memory."""
    monkeypatch.setattr(reader, "CHUNK", 500)
    for name, value in {"CHUNK": 500, "_AHEAD": 3, "_PATIENCE": 0.1}.items():
        monkeypatch.setattr(stream, name, value)

    def made() -> Any:
        of = begun(ExportReader(service(still).url), query, "geojson")
        reading = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'landdata-export'"
        until = time.monotonic() + 20
        while fetch_rows(service(still).url, reading, {}) != [(0,)]:
            assert time.monotonic() < until
            time.sleep(0.05)
        return of.blocks()

    return made


def test_a_client_that_reads_nothing_holds_no_connection(
    still: Any, not_read: Callable[[], Any]
) -> None:
    blocks = list(not_read())
    assert len(blocks) > 3
    assert b"".join(blocks) == export(still, f="geojson").data


def test_a_full_disk_ends_an_export_that_is_not_read(
    not_read: Callable[[], Any],
) -> None:
    """The limit of a process stands for a full disk, which a test can't make everywhere."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        blocks = not_read()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(Unavailable) as told:
        list(blocks)
    assert told.value.code == "no-room"


def test_an_export_that_fails_half_way_is_never_taken_for_a_whole(
    still: Any, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, statement: Any, parameters: Any, options: Any, sink: Any) -> None:
        sink.write(b"half")
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(ExportReader, "copy", broken)
    with pytest.raises(Unavailable):  # before its first byte or after it
        list(begun(ExportReader(service(still).url), query, "geojsonl").blocks())


def test_concurrent_exports_are_limited(still: Any, query: Query) -> None:
    url = service(still).url
    held = [begun(ExportReader(url), query, "csv") for _ in range(2)]
    answer = still.get(EXPORT, query_string={"f": "csv"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "busy")
    for each in held:
        each.close()
        each.close()
    assert export(still, f="csv").data


def test_an_export_without_room_for_its_folder_keeps_no_place(
    still: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        for _ in range(3):  # there are two places
            answer = still.get(EXPORT, query_string={"f": "csv"})
            assert (answer.status_code, answer.json["error"]["code"]) == (503, "no-room")
    assert export(still, f="csv").data


def test_an_export_over_the_limit_is_referred_to_a_job(
    still: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_FEATURES", 15)
    answer = still.get(EXPORT, query_string={"f": "csv"})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "too-much")
    assert answer.json["description"] == (
        "16 features match, and an export has 15 at most."
        " Ask for less, or with the header `Prefer: respond-async`."
    )


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="gdal-bin is not installed")
@pytest.mark.parametrize("name", ["gpkg", "geojson"])
def test_debians_gdal_reads_it_too(still: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"x.{name}"
    path.write_bytes(export(still, f=name).data)
    done = subprocess.run(
        ["ogrinfo", "-ro", "-al", "-so", str(path)], capture_output=True, text=True, check=True
    )
    assert "Feature Count: 16" in done.stdout
    assert "ERROR" not in done.stderr


# -- the command


@pytest.fixture
def command(still: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("LANDDATA_DATABASE_URL", still.settings.database_url)
    monkeypatch.setenv("LANDDATA_HOME", str(still.settings.home))
    return lambda *arguments: cli.main(["export", *map(str, arguments)], standalone_mode=False)


def test_the_command_writes_in_the_storage_crs(
    command: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.gpkg"
    command("--format", "gpkg", path)
    told = read(path)
    assert len(told["rows"]) == 16
    assert "VN-2000" in told["crs"] or "9212" in told["crs"]
    assert "16" in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["out.gpkg"]


def test_the_command_takes_box_filter_and_time(command: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "out.geojson"
    command("--format", "geojson", "--filter", "number = '12'", "--as-of", "2025-12-01", path)
    [only] = json.loads(path.read_text())["features"]
    assert only["properties"]["version"] == 1
    command("--format", "geojson", "--bbox", "106,11,107,12", path)
    assert len(json.loads(path.read_text())["features"]) == 16
    command("--format", "csv", "--collection", "sheets", path)
    assert path.read_text().splitlines()[1].startswith("99901-1,99901,1,16,")


def test_the_command_writes_a_table_of_the_deployment(
    command: Callable[..., Any], still: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = database.engine(still.settings)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE wells (code text PRIMARY KEY, geom geometry(Point, 9212));"
            "INSERT INTO wells VALUES ('G1', 'SRID=9212;POINT(548000 1281000)')"
        )
    engine.dispose()
    file = tmp_path / "collections.toml"
    file.write_text('[wells]\ntable = "wells"\nkey = "code"\ngeometry = "geom"\n', "utf-8")
    monkeypatch.setenv("LANDDATA_COLLECTIONS", str(file))
    path = tmp_path / "wells.csv"
    command("--format", "csv", "--collection", "wells", path)
    assert path.read_text().splitlines()[1] == "G1,POINT(548000 1281000)"
    file.write_text("[wells", "utf-8")
    with pytest.raises(BadRequest, match="no TOML"):
        command("--format", "csv", "--collection", "wells", path)


def test_the_command_refuses_invalid_options(command: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="bbox"):
        command("--format", "csv", "--bbox", "1", tmp_path / "x")
    with pytest.raises(NotFound, match="collection"):
        command("--format", "csv", "--collection", "x", tmp_path / "x")
    with pytest.raises(BadRequest, match="folder"):
        command("--format", "csv", tmp_path / "none" / "x")
    assert not list(tmp_path.iterdir())
