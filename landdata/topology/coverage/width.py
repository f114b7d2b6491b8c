"""The width of a region: the diameter of its largest inscribed circle."""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Floats, Geometries


def width(shapes: Geometries) -> Floats:
    """Return the widths (n,) in metres of polygonal shapes, of the widest part; 0 if empty.

    One subject, an algorithm over shared arrays. Exact for triangles; else within about 0.1 %,
    never above the true width: shrinking a part until nothing is left finds where its circle's
    centre may lie, and a search from there finds the centre.
    """
    parts, owner = shapely.get_parts(shapes, return_index=True)
    keep = shapely.area(parts) > 0
    parts, owner = shapely.normalize(parts[keep]), owner[keep]
    result = np.zeros(len(shapes))
    area, around = shapely.area(parts), shapely.length(parts)
    triangle = (shapely.get_num_coordinates(parts) == 4) & (
        shapely.get_num_interior_rings(parts) == 0
    )
    np.maximum.at(result, owner[triangle], 4 * area[triangle] / around[triangle])
    parts, owner, area, around = (array[~triangle] for array in (parts, owner, area, around))
    if not len(parts):
        return result
    # A circle of diameter 2 · area / perimeter fits in any polygon; none has a larger area.
    low, high = 2 * area / around, 2 * np.sqrt(area / np.pi)
    # Near the origin, where floating point resolves the remains of a sliver.
    origin = np.floor(shapely.total_bounds(parts)[:2])
    parts = shapely.transform(parts, lambda xy: xy - origin)
    # GEOS finds the circle of a compact shape at once, but is very slow for a sliver.
    compact = area > 0.02 * around**2
    circle = shapely.maximum_inscribed_circle(parts[compact], tolerance=5e-4 * low[compact])
    np.maximum.at(result, owner[compact], 2 * shapely.length(circle))
    parts, owner, low, high = (array[~compact] for array in (parts, owner, low, high))
    if not len(parts):
        return result
    kernel = parts.copy()
    while len(unsure := np.flatnonzero(high - low > np.maximum(1e-5, 2e-3 * low))):
        # From below: the more a net of strips shrinks, the more its borders cross.
        middle = np.minimum(2 * low[unsure], (low[unsure] + high[unsure]) / 2)
        shrunk = shapely.buffer(parts[unsure], -middle / 2)
        empty = shapely.is_empty(shrunk)
        high[unsure[empty]] = middle[empty]
        low[unsure[~empty]] = middle[~empty]
        kernel[unsure[~empty]] = shrunk[~empty]
    # GEOS simplifies shrunken shapes by up to 1 %: search around for the best centre.
    rim = shapely.boundary(parts)
    shapely.prepare(rim)
    centre = shapely.get_coordinates(shapely.point_on_surface(kernel))
    radius = shapely.distance(shapely.points(centre), rim)
    step = low / 16
    angle = np.arange(8) * np.pi / 4
    for turned in range(20):
        # Rotated every time, or the search would end on a ridge between two directions.
        compass = np.column_stack([np.cos(angle + 0.3 * turned), np.sin(angle + 0.3 * turned)])
        candidates = centre[:, None] + compass * step[:, None, None]
        distances = shapely.distance(shapely.points(candidates), rim[:, None])
        best = distances.argmax(axis=1)
        at = np.arange(len(parts))
        better = distances[at, best] > radius
        centre[better] = candidates[at, best][better]
        radius[better] = distances[at, best][better]
        step[~better] /= 2
    np.maximum.at(result, owner, 2 * radius)
    return result
