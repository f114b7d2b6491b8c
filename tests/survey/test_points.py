"""Text of survey points to parcels."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support.surveys import NAMED_POINTS, plot

from landdata import survey
from landdata.errors import BadSurvey
from landdata.settings import Settings
from landdata.survey import Survey, points

SETTINGS = Settings(srid=9212)


def lines(
    parcels: Sequence[tuple[str, shapely.Polygon]],
    *,
    header: str = "Số tờ;Số thửa;Thứ tự;X;Y",
    comma: bool = False,
) -> str:
    text = [header]
    for number, shape in parcels:
        for order, (x, y) in enumerate(shape.exterior.coords[:-1], 1):
            row = f"25;{number};{order};{y:.3f};{x:.3f}"
            text.append(row.replace(".", ",") if comma else row)
    return "\r\n".join(text) + "\r\n"


def read(tmp_path: Path, text: str, encoding: str = "utf-8", **options: Any) -> Survey:
    path = tmp_path / "diem.csv"
    path.write_bytes(text.encode(encoding))
    return survey.read(path, SETTINGS, **{"crs": 9212, **options})


def refused(tmp_path: Path, text: str, **options: Any) -> BadSurvey:
    with pytest.raises(BadSurvey) as caught:
        read(tmp_path, text, **options)
    assert caught.value.hint
    return caught.value


TWO = [("1", plot(0, 0)), ("2", plot(1, 0))]


@pytest.mark.parametrize("delimiter", [";", "\t", pytest.param("|", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "encoding", ["utf-8", pytest.param("utf-8-sig", marks=pytest.mark.slow), "utf-16"]
)
def test_points_become_parcels(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = lines(TWO, comma=True).replace(";", delimiter)
    made = read(tmp_path, text, encoding)
    assert made.attributes["number"].to_pylist() == ["1", "2"]
    assert made.attributes["sheet"].to_pylist() == ["25", "25"]
    assert made.measured_area.tolist() == [400.0, 400.0]
    assert all(g.equals(s) for g, (_, s) in zip(made.geometry, TWO, strict=True))
    assert (made.findings, made.engine, made.crs.epsg) == ((), "text", 9212)


def test_commas_between_columns(tmp_path: Path) -> None:
    made = read(tmp_path, lines(TWO, header="sheet;number;order;N;E").replace(";", ","))
    assert made.measured_area.tolist() == [400.0, 400.0]


@given(st.randoms(use_true_random=False))
def test_the_order_counts_and_not_the_lines(
    tmp_path_factory: pytest.TempPathFactory, random: random.Random
) -> None:
    rows = lines(TWO).splitlines()
    shuffled = rows[1:]
    random.shuffle(shuffled)
    path = tmp_path_factory.mktemp("t") / "diem.csv"
    path.write_text("\n".join([rows[0], *shuffled]))
    made = points.read(path, path.name, 100)
    shapes = shapely.from_wkb(made.wkb.to_pylist())
    numbers = made.columns["Số thửa".encode().decode("latin-1")].to_pylist()
    by_number = dict(zip(numbers, shapes, strict=True))
    assert all(by_number[number].equals(shape) for number, shape in TWO)


def test_rings_and_attributes(tmp_path: Path) -> None:
    outer, inner = plot(0, 0), plot(0.25, 0.25, width=10, height=10)
    text = ["sheet;number;ring;order;x;y;DienTich;LoaiDat"]
    for ring, shape in enumerate((outer, inner)):
        for order, (x, y) in enumerate(shape.exterior.coords):
            text.append(f"25;7;{ring};{order};{y};{x};300,0;{'ONT' if order == 0 else ''}")
    made = read(tmp_path, "\n".join(text))
    assert made.measured_area.tolist() == [300.0]
    assert made.attributes["area"].to_pylist() == [300.0]
    assert '"ONT"' in made.attributes["land_use"][0].as_py()


def test_a_bad_parcel_is_a_finding(tmp_path: Path) -> None:
    text = lines([*TWO, ("3", plot(2, 0)), ("4", plot(3, 0))])
    text = text.replace("25;2;3;1281020.000", "25;2;3;#REF!")
    text += "".join(re.findall(r"25;3;\d;.*\n", lines([("3", plot(9, 9))])))
    text = text.replace("25;4;3;", "25;5;3;").replace("25;4;4;", "25;5;4;")
    made = read(tmp_path, text)
    assert made.attributes["number"].to_pylist() == ["1", "2", "3", "4", "5"]
    assert [g is None for g in made.geometry] == [False, True, True, True, True]
    why = {f.row: f.detail["why_en"] for f in made.findings}
    assert "no finite number" in why[1]
    assert "same place" in why[2]
    assert why[3] == why[4] == "it has under three points"
    assert len(made.findings) == 4


def test_a_point_beyond_the_globe_is_not_kept_and_its_parcel_has_no_shape(tmp_path: Path) -> None:
    many = [(str(number), plot(number, 0)) for number in range(1, 300)]
    made = read(tmp_path, lines([*many, ("999", shapely.box(1e30, 1e30, 2e30, 2e30))]))
    assert [(f.rule, f.row) for f in made.findings] == [("missing-geometry", 299)]
    assert np.isfinite(made.points.stored).all()
    assert np.isfinite(made.measured_area[:299]).all()
    assert 299 not in made.points.parcels.flatten().to_pylist()


def test_lines_of_a_parcel_that_disagree(tmp_path: Path) -> None:
    text = lines(TWO, header="sheet;number;order;x;y").splitlines()
    text = [text[0] + ";Tên chủ"] + [f"{t};Chủ {i // 6}" for i, t in enumerate(text[1:])]
    made = read(tmp_path, "\n".join(text))
    assert [(f.rule, f.row) for f in made.findings] == [("bad-value", 1)]
    assert "Chủ" not in str(made.findings[0].message)
    assert "Tên chủ" in made.findings[0].message["en"]


def test_swapped_columns_are_reported(tmp_path: Path) -> None:
    error = refused(tmp_path, lines(TWO, header="sheet;number;order;y;x"))
    assert error.code == "crs-swapped-axes"


def test_columns_without_names(tmp_path: Path) -> None:
    row = "25;{n};120,5;ONT;1281000.0;548000.0;1;2;3;4;5;6\n"
    assert refused(tmp_path, row.format(n=1) + row.format(n=2)).code == "no-header"
    assert refused(tmp_path, "to;thua;a;b\n1;2;3;4\n").code == "unknown-columns"
    broken = lines(TWO).replace("25;2;2;", "25;2;")
    error = refused(tmp_path, broken)
    assert (error.code, "Line 7" in error.message) == ("bad-line", True)
    error = refused(tmp_path, broken.replace("\n", "\n\n", 1))
    assert "Line 8 of " in error.message  # lines that are empty count, as they do in an editor
    assert error.message.split(" of ")[1].startswith("diem")
    far = lines([(str(k), plot(k, 0)) for k in range(1000)])
    assert refused(tmp_path, far + "\0" + lines(TWO)).code == "bad-line"
    assert refused(tmp_path, lines([]) * 2).code in {"empty-layer", "no-shapes"}
    assert refused(tmp_path, lines(TWO), crs=None).code == "no-crs"


def test_coordinates_are_as_written(tmp_path: Path) -> None:
    made = read(tmp_path, lines([("1", shapely.affinity.translate(plot(0, 0), 0.123, 0.457))]))
    assert np.array_equal(shapely.get_coordinates(made.geometry)[0], [548020.123, 1281000.457])


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    """Each point once, under its name, in the survey's CRS and in the store's."""
    text = NAMED_POINTS.format("Tên điểm").replace("1281020.0;548020.0", "1281020.0004;548020.0", 1)
    text = re.sub(r"5480(?=\d)", "3844", text)  # about where it is in the zone of 107°45'
    made = read(tmp_path, text, crs=5899)
    found = made.points
    assert made.findings == ()
    assert len(found) == 7  # what is a tenth of a millimetre aside was measured by itself
    assert found.names.to_pylist()[:2] == ["M1", "M2"]
    assert found.lines.tolist()[:2] == [2, 3]
    assert found.measured[0].tolist() == [384_420.0, 1_281_000.0]
    assert shapely.get_coordinates(made.geometry[0])[0].tolist() == found.stored[0].tolist()
    assert abs(found.stored[0] - found.measured[0]).max() > 20_000  # another zone
    assert sorted(map(tuple, found.parcels.to_pylist())) == [(0,)] * 3 + [(0, 1)] + [(1,)] * 3
    nan = read(
        tmp_path,
        NAMED_POINTS.format("Tên điểm").replace("1281040.0;548020.0", "1281040.0;?"),
        crs=9212,
    )
    assert len(nan.points) == 5  # a place that nobody can read is not kept; its parcels tell


def test_numbers_of_points_are_an_order_only_where_each_parcel_has_its_own(tmp_path: Path) -> None:
    own = NAMED_POINTS.format("SoHieuDiem")
    for name, number in (("M1", 17), ("M2", 9), ("M3", 12), ("M4", 3), ("M5", 20), ("M6", 1)):
        own = own.replace(name, str(number))
    made = read(tmp_path, own)
    assert made.measured_area.tolist() == [400.0, 400.0]  # in the order of the lines
    assert set(made.points.names.to_pylist()) == {"17", "9", "12", "3", "20", "1"}
    rows = [f"25;1;{k};{y};{x}" for k, (x, y) in enumerate(plot(0, 0).exterior.coords[:-1], 1)]
    rows[1], rows[2] = rows[2], rows[1]
    made = read(tmp_path, "sheet;number;SoHieuDiem;X;Y\n" + "\n".join(rows))
    assert made.measured_area.tolist() == [400.0]  # in the order of the numbers


def test_docs_hold_every_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "survey-files.md").read_text("utf-8")
    for names in points.NAMES.values():
        assert ", ".join(names) in page
