"""GeoPackage, GeoJSON, FlatGeobuf and GML: the same survey in each, by both engines."""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from support.surveys import parcel, plot, write_layer

from landdata import survey
from landdata.errors import BadRequest, BadSurvey
from landdata.settings import Settings
from landdata.survey import Survey, encodings, gdal_runner

SETTINGS = Settings(srid=9212)
NEW = sorted({".gpkg", ".geojson", ".fgb", ".gml"})
ROWS = [parcel(i, plot(i, 0), DIACHI="Ấp Suối Mẫu", XAID=25195) for i in range(1, 6)]


def write(path: Path, rows: Sequence[dict[str, Any]] = ROWS, **options: Any) -> Path:
    return write_layer(path, rows, **options)


def refused(path: Path, **options: Any) -> BadSurvey:
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS, **options)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def same(one: Survey, two: Survey) -> None:
    assert one.attributes.equals(two.attributes)
    assert all(a.equals_exact(b, 0) for a, b in zip(one.geometry, two.geometry, strict=True))
    assert np.array_equal(one.measured_area, two.measured_area)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return survey.read(write(tmp_path_factory.mktemp("shp") / "thua.shp"), SETTINGS)


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
@pytest.mark.parametrize("suffix", NEW)
def test_every_format_gives_the_same_survey(
    tmp_path: Path, reference: Survey, suffix: str, engine: str
) -> None:
    read = survey.read(write(tmp_path / f"thua{suffix}"), SETTINGS, engine=engine)
    shapes = [shapely.normalize(g) for g in read.geometry]
    assert all(
        a.equals_exact(shapely.normalize(b), 0)
        for a, b in zip(shapes, reference.geometry, strict=True)
    )
    assert np.array_equal(read.measured_area, reference.measured_area)
    assert read.attributes.equals(reference.attributes)
    assert read.attributes["commune"].to_pylist() == ["25195"] * 5
    assert (read.layer, read.crs.epsg, read.findings) == ("thua", 9212, ())
    assert read.encoding.name == "UTF-8"


@pytest.mark.parametrize("suffix", NEW)
def test_a_zip_and_any_name(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"thua{suffix}")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, f"Bản đồ/thua{suffix}")
        archive.writestr("readme.txt", "{}")
        archive.writestr("style.json", "{}")
    # The stored file of a batch has no suffix: the bytes tell what it is.
    path.rename(tmp_path / "x")
    same(survey.read(tmp_path / "a.zip", SETTINGS), survey.read(tmp_path / "x", SETTINGS))


@pytest.mark.parametrize("epsg", [2227, 3857, 26910])
def test_areas_are_square_metres_whatever_the_crs(tmp_path: Path, epsg: int) -> None:
    to_file = pyproj.Transformer.from_crs(26910, epsg, always_xy=True)
    plots = [shapely.box(582400 + 20 * n, 4196000, 582420 + 20 * n, 4196020) for n in range(3)]
    moved = [
        shapely.transform(each, lambda xy: np.column_stack(to_file.transform(*xy.T)))
        for each in plots
    ]
    rows = [parcel(n, each, DIENTICH=400.0) for n, each in enumerate(moved, 1)]
    made = survey.read(write(tmp_path / "a.gpkg", rows, srid=epsg), Settings(srid=26910))
    assert made.measured_area == pytest.approx([400.0] * 3, rel=2e-3)  # scales of two projections


@pytest.mark.parametrize("srid", [2227, 3857, 4326])
def test_a_storage_crs_that_is_not_in_metres_is_refused(tmp_path: Path, srid: int) -> None:
    with pytest.raises(BadRequest, match=f"LANDDATA_SRID={srid} ") as caught:
        survey.read(write(tmp_path / "a.gpkg"), Settings(srid=srid))
    assert caught.value.code == "bad-storage-crs"


