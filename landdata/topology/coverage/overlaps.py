"""Parcels whose interiors have a region in common.

*overlap*: two parcels whose interiors have a region in common that is wider than
`Limits.rounding`; the width is the diameter of the largest circle in the region (the widest
of its parts). *Containment* is an overlap that leaves nothing of one of the two wider than
that; *duplicate geometry* leaves nothing at all of either.

How they are found, and why none is missed
------------------------------------------
Each ring runs with its parcel on the left. An edge is *matched* if it stands exactly once in
each direction; the other edges are few. Let m(p) be the number of parcels that cover p. m
changes only across unmatched edges, and any region with m ≥ 2 is bounded by unmatched edges
that have one of the overlapping parcels, A, on their inner side. Follow such an edge: either it
meets another unmatched edge elsewhere than at a simple vertex (one unmatched edge in, one out),
then the two owners are a candidate pair; or m is the same along the whole chain of edges
joined by simple vertices, and then any of its points, say a middle, lies in the other parcel,
which asking the tree of parcels tells. (At a vertex that is not simple chains end, each of which
is asked.) So of each connected region with m ≥ 2 one pair of
parcels is found. The common regions of pairs tile it, so all the others are reached by going
from each common region to those that touch it, whose parcels touch it too. (It would not do to
go from parcel to parcel: where two coverages lie on one another, both may change at one line.)
So exact overlays are made only for candidates.
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

#: A parcel that overlaps more others than this lies in a heap.
HEAP = 16
_REGIONS = 2_000  # asked at a time for what touches them


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two parcels (indices, `first` < `second`) and the region that both cover.

    `area` m², `width` m. `inner` is the one that lies wholly inside the other, if any; `equal`
    says that both cover exactly the same; `share` is the area's share of the larger parcel.
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
    """Return (k, 2) pairs of parcels, among them one of each overlapping region's border."""
    found = [shared]
    owner = edges.owner
    found.append(np.column_stack([owner[near.i[near.touch]], owner[near.j[near.touch]]]))
    cut = np.zeros(len(edges), dtype=np.bool_)
    cut[near.i[near.touch]] = True
    cut[near.j[near.touch]] = True
    follow = chains[0]
    stop = cut | cut[follow]
    follow = np.where(stop, np.arange(len(edges)), follow)
    # One point of each chain; each cut edge is a chain.
    ask = np.unique(chain_of(follow))
    some = edges.take(ask)
    middle = shapely.points(some.metres((some.ax + some.bx) / 2, (some.ay + some.by) / 2))
    point, parcel = covering(tree, np.asarray(middle, dtype=object))
    found.append(np.column_stack([some.owner[point], parcel]))
    return distinct(found)


def overlapping_pairs(
    polygons: Geometries, tree: shapely.STRtree, pairs: Ints
) -> tuple[Ints, Geometries]:
    """Return all (k, 2) pairs whose interiors meet, and the regions, starting from candidates.

    A region that touches one already found belongs to two parcels that touch that one too.
    """
    shapely.prepare(polygons[np.unique(pairs)])
    tested = np.empty(0, dtype=np.int64)
    found, regions = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=object)]
    many = np.zeros(len(polygons), dtype=np.int64)
    asked = np.zeros((2, len(polygons)), dtype=np.bool_)
    while len(pairs):
        tested = np.union1d(tested, _packed(pairs))
        pairs = pairs[interiors_meet(polygons, pairs)]
        region = common(polygons[pairs[:, 0]], polygons[pairs[:, 1]])
        found.append(pairs)
        regions.append(region)
        many += np.bincount(pairs.ravel(), minlength=len(polygons))
        # Where parcels lie in a heap, all their regions touch the same: then all that touches a
        # parcel of it goes for all that touches its regions.
        heap = many > HEAP
        calm = region[~heap[pairs].any(axis=1)]
        pairs = distinct(
            [
                *(
                    each
                    for begin in range(0, len(calm), _REGIONS)
                    for each in _beside(calm[begin : begin + _REGIONS], tree)
                ),
                *_about(np.flatnonzero(heap), polygons, tree, asked),
            ]
        )
        pairs = pairs[~np.isin(_packed(pairs), tested)]
    return np.concatenate(found), np.concatenate(regions)


def _beside(regions: Geometries, tree: shapely.STRtree) -> list[Ints]:
    """Return all pairs of parcels that touch a region.

    Where many lie on one another, nearly all of their regions touch the same: once is enough.
    """
    # A region computed is a region rounded: ask a millimetre around it.
    of, parcel = tree.query(regions, predicate="dwithin", distance=0.001)
    marks = np.random.default_rng(0).integers(0, 2**63, len(tree))
    known = np.unique(of)
    begins = np.searchsorted(of, known)
    if not len(known):
        return []
    _, fresh = np.unique(np.add.reduceat(marks[parcel], begins), return_index=True)
    kept = np.isin(of, known[fresh])
    return _meeting(of[kept], parcel[kept])


def _about(heap: Ints, polygons: Geometries, tree: shapely.STRtree, asked: Bools) -> list[Ints]:
    """Return the pairs of what touches a parcel of a heap with all that is near it.

    `asked` keeps, of each parcel, whether it was asked for the one and for the other.
    """
    heap = heap[~asked[0, heap]]
    asked[0, heap] = True
    touched = np.unique(tree.query(polygons[heap], predicate="dwithin", distance=0.001)[1])
    touched = touched[~asked[1, touched]]
    asked[1, touched] = True
    one, two = tree.query(polygons[touched])
    return [np.column_stack([touched[one], two])]


def common(one: Geometries, two: Geometries) -> Geometries:
    """Return the common region of each pair, the same to the last bit whichever comes first."""
    regions: Geometries = shapely.normalize(shapely.intersection(one, two, grid_size=1e-6))
    return regions


def _packed(pairs: Ints) -> Ints:
    """Return each (k, 2) pair of indices as one number."""
    packed: Ints = pairs[:, 0] << 32 | pairs[:, 1]
    return packed


def _meeting(place: Ints, parcel: Ints) -> list[Ints]:
    """Return all pairs of parcels that are at the same place."""
    order = np.argsort(place, kind="stable")
    place, parcel = place[order], parcel[order]
    found = []
    for step in range(1, len(place)):
        meet = place[step:] == place[:-step]
        if not meet.any():
            break
        found.append(np.column_stack([parcel[:-step][meet], parcel[step:][meet]]))
    return found


def interiors_meet(polygons: Geometries, pairs: Ints) -> Bools:
    """Tell for each (k, 2) pair whether the interiors have a point in common."""
    meets: Bools = shapely.relate_pattern(polygons[pairs[:, 0]], polygons[pairs[:, 1]], "T********")
    return meets


def measured(
    polygons: Geometries, pairs: Ints, regions: Geometries, limits: Limits, own: int
) -> list[Overlap]:
    """Measure the overlaps of pairs; those no wider than rounding are none."""
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
    """Tell of which parcels nothing wider than rounding remains outside the other."""
    # What is nowhere wider than w has at most an area of w / 2 times its border.
    left = shapely.area(one) - shapely.area(regions)
    border = shapely.length(one) + shapely.length(regions)
    little = np.flatnonzero(left < 1.01 * rounding / 2 * border + 1e-6)
    apart = shapely.difference(one[little], two[little])
    none = np.zeros(len(one), dtype=np.bool_)
    none[little] = shapely.is_empty(shapely.buffer(apart, -rounding / 2))
    return none


def _areal(shapes: Geometries) -> Geometries:
    """Return the polygonal part of each shape; lines and points of an overlay are dropped."""
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
