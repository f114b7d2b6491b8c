"""Proximity of unmatched edges, and the parcels that cover a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from landdata.topology.coverage.edges import PER_METRE, Bools, Edges, Floats, Geometries, Ints
from landdata.topology.parallel import spread

_LAST = (1 << 32) - 1
_LARGE = 100  # vertices of a polygon that is worth preparing
_PAIRS = 1 << 17  # in one batch; their arrays fit into a processor's cache


@dataclass(frozen=True, slots=True)
class Near:
    """k pairs of unmatched edges that are near each other, and how.

    `i` < `j` index the edges. `distance` (k, 4) is from the start and end of i to edge j, then
    of j to i, in metres, infinite for a vertex of both; `touch`: the edges meet other than in a
    common end.
    """

    i: Ints
    j: Ints
    distance: Floats
    touch: Bools
    joined: Bools  # with a common end


def near_pairs(edges: Edges, reach: float) -> Near:
    """Return the pairs of edges within `reach` (m), and those with a common end within twice that.

    Edges that only follow each other are left out.
    """
    if not len(edges):
        empty = np.empty(0, dtype=np.int64)
        return _measure(edges, empty, empty, reach)
    boxes = _Boxes.around(edges, round(reach * PER_METRE) + 1)
    diverge = _divergence(edges, 2 * reach)

    def measure(portion: slice) -> Near:
        i, j = boxes.pairs(portion)
        keep = ~diverge(i, j)
        return _measure(edges, i[keep], j[keep], reach)

    parts = spread(measure, boxes.portions())
    return Near(
        np.concatenate([part.i for part in parts]),
        np.concatenate([part.j for part in parts]),
        np.concatenate([part.distance for part in parts]),
        np.concatenate([part.touch for part in parts]),
        np.concatenate([part.joined for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes of edges, in bands from south to north, and from west to east within a band.

    A box is in every band that it intersects. The later boxes of a band that begin before it
    ends are beside or above it, and few.
    """

    edge: Ints
    band: Ints
    behind: Ints  # how many of the next boxes in its band begin before it ends
    first: Ints  # by edge, its southernmost band
    low: Ints  # by edge, north
    high: Ints
    reach: int

    @classmethod
    def around(cls, edges: Edges, reach: int) -> _Boxes:
        """Return the sorted boxes of edges, widened by `reach` (mm)."""
        west, east = np.minimum(edges.ax, edges.bx), np.maximum(edges.ax, edges.bx) + reach
        low, high = np.minimum(edges.ay, edges.by), np.maximum(edges.ay, edges.by)
        # As high as the average edge, so that a box is in two or three bands.
        band = max(2 * reach, int((high - low).mean()))
        first = low // band
        many = (high + reach) // band - first + 1
        edge = np.repeat(np.arange(len(edges)), many)
        step = np.arange(len(edge)) - np.repeat(np.cumsum(many) - many, many)
        key = (first[edge] + step) << 32
        begin = key | west[edge]
        order = np.argsort(begin)
        begin, edge, key = begin[order], edge[order], key[order]
        end = key | np.minimum(east[edge], _LAST)
        behind = np.searchsorted(begin, end, "right") - np.arange(1, len(begin) + 1)
        return cls(edge, key >> 32, behind, first, low, high, reach)

    def portions(self) -> list[slice]:
        """Return slices of the boxes with about `_PAIRS` pairs each."""
        so_far = np.cumsum(self.behind)
        cuts = (
            np.searchsorted(so_far, np.arange(_PAIRS, max(int(so_far[-1]), 1) + _PAIRS, _PAIRS)) + 1
        )
        cuts = np.unique(np.minimum(cuts, len(so_far)))
        begins = np.concatenate([[0], cuts[:-1]])
        return [slice(b, e) for b, e in zip(begins.tolist(), cuts.tolist(), strict=True)]

    def pairs(self, portion: slice) -> tuple[Ints, Ints]:
        """Return the pairs of edges i < j whose boxes are near; a pair is in one portion only."""
        behind = self.behind[portion]
        one = np.repeat(np.arange(portion.start, portion.stop), behind)
        two = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(behind) - behind, behind)
        i, j = self.edge[one], self.edge[two]
        # Of the bands with both, only the southernmost counts.
        near = self.band[one] == np.maximum(self.first[i], self.first[j])
        near &= self.low[i] <= self.high[j] + self.reach
        near &= self.low[j] <= self.high[i] + self.reach
        i, j = i[near], j[near]
        return np.minimum(i, j), np.maximum(i, j)