def test_text_ends_at_a_nul(tmp_path: Path) -> None:
    rows = [{**row, "DIACHI": "Ấp Suối|Mẫu", "TENCHU": "Lê|Văn"} for row in ROWS]
    path = write(tmp_path / "thua.fgb", rows)
    path.write_bytes(path.read_bytes().replace(b"|", b"\0"))
    made = [survey.read(path, SETTINGS, engine=engine) for engine in gdal_runner.ENGINES]
    same(*made)
    assert made[0].attributes["address"].to_pylist() == ["Ấp Suối"] * 5
    assert made[0].attributes["owner"].to_pylist() == ["Lê"] * 5


def test_several_layers_of_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", layer="to 1")
    write(path, [parcel(9, plot(9, 9))], layer="to 2", append=True)
    beacons = {"ten": "A1", "geometry": shapely.Point(548_000, 1_281_000)}
    write(path, [beacons], layer="moc", append=True, kind="Point")
    error = refused(path)
    assert (error.code, "to 1, to 2" in error.message) == ("several-layers", True)
    assert len(survey.read(path, SETTINGS, layer="to 1")) == 5
    assert len(survey.read(path, SETTINGS, layer="to 2")) == 1
    assert refused(path, layer="to 3").code == "unknown-layer"
    told = survey.inspect(path, SETTINGS, layer="to 2")
    assert (told.layer, told.layers) == ("to 2", ("to 1", "to 2", "moc"))


def test_several_files_in_one_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(write(tmp_path / "mot.gpkg"))
        archive.write(tmp_path / "mot.gpkg", "mot.gpkg")
        archive.write(write(tmp_path / "mot.fgb"), "mot.fgb")
        archive.write(write(tmp_path / "hai.geojson"), "hai.geojson")
    assert refused(tmp_path / "a.zip").code == "several-layers"
    assert survey.read(tmp_path / "a.zip", SETTINGS, layer="hai").layer == "hai"


def test_the_only_layer_of_polygons_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", layer="thua")
    beacons = {"ten": "A1", "geometry": shapely.Point(548_000, 1_281_000)}
    write(path, [beacons], layer="moc", append=True, kind="Point")
    assert survey.read(path, SETTINGS).layer == "thua"
    write(tmp_path / "b.gpkg", [beacons], kind="Point")
    assert refused(tmp_path / "b.gpkg").code == "not-polygons"


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
def test_a_stale_count_is_reported_and_not_used(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path / "a.gpkg")
    with sqlite3.connect(path) as store:
        store.execute("UPDATE gpkg_ogr_contents SET feature_count = 264")
    store.close()
    read = survey.read(path, SETTINGS, engine=engine)
    assert len(read) == 5
    assert [(f.rule, f.severity, f.detail["stated"]) for f in read.findings] == [
        ("stale-count", "info", "264")
    ]


def test_heights_measures_and_parts(tmp_path: Path) -> None:
    high = shapely.force_3d(plot(0, 0), 12.5)
    both = shapely.MultiPolygon([plot(2, 0), plot(4, 0)])
    rows = [parcel(1, high), parcel(2, shapely.force_3d(both, 3.0))]
    path = write(tmp_path / "a.gpkg", rows, kind="MultiPolygon Z")
    for engine in gdal_runner.ENGINES:
        read = survey.read(path, SETTINGS, engine=engine)
        assert not shapely.has_z(read.geometry).any()
        assert read.measured_area.tolist() == [400.0, 800.0]


def feature(number: object, geometry: Any, **more: Any) -> dict[str, Any]:
    properties = {"SHBANDO": "1", "SHTHUA": str(number), **more}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def ring(x: int = 0, y: int = 0) -> dict[str, list[list[list]] | str]:
    return {"type": "Polygon", "coordinates": [list(map(list, plot(x, y).exterior.coords))]}


