"""Drawings, DXF and DGN, to parcels."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support.drawings import Element, labels, lattice, write_dgn, write_dxf
from support.surveys import plot

from landdata import survey
from landdata.errors import BadSurvey
from landdata.settings import Settings
from landdata.survey import Survey, gdal_runner, linework

SETTINGS = Settings(srid=9212)


WRITERS = [
    pytest.param(write_dxf, ".dxf", id="dxf"),
    pytest.param(
        write_dgn, ".dgn", id="dgn",
        marks=pytest.mark.skipif(not shutil.which("ogr2ogr"), reason="gdal-bin is not installed"),
    ),
]  # fmt: skip


def read(path: Path, **options: Any) -> Survey:
    return survey.read(path, SETTINGS, crs=9212, fields={"sheet": "=25"}, **options)


def refused(path: Path) -> BadSurvey:
    with pytest.raises(BadSurvey) as caught:
        read(path)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("engine", gdal_runner.ENGINES)
@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_lines_and_labels_become_parcels(
    tmp_path: Path, write: Callable[..., Any], suffix: str, engine: str
) -> None:
    made = read(write(tmp_path / f"to25{suffix}", lattice(3, 2)), engine=engine)
    assert made.attributes["number"].to_pylist() == ["1", "2", "3", "4", "5", "6"]
    assert made.attributes["sheet"].to_pylist() == ["25"] * 6
    assert made.attributes["area"].to_pylist() == [400.0] * 6
    assert '"ONT"' in made.attributes["land_use"][0].as_py()
    assert [g.equals(plot(i % 3, i // 3)) for i, g in enumerate(made.geometry)] == [True] * 6
    assert (made.findings, made.layer, made.engine) == ((), "to25", engine)


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_closed_boundaries_stand_as_they_are(
    tmp_path: Path, write: Callable[..., Any], suffix: str
) -> None:
    one, two = plot(0, 0), plot(0.5, 0)
    outer, inner = plot(4, 0), plot(4.25, 0.25, width=10, height=10)
    elements: list[Element] = [
        (10, shapely.LineString(shape.exterior.coords), None) for shape in (one, two, outer, inner)
    ]
    elements += [(13, shapely.Point(548_002, 1_281_001), "1")]
    elements += [(13, shapely.Point(548_028, 1_281_001), "2")]
    elements += [(13, shapely.Point(548_081, 1_281_001), "3"), *labels(inner, 4)[:1]]
    made = read(write(tmp_path / f"a{suffix}", elements))
    assert made.attributes["number"].to_pylist() == ["1", "2", "3", "4"]
    assert made.measured_area.tolist() == [400.0, 400.0, 300.0, 100.0]
    assert made.geometry[0].intersection(made.geometry[1]).area == 200


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_labels_that_do_not_fit_are_findings(
    tmp_path: Path, write: Callable[..., Any], suffix: str
) -> None:
    elements = lattice(3, 1)
    elements = [e for e in elements if e[2] != "2"]  # no number for the second
    elements.append((13, plot(2, 0).centroid, "33"))  # two for the third
    elements.append((13, shapely.Point(548_500, 1_281_500), "99"))  # one outside
    elements.append((4, plot(0, 0).centroid, "401.0"))
    made = read(write(tmp_path / f"a{suffix}", elements))
    assert made.attributes["number"].to_pylist() == ["1", None, None]
    assert [(f.rule, f.row) for f in made.findings] == [
        ("several-labels", 0),
        ("no-label", 1),
        ("several-labels", 2),
        ("label-outside", None),
    ]
    assert "x 548500.00, y 1281500.00" in made.findings[3].message["en"]
    assert made.attributes["area"][0].as_py() is None


def test_ends_that_do_not_meet_are_not_closed(tmp_path: Path) -> None:
    elements = lattice(2, 1)
    at = next(i for i, e in enumerate(elements) if e[1].equals(
        shapely.LineString([(548_020, 1_281_000), (548_020, 1_281_020)])))  # fmt: skip
    elements[at] = (10, shapely.LineString([(548_020, 1_281_000), (548_020, 1_281_019)]), None)
    made = read(write_dxf(tmp_path / "a.dxf", elements))
    assert len(made) == 1
    assert {f.rule for f in made.findings} == {"several-labels"}


def test_levels_by_name_and_roads_as_bounds(tmp_path: Path) -> None:
    names = {10: "Ranh thửa", 13: "SO_THUA", 4: "Level 4", 2: "02"}
    elements = [(names[level], shape, text) for level, shape, text in lattice(2, 1)]
    at = next(i for i, e in enumerate(elements) if e[1].geom_type == "LineString")
    elements[at] = ("LEVEL 23", *elements[at][1:])  # a road's edge
    elements.append(("63", shapely.LineString([(548_010, 1_281_000), (548_010, 1_281_020)]), None))
    made = read(write_dxf(tmp_path / "a.dxf", elements))
    assert made.attributes["number"].to_pylist() == ["1", "2"]
    assert made.attributes["area"].to_pylist() == [400.0, 400.0]


def test_the_boundary_of_papers_is_used_only_alone(tmp_path: Path) -> None:
    elements = lattice(1, 1)
    moved = [(61, shapely.affinity.translate(s, 1, 1), t) for v, s, t in elements if v == 10]
    assert read(write_dxf(tmp_path / "a.dxf", elements + moved)).geometry[0].equals(plot(0, 0))
    alone = moved + [e for e in elements if e[0] != 10]
    made = read(write_dxf(tmp_path / "b.dxf", alone))
    assert made.geometry[0].equals(shapely.affinity.translate(plot(0, 0), 1, 1))


def test_a_drawing_without_boundaries(tmp_path: Path) -> None:
    wrong = [(5, *e[1:]) for e in lattice(1, 1)]
    error = refused(write_dxf(tmp_path / "a.dxf", wrong))
    assert (error.code, "levels are 5" in error.message) == ("no-boundary", True)
    open_ends = [(10, shapely.LineString([(548_000, 1_281_000), (548_010, 1_281_000)]), None)]
    assert refused(write_dxf(tmp_path / "b.dxf", open_ends)).code == "no-boundary"


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_drawing_that_is_cut_off(
    tmp_path: Path, write: Callable[..., Any], suffix: str, share: float
) -> None:
    path = write(tmp_path / f"a{suffix}", lattice(5, 5))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refused(path).code == "cut-off"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"10\n548040.0", b"10\n54804[.0"),  # the driver would leave out all that follows
        (b"\nLWPOLYLINE", b"\nLWP/LYLINE"),
        (b"\nTEXT\n8\n", b"\nTEXT\n\0\n"),
        (b"\n90\n", b"\x0090\n"),
    ],
)
def test_what_follows_a_damaged_pair_is_not_left_out(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = write_dxf(tmp_path / "a.dxf", lattice(4, 4))
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    assert refused(path).code == "unreadable"


@pytest.mark.slow
def test_lines_that_cross_without_end_are_given_up(tmp_path: Path) -> None:
    """Every line meets every other: a small file whose faces nobody can wait for."""
    rng = np.random.default_rng(3)
    ends = rng.uniform(548_000, 549_000, (9000, 2, 2)) + np.array([0, 733_000])
    path = write_dxf(tmp_path / "a.dxf", [(10, shapely.LineString(each), None) for each in ends])
    assert path.stat().st_size < 2_000_000
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, Settings(srid=9212, read_seconds=5), crs=9212)
    assert caught.value.code == "too-slow"
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, Settings(srid=9212, read_memory_mb=700), crs=9212)
    assert caught.value.code == "too-much-memory"


def test_a_binary_dxf_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.dxf").write_bytes(b"AutoCAD Binary DXF\r\n\x1a\0" + bytes(99))
    assert refused(tmp_path / "a.dxf").code == "binary-dxf"


@given(st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_every_face_once_whatever_the_order(columns: int, rows: int, random: random.Random) -> None:
    elements = lattice(columns, rows)
    random.shuffle(elements)
    lines = np.array([e[1] for e in elements if e[0] == 10], object)
    others = [e for e in elements if e[0] != 10]
    roles = [linework.LEVELS[e[0]] for e in others]
    points = np.array([e[1] for e in others], object)
    made = linework.build(lines, points, roles, [e[2] for e in others])
    assert made.values["number"] == [str(i + 1) for i in range(columns * rows)]
    assert made.findings == ()
    assert shapely.area(made.geometry).tolist() == [400.0] * (columns * rows)
