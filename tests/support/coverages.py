"""Made-up coverages with a known truth: parcels in blocks, roads and canals, ponds, defects.

Used by the tests and by bench/topology.py; knows nothing of landdata.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

ORIGIN = np.array([548_000.0, 1_281_000.0])  # inside Bình Phước in EPSG:9212
Shapes = NDArray[Any]  # of dtype object
Points = NDArray[np.float64]  # of shape (n, 2), or (2,)
#: A rule, the parcels and, of what concerns vertices, the place.
Fact = tuple[Any, ...]


@dataclass
class Coverage:
    """Polygons on the 1 mm grid that share every vertex, and the cell (row, column) of each."""

    polygons: Shapes
    cell: NDArray[np.int_]
    truth: set[Fact] = field(default_factory=set)
    places: list[tuple[float, float]] = field(default_factory=list)
    courts: dict[int, tuple[float, float]] = field(default_factory=dict)  # by parcel, where

    def __len__(self) -> int:
        return len(self.polygons)


def grid(xy: ArrayLike) -> NDArray[Any]:
    """Return coordinates in metres on the 1 mm grid."""
    return np.asarray(np.rint(np.asarray(xy) * 1000) / 1000)


def place_of(shape: shapely.Geometry) -> tuple[float, float]:
    """Return the lower left corner of a shape's box."""
    return tuple(np.round(shapely.bounds(shape)[:2], 3).tolist())


def make(
    rng: np.random.Generator,
    columns: int,
    rows: int,
    *,
    extra: int = 1,
    roads: bool = True,
    merges: float = 0.1,
    ponds: float = 0.05,
    courts: float = 0.02,
) -> Coverage:
    """Make about columns · rows parcels.

    `extra` vertices on each edge of the lattice, off its line, so that boundaries bend; some
    columns and rows of the lattice are roads, canals and footpaths (0.9 to 8 m wide) that
    nobody owns; a share `merges` of the cells joins its neighbour, so that others' boundaries
    end on its side (T-junctions, with a vertex in all); `ponds` have a parcel inside another;
    `courts` are holes that belong to nobody, the one truth of a coverage without defects.
    """
    wide = rng.uniform(14, 26, columns)
    high = rng.uniform(14, 30, rows)
    no_column = np.zeros(columns, dtype=bool)
    no_row = np.zeros(rows, dtype=bool)
    if roads:
        no_column[4::9] = True
        no_row[2::5] = True
        wide[no_column] = rng.uniform(0.9, 8, no_column.sum())
        high[no_row] = rng.uniform(0.9, 8, no_row.sum())
    x = np.concatenate([[0], np.cumsum(wide)])
    y = np.concatenate([[0], np.cumsum(high)])
    # Nodes, jittered, but not so that a road shrinks: the two sides of one move alike.
    dx = rng.uniform(-2.5, 2.5, (rows + 1, columns + 1))
    dy = rng.uniform(-2.5, 2.5, (rows + 1, columns + 1))
    for column in np.flatnonzero(no_column):
        dx[:, column + 1] = dx[:, column]
        dy[:, column + 1] = dy[:, column]
    for row in np.flatnonzero(no_row):
        dx[row + 1] = dx[row]
        dy[row + 1] = dy[row]
    node = np.stack([x[None, :] + dx, y[:, None] + dy], axis=-1)

    def bend(start: Points, end: Points, across: NDArray[np.bool_]) -> Points:
        """Points along each edge, bent sideways by up to 0.4 m; not where a road is narrow."""
        t = (np.arange(1, extra + 1) / (extra + 1))[:, None]
        points = start[..., None, :] * (1 - t) + end[..., None, :] * t
        way = end - start
        length = np.hypot(*np.moveaxis(way, -1, 0))[..., None]
        normal = np.stack([-way[..., 1], way[..., 0]], axis=-1) / length
        off = rng.uniform(-0.4, 0.4, (*points.shape[:-1], 1)) * across[..., None, None]
        return np.asarray(points + off * normal[..., None, :])

    beside = np.zeros(columns + 1, dtype=bool)
    beside[:-1] |= no_column
    beside[1:] |= no_column
    below = np.zeros(rows + 1, dtype=bool)
    below[:-1] |= no_row
    below[1:] |= no_row
    flat = bend(node[:, :-1], node[:, 1:], np.broadcast_to(~below[:, None], (rows + 1, columns)))
    tall = bend(node[:-1], node[1:], np.broadcast_to(~beside[None, :], (rows, columns + 1)))
    ring = np.concatenate(
        [
            node[:-1, :-1, None],
            flat[:-1],
            node[:-1, 1:, None],
            tall[:, 1:],
            node[1:, 1:, None],
            flat[1:, :, ::-1],
            node[1:, :-1, None],
            tall[:, :-1, ::-1],
        ],
        axis=2,
    )
    keep = ~(no_row[:, None] | no_column[None, :])
    cell = np.argwhere(keep)
    polygons: Any = shapely.polygons(grid(ring[keep] + ORIGIN))
    index = np.full((rows, columns), -1)
    index[keep] = np.arange(len(cell))
    gone = np.zeros(len(cell), dtype=bool)
    used = np.zeros(len(cell), dtype=bool)
    # Merges.
    left = np.flatnonzero((rng.random(len(cell)) < merges) & (cell[:, 1] < columns - 1))
    right = index[cell[left, 0], np.minimum(cell[left, 1] + 1, columns - 1)]
    fine = []
    for a, b in zip(left, right, strict=True):
        if b >= 0 and not used[a] and not used[b]:
            used[[a, b]] = True
            gone[b] = True
            fine.append((a, b))
    if fine:
        a, b = np.array(fine).T
        polygons[a] = shapely.union(polygons[a], polygons[b])
    # Ponds and courts.
    free = np.flatnonzero(~used)
    dice = rng.random(len(free))
    inner, inner_cell, yard = [], [], {}
    angle = np.arange(6) * np.pi / 3
    hexagon = np.column_stack([np.cos(angle), np.sin(angle)])
    for at in free[dice < ponds + courts]:
        used[at] = True
        centre = shapely.get_coordinates(shapely.centroid(polygons[at]))[0]
        hole = grid(centre + hexagon * rng.uniform(1.5, 3.0))
        shell = shapely.get_coordinates(polygons[at])
        polygons[at] = shapely.Polygon(shell, [hole[::-1]])
        if dice[np.searchsorted(free, at)] < ponds:
            inner.append(shapely.Polygon(hole))
            inner_cell.append(cell[at])
        else:
            yard[int(np.count_nonzero(~gone[:at]))] = place_of(shapely.Polygon(hole))
    out = np.concatenate([polygons[~gone], np.array(inner, dtype=object)])
    cells = np.concatenate([cell[~gone], np.array(inner_cell).reshape(-1, 2)]).astype(int)
    coverage = Coverage(out, cells, courts=yard)
    coverage.truth = {("unparcelled-area", frozenset((k,)), at) for k, at in yard.items()}
    assert shapely.is_valid(out).all()
    return coverage