def geojson(path: Path, features: list[Any], **more: Any) -> Path:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::9212"}}
    document = {"type": "FeatureCollection", "crs": crs, "features": features, **more}
    if document["crs"] is None:
        del document["crs"]
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    return path


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
def test_rows_of_a_geojson_that_are_no_polygons(tmp_path: Path, engine: str) -> None:
    line = {"type": "LineString", "coordinates": [[548_000, 1_281_000], [548_001, 1_281_000]]}
    path = geojson(tmp_path / "a.json", [feature(1, ring()), feature(2, line), feature(3, None)])
    read = survey.read(path, SETTINGS, engine=engine)
    assert [g is None for g in read.geometry] == [False, True, True]
    assert {f.row: f.detail["why_en"] for f in read.findings} == {
        1: "its shape is no polygon",
        2: "the row has none",
    }


def test_geojson_without_crs_is_degrees(tmp_path: Path) -> None:
    box = shapely.box(106.90, 11.50, 106.901, 11.501)
    shape = {"type": "Polygon", "coordinates": [list(map(list, box.exterior.coords))]}
    read = survey.read(geojson(tmp_path / "a.json", [feature(1, shape)], crs=None), SETTINGS)
    assert read.crs.epsg == 4326
    assert 11_000 < read.measured_area[0] < 13_000
    error = refused(geojson(tmp_path / "b.json", [feature(1, ring())], crs=None))
    assert (error.code, "9212" in error.hint) == ("crs-metres", True)
    assert len(survey.read(tmp_path / "b.json", SETTINGS, crs=9212)) == 1


def test_ids_that_are_told_twice(tmp_path: Path) -> None:
    twice = [{**feature(i, ring(i)), "id": 7} for i in range(3)]
    for engine in gdal_runner.ENGINES:
        read = survey.read(geojson(tmp_path / "a.json", twice), SETTINGS, engine=engine)
        assert len(set(read.rows.tolist())) == 3


def test_tcvn3_that_was_written_as_unicode(tmp_path: Path) -> None:
    old = {letter: byte for byte, letter in encodings.TCVN3.items()}
    names = ["Ấp Suối Mẫu", "đường bờ kênh", "thôn một", "ruộng lúa nước", "đất ở đô thị"]
    wrong = ["".join(old.get(letter, letter) for letter in name.lower()) for name in names]
    rows = [feature(i, ring(i), DIACHI=name) for i, name in enumerate(wrong)]
    path = geojson(tmp_path / "a.json", rows)
    read = survey.read(path, SETTINGS)
    assert read.encoding.name == "TCVN3"
    assert read.attributes["address"].to_pylist() == [name.lower() for name in names]
    right = [feature(i, ring(i), DIACHI=name) for i, name in enumerate(names)]
    read = survey.read(geojson(tmp_path / "b.json", right), SETTINGS)
    assert (read.encoding.name, read.attributes["address"].to_pylist()) == ("UTF-8", names)
    read = survey.read(path, SETTINGS, encoding="UTF-8")
    assert read.attributes["address"].to_pylist()[0] != names[0].lower()


# -- hostile and damaged files


@pytest.mark.parametrize("suffix", NEW)
@pytest.mark.parametrize(
    "share",
    [0.5, 0.999, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.02, 0.9))],
)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    many = [parcel(i, plot(i, 0), DIACHI="Ấp Suối Mẫu") for i in range(1, 200)]
    data = write(tmp_path / f"thua{suffix}", many).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    assert refused(cut).code in {"unreadable", "rows-lost", "unknown-format", "no-layer"}