def _divergence(edges: Edges, reach: float) -> Callable[[Ints, Ints], Bools]:
    """Return a test for pairs that meet only in a common end, at 90° or more.

    The far end of either is then as far from the other edge as its own edge is long. Nearly all
    consecutive edges around a block are such pairs, and the test is cheap.
    """
    a, b = edges.a, edges.b
    dx, dy = edges.bx - edges.ax, edges.by - edges.ay
    long = dx * dx + dy * dy > (reach * PER_METRE) ** 2

    def diverge(i: Ints, j: Ints) -> Bools:
        from_i, from_j, to_i, to_j = a[i], a[j], b[i], b[j]
        alike = (from_i == from_j) | (to_i == to_j)
        after = (from_i == to_j) | (to_i == from_j)
        along = dx[i] * dx[j] + dy[i] * dy[j]
        wide: Bools = (alike & (along <= 0)) | (after & (along >= 0))
        return wide & long[i] & long[j]

    return diverge


def _measure(edges: Edges, i: Ints, j: Ints, reach: float) -> Near:
    """Return the distances of pairs of edges, without those that are not near."""
    e, f = edges.take(i), edges.take(j)
    ea, eb, fa, fb = e.a, e.b, f.a, f.b
    distance = np.column_stack(
        [
            np.where((ea == fa) | (ea == fb), np.inf, to_edge(e.ax, e.ay, f)[0]),
            np.where((eb == fa) | (eb == fb), np.inf, to_edge(e.bx, e.by, f)[0]),
            np.where((fa == ea) | (fa == eb), np.inf, to_edge(f.ax, f.ay, e)[0]),
            np.where((fb == ea) | (fb == eb), np.inf, to_edge(f.bx, f.by, e)[0]),
        ]
    )
    joined = np.isinf(distance).any(axis=1)
    same = np.isinf(distance).all(axis=1)
    crossing = (
        (_side(e, f.ax, f.ay) * _side(e, f.bx, f.by) < 0)
        & (_side(f, e.ax, e.ay) * _side(f, e.bx, e.by) < 0)
    )  # fmt: skip
    # Edges within 1 mm touch: an exact overlay decides later.
    least = distance.min(axis=1, initial=np.inf)
    touch = crossing | same | (least <= 0.001)
    keep = touch | (least <= np.where(joined, 2 * reach, reach))
    return Near(i[keep], j[keep], distance[keep], touch[keep], joined[keep])


def _side(edge: Edges, x: Ints, y: Ints) -> Ints:
    """Return the sign of the side on which (x, y) lies of the line through an edge."""
    cross = (edge.bx - edge.ax) * (y - edge.ay) - (edge.by - edge.ay) * (x - edge.ax)
    side: Ints = np.sign(cross)
    return side


def to_edge(x: Ints, y: Ints, edge: Edges) -> tuple[Floats, Floats]:
    """Return the distances (m) of points to edges, and the nearest position along them, 0–1."""
    dx, dy = edge.bx - edge.ax, edge.by - edge.ay
    px, py = x - edge.ax, y - edge.ay
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.hypot(px - along * dx, py - along * dy) / PER_METRE, along


def covering(tree: shapely.STRtree, points: Geometries) -> tuple[Ints, Ints]:
    """Return pairs (point, parcel) of points in or on the border of parcels of the tree."""
    point, parcel = tree.query(points)
    polygons = tree.geometries
    # Else each point is compared with all vertices, of which a parcel may have 100,000.
    hit = np.unique(parcel)
    shapely.prepare(polygons[hit[shapely.get_num_coordinates(polygons[hit]) > _LARGE]])
    inside = shapely.intersects(polygons[parcel], points[point])
    return point[inside], parcel[inside]
