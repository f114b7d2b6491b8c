"""Narrow regions that no parcel covers.

*gap*: a region that no parcel covers, wider than `Limits.rounding` and narrower than
`Limits.gap` (width as above), and that is either enclosed by parcels, or open where it ends
at a corner: its mouth, the shortest line from a corner of the boundary (`Limits.corner`) to
the parcel across, is shorter than the limit and less than half as long as the gap is deep.
So a strip, or a wedge that was torn open at a road, is a gap. A taper, two boundaries that part
at a point and widen until they are further apart than the limit without such a corner, is the
end of a road and no gap; neither is a nook that is wider than deep.

A gap narrower than w has at each point of its boundary another piece of boundary less than w
away. So each of its edges is either shorter than 2 w, or has an unmatched edge within w, or one
that it has an end in common with and whose far end is within 2 w: only these are made into faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.topology.coverage.edges import PER_METRE, Bools, Edges, Floats, Geometries, Ints
from landdata.topology.coverage.nearness import Near, to_edge
from landdata.topology.coverage.width import width
from landdata.topology.rules import Limits

_DOORS = 3  # from one corner to one parcel


@dataclass(frozen=True, slots=True)
class Gap:
    """A narrow region that no parcel covers, and the parcels along it, longest border first."""

    parcels: tuple[int, ...]
    area: float
    width: float
    region: BaseGeometry


def gaps_of(
    edges: Edges,
    near: Near,
    follow: Ints,
    tree: shapely.STRtree,
    limits: Limits,
    own: int,
) -> list[Gap]:
    """Find the narrow regions that no parcel covers."""
    regions, doors, lines, owner = _free_regions(edges, near, follow, tree, limits)
    if not len(regions):
        return []
    # Doors within one gap part it into several faces.
    regions = shapely.get_parts(shapely.union_all(regions, grid_size=1e-6))
    regions = regions[~shapely.is_empty(shapely.buffer(regions, -limits.rounding / 2))]
    regions = shapely.normalize(regions)
    widths = width(regions)
    keep = (widths > limits.rounding) & (widths < limits.gap)
    regions, widths = regions[keep], widths[keep]
    if not len(regions):
        return []
    if len(doors):
        shut = np.ones(len(regions), dtype=np.bool_)
        region, door = shapely.STRtree(doors).query(
            shapely.boundary(regions), predicate="dwithin", distance=1e-6
        )
        # Grown and shrunk once for all of its doors, of which a net of gaps has thousands.
        grown, shrunk = shapely.buffer(regions, 1e-5), shapely.buffer(regions, -1e-5)
        mouth = shapely.length(shapely.intersection(grown[region], doors[door]))
        inside = shapely.length(shapely.intersection(shrunk[region], doors[door]))
        outer = (mouth > 1e-3) & (inside < mouth / 2)
        depth = shapely.hausdorff_distance(regions[region], doors[door])
        shut[region[outer & (depth < 2 * mouth)]] = False
        regions, widths = regions[shut], widths[shut]
    along = parcels_along(regions, lines, owner, limits.rounding)
    return [
        Gap(parcels, area, wide, region)
        for parcels, area, wide, region in zip(
            along, shapely.area(regions).tolist(), widths.tolist(), regions, strict=True
        )
        if any(parcel < own for parcel in parcels)
    ]


def parcels_along(
    regions: Geometries, lines: Geometries, owner: Ints, rounding: float
) -> list[tuple[int, ...]]:
    """Return the owners of the lines along each region, the longest border first."""
    region, line = shapely.STRtree(lines).query(regions, predicate="dwithin", distance=1e-4)
    grown = shapely.buffer(regions, 1e-4)
    shared = shapely.length(shapely.intersection(grown[region], lines[line]))
    return by_border(len(regions), region, owner[line], shared, rounding)


def by_border(
    count: int, region: Ints, owner: Ints, length: Floats, rounding: float
) -> list[tuple[int, ...]]:
    """Return the owners along each of `count` regions, given pieces of border of some length (m).

    The one with the longest border comes first, one of no more than rounding not at all.
    """
    both, piece = np.unique(region << 32 | owner, return_inverse=True)
    total = np.bincount(piece, length, minlength=len(both))
    both, total = both[total > rounding], total[total > rounding]
    region, owner = both >> 32, both & 0xFFFF_FFFF
    order = np.lexsort((owner, -np.rint(total * PER_METRE), region))
    cuts = np.searchsorted(region[order], np.arange(count + 1))
    listed = owner[order].tolist()
    return [tuple(listed[b:e]) for b, e in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]


def _free_regions(
    edges: Edges, near: Near, follow: Ints, tree: shapely.STRtree, limits: Limits
) -> tuple[Geometries, Geometries, Geometries, Ints]:
    """Return the faces that no parcel covers and that may be narrow.

    And the doors; the edges that the faces were made of, as lines; and those edges' owners.
    """
    use = edges.length <= 2 * limits.gap
    use[near.i] = True
    use[near.j] = True
    nothing = np.empty(0, dtype=object)
    none = nothing, nothing, nothing, np.empty(0, dtype=np.int64)
    if not use.any():
        return none
    doors = _doors(edges, near, follow, limits)
    if len(doors):
        # A door that runs through parcels alone shuts nothing.
        spots = shapely.line_interpolate_point(doors[:, None], [0.25, 0.5, 0.75], normalized=True)
        inside = np.zeros(spots.size, dtype=np.bool_)
        inside[tree.query(spots.ravel(), predicate="intersects")[0]] = True
        doors = doors[~inside.reshape(spots.shape).all(axis=1)]
    edges = edges.take(use)
    lines = edges.lines()
    noded = shapely.union_all(np.concatenate([lines, doors]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    # What is surely wider than the limit is a road.
    faces = faces[2 * shapely.area(faces) < limits.gap * shapely.length(faces)]
    # Where two neighbours were digitised apart, thousands of faces are thinner than rounding:
    # out, unless they belong to something wider, or a door parts one from it.
    thin = shapely.is_empty(shapely.buffer(faces, -limits.rounding / 2))
    some = np.flatnonzero(thin)
    wide = np.concatenate([faces[~thin], doors])
    if len(wide):
        beside = shapely.STRtree(wide).query(faces[some], predicate="dwithin", distance=1e-6)[0]
        thin[some[beside]] = False
    faces = faces[~thin]
    if not len(faces):
        return none
    covered = tree.query(shapely.point_on_surface(faces), predicate="intersects")[0]
    free = np.ones(len(faces), dtype=np.bool_)
    free[covered] = False
    return faces[free], doors, lines, edges.owner


def _doors(edges: Edges, near: Near, follow: Ints, limits: Limits) -> Geometries:
    """Return the lines that may shut a gap: from a corner to the nearest point across."""
    corner = _corners(edges, follow, limits)
    xs, ys, tx, ty, owner = [], [], [], [], []
    for column, (vertex, across) in enumerate(
        ((near.i, near.j), (near.i, near.j), (near.j, near.i), (near.j, near.i))
    ):
        end = column % 2 == 1
        pick = (near.distance[:, column] > limits.rounding) & (
            near.distance[:, column] < limits.gap
        )
        pick &= edges.owner[near.i] != edges.owner[near.j]
        pick &= (corner[1] if end else corner[0])[vertex]
        e, f = edges.take(vertex[pick]), edges.take(across[pick])
        x, y = (e.bx, e.by) if end else (e.ax, e.ay)
        _, along = to_edge(x, y, f)
        xs.append(x)
        ys.append(y)
        tx.append(f.ax + along * (f.bx - f.ax))
        ty.append(f.ay + along * (f.by - f.ay))
        owner.append(f.owner)
    x, y = np.concatenate(xs).astype(float), np.concatenate(ys).astype(float)
    u, v, beyond = np.concatenate(tx), np.concatenate(ty), np.concatenate(owner)
    if not len(x):
        return np.empty(0, dtype=object)
    _, only = np.unique(np.column_stack([x, y, u, v]), axis=0, return_index=True)
    x, y, u, v, beyond = (each[only] for each in (x, y, u, v, beyond))
    # The nearest few from a corner to a parcel: an arc of short edges would get dozens.
    order = np.lexsort((v, u, np.hypot(u - x, v - y), beyond, y, x))
    door = np.column_stack([x, y, beyond])[order]
    far = np.ones(len(order), dtype=np.bool_)
    far[_DOORS:] = (door[_DOORS:] != door[:-_DOORS]).any(axis=1)
    only = order[far]
    x, y, u, v = x[only], y[only], u[only], v[only]
    # A tenth of a millimetre further, lest rounding leaves the door ajar.
    over = 0.1 / np.hypot(u - x, v - y)
    u, v = u + (u - x) * over, v + (v - y) * over
    ends = np.stack([edges.metres(x, y), edges.metres(u, v)], axis=1)
    return np.asarray(shapely.linestrings(ends), dtype=object)


def _corners(edges: Edges, follow: Ints, limits: Limits) -> tuple[Bools, Bools]:
    """Tell for each edge's start and end whether the boundary turns away there."""
    index = np.arange(len(edges))
    dx, dy = edges.bx - edges.ax, edges.by - edges.ay
    heading = np.arctan2(dy, dx)
    turn = np.abs((heading[follow] - heading + np.pi) % (2 * np.pi) - np.pi)
    # Where the chain ends, several boundaries meet: a corner.
    at_end = (follow == index) | (turn >= np.radians(limits.corner))
    at_start = np.ones(len(edges), dtype=np.bool_)
    going = follow != index
    at_start[follow[going]] = at_end[going]
    return at_start, at_end
