"""Edits of one polygon, on the 1 mm grid: vertices moved, inserted and removed.

Polygons and MultiPolygons in metres; points are (2,) coordinates. None changes its argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

_SAME = 1e-4  # m; coordinates no further apart are one vertex


def is_sound(shape: BaseGeometry) -> bool:
    """Tell whether a shape is a valid polygon that is not empty."""
    return bool(
        shape.geom_type in ("Polygon", "MultiPolygon")
        and not shapely.is_empty(shape)
        and shapely.is_valid(shape)
    )


def shift(one: BaseGeometry, two: BaseGeometry) -> float:
    """Return the largest distance (m) from a vertex of one boundary to the other boundary."""
    largest = 0.0
    for a, b in ((one, two), (two, one)):
        points = shapely.points(shapely.get_coordinates(a))
        largest = max(largest, float(shapely.distance(points, shapely.boundary(b)).max()))
    return largest


def _change_rings(
    shape: BaseGeometry, change: Callable[[NDArray[np.float64]], Any]
) -> BaseGeometry | None:
    """Return the shape with the coordinates of all rings changed; null if a ring vanishes."""
    parts = []
    for part in shapely.get_parts(shape):
        rings = [change(shapely.get_coordinates(r)) for r in (part.exterior, *part.interiors)]
        if any(len(ring) < 4 for ring in rings):
            return None
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def on_grid(shape: BaseGeometry) -> BaseGeometry:
    """Return the shape rounded to 1 mm, without repeated points."""
    rounded: BaseGeometry = shapely.set_coordinates(
        shapely.transform(shape, lambda xy: xy),
        np.rint(shapely.get_coordinates(shape) * 1000) / 1000,
    )
    return shapely.remove_repeated_points(rounded)


def without_crumbs(shape: BaseGeometry) -> BaseGeometry:
    """Return the shape without parts up to 1 cm², which a difference may leave."""
    parts = shapely.get_parts(shape)
    parts = parts[shapely.area(parts) > 1e-4] if len(parts) > 1 else parts
    if len(parts) == 0:
        return shape
    if len(parts) == 1:
        part: BaseGeometry = parts[0]
        return part
    return shapely.MultiPolygon(list(parts))


def has_vertex(shape: BaseGeometry, point: NDArray[np.float64]) -> bool:
    """Tell whether a point is a vertex of the shape."""
    return bool((np.abs(shapely.get_coordinates(shape) - point).max(axis=1) < _SAME).any())


def nearest_vertex(shape: BaseGeometry, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertex (2,) of the shape that is nearest to a point."""
    xy = shapely.get_coordinates(shape)
    nearest: NDArray[np.float64] = xy[np.hypot(*(xy - point).T).argmin()]
    return nearest


def move_vertex(
    shape: BaseGeometry, point: NDArray[np.float64], to: NDArray[np.float64]
) -> BaseGeometry:
    """Return the shape with its vertex at `point` moved."""

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        xy = xy.copy()
        xy[np.abs(xy - point).max(axis=1) < _SAME] = to
        return xy

    moved = _change_rings(shape, change)
    assert moved is not None
    return moved


def remove_vertex(shape: BaseGeometry, point: NDArray[np.float64]) -> BaseGeometry | None:
    """Return the shape without its vertex at `point`; null if a ring vanishes."""

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = xy[:-1]
        kept = kept[np.abs(kept - point).max(axis=1) >= _SAME]
        return np.concatenate([kept, kept[:1]])

    return _change_rings(shape, change)


def insert_vertex(shape: BaseGeometry, point: NDArray[np.float64]) -> BaseGeometry | None:
    """Return the shape with `point` as a new vertex of the nearest edge."""
    best: list[float] = [np.inf]
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            best.append(float(_distances_to_edges(shapely.get_coordinates(ring), point).min()))
    least, done = min(best), False

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal done
        distances = _distances_to_edges(xy, point)
        k = int(distances.argmin())
        if done or distances[k] > least:
            return xy
        done = True
        return np.insert(xy, k + 1, point, axis=0)

    return _change_rings(shape, change)


def _distances_to_edges(xy: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances (m) from a point to the edges of a ring with coordinates (n, 2)."""
    way, off = np.diff(xy, axis=0), point - xy[:-1]
    squared = np.maximum((way**2).sum(axis=1), 1e-18)
    along = np.clip((way * off).sum(axis=1) / squared, 0, 1)
    distances: NDArray[np.float64] = np.hypot(*(off - along[:, None] * way).T)
    return distances


def keep_vertices(region: BaseGeometry, shapes: list[BaseGeometry]) -> BaseGeometry:
    """Return the region with only the shapes' vertices; unchanged if that is no polygon."""

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = np.array([point for point in xy[:-1] if any(has_vertex(s, point) for s in shapes)])
        return np.concatenate([kept, kept[:1]]) if len(kept) else kept

    reduced = _change_rings(region, change)
    return reduced if reduced is not None and is_sound(reduced) else region


def remove_straight_vertices(
    shape: BaseGeometry, before: BaseGeometry, region: BaseGeometry
) -> BaseGeometry:
    """Return the shape without vertices that were not in `before` or `region`, from an overlay."""
    originals = np.concatenate([shapely.get_coordinates(before), shapely.get_coordinates(region)])
    tree = shapely.STRtree(np.asarray(shapely.points(originals)))
    xy = shapely.get_coordinates(shape)
    added = np.ones(len(xy), dtype=np.bool_)
    added[tree.query(shapely.points(xy), predicate="dwithin", distance=0.0015)[0]] = False
    for point in np.unique(xy[added], axis=0):
        reduced = remove_vertex(shape, point)
        shape = reduced if reduced is not None else shape
    return shape
