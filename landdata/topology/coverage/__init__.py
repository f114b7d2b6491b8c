"""Rules on a parcel and its neighbours: overlaps, gaps and unmatched vertices.

All decisions are at stored precision: coordinates are whole millimetres. Of a million parcels
nearly all edges match: `edges` finds those that do not, `proximity` which of them come near each
other, and only these go through the rules. The modules `overlaps`, `gaps`, `enclosed`, `stacks`,
`vertices` and `islands` define them, and say why none misses a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import shapely

from landdata.topology.coverage.duplicates import first_duplicates
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
from landdata.topology.coverage.stacks import around_stacks, stacked_parcels
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
    """The defects of a coverage, in no particular order; parcels are indices of polygons."""

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
    """Return all defects of a coverage.

    `polygons` (n,) are valid Polygons or MultiPolygons in a projected CRS in metres on the
    1 mm grid. Only the first `own` of them are checked (null: all); defects between later ones,
    the neighbours, are left out. Parcels of exactly the same shape overlap the first of them,
    which stands for all of them in unmatched vertices.
    """
    limits = limits or Limits()
    own = len(polygons) if own is None else own
    tell = progress or (lambda stage, share: None)
    if own == 0:
        return Defects([], [], [], [], [])
    first = first_duplicates(polygons)
    unique = np.flatnonzero(first == np.arange(len(polygons)))
    if len(unique) < len(polygons):
        unique_own = int(np.searchsorted(unique, own))
        defects = find(polygons[unique], limits, own=unique_own, progress=progress)
        return _with_duplicates(defects, polygons, first, unique, limits, own)
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
    stacked = stacked_parcels(pairs, len(polygons))
    if len(stacked):
        gaps, enclosed = around_stacks(polygons, stacked, edges, limits, own)
    else:
        gaps = gaps_of(edges, near, chains[0], tree, limits, own)
        enclosed = enclosed_of(edges, near, chains, tree, limits, own)
    tell("coverage", 4 / 5)
    unmatched = unmatched_vertices(polygons, edges, near, overlaps, gaps, limits, own)
    tell("coverage", 5 / 5)
    islands = islands_of(polygons, edges, tree, limits, own)
    return Defects(overlaps, gaps, unmatched, islands, enclosed)


def _with_duplicates(
    defects: Defects, polygons: Geometries, first: Ints, unique: Ints, limits: Limits, own: int
) -> Defects:
    """Return the defects of the `unique` polygons, numbered as all are, and of the duplicates."""
    copies: dict[int, list[int]] = {}
    for at in np.flatnonzero(first != np.arange(len(first))).tolist():
        copies.setdefault(int(first[at]), [int(first[at])]).append(at)
    pairs = np.array(
        [(one, copy) for one, same in copies.items() for copy in same[1:] if one < own],
        dtype=np.int64,
    ).reshape(-1, 2)
    overlaps = measured(polygons, pairs, polygons[pairs[:, 0]], limits, own)
    number = unique.tolist()

    def along(parcels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k for parcel in parcels for k in copies.get(number[parcel], [number[parcel]]))

    for overlap in defects.overlaps:
        i, j = number[overlap.first], number[overlap.second]
        inner = overlap.inner if overlap.inner is None else overlap.inner == overlap.first
        overlaps += [
            replace(
                overlap,
                first=min(one, two),
                second=max(one, two),
                inner=inner if inner is None else (one if inner else two),
            )
            for one in copies.get(i, [i])
            for two in copies.get(j, [j])
            if min(one, two) < own
        ]
    return Defects(
        overlaps,
        [replace(gap, parcels=along(gap.parcels)) for gap in defects.gaps],
        [
            replace(vertex, parcel=number[vertex.parcel], other=number[vertex.other])
            for vertex in defects.unmatched
        ],
        [number[parcel] for parcel in defects.islands if number[parcel] not in copies],
        [replace(area, parcels=along(area.parcels)) for area in defects.enclosed],
    )


def between(one: Geometries, two: Geometries, limits: Limits | None = None) -> list[Overlap]:
    """Return the overlaps of the polygons `one` with the polygons `two`, numbered after `one`.

    For a few polygons and a coverage that has been checked: every intersecting pair is overlaid.
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
