"""Wide regions that parcels enclose and that none covers.

*unparcelled area*: a region without a parcel that is enclosed by parcels, is at least as wide as
`Limits.gap`, and is not a strip. A narrower region is a gap; a strip, `Limits.strip` times as long
as it is wide, is a road, a bank, a canal or a dyke. The ratio of length to width is the area over
the squared width: 1 for a square, also right for a strip that bends, closes to a ring or branches.

Unmatched edges that are joined by simple vertices and touch no others form a ring of their own.
As parcels are on the left, a clockwise ring bounds a region without parcels; the others are
outlines of blocks, which may lie in such a region. Only edges that touch others, at defects, are
polygonized to faces, with the vertices that lie on them within rounding inserted.
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
    chain_of,
)
from landdata.topology.coverage.gaps import by_border, parcels_along
from landdata.topology.coverage.proximity import Near, covering, to_edge
from landdata.topology.rules import Limits

#: A region with this many times the border of a strip is a net of strips: not measured.
_NET = 100


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A wide region that no parcel covers; its parcels in order of border length, longest first."""

    parcels: tuple[int, ...]
    area: float  # m²
    region: BaseGeometry


def enclosed_of(
    edges: Edges,
    near: Near,
    chains: tuple[Ints, Bools],
    tree: shapely.STRtree,
    limits: Limits,
    own: int,
) -> list[Enclosed]:
    """Return the wide regions that parcels enclose.

    One subject: rings, faces, what lies inside them, and their parcels, over shared arrays.
    """
    if not len(edges):
        return []
    follow = chains[0]
    ring, touching = _rings(edges, near, chains, limits.rounding)
    area = _area(edges, ring)
    # The inscribed circle is not larger than the region.
    least = np.pi / 4 * limits.gap**2
    alone = (ring == np.arange(len(edges))) & ~touching & (np.abs(area) > least)
    # Holes first, then outlines of blocks.
    inner = np.concatenate([np.flatnonzero(alone & (area < 0)), np.flatnonzero(alone & (area > 0))])
    holes = int(np.count_nonzero(alone & (area < 0)))
    faces = _faces(edges, np.flatnonzero(touching), near, limits.rounding)
    regions = np.concatenate([_polygons(edges, follow, ring, inner[:holes]), faces])

    # Rings and faces inside a region are not part of it, nor are faces inside of rings.
    spots = shapely.points(edges.metres(edges.ax[inner], edges.ay[inner]))
    # A vertex of the face: a point inside it might lie in a hole.
    spots = np.concatenate([spots, shapely.get_point(shapely.get_exterior_ring(faces), 0)])
    region, inside = shapely.STRtree(spots).query(regions, predicate="contains_properly")
    other = (region < holes) | (inside < len(inner))
    region, inside = region[other], inside[other]
    part, which = np.unique(inside, return_inverse=True)
    shapes = np.concatenate(
        [
            _polygons(edges, follow, ring, inner[part[part < len(inner)]]),
            faces[part[part >= len(inner)] - len(inner)],
        ]
    )
    _hollow_out(regions, region, shapes, which, limits)

    kept = _wide(regions, tree, least, limits)
    size, regions = shapely.area(regions[kept]), shapely.normalize(regions[kept])
    # The parcels along it: owners of a ring's edges; for others, those near their sides.
    plain = (kept < holes) & ~np.isin(kept, region)
    place = np.full(len(edges), -1)
    place[inner[kept[plain]]] = np.flatnonzero(plain)
    at = np.flatnonzero(place[ring] >= 0)
    along = by_border(
        len(kept), place[ring[at]], edges.owner[at], edges.length[at], limits.rounding
    )
    if not plain.all():
        beside = np.zeros(len(edges), dtype=np.bool_)
        beside[inner[part[part < len(inner)]]] = True
        beside[inner[kept[~plain & (kept < holes)]]] = True
        candidates = edges.take(touching | beside[ring])
        # A side passes through vertices within rounding of its line.
        nearby = parcels_along(
            regions[~plain],
            candidates.lines(),
            candidates.owner,
            limits.rounding,
            reach=limits.rounding,
        )
        for k, parcels in zip(np.flatnonzero(~plain).tolist(), nearby, strict=True):
            along[k] = parcels
    return [
        Enclosed(parcels, extent, shape)
        for parcels, extent, shape in zip(along, size.tolist(), regions, strict=True)
        if any(parcel < own for parcel in parcels)
    ]


def _rings(
    edges: Edges, near: Near, chains: tuple[Ints, Bools], rounding: float
) -> tuple[Ints, Bools]:
    """Return for each edge the edge that represents its chain, and whether that touches others."""
    follow, tangled = chains[0], chains[1].copy()
    touch = near.touch | (near.distance <= rounding).any(axis=1)
    tangled[near.i[touch]] = True
    tangled[near.j[touch]] = True
    ring = chain_of(follow)
    touching = np.zeros(len(edges), dtype=np.bool_)
    touching[ring[tangled]] = True
    return ring, touching[ring]


