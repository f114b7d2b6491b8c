"""Wide regions that parcels enclose and that none covers.

*unparcelled area*: a region without a parcel that is enclosed by parcels, is at least as wide as
`Limits.gap`, and is no strip. What is narrower is a gap; a strip, `Limits.strip` times as long
as it is wide, is a road, a bank, a canal or a dyke. How many times that is, is told by its area
over the square of its width: 1 for a square, length over width for a strip, also for one that
bends, runs in a ring, or is a net of roads.

Unmatched edges that are joined by simple vertices and touch no others are a ring by themselves.
One that runs clockwise, its parcels being on the left, is the border of a region without parcels;
the others are outlines of blocks, which may lie in such a region. Faces are made only of the
others: those that touch, at defects, with the vertices put in that lie on them within rounding.
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

#: A region with so many times the border that a strip may have is a net of them: not measured.
_NET = 100


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A wide region that no parcel covers, and the parcels along it, longest border first."""

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
    """Find the wide regions that parcels enclose."""
    if not len(edges):
        return []
    follow = chains[0]
    ring, touching = _rings(edges, near, chains, limits.rounding)
    area = _area(edges, ring)
    # A region's circle is not larger than the region.
    least = np.pi / 4 * limits.gap**2
    alone = (ring == np.arange(len(edges))) & ~touching & (np.abs(area) > least)
    # Holes first, then outlines of blocks.
    inner = np.concatenate([np.flatnonzero(alone & (area < 0)), np.flatnonzero(alone & (area > 0))])
    holes = int(np.count_nonzero(alone & (area < 0)))
    faces = _faces(edges, np.flatnonzero(touching), near, limits.rounding)
    regions = np.concatenate([_polygons(edges, follow, ring, inner[:holes]), faces])

    # What lies inside a region is no part of it: rings, and inside of rings faces.
    spots = shapely.points(edges.metres(edges.ax[inner], edges.ay[inner]))
    # One of its vertices: a point in it might lie in a hole of what it is a face of.
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
    # Who lies along it: along a ring its own, along others those that are found there.
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
        some = edges.take(touching | beside[ring])
        # A side runs through the vertices within rounding of its line.
        asked = parcels_along(
            regions[~plain], some.lines(), some.owner, limits.rounding, reach=limits.rounding
        )
        for k, parcels in zip(np.flatnonzero(~plain).tolist(), asked, strict=True):
            along[k] = parcels
    return [
        Enclosed(parcels, extent, shape)
        for parcels, extent, shape in zip(along, size.tolist(), regions, strict=True)
        if any(parcel < own for parcel in parcels)
    ]


def _rings(
    edges: Edges, near: Near, chains: tuple[Ints, Bools], rounding: float
) -> tuple[Ints, Bools]:
    """Return an edge that stands for each edge's chain, and which chains are no rings alone."""
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
    """Take from regions the shapes that lie inside them, pair by pair; a net becomes empty."""
    less = np.bincount(region, shapely.area(shapes)[which], minlength=len(regions))
    more = np.bincount(region, shapely.length(shapes)[which], minlength=len(regions))
    border, size = shapely.length(regions) + more, shapely.area(regions) - less
    net = border**2 > 4 * limits.strip * _NET * size
    hollow, begins = np.unique(region, return_index=True)  # they come sorted
    for at, inside in zip(hollow.tolist(), np.split(which, begins[1:]), strict=False):
        if net[at]:
            regions[at] = shapely.Polygon()
        else:
            regions[at] = shapely.difference(regions[at], shapely.union_all(shapes[inside]))


def _wide(regions: Geometries, tree: shapely.STRtree, least: float, limits: Limits) -> Ints:
    """Return which regions are wide, no strips, and not covered."""
    size, border = shapely.area(regions), shapely.length(regions)
    keep = (size > least) & (border**2 < 4 * limits.strip * _NET * size)
    # A circle of diameter 2 · area / border fits in: measured only where that leaves it open.
    unsure = keep & ((2 * size < limits.gap * border) | (border**2 > 4 * limits.strip * size))
    # Wide enough, and no strip: whether so large a circle fits in is all that is asked.
    least_wide = np.maximum(limits.gap, np.sqrt(size[unsure] / limits.strip))
    circle = shapely.maximum_inscribed_circle(regions[unsure], tolerance=5e-4 * least_wide)
    keep[unsure] = 2 * shapely.length(circle) >= least_wide
    kept = np.flatnonzero(keep)
    covered = covering(tree, shapely.point_on_surface(regions[kept]))[0]
    return np.delete(kept, np.unique(covered))


def _area(edges: Edges, ring: Ints) -> Floats:
    """Return for the edge that stands for each ring its area (m²), < 0 around a hole."""
    # From the first vertex of each, so that nothing is lost in large numbers.
    x, y = edges.ax[ring], edges.ay[ring]
    cross = (edges.ax - x) * (edges.by - y) - (edges.bx - x) * (edges.ay - y)
    area: Floats = np.bincount(ring, cross, minlength=len(edges)) / (2 * PER_METRE**2)
    return area


def _polygons(edges: Edges, follow: Ints, ring: Ints, heads: Ints) -> Geometries:
    """Return the rings that these edges stand for as polygons."""
    asked = np.zeros(len(edges), dtype=np.bool_)
    asked[heads] = True
    some = np.flatnonzero(asked[ring])
    after = np.searchsorted(some, follow[some]).tolist()
    way, of = [], []
    for which, head in enumerate(np.searchsorted(some, heads).tolist()):
        at = head
        while True:
            way.append(at)
            of.append(which)
            at = after[at]
            if at == head:
                break
    some = some[np.array(way, dtype=np.int64)]
    rings = shapely.linearrings(edges.metres(edges.ax[some], edges.ay[some]), indices=of)
    return np.asarray(shapely.polygons(rings), dtype=object)


def _faces(edges: Edges, some: Ints, near: Near, rounding: float) -> Geometries:
    """Return the faces between some edges; a vertex within rounding of an edge is put into it."""
    if not len(some):
        return np.empty(0, dtype=object)
    edge, along = [some, some], [np.zeros(len(some)) - 1, np.ones(len(some)) + 1]
    xs, ys = [edges.ax[some], edges.bx[some]], [edges.ay[some], edges.by[some]]
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
    of, x, y = np.concatenate(edge), np.concatenate(xs), np.concatenate(ys)
    order = np.lexsort((np.concatenate(along), of))
    _, of = np.unique(of[order], return_inverse=True)
    lines = shapely.linestrings(edges.metres(x[order], y[order]), indices=of)
    noded = shapely.get_parts(shapely.union_all(lines))
    return np.asarray(shapely.get_parts(shapely.polygonize(noded)), dtype=object)
