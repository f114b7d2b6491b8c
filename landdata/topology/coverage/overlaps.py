"""Parcels whose interiors share a region.

*overlap*: the interiors of two parcels share a region wider than `Limits.rounding`; the width is
the diameter of the largest circle in it (in the widest of its parts). *Containment* is an overlap
that leaves nothing wider than that of one parcel; *duplicate geometry* leaves nothing of either.

How they are found, and why none is missed
------------------------------------------
Rings run with their parcel on the left. An edge is *matched* if it occurs exactly once in each
direction; the other edges are few. Let m(p) be the number of parcels that cover p. m changes
only across unmatched edges, and a region with m ≥ 2 is bounded by unmatched edges that have one
of the overlapping parcels, A, on their inner side. Follow such an edge: either it meets another
unmatched edge elsewhere than at a simple vertex (one unmatched edge in, one out), and the two
owners are a candidate pair; or m is constant along the whole chain of edges joined by simple
vertices, and any of its points, say a middle, lies in the other parcel, which a query of the tree
of parcels returns. (Chains end at vertices that are not simple; every chain is queried.) So one
pair of parcels is found for each connected region with m ≥ 2. The common regions of pairs tile
it, so all others are reached by going from common regions to those that touch them, whose parcels
touch them too. (Going from parcel to parcel would not do: where two coverages lie on one another,
both may change at one line.) So exact overlays are computed only for candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.topology.coverage.edges import Bools, Edges, Geometries, Ints, chain_of, distinct
from landdata.topology.coverage.proximity import Near, covering
from landdata.topology.coverage.width import width
from landdata.topology.rules import Limits

#: A parcel that overlaps more others than this is in a stack.
STACK = 16
_REGIONS = 2_000  # queried in one batch


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two parcels (indices, `first` < `second`) and the region that both cover.

    `area` in m², `width` in m. `inner` is the one that lies wholly inside the other, if any;
    `equal`: both cover exactly the same; `share` is the area as a part of the larger parcel's.
    """

    first: int
    second: int
    area: float
    width: float
    region: BaseGeometry
    inner: int | None = None
    equal: bool = False
    share: float = 0.0


def candidates_of(
    edges: Edges,
    shared: Ints,
    near: Near,
    chains: tuple[Ints, Bools],
    tree: shapely.STRtree,
) -> Ints:
    """Return (k, 2) pairs of parcels, with at least one pair for each region with m ≥ 2."""
    pairs = [shared]
    owner = edges.owner
    pairs.append(np.column_stack([owner[near.i[near.touch]], owner[near.j[near.touch]]]))
    cut = np.zeros(len(edges), dtype=np.bool_)
    cut[near.i[near.touch]] = True
    cut[near.j[near.touch]] = True
    follow = chains[0]
    stop = cut | cut[follow]
    follow = np.where(stop, np.arange(len(edges)), follow)
    # One point of each chain; a cut edge is a chain.
    heads = edges.take(np.unique(chain_of(follow)))
    xy = heads.metres((heads.ax + heads.bx) / 2, (heads.ay + heads.by) / 2)
    point, parcel = covering(tree, np.asarray(shapely.points(xy), dtype=object))
    pairs.append(np.column_stack([heads.owner[point], parcel]))
    return distinct(pairs)


def overlapping_pairs(
    polygons: Geometries, tree: shapely.STRtree, pairs: Ints
) -> tuple[Ints, Geometries]:
    """Return all (k, 2) pairs whose interiors intersect, and their regions, from candidates.

    A region that touches another belongs to two parcels that touch that one too.
    """
    shapely.prepare(polygons[np.unique(pairs)])
    tested = np.empty(0, dtype=np.int64)
    overlapping, regions = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=object)]
    many = np.zeros(len(polygons), dtype=np.int64)
    queried = np.zeros((2, len(polygons)), dtype=np.bool_)
    while len(pairs):
        tested = np.union1d(tested, _packed(pairs))
        pairs = pairs[interiors_meet(polygons, pairs)]
        region = common(polygons[pairs[:, 0]], polygons[pairs[:, 1]])
        overlapping.append(pairs)
        regions.append(region)
        many += np.bincount(pairs.ravel(), minlength=len(polygons))
        # In a stack of parcels all regions touch the same others: there, the parcels that touch
        # a parcel of the stack replace those that touch its regions.
        stacked = many > STACK
        single = region[~stacked[pairs].any(axis=1)]
        pairs = distinct(
            [
                *(
                    touching
                    for begin in range(0, len(single), _REGIONS)
                    for touching in _pairs_at(single[begin : begin + _REGIONS], tree)
                ),
                *_pairs_around(np.flatnonzero(stacked), polygons, tree, queried),
            ]
        )
        pairs = pairs[~np.isin(_packed(pairs), tested)]
    return np.concatenate(overlapping), np.concatenate(regions)


