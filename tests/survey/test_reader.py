from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from support.shapefiles import NULL, ORIGIN, parts, polygon, sound, square, wkt, zipped

from landdata import survey
from landdata.errors import BadSurvey, LandDataError, Unavailable
from landdata.operations import health
from landdata.settings import Settings
from landdata.survey import Survey, archive, formats, gdal_runner, reader
from landdata.survey.dataset import Dataset

SETTINGS = Settings(srid=9212)


def written(tmp_path: Path, records: Sequence[bytes], **options: Any) -> Path:
    count = len(records)
    columns = {"SHBANDO": ["25"] * count, "SHTHUA": [str(i + 1) for i in range(count)]}
    return zipped(tmp_path / "a.zip", parts(records, columns, prj=wkt(9212), **options))


def why(read: Survey) -> dict[int, str]:
    return {f.row: f.message["en"].partition(": ")[2] for f in read.findings}


def test_arrays(tmp_path: Path) -> None:
    read = survey.read(zipped(tmp_path / "a.zip", sound(4)), SETTINGS)
    assert len(read) == 4
    assert read.rows.dtype == np.int64
    assert read.rows.tolist() == [0, 1, 2, 3]
    assert read.attributes.schema.equals(survey.SCHEMA)
    assert read.attributes.num_rows == 4
    assert read.attributes["sheet"].to_pylist() == ["25"] * 4
    assert read.measured_area.tolist() == [400.0] * 4
    assert read.geometry[1].equals_exact(shapely.Polygon(square(1)), 0)
    assert read.findings == ()
    assert set(read.seconds) == {
        "unpack", "read", "decode", "shapes", "attributes", "transform",
    }  # fmt: skip
    assert (read.crs.epsg, read.srid) == (9212, 9212)


