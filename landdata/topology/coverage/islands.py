"""Parcels that stand alone."""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Edges, Geometries
from landdata.topology.rules import Limits

#: Below this number of parcels, none is an island.
_CROWD = 10


def islands_of(
    polygons: Geometries, edges: Edges, tree: shapely.STRtree, limits: Limits, own: int
) -> list[int]:
    """Return the parcels without another one within `Limits.island`."""
    if len(polygons) < _CROWD:
        return []
    # An island has only unmatched edges and no other parcel's box near it.
    unmatched = np.bincount(edges.owner, minlength=len(polygons))[:own]
    candidates = np.flatnonzero(unmatched >= 3)
    candidates = candidates[
        unmatched[candidates] >= shapely.get_num_coordinates(polygons[candidates]) // 2
    ]
    plain = shapely.remove_repeated_points(polygons[candidates])
    parts = np.maximum(shapely.get_num_geometries(plain), 1)
    holes = shapely.get_num_interior_rings(plain)
    candidates = candidates[
        unmatched[candidates] >= shapely.get_num_coordinates(plain) - parts - holes
    ]
    if not len(candidates):
        return []
    low, high = np.array([-limits.island] * 2), np.array([limits.island] * 2)
    bounds = shapely.bounds(polygons[candidates])
    window = shapely.box(*(bounds + np.concatenate([low, high])).T)
    near = np.bincount(tree.query(window)[0], minlength=len(candidates))
    # With few boxes near, the distances are measured one by one.
    islands = []
    for at in candidates[near <= 8].tolist():
        beside = tree.query(polygons[at], predicate="dwithin", distance=limits.island)
        if len(beside) == 1:
            islands.append(at)
    return islands