def _pairs_at(regions: Geometries, tree: shapely.STRtree) -> list[Ints]:
    """Return all pairs of parcels that touch the same region.

    Where many overlap, nearly all regions touch the same parcels; equal sets are used once.
    """
    # A computed region is rounded: search 1 mm around it.
    place, parcel = tree.query(regions, predicate="dwithin", distance=0.001)
    marks = np.random.default_rng(0).integers(0, 2**63, len(tree))
    touched = np.unique(place)
    begins = np.searchsorted(place, touched)
    if not len(touched):
        return []
    _, fresh = np.unique(np.add.reduceat(marks[parcel], begins), return_index=True)
    kept = np.isin(place, touched[fresh])
    return _pairs_by_place(place[kept], parcel[kept])


def _pairs_around(
    stacked: Ints, polygons: Geometries, tree: shapely.STRtree, queried: Bools
) -> list[Ints]:
    """Return the pairs of parcels that touch a stacked one with those whose boxes they meet.

    `queried` (2, n) records for which parcels either query was made, over several calls.
    """
    stacked = stacked[~queried[0, stacked]]
    queried[0, stacked] = True
    touched = np.unique(tree.query(polygons[stacked], predicate="dwithin", distance=0.001)[1])
    touched = touched[~queried[1, touched]]
    queried[1, touched] = True
    one, two = tree.query(polygons[touched])
    return [np.column_stack([touched[one], two])]


def common(one: Geometries, two: Geometries) -> Geometries:
    """Return the common regions of pairs (n,); bit by bit the same in either order."""
    regions: Geometries = shapely.normalize(shapely.intersection(one, two, grid_size=1e-6))
    return regions


def _packed(pairs: Ints) -> Ints:
    """Return (k, 2) pairs of indices as single numbers (k,)."""
    packed: Ints = pairs[:, 0] << 32 | pairs[:, 1]
    return packed


def _pairs_by_place(place: Ints, parcel: Ints) -> list[Ints]:
    """Return all pairs of parcels with the same place."""
    order = np.argsort(place, kind="stable")
    place, parcel = place[order], parcel[order]
    pairs = []
    for step in range(1, len(place)):
        meet = place[step:] == place[:-step]
        if not meet.any():
            break
        pairs.append(np.column_stack([parcel[:-step][meet], parcel[step:][meet]]))
    return pairs


def interiors_meet(polygons: Geometries, pairs: Ints) -> Bools:
    """Return for (k, 2) pairs whether the interiors intersect."""
    meets: Bools = shapely.relate_pattern(polygons[pairs[:, 0]], polygons[pairs[:, 1]], "T********")
    return meets


def measured(
    polygons: Geometries, pairs: Ints, regions: Geometries, limits: Limits, own: int
) -> list[Overlap]:
    """Return the overlaps of pairs that are wider than rounding."""
    mine = pairs[:, 0] < own
    pairs, regions = pairs[mine], _areal(regions[mine])
    one, two = polygons[pairs[:, 0]], polygons[pairs[:, 1]]
    widths = width(regions)
    wide = np.flatnonzero(widths > limits.rounding)
    pairs, regions, widths = pairs[wide], regions[wide], widths[wide]
    one, two = one[wide], two[wide]
    inside, around = (
        _nothing_left(*order, regions, limits.rounding) for order in ((one, two), (two, one))
    )
    first_smaller = shapely.area(one) <= shapely.area(two)
    inner = np.where(
        inside & (first_smaller | ~around), pairs[:, 0], np.where(around, pairs[:, 1], -1)
    )
    return [
        Overlap(i, j, area, wide_, region, within if within >= 0 else None, equal, area / larger)
        for (i, j), area, wide_, region, within, equal, larger in zip(
            pairs.tolist(),
            shapely.area(regions).tolist(),
            widths.tolist(),
            regions,
            inner.tolist(),
            shapely.equals(one, two).tolist(),
            np.maximum(shapely.area(one), shapely.area(two)).tolist(),
            strict=True,
        )
    ]


def _nothing_left(one: Geometries, two: Geometries, regions: Geometries, rounding: float) -> Bools:
    """Return of which parcels nothing wider than rounding remains outside the other."""
    # A region nowhere wider than w has an area of at most w / 2 times its border.
    left = shapely.area(one) - shapely.area(regions)
    border = shapely.length(one) + shapely.length(regions)
    suspects = np.flatnonzero(left < 1.01 * rounding / 2 * border + 1e-6)
    apart = shapely.difference(one[suspects], two[suspects])
    empty = np.zeros(len(one), dtype=np.bool_)
    empty[suspects] = shapely.is_empty(shapely.buffer(apart, -rounding / 2))
    return empty


def _areal(shapes: Geometries) -> Geometries:
    """Return the polygonal parts of shapes, without the lines and points of an overlay."""
    mixed = np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION)
    shapes = shapes.copy()
    for at in mixed:
        parts = shapely.get_parts(shapes[at])
        parts = shapely.get_parts(parts[shapely.get_dimensions(parts) == 2])
        shapes[at] = (
            shapely.multipolygons(parts)
            if len(parts) > 1
            else (parts[0] if len(parts) else shapely.Polygon())
        )
    lower = shapely.get_dimensions(shapes) < 2
    shapes[lower] = shapely.Polygon()
    return shapes