@pytest.mark.parametrize("engine", [None, *gdal_runner.ENGINES])
def test_a_disk_that_is_full_is_no_fault_of_the_file(tmp_path: Path, engine: str | None) -> None:
    many = [polygon([square(i % 100, i // 100)]) for i in range(3000)]
    dataset = archive.unpack(written(tmp_path, many), tmp_path, SETTINGS)
    for name in gdal_runner.ENGINES:
        (dataset.folder / f"survey.{name}").symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left on device"):
        reader.read(dataset, SETTINGS, engine=engine)


def test_progress_is_reported_for_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    path = zipped(tmp_path / "a.zip", sound(4))
    monkeypatch.setattr(reader, "BLOCK", 2)
    survey.read(path, SETTINGS, progress=lambda *s: told.append(s))
    assert [name for name, _ in told] == ["unpack", "read", "read", "done"]
    assert [share for _, share in told] == [0.0, 0.525, 1.0, 1.0]


def test_holes_and_parts_are_kept(tmp_path: Path) -> None:
    x, y = ORIGIN
    hole = [(x + 5, y + 5), (x + 10, y + 5), (x + 10, y + 10), (x + 5, y + 10), (x + 5, y + 5)]
    path = written(tmp_path, [polygon([square(), hole]), polygon([square(3), square(5)])])
    read = survey.read(path, SETTINGS)
    assert len(read.geometry[0].interiors) == 1
    assert read.geometry[1].geom_type == "MultiPolygon"
    assert read.measured_area.tolist() == [375.0, 800.0]


def test_a_self_crossing_parcel_is_not_mended(tmp_path: Path) -> None:
    x, y = ORIGIN
    bow = [(x, y), (x + 10, y + 10), (x + 10, y), (x, y + 10), (x, y)]
    read = survey.read(written(tmp_path, [polygon([bow]), polygon([square(2)])]), SETTINGS)
    assert not read.geometry[0].is_valid
    assert read.findings == ()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_coordinates_that_are_no_finite_number(tmp_path: Path, number: float) -> None:
    x, y = ORIGIN
    ring = [(x, y), (x, y + 20), (x + 20, number), (x + 20, y), (x, y)]
    bad = polygon([ring])
    bad = bad[:4] + struct.pack("<4d", x, y, x + 20, y + 20) + bad[36:]
    read = survey.read(
        written(tmp_path, [polygon([square()]), bad, polygon([square(2)])]), SETTINGS
    )
    assert len(read) == 3
    assert [g is None for g in read.geometry] == [False, True, False]
    assert np.isnan(read.measured_area).tolist() == [False, True, False]
    assert why(read) == {1: "it has a coordinate that is no finite number."}
    assert read.findings[0].rule == "missing-geometry"


def test_null_shape_and_corrupt_counts(tmp_path: Path) -> None:
    records = [NULL, polygon([square()], points=2**30), polygon([square(2)], points=-5)]
    read = survey.read(written(tmp_path, [*records, polygon([square(3)])]), SETTINGS)
    assert [g is None for g in read.geometry] == [True, True, True, False]
    assert why(read)[0] == "the row has none."
    assert why(read)[1].startswith("its record is damaged")
    assert why(read)[2].startswith("its record is damaged")


def test_more_vertices_than_allowed(tmp_path: Path) -> None:
    x, y = ORIGIN
    turn = [2 * math.pi * i / 50 for i in range(50)]
    ring = [(x + 20 * math.cos(a), y - 20 * math.sin(a)) for a in turn]
    path = written(tmp_path, [polygon([[*ring, ring[0]]]), polygon([square(5)])])
    read = survey.read(path, Settings(srid=9212, max_vertices=10))
    assert why(read) == {0: "it has more vertices than are allowed."}


def test_coordinates_are_put_on_the_grid(tmp_path: Path) -> None:
    ring = [(px + 0.00049, py - 0.00049) for px, py in square()]
    read = survey.read(written(tmp_path, [polygon([ring])]), SETTINGS)
    assert read.geometry[0].equals_exact(shapely.Polygon(square()), 1e-9)


def test_reprojection_keeps_the_surveyed_area(tmp_path: Path) -> None:
    read = survey.read(zipped(tmp_path / "a.zip", sound()), Settings(srid=5899))
    assert read.measured_area.tolist() == [400.0] * 3
    assert shapely.area(read.geometry[0]) != pytest.approx(400.0, abs=0.05)
    coordinates = shapely.get_coordinates(read.geometry)
    assert np.array_equal(coordinates, coordinates.round(3))


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
def test_a_numeric_field_that_holds_no_number(tmp_path: Path, engine: str) -> None:
    values = ["400.5", "*****", "12,5", "abc", "", "1e3"]
    columns = {
        "SHBANDO": ["25"] * 6,
        "SHTHUA": [str(i + 1) for i in range(6)],
        "DIENTICH": [value.rjust(40) for value in values],
        "KHAC": [value.rjust(40) for value in values],
    }
    made = parts(
        [polygon([square(i)]) for i in range(6)], columns, prj=wkt(9212), deleted=[0],
        numeric=["DIENTICH", "KHAC"],
    )  # fmt: skip
    read = survey.read(zipped(tmp_path / "a.zip", made), SETTINGS, engine=engine)
    assert read.attributes["area"].to_pylist() == [None, None, None, None, 1000.0]
    bad = [(f.row, f.detail["value"]) for f in read.findings if f.rule == "bad-value"]
    assert bad == [(1, "'*****'"), (2, "'12,5'"), (3, "'abc'")]


def test_options_overrule(tmp_path: Path) -> None:
    made = sound(2, TO=["1:500", "1:500"])
    del made[".prj"]
    path = zipped(tmp_path / "a.zip", made)
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS)
    assert caught.value.code == "no-crs"
    assert "9212" in (caught.value.hint or "")
    read = survey.read(path, SETTINGS, crs=9212, fields={"scale": "TO", "commune": "=25195"})
    assert read.attributes["scale"].to_pylist() == [500, 500]
    assert read.attributes["commune"].to_pylist() == ["25195"] * 2


def test_inspect_tells_a_refusal_instead_of_raising(tmp_path: Path) -> None:
    made = sound()
    del made[".prj"]
    told = survey.inspect(zipped(tmp_path / "a.zip", made), SETTINGS).as_dict()
    assert told["crs"]["accepted"] is False
    assert told["crs"]["refusal_code"] == "no-crs"
    assert told["crs"]["detected"] == 9212
    assert told["rows"] == 3
    assert {"source": "SHBANDO", "attribute": "sheet", "how": "name", "filled": 3} in told["fields"]


# -- the confinement


def dataset(tmp_path: Path) -> Dataset:
    into = tmp_path / "into"
    into.mkdir()
    return archive.unpack(zipped(tmp_path / "a.zip", sound()), into, SETTINGS)


def test_the_child_has_one_driver_and_none_other() -> None:
    for engine in gdal_runner.ENGINES:
        for driver in formats.DRIVERS:
            skipped = gdal_runner._skipped(engine, driver).split(",")
            assert "CSV" in skipped
            assert set(formats.DRIVERS) - set(skipped) == {driver}
    assert "OGR_VRT" in gdal_runner._skipped("pyogrio", "GPKG").split(",")


def test_a_driver_too_many_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdal_runner, "_skipped", lambda *_: "OGR_VRT")
    with pytest.raises(LandDataError) as caught:
        reader.read(dataset(tmp_path), SETTINGS)
    assert caught.value.code == "drivers"


def test_the_child_is_killed_at_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(60)\n")
    for engine in gdal_runner.ENGINES:
        gdal_runner._drivers(engine)
    monkeypatch.setattr(gdal_runner, "_CHILD", slow)
    with pytest.raises(BadSurvey) as caught:
        reader.read(dataset(tmp_path), Settings(srid=9212, read_seconds=1))
    assert caught.value.code == "too-slow"


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "raise OSError('x')"])
def test_a_crash_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text(f"import os\n{end}\n")
    for engine in gdal_runner.ENGINES:
        gdal_runner._drivers(engine)
    monkeypatch.setattr(gdal_runner, "_CHILD", crash)
    with pytest.raises(BadSurvey) as caught:
        reader.read(dataset(tmp_path), SETTINGS)
    assert caught.value.code == "unreadable"


