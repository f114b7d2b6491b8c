"""Which unmatched edges come near each other, and how; and which parcels a point lies in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from landdata.topology.coverage.edges import PER_METRE, Bools, Edges, Floats, Geometries, Ints
from landdata.topology.parallel import spread

_LAST = (1 << 32) - 1
_LARGE = 100  # vertices
_PAIRS = 1 << 17  # looked at at a time; what they need fits into a processor's cache


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of unmatched edges that come near each other, and how.

    `i` < `j` index the edges. `distance` (k, 4) is from the start and end of i to edge j, then
    of j to i, in metres, infinite for a vertex that both have; `touch` says that the
    edges meet other than in a common end.
    """

    i: Ints
    j: Ints
    distance: Floats
    touch: Bools
    joined: Bools  # has a common end


def near_pairs(edges: Edges, reach: float) -> Near:
    """Return the pairs of edges within `reach` (m), and those with a common end within twice that.

    Those that merely follow each other are none.
    """
    if not len(edges):
        none = np.empty(0, dtype=np.int64)
        return _how_near(edges, none, none, reach)
    boxes = _Boxes.of(edges, round(reach * PER_METRE) + 1)
    parting = _parting(edges, 2 * reach)

    def ask(some: slice) -> Near:
        i, j = boxes.pairs(some)
        stay = ~parting(i, j)
        return _how_near(edges, i[stay], j[stay], reach)

    found = spread(ask, boxes.portions())
    return Near(
        np.concatenate([each.i for each in found]),
        np.concatenate([each.j for each in found]),
        np.concatenate([each.distance for each in found]),
        np.concatenate([each.touch for each in found]),
        np.concatenate([each.joined for each in found]),
    )


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes of edges, in bands from south to north and in each from west to east.

    A box stands in every band that it reaches into. Whichever others begin before it ends, of
    those that come later in its band, are next to it or above it, and few.
    """

    edge: Ints
    band: Ints
    behind: Ints  # how many of those that follow in its band begin before it ends
    first: Ints  # by edge, its southernmost band
    low: Ints  # by edge, north
    high: Ints
    reach: int

    @classmethod
    def of(cls, edges: Edges, reach: int) -> _Boxes:
        """Sort the boxes of edges, in which another is near that is within `reach` (mm)."""
        west, east = np.minimum(edges.ax, edges.bx), np.maximum(edges.ax, edges.bx) + reach
        low, high = np.minimum(edges.ay, edges.by), np.maximum(edges.ay, edges.by)
        # As high as edges are on the average: so each stands in two or three bands.
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
        """Cut the boxes into portions of about `_PAIRS` pairs."""
        so_far = np.cumsum(self.behind)
        cuts = (
            np.searchsorted(so_far, np.arange(_PAIRS, max(int(so_far[-1]), 1) + _PAIRS, _PAIRS)) + 1
        )
        cuts = np.unique(np.minimum(cuts, len(so_far)))
        begins = np.concatenate([[0], cuts[:-1]])
        return [slice(b, e) for b, e in zip(begins.tolist(), cuts.tolist(), strict=True)]

    def pairs(self, some: slice) -> tuple[Ints, Ints]:
        """Return the pairs of edges i < j whose boxes are near, each pair in one portion only."""
        behind = self.behind[some]
        one = np.repeat(np.arange(some.start, some.stop), behind)
        two = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(behind) - behind, behind)
        i, j = self.edge[one], self.edge[two]
        # Of the bands that both are in, the southernmost counts.
        near = self.band[one] == np.maximum(self.first[i], self.first[j])
        near &= self.low[i] <= self.high[j] + self.reach
        near &= self.low[j] <= self.high[i] + self.reach
        i, j = i[near], j[near]
        return np.minimum(i, j), np.maximum(i, j)


def _parting(edges: Edges, reach: float) -> Callable[[Ints, Ints], Bools]:
    """Return what tells which pairs only meet in a common end, and part there by 90° or more.

    Each far end is as far from the other edge then as its own edge is long. Nearly all edges
    that follow each other around a block do so, and are out of the way at little cost.
    """
    a, b = edges.a, edges.b
    dx, dy = edges.bx - edges.ax, edges.by - edges.ay
    long = dx * dx + dy * dy > (reach * PER_METRE) ** 2

    def ask(i: Ints, j: Ints) -> Bools:
        from_i, from_j, to_i, to_j = a[i], a[j], b[i], b[j]
        alike = (from_i == from_j) | (to_i == to_j)
        after = (from_i == to_j) | (to_i == from_j)
        along = dx[i] * dx[j] + dy[i] * dy[j]
        parts: Bools = (alike & (along <= 0)) | (after & (along >= 0))
        return parts & long[i] & long[j]

    return ask


def _how_near(edges: Edges, i: Ints, j: Ints, reach: float) -> Near:
    """Measure pairs of edges; those that are not near are dropped."""
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
    # Within a millimetre is meeting: an exact overlay decides.
    least = distance.min(axis=1, initial=np.inf)
    touch = crossing | same | (least <= 0.001)
    keep = touch | (least <= np.where(joined, 2 * reach, reach))
    return Near(i[keep], j[keep], distance[keep], touch[keep], joined[keep])


def _side(edge: Edges, x: Ints, y: Ints) -> Ints:
    """Return the sign of the side of the line through each edge on which (x, y) lies."""
    cross = (edge.bx - edge.ax) * (y - edge.ay) - (edge.by - edge.ay) * (x - edge.ax)
    side: Ints = np.sign(cross)
    return side


def to_edge(x: Ints, y: Ints, edge: Edges) -> tuple[Floats, Floats]:
    """Return the distance (m) of points from edges, and where along it the nearest is (0–1)."""
    dx, dy = edge.bx - edge.ax, edge.by - edge.ay
    px, py = x - edge.ax, y - edge.ay
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.hypot(px - along * dx, py - along * dy) / PER_METRE, along


def covering(tree: shapely.STRtree, points: Geometries) -> tuple[Ints, Ints]:
    """Return which points lie in or on the border of which parcels of the tree."""
    point, parcel = tree.query(points)
    polygons = tree.geometries
    # Else each point asks all vertices of a parcel that may have a hundred thousand.
    asked = np.unique(parcel)
    shapely.prepare(polygons[asked[shapely.get_num_coordinates(polygons[asked]) > _LARGE]])
    hit = shapely.intersects(polygons[parcel], points[point])
    return point[hit], parcel[hit]
