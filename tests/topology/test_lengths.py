"""Edge lengths that a survey states, held to annex 03."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry
from support import coverages
from support.survey_models import cell, finding_rules, survey

from landdata import topology
from landdata.cli import cli
from landdata.survey import attributes
from landdata.topology import Checked


def lengths(shape: shapely.Polygon) -> list[float]:
    rings = shapely.get_rings(shape)
    return [float(x) for r in rings for x in np.hypot(*np.diff(shapely.get_coordinates(r).T))]


def told(shapes: Sequence[BaseGeometry | None], edges: Sequence[Any], **columns: Any) -> Checked:
    return topology.check(survey(shapes, edges=edges, **columns))


# 20 m at 1:1000: 2 cm, 6 whole metres of 0.7 cm, 10 of 0.3 cm = 9.2 cm, and 5 mm for the writing.
@pytest.mark.parametrize(("by", "found"), [(0.0, 0), (0.096, 0), (-0.096, 0), (0.098, 1), (-2, 1)])
def test_an_edge_is_held_to_annex_03(by: float, found: int) -> None:
    checked = told([cell(0)], [[20, 20 + by, 20, 20]], scale=[1000])
    assert finding_rules(checked) == ["edge-differs"] * found
    for each in checked.findings:
        assert each.measured == pytest.approx(abs(by))
        assert each.limit == pytest.approx(0.092)
        assert each.source == "Circular 26/2024/TT-BTNMT, annex 03"
        assert each.detail["stated"] == f"{20 + by:.2f}"
        assert shapely.dwithin(shapely.Point(each.point), each.geometry, 1e-6)
        assert str(each.detail["stated"]).replace(".", ",") in each.message["vi"]


def test_agricultural_land_is_allowed_a_fifth_more() -> None:
    uses = [json.dumps([{"code": code, "area": None}]) for code in ("CLN", "ODT")]
    checked = told([cell(0), cell(20)], [[20, 20.11, 20, 20]] * 2, scale=[1000] * 2, land_use=uses)
    assert [(f.rule, f.row) for f in checked.findings] == [("edge-differs", 1)]


def test_lengths_that_are_not_stated_are_not_held_to() -> None:
    checked = told(
        [cell(0), cell(20), cell(40), None], [None, [20, None, 20, None, None], None, [3]]
    )
    assert finding_rules(checked) == ["missing-geometry"]


def test_a_parcel_without_an_edge_is_no_fault_of_ours() -> None:
    point = shapely.Polygon([(0, 0)] * 5)
    checked = told([cell(0), point], [[20, 20, 20, 20], [1, 1, 1, 1]])
    assert finding_rules(checked) == ["invalid-ring"]


@pytest.mark.slow
def test_a_ring_of_very_many_edges_takes_little_memory() -> None:
    shape = shapely.Point(0, 0).buffer(900, quad_segs=3_000)
    edges = len(shape.exterior.coords) - 1
    tracemalloc.start()
    checked = told([shape], [[9.0] * edges])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert finding_rules(checked).count("edge-differs") == edges
    assert peak < 200e6  # a try from each beginning would take gigabytes


def test_lengths_may_begin_anywhere_and_run_either_way() -> None:
    shape = shapely.Polygon([(0, 0), (30, 0), (30, 14), (9, 20), (0, 11)])
    right = lengths(shape)
    for k in range(5):
        for way in (right[k:] + right[:k], (right[k:] + right[:k])[::-1]):
            assert finding_rules(told([shape], [way], scale=[500])) == []
            (found,) = told([shape], [[x + 0.4 * (x == right[2]) for x in way]]).findings
            # By whichever way they stand, it is the third edge of the drawing.
            assert found.detail["edge"] == "3"
            assert found.measured == pytest.approx(0.4, abs=1e-3)


def test_holes_and_repeated_points_and_another_count() -> None:
    holed = shapely.Polygon(
        [(0, 0), (20, 0), (20, 0), (20, 20), (0, 20)], [[(5, 5), (5, 8), (9, 5)]]
    )
    shell, hole = [20, 20, 20, 20], [3, 5, 4]
    for edges, rules in (
        (shell, []),
        (shell + hole, []),
        ([*shell, 3, 5.5, 4], ["edge-differs"]),
        (shell[:3], ["edge-count-differs"]),
        ([*shell, 20], ["edge-count-differs"]),
    ):
        found = [r for r in finding_rules(told([holed], [edges])) if r.startswith("edge")]
        assert found == rules


@given(st.integers(0, 2**32 - 1))
def test_every_wrong_length_is_reported_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 7, 7, extra=int(rng.integers(0, 3)))
    scale = int(rng.choice([200, 500, 1000, 2000, 5000, 10000]))
    stated, expected = [], set()
    for at, shape in enumerate(clean.polygons):
        # Written to the centimetre.
        edges = np.round(lengths(shape), 2)
        if rng.random() < 0.3:
            k = int(rng.integers(len(edges)))
            # The most that any table allows for so long an edge is 0.5 m.
            edges[k] += rng.choice([-1, 1]) * rng.uniform(0.51, 0.9)
            expected.add((at, str(k + 1)))
        stated.append(edges.tolist())
    checked = told(list(clean.polygons), stated, scale=[scale] * len(clean))
    edge = [f for f in checked.findings if f.rule.startswith("edge")]
    assert {(f.row, f.detail["edge"]) for f in edge} == expected
    assert len(edge) == len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12,5; 8,30; 12,5; 8,3", [12.5, 8.3, 12.5, 8.3]),
        ("12.5 8.3 12.5", [12.5, 8.3, 12.5]),
        ("12.5, 8.3, 12.5", [12.5, 8.3, 12.5]),
        ("12,5, 8,3, 12,5", [12.5, 8.3, 12.5]),
        ("12.5,8.3,12.5", [12.5, 8.3, 12.5]),
        ("12.5m; 8.3 m; 12", [12.5, 8.3, 12.0]),
        ("12.5|8.3|", [12.5, 8.3, None]),
        ("12,5;;8,3", [12.5, None, 8.3]),
    ],
)
def test_lists_of_lengths(text: str, expected: list[Any]) -> None:
    assert attributes.edges(text) == expected


@pytest.mark.parametrize("text", ["12.5", "12,5,8,3", "a;b;c", "3;-4;5", "3;0;5", "3;4,5,6;5"])
def test_what_is_no_list_of_lengths(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        attributes.edges(text)


def test_lengths_from_a_text_of_points_to_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    east, north = coverages.ORIGIN
    out = io.StringIO()
    write = csv.writer(out, delimiter=";")
    write.writerow(["SoTo", "SoThua", "STT", "X", "Y", "Canh"])
    points = [(0, 0), (30, 0), (30, 20), (0, 20)]
    # Not in the order of the boundary, as the lines of a file may be.
    for order in (3, 1, 4, 2):
        x, y = points[order - 1]
        canh = ["30,00", "20,50", "30,00", ""][order - 1]
        write.writerow([1, 7, order, f"{north + y:.3f}", f"{east + x:.3f}", canh])
    path = tmp_path / "points.csv"
    path.write_text(out.getvalue(), "utf-8")
    monkeypatch.setenv("LANDDATA_HOME", str(tmp_path))
    args = ["check", str(path), "--commune", "99901", "--crs", "9212", "--json"]
    result = CliRunner().invoke(cli, args, standalone_mode=False)
    (found,) = json.loads(result.stdout)["findings"]
    assert (found["rule"], found["parcel"]) == ("edge-differs", "99901/1/7")
    assert found["measured"] == pytest.approx(0.5)
    assert found["point"] == [east + 30, north + 10]
