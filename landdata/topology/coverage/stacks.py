"""Parcels that lie on one another by the dozen.

Free space begins only where none of them lies any more, and hundreds of boundaries that cross
one another inside a heap would be noded for nothing. So gaps and unparcelled areas are looked for
around the union of a heap, on the grid: what the union's own vertices, where boundaries cross,
lose by it is less than rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from landdata.topology.coverage.edges import (
    Edges,
    Geometries,
    Ints,
    follow_on,
    unmatched_edges,
)
from landdata.topology.coverage.enclosed import Enclosed, enclosed_of
from landdata.topology.coverage.gaps import Gap, gaps_of, parcels_along
from landdata.topology.coverage.overlaps import HEAP
from landdata.topology.coverage.proximity import near_pairs
from landdata.topology.rules import Limits

_GRID = 0.001


def heaped(pairs: Ints, count: int) -> Ints:
    """Return which of `count` parcels overlap many others, given all (k, 2) pairs."""
    return np.flatnonzero(np.bincount(pairs.ravel(), minlength=count) > HEAP)


def around_heaps(
    polygons: Geometries, heap: Ints, edges: Edges, limits: Limits, own: int
) -> tuple[list[Gap], list[Enclosed]]:
    """Find the gaps and the unparcelled areas of a coverage, some parcels of which are `heap`."""
    rest = np.setdiff1d(np.arange(len(polygons)), heap)
    union = shapely.get_parts(shapely.union_all(polygons[heap], grid_size=_GRID))
    solid = np.concatenate([polygons[rest], union])
    outer = unmatched_edges(solid)[0]
    sides, whose = _sides(polygons[heap])
    outer = replace(outer, owner=_owners(outer, len(rest), len(solid), sides, whose))
    near, chains = near_pairs(outer, limits.gap), follow_on(outer)
    tree = shapely.STRtree(solid)
    everybody = int(outer.owner.max(initial=0)) + 1
    gaps = gaps_of(outer, near, chains[0], tree, limits, everybody)
    enclosed = enclosed_of(outer, near, chains, tree, limits, everybody)

    free = np.ones(len(edges), dtype=np.bool_)
    free[np.isin(edges.owner, heap)] = False
    lines = np.concatenate([edges.take(free).lines(), sides])
    owner = np.concatenate([edges.owner[free], heap[whose]])
    found = [each.region for each in gaps] + [each.region for each in enclosed]
    regions: Geometries = np.array(found, dtype=np.object_)
    along = parcels_along(regions, lines, owner, limits.rounding, reach=_GRID)
    told_gaps = [
        replace(each, parcels=parcels)
        for each, parcels in zip(gaps, along[: len(gaps)], strict=True)
        if any(parcel < own for parcel in parcels)
    ]
    told_enclosed = [
        replace(each, parcels=parcels)
        for each, parcels in zip(enclosed, along[len(gaps) :], strict=True)
        if any(parcel < own for parcel in parcels)
    ]
    return told_gaps, told_enclosed


def _sides(polygons: Geometries) -> tuple[Geometries, Ints]:
    """Return the sides of polygons as lines, and the polygon of each."""
    rings, of = shapely.get_parts(shapely.boundary(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    side = ring[1:] == ring[:-1]
    lines = shapely.linestrings(np.stack([xy[:-1][side], xy[1:][side]], axis=1))
    return np.asarray(lines, dtype=object), of[ring[1:][side]]


def _owners(outer: Edges, rest: int, solid: int, sides: Geometries, whose: Ints) -> Ints:
    """Return who owns each edge: one parcel of the heap, or nobody else if several do.

    A gap is between two parcels: a nook in one is none.
    """
    owner = outer.owner.copy()
    rim = np.flatnonzero(owner >= rest)
    some = outer.take(rim)
    middle = shapely.points(some.metres((some.ax + some.bx) / 2, (some.ay + some.by) / 2))
    edge, side = shapely.STRtree(sides).query(middle, predicate="dwithin", distance=_GRID)
    edge, parcel = np.unique(np.column_stack([edge, whose[side]]), axis=0).T
    owner[rim] = solid + int(whose.max()) + 1 + np.arange(len(rim))
    alone = np.bincount(edge, minlength=len(rim))[edge] == 1
    owner[rim[edge[alone]]] = solid + parcel[alone]
    return owner