def _hollow_out(
    regions: Geometries, region: Ints, shapes: Geometries, which: Ints, limits: Limits
) -> None:
    """Subtract the shapes inside regions, pair by pair, in place; a net of strips becomes empty."""
    inner_area = np.bincount(region, shapely.area(shapes)[which], minlength=len(regions))
    inner_border = np.bincount(region, shapely.length(shapes)[which], minlength=len(regions))
    border, size = shapely.length(regions) + inner_border, shapely.area(regions) - inner_area
    net = border**2 > 4 * limits.strip * _NET * size
    hollow, begins = np.unique(region, return_index=True)  # sorted already
    for at, inside in zip(hollow.tolist(), np.split(which, begins[1:]), strict=False):
        if net[at]:
            regions[at] = shapely.Polygon()
        else:
            regions[at] = shapely.difference(regions[at], shapely.union_all(shapes[inside]))


def _wide(regions: Geometries, tree: shapely.STRtree, least: float, limits: Limits) -> Ints:
    """Return the indices of the regions that are wide, not strips, and not covered."""
    size, border = shapely.area(regions), shapely.length(regions)
    keep = (size > least) & (border**2 < 4 * limits.strip * _NET * size)
    # A circle of diameter 2 · area / border fits in: measured only if that does not decide.
    unsure = keep & ((2 * size < limits.gap * border) | (border**2 > 4 * limits.strip * size))
    # Wide enough and not a strip: it suffices to know if so large a circle fits in.
    least_wide = np.maximum(limits.gap, np.sqrt(size[unsure] / limits.strip))
    circle = shapely.maximum_inscribed_circle(regions[unsure], tolerance=5e-4 * least_wide)
    keep[unsure] = 2 * shapely.length(circle) >= least_wide
    kept = np.flatnonzero(keep)
    covered = covering(tree, shapely.point_on_surface(regions[kept]))[0]
    return np.delete(kept, np.unique(covered))


def _area(edges: Edges, ring: Ints) -> Floats:
    """Return each ring's area (m²) at the edge that represents it, < 0 around a hole."""
    # Relative to each ring's first vertex, so that no precision is lost.
    x, y = edges.ax[ring], edges.ay[ring]
    cross = (edges.ax - x) * (edges.by - y) - (edges.bx - x) * (edges.ay - y)
    area: Floats = np.bincount(ring, cross, minlength=len(edges)) / (2 * PER_METRE**2)
    return area


def _polygons(edges: Edges, follow: Ints, ring: Ints, heads: Ints) -> Geometries:
    """Return the rings that the edges `heads` represent, as polygons."""
    selected = np.zeros(len(edges), dtype=np.bool_)
    selected[heads] = True
    members = np.flatnonzero(selected[ring])
    after = np.searchsorted(members, follow[members]).tolist()
    path, polygon = [], []
    for which, head in enumerate(np.searchsorted(members, heads).tolist()):
        at = head
        while True:
            path.append(at)
            polygon.append(which)
            at = after[at]
            if at == head:
                break
    members = members[np.array(path, dtype=np.int64)]
    xy = edges.metres(edges.ax[members], edges.ay[members])
    rings = shapely.linearrings(xy, indices=polygon)
    return np.asarray(shapely.polygons(rings), dtype=object)


def _faces(edges: Edges, members: Ints, near: Near, rounding: float) -> Geometries:
    """Return the faces between some edges; a vertex within rounding of an edge becomes its own."""
    if not len(members):
        return np.empty(0, dtype=object)
    edge, along = [members, members], [np.zeros(len(members)) - 1, np.ones(len(members)) + 1]
    xs = [edges.ax[members], edges.bx[members]]
    ys = [edges.ay[members], edges.by[members]]
    for column, (vertex, across) in enumerate(
        ((near.i, near.j), (near.i, near.j), (near.j, near.i), (near.j, near.i))
    ):
        pick = near.distance[:, column] <= rounding
        e, f = edges.take(vertex[pick]), edges.take(across[pick])
        x, y = (e.bx, e.by) if column % 2 else (e.ax, e.ay)
        edge.append(across[pick])
        along.append(to_edge(x, y, f)[1])
        xs.append(x)
        ys.append(y)
    owner, x, y = np.concatenate(edge), np.concatenate(xs), np.concatenate(ys)
    order = np.lexsort((np.concatenate(along), owner))
    _, line = np.unique(owner[order], return_inverse=True)
    lines = shapely.linestrings(edges.metres(x[order], y[order]), indices=line)
    noded = shapely.get_parts(shapely.union_all(lines))
    return np.asarray(shapely.get_parts(shapely.polygonize(noded)), dtype=object)
