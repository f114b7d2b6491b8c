"""Narrow regions that no parcel covers.

*gap*: a region that no parcel covers, wider than `Limits.rounding` and narrower than `Limits.gap`
(the diameter of its largest circle), that is either enclosed by parcels or open at a corner: its
mouth, the shortest line from a corner of the boundary (`Limits.corner`) to the parcel across with
no other parcel before it, is shorter than the limit and less than half as long as the gap is deep.
So a strip, or a wedge open towards a road, is a gap. A taper, two boundaries that part at a point
and widen beyond the limit without such a corner, is the end of a road and not a gap; nor is a
nook that is wider than deep.

Lines that may close such a mouth are called doors here.

A gap narrower than w has another piece of boundary less than w from each point of its boundary.
So each of its edges is shorter than 2 w, or has an unmatched edge within w, or shares an end with
one whose far end is within 2 w: only these edges are polygonized to faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.topology.coverage.edges import (
    PER_METRE,
    Bools,
    Edges,
    Floats,
    Geometries,
    Ints,
    runs,
)
from landdata.topology.coverage.proximity import Near, covering, to_edge
from landdata.topology.coverage.width import width
from landdata.topology.rules import Limits

_DOORS = 3  # from one corner to one parcel, at most
_ACROSS = 6  # parcels to which a corner has doors, at most
_TRIED = 1 << 20  # pairs of doors and edges before them, in one batch


@dataclass(frozen=True, slots=True)
class Gap:
    """A narrow region that no parcel covers; its parcels in order of border length, longest first.

    `area` in m², `width` in m.
    """

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
    """Return the narrow regions that no parcel covers."""
    regions, doors, lines, owner = _free_regions(edges, near, follow, tree, limits)
    if not len(regions):
        return []
    # Doors within a gap split it into several faces.
    regions = shapely.get_parts(_together(regions))
    regions = regions[~shapely.is_empty(shapely.buffer(regions, -limits.rounding / 2))]
    regions = shapely.normalize(regions)
    widths = width(regions)
    keep = (widths > limits.rounding) & (widths < limits.gap)
    regions, widths = regions[keep], widths[keep]
    if not len(regions):
        return []
    shut = ~_open(regions, doors)
    regions, widths = regions[shut], widths[shut]
    along = parcels_along(regions, lines, owner, limits.rounding)
    return [
        Gap(parcels, area, wide, region)
        for parcels, area, wide, region in zip(
            along, shapely.area(regions).tolist(), widths.tolist(), regions, strict=True
        )
        if any(parcel < own for parcel in parcels)
    ]


def _together(faces: Geometries) -> BaseGeometry:
    """Return the union of faces that share their nodes."""
    try:
        union = shapely.coverage_union_all(faces)
    except shapely.GEOSException:
        union = None
    # Where lines run nearly along each other, nodes may not match.
    if union is None or abs(union.area - shapely.area(faces).sum()) > 1e-6 or not union.is_valid:
        return shapely.union_all(faces, grid_size=1e-6)
    return shapely.set_precision(union, 1e-6)


def _open(regions: Geometries, doors: Geometries) -> Bools:
    """Return which regions end at a door that is more than half as wide as they are deep."""
    is_open = np.zeros(len(regions), dtype=np.bool_)
    region, door = shapely.STRtree(doors).query(regions, predicate="dwithin", distance=1e-6)
    # The box is a lower bound of the depth: a net of gaps has thousands of doors.
    box, door_box = shapely.bounds(regions)[region], shapely.bounds(doors)[door]
    reach = np.maximum(door_box[:, :2] - box[:, :2], box[:, 2:] - door_box[:, 2:]).max(axis=1)
    near = reach < 2 * shapely.length(doors)[door]
    region, door = region[near], door[near]
    distinct, place = np.unique(region, return_inverse=True)
    grown, shrunk = (shapely.buffer(regions[distinct], by)[place] for by in (1e-5, -1e-5))
    mouth = shapely.length(shapely.intersection(grown, doors[door]))
    inside = shapely.length(shapely.intersection(shrunk, doors[door]))
    outer = (mouth > 1e-3) & (inside < mouth / 2)
    region, door, mouth = region[outer], door[outer], mouth[outer]
    is_open[region[shapely.hausdorff_distance(regions[region], doors[door]) < 2 * mouth]] = True
    return is_open


def parcels_along(
    regions: Geometries, lines: Geometries, owner: Ints, rounding: float, reach: float = 1e-4
) -> list[tuple[int, ...]]:
    """Return the owners of the lines within `reach` (m) of each region, longest border first.

    The regions consist of the lines, so all of a side lies along one line: its middle shows
    which. (At its ends a thousand lines may meet.)
    """
    parts, region = shapely.get_parts(regions, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    side = ring[1:] == ring[:-1]
    start, end = xy[:-1][side], xy[1:][side]
    owner_region = region[part[ring[1:][side]]]
    at, line = shapely.STRtree(lines).query(
        shapely.points((start + end) / 2), predicate="dwithin", distance=reach
    )
    at, parcel = np.unique(np.column_stack([at, owner[line]]), axis=0).T
    return by_border(
        len(regions), owner_region[at], parcel, np.hypot(*(end - start)[at].T), rounding
    )


def by_border(
    count: int, region: Ints, owner: Ints, length: Floats, rounding: float
) -> list[tuple[int, ...]]:
    """Return the owners along each of `count` regions, the one with the longest border first.

    `region`, `owner` and `length` (m) describe k pieces of border. An owner whose border is not
    longer than rounding is left out.
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
    """Return the faces that no parcel covers and that may be narrow, and what they consist of.

    That is the doors; the edges, as lines; and the owners of the edges.
    """
    use = edges.length <= 2 * limits.gap
    use[near.i] = True
    use[near.j] = True
    empty = np.empty(0, dtype=object)
    nothing = empty, empty, empty, np.empty(0, dtype=np.int64)
    if not use.any():
        return nothing
    doors = _doors(edges, near, follow, limits)
    if len(doors):
        # A door that runs only through parcels closes nothing.
        spots = shapely.line_interpolate_point(doors[:, None], [0.25, 0.5, 0.75], normalized=True)
        inside = np.zeros(spots.size, dtype=np.bool_)
        inside[covering(tree, spots.ravel())[0]] = True
        doors = doors[~inside.reshape(spots.shape).all(axis=1)]
    edges = edges.take(use)
    lines = edges.lines()
    noded = shapely.union_all(np.concatenate([lines, doors]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    # Faces that are certainly wider than the limit are roads.
    faces = faces[2 * shapely.area(faces) < limits.gap * shapely.length(faces)]
    # Where neighbours were digitised separately, thousands of faces are thinner than rounding:
    # dropped, unless they touch a wider face or a door.
    thin = shapely.is_empty(shapely.buffer(faces, -limits.rounding / 2))
    thin_faces = np.flatnonzero(thin)
    wide = np.concatenate([faces[~thin], doors])
    if len(wide):
        beside = shapely.STRtree(wide).query(faces[thin_faces], predicate="dwithin", distance=1e-6)[
            0
        ]
        thin[thin_faces[beside]] = False
    faces = faces[~thin]
    if not len(faces):
        return nothing
    covered = covering(tree, shapely.point_on_surface(faces))[0]
    free = np.ones(len(faces), dtype=np.bool_)
    free[covered] = False
    return faces[free], doors, lines, edges.owner


def _doors(edges: Edges, near: Near, follow: Ints, limits: Limits) -> Geometries:
    """Return the doors, lines that may close a gap: from a corner to the nearest point across."""
    at_start, at_end = _corners(edges, follow, limits)
    xs, ys, tx, ty, hit = [], [], [], [], []
    for column, (vertex, across) in enumerate(
        ((near.i, near.j), (near.i, near.j), (near.j, near.i), (near.j, near.i))
    ):
        end = column % 2 == 1
        pick = (near.distance[:, column] > limits.rounding) & (
            near.distance[:, column] < limits.gap
        )
        pick &= edges.owner[near.i] != edges.owner[near.j]
        pick &= (at_end if end else at_start)[vertex]
        e, f = edges.take(vertex[pick]), edges.take(across[pick])
        from_x, from_y = (e.bx, e.by) if end else (e.ax, e.ay)
        _, along = to_edge(from_x, from_y, f)
        xs.append(from_x)
        ys.append(from_y)
        tx.append(f.ax + along * (f.bx - f.ax))
        ty.append(f.ay + along * (f.by - f.ay))
        hit.append(across[pick])
    x: Floats = np.concatenate(xs).astype(np.float64)
    y: Floats = np.concatenate(ys).astype(np.float64)
    u: Floats = np.concatenate(tx)
    v: Floats = np.concatenate(ty)
    across = np.concatenate(hit)
    if not len(x):
        return np.empty(0, dtype=object)
    order = np.lexsort((v, u, np.hypot(u - x, v - y), y, x))
    x, y, u, v, across = x[order], y[order], u[order], v[order], across[order]
    visible = _nearest_in_sight(edges, x, y, u, v, across)
    x, y, u, v = x[visible], y[visible], u[visible], v[visible]
    # A tenth of a millimetre longer, so that rounding leaves no opening.
    extra = 0.1 / np.hypot(u - x, v - y)
    u, v = u + (u - x) * extra, v + (v - y) * extra
    ends = np.stack([edges.metres(x, y), edges.metres(u, v)], axis=1)
    return np.asarray(shapely.linestrings(ends), dtype=object)


def _nearest_in_sight(
    edges: Edges, x: Floats, y: Floats, u: Floats, v: Floats, across: Ints
) -> Ints:
    """Return which doors run to the nearest few visible parcels, and the nearest few to each.

    Doors are in order of corner and length. Without the limits, a corner would have dozens of
    doors to an arc of short edges, or one to every tiny parcel around it.
    """
    fresh = np.ones(len(x), dtype=np.bool_)
    fresh[1:] = (np.diff(x) != 0) | (np.diff(y) != 0)
    corner = np.cumsum(fresh) - 1
    rank = np.arange(len(x)) - np.flatnonzero(fresh)[corner]
    # Two edges that meet have the same door there.
    left = np.flatnonzero(fresh | np.append(True, (np.diff(u) != 0) | (np.diff(v) != 0)))
    _, way = np.unique(corner << 32 | edges.owner[across], return_inverse=True)
    doors, parcels = np.zeros(way.max() + 1, dtype=np.int64), np.zeros(corner[-1] + 1, np.int64)
    kept, high = [], 8
    while len(left):
        so_far = doors[way[left]]
        left = left[(so_far < _DOORS) & ((so_far > 0) | (parcels[corner[left]] < _ACROSS))]
        here, left = left[rank[left] < high], left[rank[left] >= high]
        here = _in_sight(edges, x, y, u, v, across, rank, here)
        nth = doors[way[here]] + _equal_before(way[here])
        new = here[nth == 0]
        late = new[parcels[corner[new]] + _equal_before(corner[new]) >= _ACROSS]
        here = here[(nth < _DOORS) & ~np.isin(way[here], way[late])]
        parcels += np.bincount(corner[np.setdiff1d(new, late)], minlength=len(parcels))
        doors += np.bincount(way[here], minlength=len(doors))
        kept.append(here)
        high *= 4
    return np.sort(np.concatenate(kept))


def _equal_before(values: Ints) -> Ints:
    """Return for each value how many equal ones come before it."""
    order = np.argsort(values, kind="stable")
    begins, many = runs(values[order])
    before = np.empty(len(values), dtype=np.int64)
    before[order] = np.arange(len(values)) - np.repeat(begins, many)
    return before


def _in_sight(
    edges: Edges, x: Floats, y: Floats, u: Floats, v: Floats, across: Ints, rank: Ints, doors: Ints
) -> Ints:
    """Return which of the `doors` reach their edge without crossing a nearer one.

    A nearer edge has a door of its own. Most doors are crossed by the nearest few edges, so these
    are tried first: a corner has as many doors as edges come near it.
    """
    low, high = 0, 4
    done = [doors[rank[doors] == 0]]
    left = doors[rank[doors] > 0]
    while len(left):
        crossed = []
        for part in np.array_split(left, len(left) * (high - low) // _TRIED + 1):
            many = np.minimum(rank[part], high) - low
            door = np.repeat(part, many)
            step = np.arange(len(door)) - np.repeat(np.cumsum(many) - many, many)
            before = edges.take(across[door - rank[door] + low + step])
            crossed.append(door[_before(x[door], y[door], u[door], v[door], before)])
        left = np.setdiff1d(left, np.concatenate(crossed))
        done.append(left[rank[left] <= high])
        left = left[rank[left] > high]
        low, high = high, 2 * high
    return np.sort(np.concatenate(done))


def _before(x: Floats, y: Floats, u: Floats, v: Floats, edge: Edges) -> Bools:
    """Return which edges cross the line from (x, y) to (u, v) more than 2 mm before its end."""
    long = np.hypot(u - x, v - y)
    dx, dy = (u - x) / long, (v - y) / long
    ax, ay, bx, by = edge.ax - x, edge.ay - y, edge.bx - x, edge.by - y
    # The offsets of both ends to the left of the line, and their positions along it.
    off_a, off_b = dx * ay - dy * ax, dx * by - dy * bx
    on_a, on_b = dx * ax + dy * ay, dx * bx + dy * by
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(off_a == off_b, 0.5, off_a / (off_a - off_b))
    on = on_a + share * (on_b - on_a)
    crosses = (np.minimum(off_a, off_b) <= 1e-3) & (np.maximum(off_a, off_b) >= -1e-3)
    beside = np.abs(off_a - off_b) < 1e-3
    on = np.where(beside, np.minimum(on_a, on_b), on)
    before: Bools = crosses & (on > 0) & (on < long - 2)
    return before


def _corners(edges: Edges, follow: Ints, limits: Limits) -> tuple[Bools, Bools]:
    """Return for the edges' starts and ends whether the boundary has a corner there."""
    index = np.arange(len(edges))
    dx, dy = edges.bx - edges.ax, edges.by - edges.ay
    heading = np.arctan2(dy, dx)
    turn = np.abs((heading[follow] - heading + np.pi) % (2 * np.pi) - np.pi)
    # At the end of a chain several boundaries meet: a corner.
    at_end = (follow == index) | (turn >= np.radians(limits.corner))
    at_start = np.ones(len(edges), dtype=np.bool_)
    going = follow != index
    at_start[follow[going]] = at_end[going]
    return at_start, at_end