#: What `inject` can do; each leaves exactly the findings that it adds to the truth.
KINDS = (
    "overlap",
    "gap",
    "torn-at-road",
    "unmatched",
    "slid-vertex",
    "duplicate",
    "containment",
    "bridge",
)


def inject(
    rng: np.random.Generator,
    coverage: Coverage,
    count: int,
    *,
    kinds: tuple[str, ...] = KINDS,
    sizes: tuple[float, float] = (0.002, 0.3),
) -> Coverage:
    """Return the coverage with up to `count` defects, far enough apart not to meet.

    The truth is a set of (rule, {parcels}) for what concerns pairs, and of (rule, {parcels},
    place) for vertices.
    """
    polygons = coverage.polygons.copy()
    added: list[shapely.Polygon] = []
    truth: set[Fact] = set()
    places: list[tuple[float, float]] = []
    taken: set[tuple[int, int]] = set()
    tree = shapely.STRtree(coverage.polygons)
    left, tries = count, 0
    for at in rng.permutation(len(polygons)):
        if not left:
            break
        row, column = coverage.cell[at]
        # A defect keeps to itself a square of three by three, with a margin, of cells.
        if (row // 4, column // 4) in taken or row % 4 not in (1, 2) or column % 4 not in (1, 2):
            continue
        # Not every kind goes everywhere (without roads nothing is torn open at one).
        kind = kinds[tries % len(kinds)]
        tries += 1
        size = float(np.exp(rng.uniform(*np.log(sizes))))
        new = len(polygons) + len(added)
        done = _spoil(rng, coverage.polygons, tree, int(at), kind, size, new)
        if done is None:
            continue
        changed, extra, facts, place = done
        for index, polygon in changed.items():
            polygons[index] = polygon
        added += extra
        truth |= facts
        places.append(place)
        taken.add((row // 4, column // 4))
        left -= 1
    twins = {}
    for fact in truth:
        if fact[0] == "duplicate-geometry":
            one, two = sorted(fact[1])
            twins[one] = two
    truth |= {
        ("unparcelled-area", frozenset((at, twins.get(at, at))), place)
        for at, place in coverage.courts.items()
    }
    out = np.concatenate([polygons, np.array(added, dtype=object)])
    cell = np.concatenate([coverage.cell, np.full((len(added), 2), -1)])
    assert shapely.is_valid(out).all()
    return Coverage(out, cell, truth, places)


def _spoil(  # noqa: PLR0911, PLR0912
    rng: np.random.Generator,
    polygons: Shapes,
    tree: shapely.STRtree,
    at: int,
    kind: str,
    size: float,
    new: int,
) -> tuple[dict[int, shapely.Polygon], list[shapely.Polygon], set[Fact], Any] | None:
    """Return (changed polygons, added ones, truth, place) of one defect; None if it won't go."""
    polygon = polygons[at]
    ring = shapely.get_coordinates(shapely.get_exterior_ring(polygon))[:-1]
    holes = [shapely.get_coordinates(hole) for hole in polygon.interiors]
    ring = ring if shapely.LinearRing(ring).is_ccw else ring[::-1]

    def with_ring(points: Points) -> shapely.Polygon:
        return shapely.Polygon(points, holes)

    def others(point: Points, reach: float = 1e-6) -> list[int]:
        indices = tree.query(shapely.Point(point), predicate="dwithin", distance=reach)
        return [int(i) for i in indices if i != at]

    n = len(ring)
    facts: set[Fact]
    if kind == "duplicate":
        turned = np.roll(ring, int(rng.integers(n)), axis=0)[::-1]
        return (
            {},
            [with_ring(turned)],
            {("duplicate-geometry", frozenset((at, new)))},
            tuple(ring[0]),
        )
    if kind == "containment":
        point = shapely.get_coordinates(shapely.point_on_surface(polygon))[0]
        half = min(0.4 * shapely.distance(shapely.Point(point), polygon.boundary), 2.0)
        half = max(min(half, 50 * size), 0.002)
        box = shapely.box(*grid(point - half), *grid(point + half))
        return {}, [box], {("containment", frozenset((at, new)))}, tuple(point)
    for k in rng.permutation(n):
        before, here, after = ring[k - 1], ring[k], ring[(k + 1) % n]
        near = others(here)
        if kind in ("overlap", "gap"):
            # A vertex between us and one other only, moved to or fro across the boundary.
            if len(near) != 1 or len(others((before + here) / 2)) != 1:
                continue
            if len(others((after + here) / 2, 1e-3)) != 1:
                continue
            way = (after - before) / np.hypot(*(after - before))
            out = np.array([way[1], -way[0]])
            moved = grid(here + out * size * (1 if kind == "overlap" else -1))
            if np.abs(_height(before, after, moved) - _height(before, after, here)) < 0.002:
                continue
            points = ring.copy()
            points[k] = moved
            return {at: with_ring(points)}, [], {(kind, frozenset((at, near[0])))}, tuple(here)
        if kind == "torn-at-road":
            # A corner of two parcels at a road: ours draws back along the road.
            if len(near) != 1:
                continue
            if len(others((here + after) / 2, 1e-3)) or len(others((before + here) / 2, 1e-3)) != 1:
                continue
            if np.hypot(*(after - here)) < 3 or np.hypot(*(before - here)) < 3:
                continue
            if len(others(here, 0.45)) != 1:  # a narrow way would be shut by it
                continue
            moved = grid(here + (after - here) / np.hypot(*(after - here)) * size)
            if np.abs(_height(before, here, moved)) < 0.002:
                continue
            points = ring.copy()
            points[k] = moved
            return {at: with_ring(points)}, [], {("gap", frozenset((at, near[0])))}, tuple(here)
        middle = grid((here + after) / 2)
        near = others(middle, 1e-3)
        if len(near) != 1:
            continue
        pair = frozenset((at, near[0]))
        if kind == "unmatched":
            points = np.insert(ring, k + 1, middle, axis=0)
            facts = {("unmatched-vertex", pair, tuple(middle.tolist()))}
            return {at: with_ring(points)}, [], facts, tuple(middle)
        if kind == "slid-vertex":
            # A vertex that slid along the boundary: on it still, at another place.
            points = np.insert(ring, k + 1, middle, axis=0)
            slid = grid(middle + (after - here) / np.hypot(*(after - here)) * size)
            theirs = _with_vertex(polygons[near[0]], here, after, slid)
            if theirs is None:
                continue
            facts = {
                ("unmatched-vertex", pair, tuple(middle.tolist())),
                ("unmatched-vertex", pair, tuple(slid.tolist())),
            }
            return {at: with_ring(points), near[0]: theirs}, [], facts, tuple(middle)
        if kind == "bridge":
            # A box over the boundary of two parcels, none of its edges near theirs.
            half = 0.2 * min(np.hypot(*(after - here)), 2.0)
            box = shapely.box(*grid(middle - half), *grid(middle + half))
            if set(tree.query(box, predicate="intersects").tolist()) != {at, near[0]}:
                continue
            facts = {("overlap", frozenset((at, new))), ("overlap", frozenset((near[0], new)))}
            return {}, [box], facts, tuple(middle)
    return None


def _height(a: Points, b: Points, point: Points) -> float:
    """Signed distance of a point from the line a–b."""
    way = b - a
    off = point - a
    return float((way[0] * off[1] - way[1] * off[0]) / np.hypot(*way))


def _with_vertex(
    polygon: shapely.Polygon, a: Points, b: Points, vertex: Points
) -> shapely.Polygon | None:
    """Return the polygon with a vertex put into its edge a–b, whichever way that runs."""
    rings = [polygon.exterior, *polygon.interiors]
    for which, ring in enumerate(rings):
        points = shapely.get_coordinates(ring)
        for k in range(len(points) - 1):
            ends = points[k], points[k + 1]
            if any(
                np.array_equal(ends[0], p) and np.array_equal(ends[1], q)
                for p, q in ((a, b), (b, a))
            ):
                points = np.insert(points, k + 1, vertex, axis=0)
                done = [shapely.get_coordinates(r) for r in rings]
                done[which] = points
                return shapely.Polygon(done[0], done[1:])
    return None
