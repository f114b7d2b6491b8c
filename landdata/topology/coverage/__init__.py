"""Rules on a parcel and its neighbours: overlaps, gaps and unmatched vertices.

All is decided at stored precision, coordinates being whole millimetres. Of a million parcels
nearly all edges are in order: `edges` sieves out those that are not, and `nearness` says which
of them come near each other; only these are looked at by the rules, each of which is defined,
with why it misses nothing, in a module of its own: `overlaps`, `gaps`, `enclosed`, `heaps`,
`vertices`, `islands`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import shapely

from landdata.topology.coverage.duplicates import first_twins
from landdata.topology.coverage.edges import (
    Geometries,
    Ints,
    distinct,
    follow_on,
    holed,
    rings,
    unmatched_edges,
)
from landdata.topology.coverage.enclosed import Enclosed, enclosed_of
from landdata.topology.coverage.gaps import Gap, gaps_of
from landdata.topology.coverage.islands import islands_of
from landdata.topology.coverage.overlaps import (
    Overlap,
    candidates_of,
    common,
    interiors_meet,
    measured,
    overlapping_pairs,
)
from landdata.topology.coverage.proximity import near_pairs
from landdata.topology.coverage.stacks import around_heaps, heaped
from landdata.topology.coverage.vertices import Unmatched, unmatched_vertices
from landdata.topology.coverage.width import width
from landdata.topology.rules import Limits

__all__ = [
    "Defects",
    "Enclosed",
    "Gap",
    "Overlap",
    "Unmatched",
    "between",
    "find",
    "holed",
    "rings",
    "width",
]


@dataclass(frozen=True, slots=True)
class Defects:
    """What is wrong with a coverage, in no particular order."""

    overlaps: list[Overlap]
    gaps: list[Gap]
    unmatched: list[Unmatched]
    islands: list[int]  # parcels that stand alone
    enclosed: list[Enclosed]  # regions without a parcel, too wide for gaps


def find(
    polygons: Geometries,
    limits: Limits | None = None,
    *,
    own: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Defects:
    """Find all defects of a coverage.

    `polygons` (n,) are valid Polygons or MultiPolygons in a projected CRS in metres on the
    1 mm grid. Only the first `own` of them are under examination (all if None): what lies
    only between later ones, the neighbours, is not told. Of parcels of exactly the same shape
    each is told as an overlap with the first of them, which stands for all as to vertices.
    """
    limits = limits or Limits()
    own = len(polygons) if own is None else own
    tell = progress or (lambda stage, share: None)
    if own == 0:
        return Defects([], [], [], [], [])
    first = first_twins(polygons)
    lone = np.flatnonzero(first == np.arange(len(polygons)))
    if len(lone) < len(polygons):
        some = find(polygons[lone], limits, own=int(np.searchsorted(lone, own)), progress=progress)
        return _with_twins(some, polygons, first, lone, limits, own)
    edges, touched = unmatched_edges(polygons)
    tell("coverage", 1 / 5)
    tree = shapely.STRtree(polygons)
    near = near_pairs(edges, limits.gap)
    tell("coverage", 2 / 5)
    chains = follow_on(edges)
    candidates = candidates_of(edges, touched, near, chains, tree)
    pairs, regions = overlapping_pairs(polygons, tree, candidates)
    overlaps = measured(polygons, pairs, regions, limits, own)
    tell("coverage", 3 / 5)
    heap = heaped(pairs, len(polygons))
    if len(heap):
        gaps, enclosed = around_heaps(polygons, heap, edges, limits, own)
    else:
        gaps = gaps_of(edges, near, chains[0], tree, limits, own)
        enclosed = enclosed_of(edges, near, chains, tree, limits, own)
    tell("coverage", 4 / 5)
    unmatched = unmatched_vertices(polygons, edges, near, overlaps, gaps, limits, own)
    tell("coverage", 5 / 5)
    islands = islands_of(polygons, edges, tree, limits, own)
    return Defects(overlaps, gaps, unmatched, islands, enclosed)


def _with_twins(
    some: Defects, polygons: Geometries, first: Ints, lone: Ints, limits: Limits, own: int
) -> Defects:
    """Number the defects of one parcel of each shape as all are, and add what twins there are."""
    twins: dict[int, list[int]] = {}
    for at in np.flatnonzero(first != np.arange(len(first))).tolist():
        twins.setdefault(int(first[at]), [int(first[at])]).append(at)
    pairs = np.array(
        [(one, each) for one, all_ in twins.items() for each in all_[1:] if one < own],
        dtype=np.int64,
    ).reshape(-1, 2)
    overlaps = measured(polygons, pairs, polygons[pairs[:, 0]], limits, own)
    number = lone.tolist()

    def along(parcels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k for each in parcels for k in twins.get(number[each], [number[each]]))

    for each in some.overlaps:
        i, j = number[each.first], number[each.second]
        inner = each.inner if each.inner is None else each.inner == each.first
        overlaps += [
            replace(
                each,
                first=min(one, two),
                second=max(one, two),
                inner=inner if inner is None else (one if inner else two),
            )
            for one in twins.get(i, [i])
            for two in twins.get(j, [j])
            if min(one, two) < own
        ]
    return Defects(
        overlaps,
        [replace(each, parcels=along(each.parcels)) for each in some.gaps],
        [
            replace(each, parcel=number[each.parcel], other=number[each.other])
            for each in some.unmatched
        ],
        [number[each] for each in some.islands if number[each] not in twins],
        [replace(each, parcels=along(each.parcels)) for each in some.enclosed],
    )


def between(one: Geometries, two: Geometries, limits: Limits | None = None) -> list[Overlap]:
    """Find the overlaps of the polygons of `one` with those of `two`, which are numbered on.

    For a few newcomers beside a coverage that is settled: every pair is overlaid.
    """
    limits = limits or Limits()
    polygons = np.concatenate([one, two])
    if not len(one) or not len(two):
        return []
    j, i = shapely.STRtree(one).query(two, predicate="intersects")
    pairs = distinct([np.column_stack([i, j + len(one)])])
    pairs = pairs[interiors_meet(polygons, pairs)]
    regions = common(polygons[pairs[:, 0]], polygons[pairs[:, 1]])
    return measured(polygons, pairs, regions, limits, len(one))
