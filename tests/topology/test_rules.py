"""Each rule on the shape, place and record of a parcel, above its limit and below it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry
from support import coverages, geohash
from support.survey_models import cell, finding_rules, official, survey

from landdata import topology
from landdata.findings import Finding
from landdata.reference import parcel_keys
from landdata.reference.vn2000 import transformer
from landdata.topology import ACCEPTABLE, REJECTED, Checked

ROOT = Path(__file__).parents[2]


def told(shapes: Sequence[BaseGeometry | None], **options: Any) -> Checked:
    return topology.check(survey(shapes), **options)


def polygon(*points: tuple[float, float], holes: Any = ()) -> shapely.Polygon:
    return shapely.Polygon(points, holes)


def test_repeated_point_is_reported_at_its_place() -> None:
    shape = polygon((0, 0), (20, 0), (20, 0), (20, 20), (20, 20), (20, 20), (0, 20))
    checked = told([shape, cell(20)])
    assert [(f.rule, f.row, f.point) for f in checked.findings] == [
        ("repeated-point", 0, (20, 0)),
        ("repeated-point", 0, (20, 20)),
        ("repeated-point", 0, (20, 20)),
    ]
    assert (checked.status == ACCEPTABLE).all()


def test_the_closing_point_of_a_ring_is_no_repeated_point() -> None:
    holed = polygon((0, 0), (20, 0), (20, 20), (0, 20), holes=[[(5, 5), (5, 6), (6, 6)]])
    checked = told([holed, shapely.MultiPolygon([cell(30), cell(60)])])
    assert finding_rules(checked) == ["multipart", "unparcelled-area"]


@pytest.mark.parametrize(("by", "found"), [(0.001, 1), (0.002, 1), (0.009, 1), (0.010, 0)])
def test_short_edge(by: float, found: int) -> None:
    checked = told([polygon((0, 0), (20, 0), (20, 20 - by), (20 - by / 9, 20), (0, 20))])
    assert finding_rules(checked) == ["short-edge"] * found
    if found:
        assert checked.findings[0].measured == pytest.approx(by, rel=0.02, abs=1e-4)


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize(("out", "by", "found"), [(1, 0.2, 1), (1, 0.5, 0), (-1, 0.2, 1)])
def test_spike(out: int, by: float, found: int, turn: int) -> None:
    points = [(0, 0), (20, 0), (20, 10), (20 + 15 * out, 10 + by / 2), (20, 10 + by), (20, 20)]
    points += [(0, 20)]
    shape = polygon(*np.roll(points, turn, axis=0))
    checked = told([shape])
    assert finding_rules(checked) == ["spike"] * found
    if found:
        assert checked.findings[0].measured == pytest.approx(np.degrees(by / 15), rel=0.01)
        assert checked.findings[0].point == (20 + 15 * out, 10 + by / 2)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (shapely.box(0, 0, 20, 0.002), 1),
        (shapely.box(0, 0, 20, 0.09), 1),
        (shapely.box(0, 0, 20, 0.11), 0),
        (shapely.box(0, 0, 0.3, 0.3), 1),  # 0.09 m²
        (shapely.box(0, 0, 0.4, 0.4), 0),
    ],
)
def test_sliver(shape: shapely.Polygon, found: int) -> None:
    assert [r for r in finding_rules(told([shape])) if r != "short-edge"] == ["sliver"] * found


def test_dense_vertices() -> None:
    wave = [(k / 100, 0.005 * (k % 2)) for k in range(2000)]
    checked = told([polygon(*wave, (20, 20), (0, 20))])
    assert finding_rules(checked) == ["dense-vertices"]
    assert checked.findings[0].detail["count"] == "2003"


def test_hole_that_touches_its_shell() -> None:
    touching = polygon((0, 0), (20, 0), (20, 20), (0, 20), holes=[[(0, 5), (5, 6), (5, 5)]])
    inside = polygon((30, 0), (50, 0), (50, 20), (30, 20), holes=[[(31, 5), (35, 6), (35, 5)]])
    checked = told([touching, inside])
    (found,) = (each for each in checked.findings if each.rule == "touching-hole")
    assert (found.row, found.point) == (0, (0, 5))


def test_a_parcel_of_another_zone_is_rejected_and_spoils_nothing_else() -> None:
    checked = told([cell(0), cell(20), cell(40), cell(300_000_000), cell(80)])
    assert finding_rules(checked) == ["out-of-zone"]
    assert checked.status.tolist() == [0, 0, 0, REJECTED, 0]


@pytest.mark.parametrize(("by", "rule"), [(0.5, "near-duplicate"), (2.0, "overlap")])
def test_near_duplicate(by: float, rule: str) -> None:
    checked = told([cell(0), shapely.affinity.translate(cell(0), by)])
    assert [(f.rule, f.row, f.other_row) for f in checked.findings] == [(rule, 0, 1)]
    assert checked.status.tolist() == [REJECTED, REJECTED]


def test_island_stands_alone() -> None:
    block = [cell(20 * k) for k in range(12)]
    checked = told([*block, cell(500), cell(430, 150)])
    assert finding_rules(checked) == []
    checked = told([*block, cell(700)])
    assert [(f.rule, f.row) for f in checked.findings] == [("island", 12)]
    checked = topology.check(survey([*block, cell(700)]), official(p90=cell(700, 100)))
    assert finding_rules(checked) == []


def test_border_of_the_commune() -> None:
    border = shapely.box(-5, -5, 50, 50)
    checked = told([cell(0), cell(20), cell(40), cell(60), cell(30.5, 20)], boundary=border)
    assert [(f.rule, f.row, f.measured) for f in checked.findings if "commune" in f.rule] == [
        ("outside-commune", 3, 10),
        ("across-communes", 2, 200),
    ]
    checked = told([cell(30.5), cell(30.5, 20)], boundary=border)
    assert finding_rules(checked) == []  # half a metre across is within the border's accuracy
    side = [(550634.9, 1280868.0), (550646.3, 1280789.5)]  # all that both have in common
    parcel = shapely.Polygon([*side, (550676.0, 1280793.8), (550659.6, 1280871.6)])
    away = [(550718.2, 1280294.7), (548667.1, 1280502.1), (548655.7, 1280580.6)]
    border = shapely.Polygon([(550563.0, 1281362.8), *side, *away])
    checked = told([parcel], boundary=border)
    assert [(f.rule, f.measured) for f in checked.findings if "commune" in f.rule] == [
        ("outside-commune", 0)
    ]


def test_cell_of_a_known_geohash() -> None:
    west, south, east, north = parcel_keys.cell("ezs42")  # the usual example
    assert (west + east) / 2 == pytest.approx(-5.603, abs=1e-3)
    assert (south + north) / 2 == pytest.approx(42.605, abs=1e-3)
    west, south, east, north = parcel_keys.cell("w3gvk1td8wmj")
    assert (east - west) * 111_320 == pytest.approx(0.0373, rel=0.01)
    assert (north - south) * 110_570 == pytest.approx(0.0186, rel=0.01)


def test_national_identifier_lies_in_its_parcel() -> None:
    east, north = coverages.ORIGIN
    boxes = [shapely.box(east + 20 * k, north, east + 20 * k + 20, north + 20) for k in range(4)]
    to_wgs84 = transformer(9212, 4326).transform
    spots = [(east + 10, north + 10), (east + 41.4, north + 5), (east + 38, north + 5)]
    ids = [geohash.encode(*to_wgs84(*spot)) for spot in spots] + ["not-a-geohash"]
    checked = topology.check(
        survey(boxes, national_id=ids), from_wgs84=transformer(4326, 9212).transform
    )
    assert [(f.rule, f.row) for f in checked.findings] == [
        ("identifier-outside", 2),
        ("identifier-ill-formed", 3),
    ]
    assert checked.findings[0].measured == pytest.approx(2, abs=0.05)


def test_areas_of_a_sheet_add_up() -> None:
    # Each within its own tolerance (2.93 m² at 400 m²), but all off to the same side.
    shapes = [cell(20 * k) for k in range(30)]
    checked = topology.check(survey(shapes, area=[402.8] * 30, scale=[1000] * 30))
    assert finding_rules(checked) == ["sheet-area-differs"]
    assert checked.findings[0].measured == pytest.approx(84)
    by_chance = [400 + 2.8 * (-1) ** k for k in range(30)]
    checked = topology.check(survey(shapes, area=by_chance, scale=[1000] * 30))
    assert finding_rules(checked) == []


SHAPE_KINDS = ("repeated-point", "short-edge", "spike", "touching-hole")


@given(st.integers(0, 2**32 - 1))
def test_every_injected_vertex_is_reported_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 9, 9, extra=int(rng.integers(0, 3)))
    shapes = list(clean.polygons)
    expected = []
    for at in rng.choice(len(shapes), 6, replace=False).tolist():
        ring = shapely.get_coordinates(shapes[at].exterior)[:-1]
        holes = [hole.coords for hole in shapes[at].interiors]
        k = int(rng.integers(len(ring)))
        kind = SHAPE_KINDS[int(rng.integers(3))]
        if kind == "repeated-point":
            ring = np.insert(ring, k, ring[k], axis=0)
        else:
            ahead = ring[(k + 1) % len(ring)] - ring[k]
            long = float(np.hypot(*ahead))
            if kind == "short-edge":
                # From 2 mm up, on the boundary itself.
                size = float(rng.uniform(0.002, 0.007))
                point = coverages.grid(ring[k] + ahead / long * size)
                ring = np.insert(ring, k + 1, point, axis=0)
            else:
                # Off the middle of an edge, outwards or inwards, half a per cent as wide as long.
                out = np.array([ahead[1], -ahead[0]]) / long * rng.choice([-1, 1])
                middle = ring[k] + ahead / 2
                half = ahead / long * 0.012
                tip = middle + out * 3.0
                ring = np.insert(
                    ring, k + 1, coverages.grid([middle - half, tip, middle + half]), axis=0
                )
        spoilt = shapely.Polygon(ring, holes)
        if spoilt.is_valid:
            shapes[at] = spoilt
            expected.append((kind, at))
    checked = told(shapes)
    odd = {"repeated-point", "short-edge", "spike", "sliver", "dense-vertices", "multipart"}
    assert sorted((f.rule, f.row) for f in checked.findings if f.rule in odd) == sorted(expected)


def test_the_catalogue_page_is_the_catalogue() -> None:
    spec = importlib.util.spec_from_file_location("rules_page", ROOT / "script" / "rules.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rules_page"] = module
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page()


@pytest.mark.parametrize(
    ("sheet", "number", "why"),
    [
        ("1", None, "parcel number (empty)"),
        ("1", "10/2", "parcel number (10/2: not digits with at most a letter or a hyphenated part"),
        ("1", "0", "parcel number (0: numbers count from 1)"),
        ("1", "12<U+202E>3", "parcel number (12<U+202E>3: holds a control character)"),
        ("99999999999", "1", "sheet number (99999999999: more than nine digits)"),
        ("DC5", "-1", "sheet number (DC5: not digits with at most a letter or a hyphenated part"
         " (12, 12a, 12-1)) and no usable parcel number (-1: numbers count from 1)"),
    ],
)  # fmt: skip
def test_an_unusable_number_is_called_by_its_row_and_says_which_part_and_why(
    sheet: str, number: str | None, why: str
) -> None:
    # twice: rows without a number are no duplicates of each other
    checked = topology.check(survey([cell(0), cell(20)], sheet=[sheet] * 2, number=[number] * 2))
    assert [(f.rule, f.row, f.parcel) for f in checked.findings] == [
        ("missing-number", 0, None), ("missing-number", 1, None),
    ]  # fmt: skip
    assert checked.findings[1].message["en"].startswith(f"Row 1 (FID) has no usable {why}")


def test_a_missing_commune_is_the_part_that_is_missing() -> None:
    checked = topology.check(survey([cell(0)], commune=[None]))
    assert [f.message["en"] for f in checked.findings] == [
        "Row 0 (FID) has no usable commune (give it with --commune)."
    ]


def test_uses_do_not_add_up_to_more_than_the_parcel() -> None:
    uses = [
        json.dumps([{"code": "ONT", "area": 250}, {"code": "CLN", "area": area}])
        for area in (150, 150.1, 300, 300, 153, 160)
    ]
    checked = topology.check(
        survey(
            [cell(20 * k) for k in range(6)],
            land_use=uses,
            area=[400, 400, 400, 400, None, None],
            legal_area=[None, None, None, 560, None, None],
        )
    )
    found = [(f.row, f.measured, f.limit) for f in checked.findings if "exceed" in f.rule]
    assert found == [(2, 550, 400), (5, 410, 403.2)]


def test_one_commune_of_the_file_is_one_finding_and_rejects_all_its_rows() -> None:
    shapes = [cell(20 * k) for k in range(5)]
    stated = ["99901", "00001", "00002", "00001", "00001"]
    checked = topology.check(survey(shapes, commune=stated), commune="99901")
    found = [f for f in checked.findings if f.rule == "commune-differs"]
    assert [(f.row, f.rows) for f in found] == [(1, (1, 3, 4)), (2, ())]
    assert "for parcel 99901/1/2 and 2 others, but" in found[0].message["en"]
    assert found[0].as_dict()["rows"] == [1, 3, 4]
    assert "rows" not in found[1].as_dict()
    assert checked.status.tolist() == [ACCEPTABLE, *[REJECTED] * 4]


def test_duplicate_numbers_of_a_file_without_sheets_say_why() -> None:
    findings = [Finding("no-sheet-field")]
    numbered = survey([cell(0), cell(20)], sheet=["0"] * 2, number=["5"] * 2, findings=findings)
    found = [f for f in topology.check(numbered).findings if f.rule == "duplicate-number"]
    assert all("so all are on sheet 0 (--field sheet=FIELD)" in f.message["en"] for f in found)
    found = topology.check(survey([cell(0), cell(20)], number=["5"] * 2)).findings
    assert all("sheet 0" not in f.message["en"] for f in found)
