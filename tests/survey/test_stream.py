"""A survey that is read in blocks is the same as one that is read at once."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support.shapefiles import NULL, parts, polygon, sound, square, wkt, zipped

from landdata import survey
from landdata.errors import BadSurvey
from landdata.settings import Settings
from landdata.survey import Survey, encodings, extent, gdal_runner, reader
from landdata.survey import text as texts

SETTINGS = Settings(srid=9212)
TCVN3 = {letter: byte for byte, letter in encodings.TCVN3.items()}


def tcvn3(text: str) -> bytes:
    return "".join(TCVN3.get(letter, letter) for letter in text).encode("latin-1")


def same(one: Survey, two: Survey) -> None:
    """Two surveys are the same to the bit, but for the time that they took."""
    for name in ("source", "layer", "srid", "crs", "encoding", "fields", "findings", "engine"):
        assert getattr(one, name) == getattr(two, name), name
    assert one.rows.tolist() == two.rows.tolist()
    assert shapely.to_wkb(one.geometry).tolist() == shapely.to_wkb(two.geometry).tolist()
    assert np.array_equal(one.measured_area, two.measured_area, equal_nan=True)
    assert one.attributes.equals(two.attributes)


def spoilt(path: Path) -> Path:
    """A shapefile with a case of all that a row can be."""
    x, y = square()[0]
    nan = polygon([[(x, y), (x, float("nan")), (x + 5, y + 5), (x, y)]])
    records = [polygon([square(i)]) for i in range(20)]
    records[3], records[8], records[14] = NULL, polygon([square(8)], points=2**30), nan
    columns = {
        "SHBANDO": ["25"] * 20,
        "SHTHUA": [str(i + 1) for i in range(20)],
        "DIENTICH": [("12,5" if i % 6 == 5 else "400.0").rjust(40) for i in range(20)],
        "TENCHU": [("Lª Thị Duyªn", "Trần An", "Trưêng Vâ", "", "A")[i % 5] for i in range(20)],
        "DIACHI": [("xã Phú C¸t", "Thôn Một")[i % 2] for i in range(20)],
    }
    made = parts(records, columns, prj=wkt(9212), deleted=[1, 9], numeric=["DIENTICH"])
    return zipped(path / "a.zip", made)


def geojson(path: Path, ids: list[int] | range) -> Path:
    features = [
        {
            "type": "Feature",
            "id": each,
            "properties": {"SHTHUA": str(at), "TENCHU": "Nguyễn Văn Ánh" if at > 3 else "A"},
            "geometry": json.loads(shapely.to_geojson(shapely.Polygon(square(at)))),
        }
        for at, each in enumerate(ids)
    ]
    path = path / "a.geojson"
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::9212"}}
    made = {"type": "FeatureCollection", "crs": {"type": "name", **named}, "features": features}
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "spoilt": spoilt,
    "ids out of order": lambda path: geojson(path, [7, 3, 9, 1, 2, 8]),
    "ids that repeat": lambda path: geojson(path, [1, 2, 3, 4, 2, 6]),
    "ids that are too large": lambda path: geojson(path, [1, 2, 3, 4, 2**40]),
}


@pytest.mark.parametrize(
    ("file", "engine"),
    [
        ("spoilt", "fiona"),
        ("spoilt", "pyogrio"),
        ("ids out of order", "pyogrio"),
        pytest.param("ids that repeat", "pyogrio", marks=pytest.mark.slow),
        pytest.param("ids that are too large", "pyogrio", marks=pytest.mark.slow),
    ],
)
def test_a_survey_is_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, engine: str
) -> None:
    path = FILES[file](tmp_path)
    whole = survey.read(path, SETTINGS, engine=engine)
    told = survey.inspect(path, SETTINGS, engine=engine)
    for size in (1, 3):
        monkeypatch.setattr(reader, "BLOCK", size)
        same(survey.read(path, SETTINGS, engine=engine), whole)
    assert survey.inspect(path, SETTINGS, engine=engine) == told


def starts(
    path: Path, monkeypatch: pytest.MonkeyPatch, size: int = 2, **options: Any
) -> tuple[Survey, list[int]]:
    """Read a file in blocks of a size; tell at which rows its parts start."""
    monkeypatch.setattr(reader, "BLOCK", size)
    found: list[int] = []
    each = lambda part: found.append(part.start)  # noqa: E731
    return survey.read(path, SETTINGS, on_part=each, **options), found


def test_what_the_first_block_shows_is_mostly_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = starts(spoilt(tmp_path), monkeypatch, 5)
    assert found == [0, 5, 10, 15]


def test_text_that_begins_as_ascii_is_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [b"A", b"B", b"C", b"D", tcvn3("Nguyễn Thị Hồng"), tcvn3("Trần Văn Đường")]
    read, found = starts(zipped(tmp_path / "a.zip", sound(6, TENCHU=owners)), monkeypatch)
    assert read.encoding.name == "TCVN3"
    assert read.attributes["owner"].to_pylist()[4:] == ["Nguyễn Thị Hồng", "Trần Văn Đường"]
    assert found == [0, 2, 4]


def test_a_first_block_that_misleads_on_the_encoding_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both are UTF-8 by chance: two bytes that are one letter there, and two letters in TCVN3.
    owners = ["Hé".encode(), "Lé".encode()]
    owners += [tcvn3(f"{name} Thị Hồng") for name in ("Nguyễn", "Trần", "Lê", "Đỗ")]
    read, found = starts(zipped(tmp_path / "a.zip", sound(6, TENCHU=owners)), monkeypatch)
    assert read.encoding.name == "TCVN3"
    assert read.attributes["owner"].to_pylist()[2:4] == ["Nguyễn Thị Hồng", "Trần Thị Hồng"]
    assert found == [0, 2, 4, 0, 2, 4]


def test_a_first_block_that_misleads_on_a_field_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The preferred field for the number begins empty, so another is taken at first.
    path = zipped(tmp_path / "a.zip", sound(4, SOTHUTUTHUA=["", "", "8", "9"]))
    read, found = starts(path, monkeypatch)
    assert read.attributes["number"].to_pylist() == [None, None, "8", "9"]
    assert found == [0, 2, 0, 2]


def test_a_first_block_that_lies_elsewhere_is_read_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = [(0.0, 0.0), (0.0, 20.0), (20.0, 20.0), (20.0, 0.0), (0.0, 0.0)]
    records = [polygon([stray]), *(polygon([square(i % 40, i // 40)]) for i in range(1, 400))]
    columns = {"SHBANDO": ["1"] * 400, "SHTHUA": [str(i) for i in range(400)]}
    path = zipped(tmp_path / "a.zip", parts(records, columns, prj=wkt(9212)))
    read, found = starts(path, monkeypatch, 1)
    assert len(read) == 400
    assert found == list(range(400))  # none before all had come
    assert read.crs.detected == 9212


def test_a_first_block_that_fits_does_not_hide_that_the_rest_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees = [[(106 + x / 1e6, 11 + y / 1e6) for x, y in square(i)] for i in range(2, 6)]
    records = [polygon([square(0)]), polygon([square(1)]), *(polygon([d]) for d in degrees)]
    columns = {"SHBANDO": ["1"] * 6, "SHTHUA": [str(i) for i in range(6)]}
    path = zipped(tmp_path / "a.zip", parts(records, columns, prj=wkt(9212)))
    monkeypatch.setattr(reader, "BLOCK", 2)
    seen: list[Any] = []
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS, on_part=seen.append)
    assert caught.value.code == "crs-contradicted"
    assert len(seen) == 3


def test_another_engine_begins_from_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, runpy, sys\n"
        f"names = runpy.run_path({str(gdal_runner._CHILD)!r})\n"
        "task = json.loads(sys.argv[1]) if sys.argv[1][:1] == '{' else {'engine': ''}\n"
        "send = names['send']\n"
        "def fail(**sent):\n"
        "    send(**sent)\n"
        "    if sent.get('rows') == 4 and task['engine'] == 'pyogrio': os.kill(os.getpid(), 11)\n"
        "names['main'].__globals__['send'] = fail\n"
        "sys.exit(names['main']())\n"
    )
    path = zipped(tmp_path / "a.zip", sound(6))
    monkeypatch.setattr(gdal_runner, "_CHILD", child)
    read, found = starts(path, monkeypatch)
    assert (read.engine, len(read)) == ("fiona", 6)
    assert found == [0, 2, 0, 2, 4]


def test_only_a_few_parts_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 60
    path = zipped(tmp_path / "a.zip", sound(count, TENCHU=["Nguyễn Văn Ánh", "Lê"] * (count // 2)))
    monkeypatch.setattr(reader, "BLOCK", 2)
    seen: list[weakref.ref] = []
    most = 0
    for part in survey.stream(path, SETTINGS):
        seen += [weakref.ref(part.geometry), weakref.ref(part.rows)]
        del part
        most = max(most, sum(each() is not None for each in seen))
    assert len(seen) == count
    assert most <= 4  # the arrays of two


@given(st.lists(st.integers(0, 900), max_size=12), st.integers(0, 2**32))
def test_the_sample_of_coordinates_does_not_depend_on_the_blocks(
    cuts: list[int], seed: int
) -> None:
    points = np.random.default_rng(seed).uniform(0, 1e6, (900, 2))
    whole, apart = extent.Sample(), extent.Sample()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extent, "_SAMPLE", 200)
        whole.add(points)
        for block in np.split(points, sorted(cuts)):
            apart.add(block)
    assert whole.bounds() == apart.bounds()


@given(
    st.lists(st.lists(st.sampled_from(["Hồng", "Lª", "Duyªn", "A", "Trưêng", "25 °C"]))),
    st.booleans(),
)
def test_the_evidence_of_text_does_not_depend_on_the_blocks(
    blocks: list[list[str]], unicode: bool
) -> None:
    def chosen(given: list[list[str]]) -> tuple[Any, Any]:
        evidence = texts.TextEvidence(["TENCHU"], unicode=unicode)
        for block in given:
            evidence.add({"TENCHU": block})
        return evidence.choose(cpg=None, option=None, mend=False)

    if not unicode:
        blocks = [[text.encode().decode("latin-1") for text in block] for block in blocks]
    assert chosen(blocks) == chosen([[text for block in blocks for text in block]])


def test_a_geopackage_comes_in_blocks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gpkg"
    shapes = np.array([shapely.Polygon(square(i)) for i in range(5)], dtype=object)
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(shapes),
        field_data=[np.array([str(i) for i in range(5)], dtype=object)],
        fields=["SHTHUA"],
        geometry_type="Polygon",
        crs="EPSG:9212",
    )
    whole = survey.read(path, SETTINGS)
    read, found = starts(path, monkeypatch)
    same(read, whole)
    assert found == [0, 2, 4]


def test_rows_beyond_the_limit_go_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 1)
    path = geojson(tmp_path, range(1, 9))
    came: list[Any] = []
    with pytest.raises(BadSurvey) as caught:
        came.extend(survey.stream(path, Settings(srid=9212, max_rows=3)))
    assert caught.value.code == "too-many-rows"
    assert sum(map(len, came)) <= 3
