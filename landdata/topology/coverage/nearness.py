"""Which unmatched edges come near each other, and how."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely

from landdata.topology.coverage.edges import PER_METRE, THREADS, Bools, Edges, Floats, Ints

_CHUNK = 20_000


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
    # Boxes alone, without a predicate: the distances follow.
    half = reach / 2
    boxes = shapely.box(
        np.minimum(edges.ax, edges.bx) / PER_METRE - half,
        np.minimum(edges.ay, edges.by) / PER_METRE - half,
        np.maximum(edges.ax, edges.bx) / PER_METRE + half,
        np.maximum(edges.ay, edges.by) / PER_METRE + half,
    )
    tree = shapely.STRtree(boxes)
    tree.query(boxes[:1])  # builds the tree, before the threads share it

    def ask(begin: int) -> Near:
        i, j = tree.query(boxes[begin : begin + _CHUNK])
        i += begin
        later = i < j
        return _how_near(edges, i[later], j[later], reach)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(ask, range(0, len(boxes), _CHUNK)))
    if not found:
        none = np.empty(0, dtype=np.int64)
        found = [_how_near(edges, none, none, reach)]
    return Near(
        np.concatenate([each.i for each in found]),
        np.concatenate([each.j for each in found]),
        np.concatenate([each.distance for each in found]),
        np.concatenate([each.touch for each in found]),
        np.concatenate([each.joined for each in found]),
    )


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
