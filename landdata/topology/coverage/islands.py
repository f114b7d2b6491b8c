"""Parcels that stand alone."""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Edges, Geometries
from landdata.topology.rules import Limits

#: Of fewer parcels, each may lie where it will.
_CROWD = 10


def islands_of(
    polygons: Geometries, edges: Edges, tree: shapely.STRtree, limits: Limits, own: int
) -> list[int]:
    """Return the parcels that have no other within `Limits.island`."""
    if len(polygons) < _CROWD:
        return []
    # Only one whose edges are all unmatched can be alone, and only if no other's box is near.
    unmatched = np.bincount(edges.owner, minlength=len(polygons))[:own]
    some = np.flatnonzero(unmatched >= 3)
    some = some[unmatched[some] >= shapely.get_num_coordinates(polygons[some]) // 2]
    plain = shapely.remove_repeated_points(polygons[some])
    parts = np.maximum(shapely.get_num_geometries(plain), 1)
    holes = shapely.get_num_interior_rings(plain)
    some = some[unmatched[some] >= shapely.get_num_coordinates(plain) - parts - holes]
    if not len(some):
        return []
    low, high = np.array([-limits.island] * 2), np.array([limits.island] * 2)
    bounds = shapely.bounds(polygons[some])
    window = shapely.box(*(bounds + np.concatenate([low, high])).T)
    asked = np.bincount(tree.query(window)[0], minlength=len(some))
    # Few others at most: measured one by one.
    far = []
    for at in some[asked <= 8].tolist():
        beside = tree.query(polygons[at], predicate="dwithin", distance=limits.island)
        if len(beside) == 1:
            far.append(at)
    return far