def test_the_child_has_no_network_no_new_rights_and_limits(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    child = Path(gdal_runner.__file__).with_name("gdal_process.py")
    probe.write_text(
        "import runpy, resource, socket\n"
        f"names = runpy.run_path({str(child)!r})\n"
        "network = names['confine']({'seconds': 9, 'file': 1000, 'memory': 1 << 30})\n"
        "assert 'NoNewPrivs:\\t1' in open('/proc/self/status').read()\n"
        "assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 1000\n"
        "assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 30\n"
        "if network == 'none':\n"
        "    assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
        "print(network)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-I", str(probe)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(("none", "not cut off"))


def test_the_doctor_tells_of_the_confinement(monkeypatch: pytest.MonkeyPatch) -> None:
    missing, network = gdal_runner.examine()
    assert missing == []
    assert network == "none" or network.startswith("not cut off")
    told = health._reader(SETTINGS)
    assert told.ok
    assert ("without network" in told.found) == (network == "none")
    monkeypatch.setattr(
        gdal_runner, "examine", lambda: ([], "not cut off: Operation not permitted")
    )
    assert "not cut off" in health._reader(SETTINGS).found
    monkeypatch.setattr(gdal_runner, "examine", lambda: (["fiona: DGN"], "none"))
    assert not health._reader(SETTINGS).ok


def test_the_child_knows_nothing_of_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDDATA_DATABASE_URL", "secret")
    assert "secret" not in gdal_runner._environment(tmp_path, "").values()
    assert os.environ["LANDDATA_DATABASE_URL"] == "secret"


# -- real files


@pytest.mark.slow
def test_utf8_and_tcvn3_twins_are_one_survey(shared: Path) -> None:
    # The UTF-8 file holds letters of TCVN3 that its twin can only have as what they mean.
    one = survey.read(shared / "phu_cat_vn.zip", SETTINGS, mend_text=True)
    two = survey.read(shared / "phu_cat_vn_tcvn3.zip", SETTINGS)
    assert (one.encoding.name, two.encoding.name) == ("UTF-8", "TCVN3")
    assert len(one) == len(two) == 4323
    assert one.crs.epsg == two.crs.epsg == 5897
    assert one.attributes.equals(two.attributes)
    assert [f.as_dict() for f in one.findings] == [f.as_dict() for f in two.findings]
    assert {f.rule for f in one.findings} == {"half-converted-text"}
    assert one.attributes["commune"].unique().to_pylist() == ["09922"]
    keys = pa.table({n: one.attributes[n] for n in ("sheet", "number")})
    assert keys.num_rows - keys.group_by(["sheet", "number"]).aggregate([]).num_rows >= 6
    plain = survey.read(shared / "phu_cat_vn.zip", SETTINGS)
    told = [f for f in plain.findings if f.rule == "unfinished-text"]
    assert [f.as_dict() for f in plain.findings if f not in told] == [
        f.as_dict() for f in one.findings
    ]
    for attribute, field in (("owner", "TENCHU"), ("address", "DIACHI")):
        pairs = zip(*(each.attributes[attribute].to_pylist() for each in (plain, two)), strict=True)
        differing = [row for row, (a, b) in enumerate(pairs) if a != b]
        assert differing == [f.row for f in told if f.detail["field"] == field] != []
    assert plain.attributes.drop_columns(["owner", "address"]).equals(
        two.attributes.drop_columns(["owner", "address"])
    )


def test_a_survey_of_another_country_is_refused_or_taken(shared: Path) -> None:
    path = shared / "walnut_creek_us.zip"
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS)
    assert caught.value.code == "crs-outside-deployment"
    told = survey.inspect(path, SETTINGS)
    assert (told.crs.declared_epsg, told.refusal_code) == (3740, "crs-outside-deployment")
    read = survey.read(path, Settings(srid=3740))
    assert len(read) == 7432
    assert [f.rule for f in read.findings] == ["no-sheet-field"]


def test_two_fields_of_one_name_are_two(tmp_path: Path) -> None:
    made = sound(3, LOAI=["CLN"] * 3, GHICHU=["x"] * 3)
    table = bytearray(made[".dbf"])
    table[128:139] = table[96:107]
    read = survey.read(zipped(tmp_path / "a.zip", {**made, ".dbf": bytes(table)}), SETTINGS)
    assert len(read) == 3
    assert [match.source for match in read.fields][2:] == ["LOAI", "LOAI_2"]
