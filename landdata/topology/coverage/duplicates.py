"""Parcels of exactly the same shape.

A thousand copies of one parcel are half a million pairs, which say no more than that all copy the
first. So only the first of every shape goes through the rules.
"""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Geometries, Ints


def first_duplicates(polygons: Geometries) -> Ints:
    """Return the index (n,) of the first polygon with exactly the same vertices, or its own."""
    first = np.arange(len(polygons))
    # Nearly all differ in their boxes: hash these, and compare only polygons of one hash.
    corners = np.ascontiguousarray(shapely.bounds(polygons)).view(np.uint64)
    box = (corners * _ODD).sum(axis=1, dtype=np.uint64)
    order = np.argsort(box)
    same = box[order][1:] == box[order][:-1]
    alike = np.unique(np.concatenate([order[1:][same], order[:-1][same]]))
    text = shapely.to_wkb(shapely.normalize(polygons[alike]))
    seen: dict[bytes, int] = {}
    for at, shape in zip(alike.tolist(), text, strict=True):
        first[at] = seen.setdefault(shape, at)
    return first


#: Four odd random numbers.
_ODD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93],
    dtype=np.uint64,
)
