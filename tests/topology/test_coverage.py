"""The coverage rules against made-up coverages with a known truth, and against brute force."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely
import shapely.affinity
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import coverages

from landdata.topology import coverage
from landdata.topology.coverage import edges, gaps, proximity
from landdata.topology.rules import Limits

SEEDS = st.integers(0, 2**32 - 1)
LIMITS = Limits()


def told(defects: coverage.Defects) -> set[tuple]:
    """Return the defects in the form of `Coverage.truth`."""
    facts: set[tuple] = set()
    for each in defects.overlaps:
        rule = "duplicate-geometry" if each.equal else "overlap"
        rule = rule if each.equal or each.inner is None else "containment"
        facts.add((rule, frozenset((each.first, each.second))))
    facts |= {("gap", frozenset(each.parcels[:2])) for each in defects.gaps}
    facts |= {
        ("unmatched-vertex", frozenset((each.parcel, each.other)), each.point)
        for each in defects.unmatched
    }
    facts |= {
        ("unparcelled-area", frozenset(each.parcels), coverages.place_of(each.region))
        for each in defects.enclosed
    }
    return facts


def count(defects: coverage.Defects) -> int:
    kinds = defects.overlaps, defects.gaps, defects.unmatched, defects.enclosed
    return sum(len(each) for each in kinds)


def made(seed: int, defects: int = 0, **options: Any) -> coverages.Coverage:
    rng = np.random.default_rng(seed)
    columns, rows = rng.integers(5, 24, 2)
    clean = coverages.make(rng, int(columns), int(rows), extra=int(rng.integers(0, 4)))
    return coverages.inject(rng, clean, defects, **options) if defects else clean


@given(SEEDS)
def test_clean_coverage_has_no_defect(seed: int) -> None:
    clean = made(seed)
    assert told(coverage.find(clean.polygons)) == clean.truth  # its courts


@given(SEEDS)
def test_every_injected_defect_is_reported_once_and_nothing_else(seed: int) -> None:
    spoilt = made(seed, 25)
    defects = coverage.find(spoilt.polygons)
    assert told(defects) == spoilt.truth
    assert count(defects) == len(spoilt.truth)


@given(SEEDS)
def test_order_of_parcels_and_of_their_vertices_does_not_matter(seed: int) -> None:
    spoilt = made(seed, 15)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(len(spoilt))
    turned = spoilt.polygons[order].copy()
    flip = rng.random(len(turned)) < 0.5
    turned[flip] = shapely.reverse(turned[flip])
    turned = shapely.normalize(turned)
    first, second = coverage.find(spoilt.polygons), coverage.find(turned)
    back = {
        (fact[0], frozenset(int(order[i]) for i in fact[1]), *fact[2:]) for fact in told(second)
    }
    assert back == told(first)
    for name in ("overlaps", "gaps"):
        one, two = (
            sorted((round(each.area, 4), each.width) for each in getattr(run, name))
            for run in (first, second)
        )
        assert np.allclose(one, two, rtol=1e-3, atol=1e-5)


@given(SEEDS, st.floats(0.1, 0.9))
def test_the_seam_is_checked_as_the_inside(seed: int, share: float) -> None:
    spoilt = made(seed, 15)
    own = np.random.default_rng(seed + 1).random(len(spoilt)) < share
    order = np.concatenate([np.flatnonzero(own), np.flatnonzero(~own)])
    split = coverage.find(spoilt.polygons[order], own=int(own.sum()))
    back = {(fact[0], frozenset(int(order[i]) for i in fact[1]), *fact[2:]) for fact in told(split)}
    assert back == {fact for fact in spoilt.truth if own[list(fact[1])].any()}


def brute_overlaps(polygons: NDArray[Any], limits: Limits = LIMITS) -> set[tuple[int, int]]:
    """Overlay every pair; of parcels with the same vertices only the first and each other."""
    pairs = set()
    shapes = shapely.to_wkb(shapely.normalize(polygons)).tolist()
    first = [shapes.index(each) for each in shapes]
    for i in range(len(polygons)):
        for j in range(i + 1, len(polygons)):
            if first[i] == first[j] != i:
                continue
            region = shapely.intersection(polygons[i], polygons[j])
            areal = [p for p in shapely.get_parts(region) if shapely.get_dimensions(p) == 2]
            if areal and coverage.width(np.array(areal)).max() > limits.rounding:
                pairs.add((i, j))
    return pairs


@st.composite
def crowds(draw: st.DrawFn) -> NDArray[Any]:
    """Polygons on a coarse lattice, so that nodes, edges and whole shapes coincide."""
    side = draw(st.integers(2, 5))
    shapes = []
    for _ in range(draw(st.integers(2, 9))):
        if draw(st.booleans()):
            x, y = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
            w, h = draw(st.integers(1, side)), draw(st.integers(1, side))
            corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
        else:
            corners = draw(
                st.lists(
                    st.tuples(st.integers(0, side), st.integers(0, side)),
                    min_size=3,
                    max_size=6,
                    unique=True,
                )
            )
        shape = shapely.Polygon(corners)
        if shape.is_valid and shape.area > 0:
            if draw(st.booleans()):
                shape = shapely.segmentize(shape, 1.0)
                points = shapely.get_coordinates(shape)
                if not (points == np.rint(points)).all():
                    continue
            shapes.append(shapely.transform(shape, lambda xy: xy * 7.0 + coverages.ORIGIN))
    return np.array(shapes, dtype=object)


@pytest.mark.slow
@given(crowds())
@settings(max_examples=500)
def test_overlaps_are_those_of_brute_force_however_parcels_stack(polygons: NDArray[Any]) -> None:
    found = {(each.first, each.second) for each in coverage.find(polygons).overlaps}
    assert found == brute_overlaps(polygons)


def test_every_copy_of_a_parcel_is_reported_once_and_collides_with_others_one_by_one() -> None:
    copies = [shapely.box(0, 0, 20, 30)] * 400
    found = coverage.find(np.array([shapely.box(15, 0, 35, 30), *copies])).overlaps
    assert {(each.first, each.second) for each in found if each.equal} == {
        (1, k) for k in range(2, 401)
    }
    beside = [each for each in found if not each.equal]
    assert {(each.first, each.second) for each in beside} == {(0, k) for k in range(1, 401)}
    assert {round(each.area, 6) for each in beside} == {150}


def test_two_whole_coverages_stacked_overlap_pair_by_pair() -> None:
    # All inner edges are matched in either layer: only the rim gives the stack away.
    square = [(i, j) for i in range(6) for j in range(6)]
    one = [shapely.box(6 * i, 6 * j, 6 * i + 6, 6 * j + 6) for i, j in square]
    two = [shapely.box(4 * i, 4 * j, 4 * i + 4, 4 * j + 4) for i in range(9) for j in range(9)]
    polygons = np.array(one + two)
    found = {(each.first, each.second) for each in coverage.find(polygons).overlaps}
    assert found == brute_overlaps(polygons)
    assert len(found) > 81


def holes_of_union(polygons: NDArray[Any], limits: Limits = LIMITS) -> NDArray[Any]:
    """Find the narrow holes by the union of all, which is slow and knows no open gaps."""
    parts = shapely.get_parts(shapely.union_all(polygons))
    holes = np.array(
        [shapely.Polygon(ring) for part in parts for ring in part.interiors],
        dtype=object,
    )
    width = coverage.width(holes)
    return holes[(width > limits.rounding) & (width < limits.gap)]


@given(SEEDS)
def test_enclosed_gaps_are_the_narrow_holes_of_the_union(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 8, 8, extra=int(rng.integers(0, 3)), roads=False, courts=0)
    # Vertices of all kinds, of two parcels and of four, stray by up to 0.4 m in one parcel.
    polygons = clean.polygons.copy()
    for at in rng.choice(len(polygons), 6, replace=False):
        points = shapely.get_coordinates(polygons[at].exterior)[:-1]
        points[rng.integers(len(points))] += coverages.grid(rng.uniform(-0.4, 0.4, 2))
        spoilt = shapely.Polygon(coverages.grid(points), [h.coords for h in polygons[at].interiors])
        polygons[at] = spoilt if spoilt.is_valid else polygons[at]
    holes = holes_of_union(polygons)
    gaps = np.array([gap.region for gap in coverage.find(polygons).gaps], dtype=object)
    rim = shapely.boundary(shapely.union_all(clean.polygons))
    for hole in holes:
        assert shapely.area(shapely.intersection(hole, gaps)).sum() == pytest.approx(
            hole.area, rel=1e-3
        )
    # What else is told opens to the outside.
    for gap in gaps:
        inside = len(holes) and shapely.area(shapely.intersection(gap, holes)).sum() > 0
        assert inside or shapely.distance(gap, rim) < 0.5


@given(SEEDS)
def test_unparcelled_areas_are_the_wide_holes_of_the_union(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 9, 9, extra=int(rng.integers(0, 3)), roads=seed % 2 == 0, courts=0)
    # Some parcels are missing, alone and beside each other, and others are put somewhere else.
    stays = rng.random(len(clean)) > rng.uniform(0.05, 0.5)
    polygons = clean.polygons[stays].copy()
    moved = rng.random(len(polygons)) < 0.05
    polygons[moved] = shapely.transform(
        polygons[moved], lambda xy: coverages.grid(xy + rng.uniform(-9, 9, 2))
    )
    assume(len(polygons))
    union = shapely.union_all(polygons)
    rings = shapely.get_parts(shapely.node(shapely.boundary(union)))
    # A region is enclosed too where two parcels but meet in a corner.
    holes = shapely.difference(shapely.get_parts(shapely.polygonize(rings)), union)
    width = coverage.width(holes)
    stout = (width >= LIMITS.gap) & (shapely.area(holes) < LIMITS.strip * width**2)
    found = np.array([each.region for each in coverage.find(polygons).enclosed], dtype=object)
    assert sorted(shapely.area(found)) == pytest.approx(sorted(shapely.area(holes[stout])))
    both = shapely.intersection(shapely.union_all(found), shapely.union_all(holes[stout]))
    assert both.area == pytest.approx(shapely.area(found).sum())


def boxes(*bounds: Any) -> NDArray[Any]:
    return np.array([shapely.box(*each) for each in bounds])


@pytest.mark.parametrize(("by", "found"), [(0.001, 0), (0.002, 1), (0.2, 1)])
def test_overlap_begins_above_rounding(by: float, found: int) -> None:
    defects = coverage.find(boxes((0, 0, 20, 30), (20 - by, 0, 40, 30)))
    assert len(defects.overlaps) == found
    if found:
        (overlap,) = defects.overlaps
        assert overlap.area == pytest.approx(by * 30)
        assert overlap.width == pytest.approx(by, rel=0.002, abs=2e-5)


@pytest.mark.parametrize(
    ("by", "found"), [(0.001, 0), (0.002, 1), (0.2, 1), (0.499, 1), (0.501, 0), (3, 0)]
)
def test_open_strip_is_a_gap_below_the_limit(by: float, found: int) -> None:
    gaps = coverage.find(boxes((0, 0, 20, 30), (20 + by, 0, 40, 30))).gaps
    assert len(gaps) == found
    if found:
        assert gaps[0].width == pytest.approx(by, rel=0.002, abs=2e-5)
        assert gaps[0].area == pytest.approx(by * 30, rel=0.01)
        assert set(gaps[0].parcels) == {0, 1}


@pytest.mark.parametrize(("by", "found"), [(0.002, 1), (0.3, 1), (0.501, 0)])
def test_enclosed_strip_is_a_gap_below_the_limit(by: float, found: int) -> None:
    ring = shapely.difference(shapely.box(-9, -9, 49, 39), shapely.box(0, 0, 40 + by, 30))
    defects = coverage.find(
        np.array([ring, shapely.box(0, 0, 20, 30), shapely.box(20 + by, 0, 40 + by, 30)])
    )
    assert [set(gap.parcels[:2]) for gap in defects.gaps] == [{1, 2}] * found


def test_a_narrow_hole_in_one_parcel_is_a_gap() -> None:
    slit = shapely.Polygon([(0, 0), (20, 0), (20, 30), (0, 30)], [[(5, 5), (5, 9), (5.2, 9)]])
    (gap,) = coverage.find(np.array([slit])).gaps
    assert gap.parcels == (0,)


def test_parcels_of_which_none_touches_another_lie_in_one_net_of_gaps() -> None:
    # Told in seconds: with work that grows by parcels and doors, not by their product.
    net = [shapely.box(20 * i, 20 * j, 20 * i + 19.8, 20 * j + 19.9) for i, j in np.ndindex(30, 30)]
    (gap,) = coverage.find(np.array(net)).gaps
    assert set(gap.parcels) == set(range(900))
    between = shapely.box(0, 0, 599.8, 599.9).area - 900 * 19.8 * 19.9
    assert gap.area == pytest.approx(between, rel=1e-3)
    assert gap.width == pytest.approx(np.hypot(0.2, 0.1), rel=0.003)


def test_a_gap_beside_steps_is_one() -> None:
    # Steps of 1 cm, each of whose corners sees but the next.
    steps = [shapely.box(0.01 * k, 0.01 * k, 20 + 0.01 * k, 20 + 0.01 * k) for k in range(30)]
    beside = shapely.box(20.4, 0.3, 40, 20)
    (gap,) = coverage.find(np.array([*steps, beside])).gaps
    assert 30 in gap.parcels
    assert gap.width == pytest.approx(0.11, rel=0.003)


def enclosed(*polygons: Any) -> list[Any]:
    found = coverage.find(np.array(polygons)).enclosed
    return [(set(each.parcels), pytest.approx(each.area)) for each in found]


def test_a_strip_that_parcels_enclose_is_a_road_and_no_unparcelled_area() -> None:
    block = shapely.box(0, 0, 60, 40)
    assert enclosed(block - shapely.box(5, 5, 45, 10)) == [({0}, 200)]
    assert not enclosed(block - shapely.box(5, 5, 56, 10))
    # A road around a block, and what the block encloses.
    around = block - shapely.box(5, 5, 55, 35)
    assert not enclosed(around, shapely.box(7, 7, 53, 33))
    court = shapely.box(7, 7, 53, 33) - shapely.box(20, 10, 40, 30)
    assert enclosed(around, court) == [({1}, 400)]


def test_an_unparcelled_area_ends_where_a_side_goes_on_past_a_corner() -> None:
    # Nothing but T-junctions, one of them rounded off its side.
    low, high = shapely.box(0, 0, 30, 10), shapely.box(0, 20, 30, 30)
    sides = shapely.box(0, 10.001, 10, 20), shapely.box(20, 10, 30, 20)
    (found,) = coverage.find(np.array([low, high, *sides])).enclosed
    assert set(found.parcels) == {0, 1, 2, 3}
    assert found.area == pytest.approx(100, abs=0.02)
    # A door of 0.6 m leads out of it.
    assert not enclosed(low, high, sides[0], shapely.box(20, 10.6, 30, 20))


def test_a_taper_is_no_gap_but_a_torn_seam_is() -> None:
    # Two blocks that part at a point, with vertices on the way: the end of a road.
    left = shapely.Polygon([(0, 0), (20, 0), (20, 2), (20, 6), (20, 30), (0, 30)])
    right = shapely.Polygon([(20, 0), (40, 0), (40, 30), (23, 30), (20.6, 6), (20.2, 2)])
    assert not coverage.find(np.array([left, right])).gaps
    # The same wedge, but it ends at two corners 0.3 m apart.
    right = shapely.Polygon([(20, 0), (40, 0), (40, 30), (20.3, 30)])
    left = shapely.box(0, 0, 20, 30)
    (gap,) = coverage.find(np.array([left, right])).gaps
    assert gap.area == pytest.approx(0.5 * 30 * 0.3)


def test_fronts_that_stand_back_are_no_gap() -> None:
    # One front 0.3 m behind the other, the side between them slightly askew.
    jog = np.array(
        [
            shapely.Polygon([(0, 0), (9, 0), (9, 20), (9.03, 20.3), (0, 20.3)]),
            shapely.box(9, 0, 18, 20),
        ]
    )
    assert not coverage.find(jog).gaps


def test_a_vertex_on_a_side_is_unmatched_and_measured() -> None:
    defects = coverage.find(boxes((0, 0, 20, 30), (20, 0, 40, 15), (20, 15, 40, 30)))
    (found,) = defects.unmatched
    assert (found.parcel, found.other, found.point) == (1, 0, (20.0, 15.0))
    assert found.distance == 0
    assert not defects.overlaps
    assert not defects.gaps


def test_rounding_of_a_vertex_on_a_slanting_side_is_neither_overlap_nor_gap() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        a, b = coverages.grid(rng.uniform(0, 50, (2, 2)))
        if np.hypot(*(b - a)) < 5:
            continue
        side = b - a
        out = np.array([side[1], -side[0]]) / np.hypot(*side) * 20
        middle = coverages.grid(a + side * rng.uniform(0.2, 0.8))
        left = shapely.Polygon([a, b, coverages.grid(b - out), coverages.grid(a - out)])
        far = coverages.grid([a + out, middle + out, b + out])
        one = shapely.Polygon([a, far[0], far[1], middle])
        two = shapely.Polygon([middle, far[1], far[2], b])
        defects = coverage.find(np.array([left, one, two]))
        assert not defects.overlaps
        assert not defects.gaps
        assert [each.point for each in defects.unmatched] == [tuple(middle)]
        assert defects.unmatched[0].distance <= 0.00071


def test_a_corner_that_stops_short_of_a_side_is_a_near_miss() -> None:
    lone = shapely.Polygon([(20.03, 15), (35, 5), (35, 25)])
    (found,) = coverage.find(np.array([shapely.box(0, 0, 20, 30), lone])).unmatched
    assert found.distance == pytest.approx(0.03)
    assert not coverage.find(
        np.array([shapely.box(0, 0, 20, 30), shapely.affinity.translate(lone, 0.03)])
    ).unmatched


def test_width_is_the_largest_circle() -> None:
    shapes = np.array(
        [
            shapely.box(0, 0, 30, 0.2),
            shapely.Polygon([(0, 0), (4, 0), (0, 3)]),
            shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 7, 8)]),
            shapely.Point(0, 0).buffer(3),
            shapely.Polygon(),
        ]
    )
    assert coverage.width(shapes) == pytest.approx([0.2, 2, 2, 6, 0], rel=0.006)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=3, max_size=8))
def test_width_agrees_with_the_inscribed_circle_of_geos(points: list[tuple[int, int]]) -> None:
    shape: Any = shapely.convex_hull(shapely.MultiPoint(np.array(points) / 100))
    assume(shapely.get_dimensions(shape) == 2 and shape.area > 0.1)
    circle = 2 * shapely.length(shapely.maximum_inscribed_circle(shape, tolerance=1e-4))
    assert coverage.width(np.array([shape]))[0] == pytest.approx(circle, rel=0.003, abs=2e-4)


def test_a_real_commune_agrees_with_brute_force(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "phu_cat_vn.zip") as archive:
        archive.extractall(tmp_path)
    _, _, wkb, _ = pyogrio.raw.read(tmp_path / "phu_cat.shp", columns=[])
    polygons = shapely.from_wkb(wkb)
    polygons = shapely.set_coordinates(polygons, coverages.grid(shapely.get_coordinates(polygons)))
    assert shapely.is_valid(polygons).all()
    defects = coverage.find(polygons)
    i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    i, j = i[i < j], j[i < j]
    regions = shapely.intersection(polygons[i], polygons[j])
    parts, of = shapely.get_parts(regions, return_index=True)
    width = np.zeros(len(regions))
    np.maximum.at(width, of, coverage.width(parts))
    brute = set(zip(i[width > LIMITS.rounding], j[width > LIMITS.rounding], strict=True))
    assert {(each.first, each.second) for each in defects.overlaps} == brute
    gaps = shapely.union_all([gap.region for gap in defects.gaps])
    for hole in holes_of_union(polygons):
        assert shapely.intersection(hole, gaps).area == pytest.approx(hole.area, rel=0.01)


@pytest.mark.slow
@given(SEEDS)
@settings(max_examples=10)
def test_gaps_beside_stacked_parcels_are_those_of_the_union(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Dozens of parcels of all widths on one another, and a coverage of which they are part.
    low, size = rng.integers(0, 25, (40, 2)), rng.integers(1, 25, (40, 2))
    heap = np.concatenate([low, low + size], axis=1) + rng.integers(0, 400, (40, 4)) / 1000
    cells = [
        (6 * i, 6 * j, 6 * i + 6, 6 * j + 6) for i, j in np.ndindex(9, 9) if rng.random() < 0.4
    ]
    polygons = boxes(*heap, *cells)
    polygons = shapely.transform(polygons, coverages.grid)
    polygons = polygons[rng.permutation(len(polygons))]
    found = coverage.find(polygons)
    pairs = {(each.first, each.second) for each in found.overlaps}
    assert len(pairs) > 150
    assert pairs == brute_overlaps(polygons)
    union = shapely.union_all(polygons)
    rings = shapely.get_parts(shapely.node(shapely.boundary(union)))
    holes = shapely.difference(shapely.get_parts(shapely.polygonize(rings)), union)
    holes = holes[shapely.area(holes) > 0]
    width = coverage.width(holes)
    narrow = (width > 2 * LIMITS.rounding) & (width < LIMITS.gap - 0.002)
    stout = (width > LIMITS.gap + 0.002) & (shapely.area(holes) < LIMITS.strip * width**2)
    gaps = np.array([each.region for each in found.gaps], dtype=object)
    for hole in holes[narrow]:
        told = shapely.area(shapely.intersection(hole, gaps)).sum()
        assert told == pytest.approx(hole.area, rel=0.01, abs=0.002 * hole.length)
    wide = np.array([each.region for each in found.enclosed], dtype=object)
    assert len(wide) == np.count_nonzero(stout)
    assert shapely.area(wide).sum() == pytest.approx(shapely.area(holes[stout]).sum(), rel=1e-3)
    either: list[Any] = [*found.gaps, *found.enclosed]
    for each in either:
        beside = shapely.dwithin(polygons[list(each.parcels)], each.region, 0.001)
        assert beside.all()
        assert shapely.intersection(each.region, union).area <= 0.001 * each.region.length


@pytest.mark.slow
def test_hundreds_of_stacked_parcels_are_reported_pair_by_pair() -> None:
    # Each 1 cm further: each pair is a finding, and nothing else grows as fast.
    stack = boxes(*((0.01 * k, 0.01 * k, 20 + 0.01 * k, 20 + 0.01 * k) for k in range(200)))
    found = coverage.find(stack)
    assert len(found.overlaps) == 200 * 199 // 2
    assert [each.width for each in found.overlaps] == pytest.approx(
        [20 - 0.01 * (each.second - each.first) for each in found.overlaps], rel=1e-3
    )
    assert not found.gaps
    assert not found.enclosed


@pytest.mark.slow
def test_a_large_parcel_with_many_vertices_is_no_burden_to_each_of_its_neighbours() -> None:
    # Fifty thousand vertices, beside a thousand parcels each of which overlaps it by 10 cm.
    angle = np.linspace(0, 2 * np.pi, 50_001)
    rim = coverages.grid(np.column_stack([np.cos(angle), np.sin(angle)]) * 3000)
    beside = [
        shapely.Polygon(coverages.grid([rim[k] * 0.99997, rim[k] * 1.01, rim[k + 25] * 1.01]))
        for k in range(0, 50_000, 50)
    ]
    found = coverage.find(np.array([shapely.Polygon(rim[:-1]), *beside]))
    assert {(each.first, each.second) for each in found.overlaps} == {
        (0, k) for k in range(1, 1001)
    }


def test_whether_a_large_ragged_area_is_wide_enough_is_asked_without_measuring_it() -> None:
    # A bay of 4,000 vertices, neither stout nor a strip, enclosed by one parcel.
    angle = np.linspace(0, 2 * np.pi, 4_001)[:-1]
    far = 450 + 30 * np.sin(100 * angle)
    bay = shapely.Polygon(
        coverages.grid(np.column_stack([np.cos(angle), np.sin(angle)]) * far[:, None])
    )
    around = shapely.box(-600, -600, 600, 600) - bay
    (found,) = coverage.find(np.array([around])).enclosed
    assert found.area == pytest.approx(bay.area)


def crumbs(n: int, step: int) -> NDArray[Any]:
    """Parcels of a millimetre, `step` mm apart."""
    x, y = np.divmod(np.arange(n), int(np.sqrt(n)))
    low = np.column_stack([x, y]) * step / 1000 + coverages.ORIGIN
    return shapely.box(*coverages.grid(np.hstack([low, low + 0.001])).T)


@pytest.mark.parametrize("step", [3, 20])
def test_a_corner_amid_crumbs_looks_no_further_than_the_nearest_few(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    before = gaps._before

    def counted(x: NDArray[Any], *more: Any) -> NDArray[Any]:
        nonlocal compared
        compared += len(x)
        return before(x, *more)

    monkeypatch.setattr(gaps, "_before", counted)
    some = []
    for n in (49, 100):
        compared = 0
        sides, _ = edges.unmatched_edges(crumbs(n, step))
        near = proximity.near_pairs(sides, LIMITS.gap)
        assert len(gaps._doors(sides, near, edges.follow_on(sides)[0], LIMITS))
        some.append(compared / n)
    assert some[1] < 1.2 * some[0] < 12_000


def test_the_parcels_along_gaps_that_meet_in_a_point_are_those_beside_each() -> None:
    n, radius = 300, 8.0
    angle = np.arange(n)[:, None] * 2 * np.pi / n + np.array([0, np.pi / n])
    rim = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    corners = np.concatenate([np.zeros((n, 1, 2)), rim], axis=1) + coverages.ORIGIN
    found = coverage.find(np.asarray(shapely.polygons(coverages.grid(corners)))).gaps
    pairs = sorted(tuple(sorted(each.parcels)) for each in found)
    assert pairs == sorted(tuple(sorted((k, (k + 1) % n))) for k in range(n))
