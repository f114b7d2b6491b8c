"""Rings that loop back to hold a hole, taken apart where no vertex moves.

Some programs write a polygon with holes as one ring: an *inverted shell* touches itself in a vertex
(ArcGIS has no other way to store a hole that touches the boundary), a *keyhole* reaches its hole
along an edge that it follows there and back. OGC calls both invalid, but they bound the same ground
as shell and holes do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry


def take_apart(shape: BaseGeometry) -> shapely.Polygon | shapely.MultiPolygon | None:
    """Return an invalid polygon as shells and holes with the same vertices and areas, else null.

    Null for a ring that crosses itself, one of several parts, or one with an edge to nowhere.
    """
    if isinstance(shape, shapely.Polygon):
        return _take_ring_apart(shape)
    parts = [p if p.is_valid else _take_ring_apart(p) for p in shapely.get_parts(shape)]
    known = [part for part in parts if part is not None]
    together = shapely.MultiPolygon(known)
    return together if len(known) == len(parts) and together.is_valid else None


def _take_ring_apart(shape: shapely.Polygon) -> shapely.Polygon | None:
    apart = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    if not isinstance(apart, shapely.Polygon) or len(apart.interiors) <= len(shape.interiors):
        return None
    if not np.array_equal(_points(apart), _points(shape)):
        return None
    # Loops that turn the other way count as holes, as the ring was meant.
    ground = sum(_signed_area(ring) * sign for ring, sign in _rings(shape))
    return apart if abs(abs(ground) - apart.area) <= _ROUNDING * apart.length else None


_ROUNDING = 1e-6  # m


def _points(shape: shapely.Geometry) -> NDArray[np.float64]:
    """Return the distinct vertices of a polygon, sorted."""
    return np.unique(shapely.get_coordinates(shape), axis=0)


def _rings(shape: shapely.Polygon) -> list[tuple[NDArray[np.float64], int]]:
    """Return the coordinates of the rings, with 1 for the shell and -1 for a hole.

    Holes are turned the way of the shell.
    """
    shell = shapely.get_coordinates(shape.exterior)
    turn = np.sign(_signed_area(shell))
    rings = [(shell, 1)]
    for hole in map(shapely.get_coordinates, shape.interiors):
        rings.append((hole if np.sign(_signed_area(hole)) == turn else hole[::-1], -1))
    return rings


def _signed_area(ring: NDArray[np.float64]) -> Any:
    """Return the area of a closed ring, positive if it turns to the left, m²."""
    x, y = (ring - ring[0]).T
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
