"""Stacks: dozens of parcels that overlap one another.

Free space begins only outside a stack, and noding hundreds of boundaries that cross inside it
would be useless. So gaps and unparcelled areas are found around the union of a stack, on the grid:
the union's new vertices, where boundaries cross, move by less than rounding.
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
from landdata.topology.coverage.overlaps import STACK
from landdata.topology.coverage.proximity import near_pairs
from landdata.topology.rules import Limits

_GRID = 0.001


def stacked_parcels(pairs: Ints, count: int) -> Ints:
    """Return which of `count` parcels overlap many others, by all (k, 2) pairs."""
    return np.flatnonzero(np.bincount(pairs.ravel(), minlength=count) > STACK)


def around_stacks(
    polygons: Geometries, stacked: Ints, edges: Edges, limits: Limits, own: int
) -> tuple[list[Gap], list[Enclosed]]:
    """Return the gaps and the unparcelled areas of a coverage with some `stacked` parcels."""
    rest = np.setdiff1d(np.arange(len(polygons)), stacked)
    union = shapely.get_parts(shapely.union_all(polygons[stacked], grid_size=_GRID))
    solid = np.concatenate([polygons[rest], union])
    outer = unmatched_edges(solid)[0]
    sides, whose = _sides(polygons[stacked])
    outer = replace(outer, owner=_owners(outer, len(rest), len(solid), sides, whose))
    near, chains = near_pairs(outer, limits.gap), follow_on(outer)
    tree = shapely.STRtree(solid)
    owners = int(outer.owner.max(initial=0)) + 1
    gaps = gaps_of(outer, near, chains[0], tree, limits, owners)
    enclosed = enclosed_of(outer, near, chains, tree, limits, owners)

    free = np.ones(len(edges), dtype=np.bool_)
    free[np.isin(edges.owner, stacked)] = False
    lines = np.concatenate([edges.take(free).lines(), sides])
    owner = np.concatenate([edges.owner[free], stacked[whose]])
    regions: Geometries = np.array(
        [*(gap.region for gap in gaps), *(area.region for area in enclosed)], dtype=np.object_
    )
    along = parcels_along(regions, lines, owner, limits.rounding, reach=_GRID)
    own_gaps = [
        replace(gap, parcels=parcels)
        for gap, parcels in zip(gaps, along[: len(gaps)], strict=True)
        if any(parcel < own for parcel in parcels)
    ]
    own_enclosed = [
        replace(area, parcels=parcels)
        for area, parcels in zip(enclosed, along[len(gaps) :], strict=True)
        if any(parcel < own for parcel in parcels)
    ]
    return own_gaps, own_enclosed


def _sides(polygons: Geometries) -> tuple[Geometries, Ints]:
    """Return the sides of polygons as lines, and their polygons."""
    rings, owner = shapely.get_parts(shapely.boundary(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    side = ring[1:] == ring[:-1]
    lines = shapely.linestrings(np.stack([xy[:-1][side], xy[1:][side]], axis=1))
    return np.asarray(lines, dtype=object), owner[ring[1:][side]]


def _owners(outer: Edges, rest: int, solid: int, sides: Geometries, whose: Ints) -> Ints:
    """Return the owners of edges: a parcel of the stack, or a unique number if several own it.

    A gap is between two parcels; a nook in one parcel is not a gap.
    """
    owner = outer.owner.copy()
    rim = np.flatnonzero(owner >= rest)
    rim_edges = outer.take(rim)
    middle = shapely.points(
        rim_edges.metres((rim_edges.ax + rim_edges.bx) / 2, (rim_edges.ay + rim_edges.by) / 2)
    )
    edge, side = shapely.STRtree(sides).query(middle, predicate="dwithin", distance=_GRID)
    edge, parcel = np.unique(np.column_stack([edge, whose[side]]), axis=0).T
    owner[rim] = solid + int(whose.max()) + 1 + np.arange(len(rim))
    alone = np.bincount(edge, minlength=len(rim))[edge] == 1
    owner[rim[edge[alone]]] = solid + parcel[alone]
    return owner