def test_a_vrt_under_any_name(tmp_path: Path) -> None:
    other = write(tmp_path / "secret.gpkg")
    vrt = (
        f"<OGRVRTDataSource><OGRVRTLayer name='secret'><SrcDataSource>{other}</SrcDataSource>"
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    for suffix in (*NEW, ".vrt"):
        (tmp_path / f"x{suffix}").write_text(vrt)
        assert refused(tmp_path / f"x{suffix}").code == "unknown-format"


def test_gml_reads_nothing_but_itself(tmp_path: Path) -> None:
    text = write(tmp_path / "a.gml").read_text("utf-8")
    head, _, rest = text.partition("?>")
    bomb = f'{head}?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{rest}'
    (tmp_path / "b.gml").write_text(bomb.replace("Ấp", "&e;"), "utf-8")
    assert refused(tmp_path / "b.gml").code == "unsafe-xml"
    late = f"{head}?><!--{'x' * 70_000}--><!DOCTYPE x [<!ENTITY e 'x'>]>{rest}"
    (tmp_path / "c.gml").write_text(late, "utf-8")
    assert refused(tmp_path / "c.gml").code in {"unsafe-xml", "unknown-format"}
    # a schema that the file names is not opened, be it there or not
    schema = tmp_path / "evil.xsd"
    schema.write_text("<not a schema")
    (tmp_path / "d.gml").write_text(text.replace("a.xsd", str(schema)), "utf-8")
    same(survey.read(tmp_path / "d.gml", SETTINGS), survey.read(tmp_path / "a.gml", SETTINGS))
    assert b"schemaLocation" in (tmp_path / "d.gml").read_bytes()  # the sender's is as it was


def test_a_geopackage_whose_layer_is_a_view(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg")
    with sqlite3.connect(path) as store:
        store.execute("ALTER TABLE a RENAME TO b")
        store.execute("CREATE VIEW a AS SELECT * FROM b")
    store.close()
    assert refused(path).code == "not-a-table"


def test_a_geopackage_is_not_written_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg")
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA journal_mode = WAL")
    store.close()
    before = path.read_bytes()
    survey.read(path, SETTINGS)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.gpkg"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "dgn-v8"),
        (b"AC1032" + bytes(600), "dwg"),
        (b"Rar!\x1a\x07\x01\x00", "unknown-format"),
        (b"<html><body>404</body></html>", "unknown-format"),
    ],
)
def test_unreadable_files_are_refused_with_their_code(
    tmp_path: Path, data: bytes, code: str
) -> None:
    (tmp_path / "x.dat").write_bytes(data)
    assert refused(tmp_path / "x.dat").code == code


