"""Rings that are shell and holes in one are taken apart, and no other ones."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry
from support.survey_models import cell, finding_rules, survey

from landdata import topology
from landdata.topology import ACCEPTABLE, REJECTED, rings

SQUARE = [(0, 0), (0, 20), (20, 20), (20, 0)]
INVERTED = [*SQUARE, (10, 0), (14, 8), (6, 8), (10, 0)]
KEYHOLE = [
    (0, 0), (0, 20), (20, 20), (20, 10), (15, 10), (15, 15), (5, 15), (5, 5), (15, 5), (15, 10),
    (20, 10), (20, 0),
]  # fmt: skip
#: An inverted shell with a hole besides.
HOLED = shapely.Polygon(INVERTED, [[(2, 12), (4, 12), (4, 14)]])


@pytest.mark.parametrize(
    ("shape", "holes", "area"),
    [
        (shapely.Polygon(INVERTED), 1, 368),
        (shapely.Polygon(INVERTED[::-1]), 1, 368),
        (shapely.Polygon(KEYHOLE), 1, 300),
        (HOLED, 2, 366),
        (shapely.MultiPolygon([shapely.Polygon(INVERTED), cell(30)]), 1, 768),
    ],
    ids=["inverted", "other way", "keyhole", "with a hole", "in a part"],
)
def test_shell_and_holes_in_one_ring_are_taken_apart(
    shape: BaseGeometry, holes: int, area: float
) -> None:
    apart = rings.take_apart(shape)
    assert apart is not None
    assert apart.is_valid
    assert apart.area == pytest.approx(area)
    assert shapely.get_num_interior_rings(shapely.get_parts(apart)).sum() == holes
    before, after = (np.unique(shapely.get_coordinates(s), axis=0) for s in (shape, apart))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0), (20, 20), (20, 0), (0, 20)],  # crosses itself
        [(0, 0), (0, 10), (10, 10), (10, 20), (20, 20), (20, 10), (10, 10), (10, 0)],  # an eight
        [(0, 0), (20, 0), (20, 20), (10, 20), (10, 30), (10, 20), (0, 20)],  # an edge to nowhere
        [*SQUARE, (0, 0), *SQUARE[1:]],  # twice around
        [(0, 10), (2, 6), (10, 4), (4, 6), (6, 6), (2, 6), (6, 6)],  # an edge through the parcel
        [(0, 0), (10, 0), (20, 0)],  # no area
    ],
)
def test_other_invalid_rings_stay_as_they_are(points: list[tuple[float, float]]) -> None:
    assert rings.take_apart(shapely.Polygon(points)) is None


def test_a_ring_taken_apart_is_a_warning_and_its_parcel_acceptable() -> None:
    checked = topology.check(survey([shapely.Polygon(INVERTED), cell(20)], area=[368, 400]))
    assert finding_rules(checked) == ["ring-taken-apart", "touching-hole", "unparcelled-area"]
    assert checked.status.tolist() == [ACCEPTABLE] * 2
    assert list(checked.taken_apart) == [0]


def test_land_under_an_invalid_parcel_is_not_unparcelled_and_has_no_area() -> None:
    block = [cell(20 * i, 20 * j) for i in range(3) for j in range(3)]
    block[4] = shapely.Polygon([(20, 20), (40, 20), (39, 30), (41, 35), (41, 30), (20, 40)])
    assert not block[4].is_valid
    checked = topology.check(survey(block, area=[400.0] * 9))
    assert finding_rules(checked) == ["invalid-ring"]
    assert checked.status[4] == REJECTED
    assert checked.findings[0].message["en"].endswith("is not valid: it crosses itself.")
    block[4] = None
    assert "unparcelled-area" in finding_rules(topology.check(survey(block)))


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8),
        min_size=1,
        max_size=12,
    )
)
def test_no_ring_breaks_a_check(drawn: list[list[tuple[int, int]]]) -> None:
    shapes = [
        shapely.from_wkb(wkb([(x + 3.0 * k, float(y)) for x, y in points]), on_invalid="ignore")
        for k, points in enumerate(drawn)
    ]
    checked = topology.check(survey(shapes, area=[9.0] * len(shapes)))
    for at, apart in checked.taken_apart.items():
        assert apart.is_valid
        after, before = (np.unique(shapely.get_coordinates(s), axis=0) for s in (apart, shapes[at]))
        assert np.array_equal(after, before)


def wkb(points: list[tuple[float, float]]) -> bytes:
    """Return a polygon of one ring, which `shapely.Polygon` would refuse, as WKB."""
    ring = [*points, points[0]]
    return struct.pack(f"<BIII{2 * len(ring)}d", 1, 3, 1, len(ring), *itertools.chain(*ring))
