"""How wide a region is."""

from __future__ import annotations

import numpy as np
import shapely

from landdata.topology.coverage.edges import Floats, Geometries


def width(shapes: Geometries) -> Floats:
    """Return the diameter (m) of the largest circle in each polygonal shape; 0 if empty.

    Of several parts the widest counts. Exact for triangles; otherwise to about 0.1 %, and never
    more than the true one: the part is shrunk until nothing is left, which tells where the
    centre is to be looked for.
    """
    parts, of = shapely.get_parts(shapes, return_index=True)
    keep = shapely.area(parts) > 0
    parts, of = shapely.normalize(parts[keep]), of[keep]
    result = np.zeros(len(shapes))
    area, around = shapely.area(parts), shapely.length(parts)
    triangle = (shapely.get_num_coordinates(parts) == 4) & (
        shapely.get_num_interior_rings(parts) == 0
    )
    np.maximum.at(result, of[triangle], 4 * area[triangle] / around[triangle])
    parts, of, area, around = (each[~triangle] for each in (parts, of, area, around))
    if not len(parts):
        return result
    # A circle of diameter 2 · area / perimeter fits in any polygon; one of the same area is
    # the largest conceivable.
    low, high = 2 * area / around, 2 * np.sqrt(area / np.pi)
    # Near the origin, where floating point resolves far below what is left of a sliver.
    origin = np.floor(shapely.total_bounds(parts)[:2])
    parts = shapely.transform(parts, lambda xy: xy - origin)
    # GEOS finds the circle of a stout shape at once, but takes ages over a sliver.
    stout = area > 0.02 * around**2
    circle = shapely.maximum_inscribed_circle(parts[stout], tolerance=5e-4 * low[stout])
    np.maximum.at(result, of[stout], 2 * shapely.length(circle))
    parts, of, low, high = (each[~stout] for each in (parts, of, low, high))
    if not len(parts):
        return result
    kernel = parts.copy()
    while len(open_ := np.flatnonzero(high - low > np.maximum(1e-5, 2e-3 * low))):
        # From below: the more a net of strips is shrunk, the more its borders cross one another.
        middle = np.minimum(2 * low[open_], (low[open_] + high[open_]) / 2)
        shrunk = shapely.buffer(parts[open_], -middle / 2)
        gone = shapely.is_empty(shrunk)
        high[open_[gone]] = middle[gone]
        low[open_[~gone]] = middle[~gone]
        kernel[open_[~gone]] = shrunk[~gone]
    # GEOS simplifies what it shrinks by up to 1 %: look around for the best centre.
    rim = shapely.boundary(parts)
    shapely.prepare(rim)
    centre = shapely.get_coordinates(shapely.point_on_surface(kernel))
    radius = shapely.distance(shapely.points(centre), rim)
    step = low / 16
    angle = np.arange(8) * np.pi / 4
    for turned in range(20):
        # Another way each time, or the search ends on a ridge that runs between two of the ways.
        compass = np.column_stack([np.cos(angle + 0.3 * turned), np.sin(angle + 0.3 * turned)])
        around_it = centre[:, None] + compass * step[:, None, None]
        there = shapely.distance(shapely.points(around_it), rim[:, None])
        best = there.argmax(axis=1)
        at = np.arange(len(parts))
        better = there[at, best] > radius
        centre[better] = around_it[at, best][better]
        radius[better] = there[at, best][better]
        step[~better] /= 2
    np.maximum.at(result, of, 2 * radius)
    return result