@pytest.mark.parametrize(
    ("name", "data", "called"),
    [
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Office"),
        ("x.kml", b"<?xml version='1.0'?><kml xmlns='http://www.opengis.net/kml/2.2'/>", "KML"),
        ("x.tab", b"!table\n!version 300\n", "MapInfo"),
        ("x.mif", b'Version 300\r\nCharset "WindowsLatin1"\r\n', "MapInfo"),
        ("x.zip", ["thua.tab", "thua.dat"], "MapInfo"),
        ("x.zip", ["thua.gdb/a00000001.gdbtable"], "geodatabase"),
        ("x.xlsx", ["[Content_Types].xml", "xl/workbook.xml"], "Office"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_name(
    tmp_path: Path, name: str, data: bytes | list[str], called: str
) -> None:
    path = tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as made:
            for member in data:
                made.writestr(member, "<a/>")
    error = refused(path)
    assert called in error.message
    assert error.hint


# -- the second engine


def damaged(tmp_path: Path, offset: int, data: bytes) -> Path:
    """A GeoPackage of 399 rows, damaged beside one of its shapes."""
    many = [parcel(i, plot(i, 0), DIACHI="Ấp Suối Mẫu") for i in range(1, 400)]
    path = write(tmp_path / "a.gpkg", many)
    whole = bytearray(path.read_bytes())
    place = whole.index(b"GP\0", 60_000) + offset
    whole[place : place + len(data)] = data
    path.write_bytes(whole)
    return path


def test_a_damaged_row_is_found_and_the_others_are_read(tmp_path: Path) -> None:
    path = damaged(tmp_path, -12, b"\xff" * 12)  # the head of the record
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS, engine="pyogrio")
    assert (caught.value.code, "399 rows" in caught.value.message) == ("rows-lost", True)
    read = survey.read(path, SETTINGS)
    assert (len(read), read.engine) == (399, "fiona")
    assert [f.rule for f in read.findings] == ["unreadable-row"]
    (bad,) = np.flatnonzero(np.equal(read.geometry, None))
    assert read.rows[bad] == read.findings[0].row
    assert read.attributes["number"][int(bad)].as_py() is None
    assert read.attributes["number"].null_count == 1


def test_a_damaged_shape_is_one_row(tmp_path: Path) -> None:
    path = damaged(tmp_path, 0, b"XX")
    for engine in (None, *gdal_runner.ENGINES):
        read = survey.read(path, SETTINGS, engine=engine)
        assert [f.rule for f in read.findings] == ["missing-geometry"]
        assert sum(g is None for g in read.geometry) == 1


def test_rows_behind_a_damaged_page_are_not_left_out(tmp_path: Path) -> None:
    path = damaged(tmp_path, 0, b"")
    whole = bytearray(path.read_bytes())
    page = whole.index(shapely.to_wkb(plot(200, 0))) // 4096 * 4096
    whole[page : page + 8] = b"\xff" * 8
    path.write_bytes(whole)
    error = refused(path)
    assert error.code == "unreadable"
    assert re.search(r"can be read up to row [1-9]\d+ only", error.message)


def test_the_second_engine_reads_what_the_first_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.shp")
    child = tmp_path / "child.py"
    child.write_text(
        "import os, runpy, sys\n"
        'if \'"engine": "pyogrio"\' in sys.argv[1]: os.kill(os.getpid(), 11)\n'
        f"runpy.run_path({str(gdal_runner._CHILD)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(gdal_runner, "_CHILD", child)
    read = survey.read(path, SETTINGS)
    assert (read.engine, len(read), read.findings) == ("fiona", 5, ())
    with pytest.raises(BadSurvey):
        survey.read(path, SETTINGS, engine="pyogrio")


def test_the_row_at_which_both_engines_break_down_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, struct, sys\n"
        "if sys.argv[1] == 'names': print('[]'); sys.exit()\n"
        "open(json.loads(sys.argv[1])['progress'], 'wb').write(struct.pack('<q', 17))\n"
        "os.kill(os.getpid(), 11)\n"
    )
    monkeypatch.setattr(gdal_runner, "_CHILD", child)
    error = refused(write(tmp_path / "a.gpkg"))
    assert (error.code, "beyond row 17" in error.message) == ("unreadable", True)


# -- real files


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
@pytest.mark.parametrize(
    ("name", "srid", "count", "number"),
    [
        ("nairobi_ke_parcels.gpkg", 21037, 75, "parcel_num"),
        ("tenerife_es.gpkg", 32628, 186, "gml_id"),
    ],
)
def test_real_geopackages(
    shared: Path, name: str, srid: int, count: int, number: str, engine: str
) -> None:
    settings = Settings(srid=srid)
    read = survey.read(shared / name, settings, fields={"number": number}, engine=engine)
    assert len(read) == count
    rules = {f.rule for f in read.findings}
    assert ("stale-count" in rules) == (name == "tenerife_es.gpkg")
    assert not any(g is None for g in read.geometry)


def test_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        survey.read(write(tmp_path / "a.gpkg"), SETTINGS, engine="ogr2ogr")


@pytest.mark.slow
def test_samples_are_the_same_by_both_engines() -> None:
    for path in sorted((Path(__file__).parents[2] / "sample_parcels").glob("0*/*.zip")):
        one = survey.read(path, SETTINGS, engine="pyogrio")
        two = survey.read(path, SETTINGS, engine="fiona")
        assert one.attributes.equals(two.attributes), path.name
        assert np.array_equal(shapely.to_wkb(one.geometry), shapely.to_wkb(two.geometry))
        assert np.array_equal(one.rows, two.rows)
        assert [f.as_dict() for f in one.findings] == [f.as_dict() for f in two.findings]
        assert (one.fields, one.encoding, one.crs) == (two.fields, two.encoding, two.crs)
