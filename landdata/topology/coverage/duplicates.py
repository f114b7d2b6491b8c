"""Parcels of exactly the same shape.

A thousand copies of one parcel are half a million pairs, which say no more than that each is a
copy of the first. So one of each shape goes through the rules, and the others are its twins.
"""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Geometries, Ints


def first_twins(polygons: Geometries) -> Ints:
    """Return for each polygon the first one that has exactly its vertices, which may be itself."""
    first = np.arange(len(polygons))
    # Nearly all are told apart by their boxes: one number for each, sorted at once.
    corners = np.ascontiguousarray(shapely.bounds(polygons)).view(np.uint64)
    box = (corners * _ODD).sum(axis=1, dtype=np.uint64)
    order = np.argsort(box)
    same = box[order][1:] == box[order][:-1]
    some = np.unique(np.concatenate([order[1:][same], order[:-1][same]]))
    text = shapely.to_wkb(shapely.normalize(polygons[some]))
    known: dict[bytes, int] = {}
    for at, shape in zip(some.tolist(), text, strict=True):
        first[at] = known.setdefault(shape, at)
    return first


#: Four odd numbers with no pattern.
_ODD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93],
    dtype=np.uint64,
)
