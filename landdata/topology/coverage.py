"""Rules on a parcel and its neighbours: overlaps, gaps and unmatched vertices.

All is decided at stored precision, coordinates being whole millimetres.

Definitions
-----------
*overlap*: two parcels whose interiors have a region in common that is wider than
`Limits.rounding`; the width is the diameter of the largest circle in the region (the widest
of its parts). *Containment* is an overlap that leaves nothing of one of the two wider than
that; *duplicate geometry* leaves nothing at all of either.

*gap*: a region that no parcel covers, wider than `Limits.rounding` and narrower than
`Limits.gap` (width as above), and that is either enclosed by parcels, or open where it ends
at a corner: its mouth, the shortest line from a corner of the boundary (`Limits.corner`) to
the parcel across, is shorter than the limit and less than half as long as the gap is deep.
So a strip, or a wedge that was torn open at a road, is a gap. A taper, two boundaries that part
at a point and widen until they are further apart than the limit without such a corner, is the
end of a road and no gap; neither is a nook that is wider than deep.

*unmatched vertex*: a vertex of one parcel on the boundary of another (within
`Limits.rounding`) that is not a vertex of it too, T-junctions included. Further off, but within
`Limits.snap`, it is a near miss, and told too, unless it is only the next vertex after a common
one where the boundaries part (further off than half its distance from the common vertex). Not
told are corners of an overlap of the two parcels, and near misses along a gap between them:
they are that defect. One finding for each vertex and other parcel.

How it is found, and why nothing is missed
------------------------------------------
Each ring runs with its parcel on the left. An edge is *matched* if it stands exactly once in
each direction; the other edges are few. Let m(p) be the number of parcels that cover p. m
changes only across unmatched edges, and any region with m ≥ 2 is bounded by unmatched edges
that have one of the overlapping parcels, A, on their inner side. Follow such an edge: either it
meets another unmatched edge elsewhere than at a simple vertex (one unmatched edge in, one out),
then the two owners are a candidate pair; or m is the same along the whole chain of edges
joined by simple vertices, and then any of its points, say a middle, lies in the other parcel,
which asking the tree of parcels tells. So of each connected region with m ≥ 2 one pair of
parcels is found. The common regions of pairs tile it, so all the others are reached by going
from each common region to those that touch it, whose parcels touch it too. (It would not do to
go from parcel to parcel: where two coverages lie on one another, both may change at one line.)
So exact overlays are made only for candidates.

A gap narrower than w has at each point of its boundary another piece of boundary less than w
away. So each of its edges is either shorter than 2 w, or has an unmatched edge that it does
not merely follow within 2 w: only these edges are made into faces.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.errors import BadSurvey
from landdata.topology.rules import Limits

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Geometries = NDArray[np.object_]

#: Coordinates are whole multiples of this many to the metre.
_PER_METRE = 1000
_THREADS = 2
_CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two parcels (indices, `first` < `second`) and the region that both cover.

    `area` m², `width` m. `inner` is the one that lies wholly inside the other, if any; `equal`
    says that both cover exactly the same.
    """

    first: int
    second: int
    area: float
    width: float
    region: BaseGeometry
    inner: int | None = None
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """A narrow region that no parcel covers, and the parcels along it, longest border first."""

    parcels: tuple[int, ...]
    area: float
    width: float
    region: BaseGeometry


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A vertex of `parcel` at `point` that `other` lacks, `distance` m off its boundary."""

    parcel: int
    other: int
    distance: float
    point: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Defects:
    """What is wrong with a coverage, in no particular order."""

    overlaps: list[Overlap]
    gaps: list[Gap]
    unmatched: list[Unmatched]


@dataclass(frozen=True, slots=True)
class _Edges:
    """Directed edges, the owner on the left. Coordinates in millimetres from `origin`."""

    origin: Ints  # (2,), millimetres
    owner: Ints
    ax: Ints
    ay: Ints
    bx: Ints
    by: Ints

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, which: Ints | Bools) -> _Edges:
        return _Edges(
            self.origin,
            self.owner[which],
            self.ax[which],
            self.ay[which],
            self.bx[which],
            self.by[which],
        )

    def metres(self, x: Ints | Floats, y: Ints | Floats) -> Floats:
        """Return places as (k, 2) coordinates in the CRS; on the grid, to the last bit."""
        return np.asarray((np.column_stack([x, y]) + self.origin) / _PER_METRE, dtype=np.float64)

    @property
    def a(self) -> Ints:
        """The start as one number."""
        return self.ax << 32 | self.ay

    @property
    def b(self) -> Ints:
        """The end as one number."""
        return self.bx << 32 | self.by

    @property
    def length(self) -> Floats:
        """Length in metres."""
        length: Floats = np.hypot(self.bx - self.ax, self.by - self.ay) / _PER_METRE
        return length

    def lines(self) -> Geometries:
        """Return the edges as lines in the CRS."""
        ends = np.stack([self.metres(self.ax, self.ay), self.metres(self.bx, self.by)], axis=1)
        return np.asarray(shapely.linestrings(ends), dtype=object)


def find(
    polygons: Geometries,
    limits: Limits | None = None,
    *,
    own: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Defects:
    """Find all defects of a coverage.

    `polygons` (n,) are valid Polygons or MultiPolygons in a projected CRS in metres on the
    1 mm grid. Only the first `own` of them are under examination (all if None): what lies
    only between later ones, the neighbours, is not told.
    """
    limits = limits or Limits()
    own = len(polygons) if own is None else own
    tell = progress or (lambda stage, share: None)
    if own == 0:
        return Defects([], [], [])
    edges, touched = _unmatched_edges(polygons)
    tell("coverage", 1 / 5)
    tree = shapely.STRtree(polygons)
    near = _near_pairs(edges, 2 * limits.gap)
    tell("coverage", 2 / 5)
    chains = _follow(edges)
    candidates = _candidates(edges, touched, near, chains, tree)
    pairs, regions = _overlapping_pairs(polygons, tree, candidates)
    overlaps = _overlaps(polygons, pairs, regions, limits, own)
    tell("coverage", 3 / 5)
    gaps = _gaps(edges, near, chains[0], tree, limits, own)
    tell("coverage", 4 / 5)
    unmatched = _unmatched_vertices(polygons, edges, near, overlaps, gaps, limits, own)
    tell("coverage", 5 / 5)
    return Defects(overlaps, gaps, unmatched)


def between(one: Geometries, two: Geometries, limits: Limits | None = None) -> list[Overlap]:
    """Find the overlaps of the polygons of `one` with those of `two`, which are numbered on.

    For a few newcomers beside a coverage that is settled: every pair is overlaid.
    """
    limits = limits or Limits()
    polygons = np.concatenate([one, two])
    if not len(one) or not len(two):
        return []
    j, i = shapely.STRtree(one).query(two, predicate="intersects")
    pairs = _distinct([np.column_stack([i, j + len(one)])])
    pairs = pairs[_interiors_meet(polygons, pairs)]
    regions = _common(polygons[pairs[:, 0]], polygons[pairs[:, 1]])
    return _overlaps(polygons, pairs, regions, limits, len(one))


# -- the sieve


def _unmatched_edges(polygons: Geometries) -> tuple[_Edges, Ints]:
    """Return the unmatched edges, and (k, 2) pairs of owners of one and the same edge."""
    size, ring_owner, shell = _rings(polygons)
    grid = np.rint(shapely.get_coordinates(polygons) * _PER_METRE).astype(np.int64)
    origin = grid.min(axis=0)
    grid -= origin
    if grid.max() >= 2**31:
        # Two such numbers must fit into one.
        raise BadSurvey(
            "The parcels lie more than 2,000 km apart, which no survey does.",
            hint="Look for a parcel with coordinates of another zone or with swapped axes.",
            code="far-apart",
        )
    ring = np.repeat(np.arange(len(size)), size)
    # From each coordinate to the next, but not from a ring's end to the next ring's start, nor
    # from a vertex to itself: a repeated point is no edge.
    same = ring[1:] == ring[:-1]
    same &= (grid[1:] != grid[:-1]).any(axis=1)
    at = np.flatnonzero(same)
    ring = ring[at]
    ax, ay = grid[at].T
    bx, by = grid[at + 1].T
    # Twice the signed area of each ring. Wrapping around 2^64 on the way does no harm.
    cross = ax * by - bx * ay
    start = np.flatnonzero(np.diff(ring, prepend=-1))
    area = np.add.reduceat(cross, start)
    of = ring[start]
    flip = np.zeros(len(size), dtype=np.bool_)
    flip[of] = (area > 0) != shell[of]
    turn = flip[ring]
    owner = ring_owner[ring]
    edges = _Edges(
        origin,
        owner,
        np.where(turn, bx, ax),
        np.where(turn, by, ay),
        np.where(turn, ax, bx),
        np.where(turn, ay, by),
    )
    a, b = edges.a, edges.b
    low, high = np.minimum(a, b), np.maximum(a, b)
    # Sorting one hash is several times faster than sorting pairs; equal hashes of unequal
    # edges are told apart below, and at worst leave an edge unmatched, which is safe.
    key = low.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(29)
    key += high.view(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    order = np.argsort(key)
    key = key[order]
    fresh = np.concatenate([[True], key[1:] != key[:-1], [True]])
    begin = np.flatnonzero(fresh)
    size = np.diff(begin)
    pair = begin[:-1][size == 2]
    one, two = order[pair], order[pair + 1]
    matched = (a[one] == b[two]) & (b[one] == a[two]) & (owner[one] != owner[two])
    left = np.ones(len(owner), dtype=np.bool_)
    left[one[matched]] = False
    left[two[matched]] = False
    # Edges that stand twice in the same direction, or more than twice.
    odd = np.flatnonzero((size >= 2) & left[order[begin[:-1]]])
    shared = [
        _all_pairs(np.unique(owner[order[begin[each] : begin[each + 1]]])) for each in odd.tolist()
    ]
    return edges.take(left), _distinct(shared)


def _rings(polygons: Geometries) -> tuple[Ints, Ints, Bools]:
    """Return each ring's number of coordinates, its owner, and whether it is a shell.

    In the order of `shapely.get_coordinates`. Taking rings out costs several times as much as
    counting, so only polygons of more than one ring are taken apart.
    """
    size = shapely.get_num_coordinates(polygons).astype(np.int64)
    owner = np.arange(len(polygons))
    one = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
    one &= shapely.get_num_interior_rings(polygons) == 0
    if one.all():
        return size, owner, one
    many = owner[~one]
    parts, part_of = shapely.get_parts(polygons[many], return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    size = np.concatenate([size[one], shapely.get_num_coordinates(rings)])
    shell = np.concatenate([one[one], np.diff(ring_of, prepend=-1) != 0])
    owner = np.concatenate([owner[one], many[part_of[ring_of]]])
    order = np.argsort(owner, kind="stable")
    return size[order], owner[order], shell[order]


def _all_pairs(members: Ints) -> Ints:
    """Return all (k, 2) pairs i < j of sorted members."""
    i, j = np.triu_indices(len(members), 1)
    return np.column_stack([members[i], members[j]])


def _distinct(pairs: list[Ints]) -> Ints:
    """Return the distinct (k, 2) pairs, the smaller index first, without self-pairs."""
    if not pairs:
        return np.empty((0, 2), dtype=np.int64)
    every = np.sort(np.concatenate(pairs).astype(np.int64), axis=1)
    every = every[every[:, 0] != every[:, 1]]
    distinct: Ints = np.unique(every, axis=0)
    return distinct


@dataclass(frozen=True, slots=True)
class _Near:
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


def _near_pairs(edges: _Edges, reach: float) -> _Near:
    """Return the pairs of edges within `reach` (m), those that merely follow each other not."""
    # Boxes alone, without a predicate: the distances follow below, for all at once.
    half = reach / 2
    boxes = shapely.box(
        np.minimum(edges.ax, edges.bx) / _PER_METRE - half,
        np.minimum(edges.ay, edges.by) / _PER_METRE - half,
        np.maximum(edges.ax, edges.bx) / _PER_METRE + half,
        np.maximum(edges.ay, edges.by) / _PER_METRE + half,
    )
    tree = shapely.STRtree(boxes)
    tree.query(boxes[:1])  # builds the tree, before the threads share it

    def ask(begin: int) -> NDArray[np.int64]:
        found = tree.query(boxes[begin : begin + _CHUNK])
        found = found[:, found[0] + begin < found[1]]
        found[0] += begin
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(ask, range(0, len(boxes), _CHUNK)))
    i, j = np.concatenate(found, axis=1) if found else np.empty((2, 0), dtype=np.int64)
    e, f = edges.take(i), edges.take(j)
    ea, eb, fa, fb = e.a, e.b, f.a, f.b
    distance = np.column_stack(
        [
            np.where((ea == fa) | (ea == fb), np.inf, _to_edge(e.ax, e.ay, f)[0]),
            np.where((eb == fa) | (eb == fb), np.inf, _to_edge(e.bx, e.by, f)[0]),
            np.where((fa == ea) | (fa == eb), np.inf, _to_edge(f.ax, f.ay, e)[0]),
            np.where((fb == ea) | (fb == eb), np.inf, _to_edge(f.bx, f.by, e)[0]),
        ]
    )
    joined = np.isinf(distance).any(axis=1)
    same = np.isinf(distance).all(axis=1)
    crossing = (
        (_side(e, f.ax, f.ay) * _side(e, f.bx, f.by) < 0)
        & (_side(f, e.ax, e.ay) * _side(f, e.bx, e.by) < 0)
    )  # fmt: skip
    # Within a millimetre is meeting: an exact overlay decides.
    touch = crossing | same | (distance.min(axis=1) <= 0.001)
    keep = touch | (distance.min(axis=1) <= reach)
    return _Near(i[keep], j[keep], distance[keep], touch[keep], joined[keep])


def _side(edge: _Edges, x: Ints, y: Ints) -> Ints:
    """Return the sign of the side of the line through each edge on which (x, y) lies."""
    cross = (edge.bx - edge.ax) * (y - edge.ay) - (edge.by - edge.ay) * (x - edge.ax)
    side: Ints = np.sign(cross)
    return side


def _to_edge(x: Ints, y: Ints, edge: _Edges) -> tuple[Floats, Floats]:
    """Return the distance (m) of points from edges, and where along it the nearest is (0–1)."""
    dx, dy = edge.bx - edge.ax, edge.by - edge.ay
    px, py = x - edge.ax, y - edge.ay
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.hypot(px - along * dx, py - along * dy) / _PER_METRE, along


# -- overlaps


def _follow(edges: _Edges) -> tuple[Ints, Bools]:
    """Join the edges that follow each other through simple vertices.

    Returns each edge's following edge (itself where a chain ends), and which edges have a
    vertex that is not simple.
    """
    a, b = edges.a, edges.b
    by_start, by_end = np.argsort(a), np.argsort(b)
    starts, ends = a[by_start], b[by_end]
    once = _once(starts) & (
        np.searchsorted(ends, starts, "right") - np.searchsorted(ends, starts) == 1
    )
    before = by_end[np.searchsorted(ends, starts[once])]
    after = by_start[once]
    follow = np.arange(len(edges))
    follow[before] = after
    loose = np.ones((2, len(edges)), dtype=np.bool_)
    loose[0, before] = False
    loose[1, after] = False
    return follow, loose[0] | loose[1]


def _once(values: Ints) -> Bools:
    """Tell which of sorted values stand only once."""
    fresh = np.concatenate([[True], values[1:] != values[:-1], [True]])
    once: Bools = fresh[:-1] & fresh[1:]
    return once


def _chain_of(follow: Ints) -> Ints:
    """Return for each edge one edge that stands for its chain."""
    ends = follow == np.arange(len(follow))
    low = np.arange(len(follow))
    step = follow.copy()
    for _ in range(max(1, len(follow).bit_length())):
        low = np.minimum(low, low[step])
        step = step[step]
    chain: Ints = np.where(ends[step], step, low)
    return chain


def _candidates(
    edges: _Edges,
    shared: Ints,
    near: _Near,
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
    follow, knotted = chains
    stop = cut | cut[follow]
    follow = np.where(stop, np.arange(len(edges)), follow)
    # At a vertex that is not simple, every two parcels that have unmatched edges there.
    at = np.flatnonzero(knotted)
    vertex = np.concatenate([edges.a[at], edges.b[at]])
    parcel = np.concatenate([owner[at], owner[at]])
    found += _meeting(vertex, parcel)
    # One point of each chain; each cut edge is a chain.
    ask = np.unique(_chain_of(follow))
    some = edges.take(ask)
    middle = shapely.points(some.metres((some.ax + some.bx) / 2, (some.ay + some.by) / 2))
    point, parcel = tree.query(middle, predicate="intersects")
    found.append(np.column_stack([some.owner[point], parcel]))
    return _distinct(found)


def _overlapping_pairs(
    polygons: Geometries, tree: shapely.STRtree, pairs: Ints
) -> tuple[Ints, Geometries]:
    """Return all (k, 2) pairs whose interiors meet, and the regions, starting from candidates.

    A region that touches one already found belongs to two parcels that touch that one too.
    """
    shapely.prepare(polygons[np.unique(pairs)])
    tested = np.empty(0, dtype=np.int64)
    found, regions = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=object)]
    while len(pairs):
        tested = np.union1d(tested, _packed(pairs))
        pairs = pairs[_interiors_meet(polygons, pairs)]
        region = _common(polygons[pairs[:, 0]], polygons[pairs[:, 1]])
        found.append(pairs)
        regions.append(region)
        # A region computed is a region rounded: ask a millimetre around it.
        of, parcel = tree.query(region, predicate="dwithin", distance=0.001)
        pairs = _distinct(_meeting(of, parcel))
        pairs = pairs[~np.isin(_packed(pairs), tested)]
    return np.concatenate(found), np.concatenate(regions)


def _common(one: Geometries, two: Geometries) -> Geometries:
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


def _interiors_meet(polygons: Geometries, pairs: Ints) -> Bools:
    """Tell for each (k, 2) pair whether the interiors have a point in common."""
    meets: Bools = shapely.relate_pattern(polygons[pairs[:, 0]], polygons[pairs[:, 1]], "T********")
    return meets


def _overlaps(
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
    # Wholly inside: nothing of it wider than rounding remains outside.
    inside, around = (
        shapely.is_empty(shapely.buffer(shapely.difference(*order), -limits.rounding / 2))
        for order in ((one, two), (two, one))
    )
    first_smaller = shapely.area(one) <= shapely.area(two)
    inner = np.where(
        inside & (first_smaller | ~around), pairs[:, 0], np.where(around, pairs[:, 1], -1)
    )
    return [
        Overlap(i, j, area, wide_, region, within if within >= 0 else None, equal)
        for (i, j), area, wide_, region, within, equal in zip(
            pairs.tolist(),
            shapely.area(regions).tolist(),
            widths.tolist(),
            regions,
            inner.tolist(),
            shapely.equals(one, two).tolist(),
            strict=True,
        )
    ]


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


def width(shapes: Geometries) -> Floats:
    """Return the diameter (m) of the largest circle in each polygonal shape; 0 if empty.

    Of several parts the widest counts. Exact for triangles; otherwise to about 0.1 %, and never
    more than the true one: the part is shrunk until nothing is left, which tells where the
    centre is to be looked for.
    """
    parts, of = shapely.get_parts(shapes, return_index=True)
    keep = shapely.area(parts) > 0
    parts, of = shapely.normalize(parts[keep]), of[keep]
    result = np.zeros(len(shapes))
    area, around = shapely.area(parts), shapely.length(parts)
    triangle = (shapely.get_num_coordinates(parts) == 4) & (
        shapely.get_num_interior_rings(parts) == 0
    )
    np.maximum.at(result, of[triangle], 4 * area[triangle] / around[triangle])
    parts, of, area, around = (each[~triangle] for each in (parts, of, area, around))
    if not len(parts):
        return result
    # A circle of diameter 2 · area / perimeter fits in any polygon; one of the same area is
    # the largest conceivable.
    low, high = 2 * area / around, 2 * np.sqrt(area / np.pi)
    # Near the origin, where floating point resolves far below what is left of a sliver.
    origin = np.floor(shapely.total_bounds(parts)[:2])
    parts = shapely.transform(parts, lambda xy: xy - origin)
    kernel = parts.copy()
    while len(open_ := np.flatnonzero(high - low > np.maximum(1e-5, 2e-3 * low))):
        middle = (low[open_] + high[open_]) / 2
        shrunk = shapely.buffer(parts[open_], -middle / 2)
        gone = shapely.is_empty(shrunk)
        high[open_[gone]] = middle[gone]
        low[open_[~gone]] = middle[~gone]
        kernel[open_[~gone]] = shrunk[~gone]
    # GEOS simplifies what it shrinks by up to 1 %: look around for the best centre.
    rim = shapely.boundary(parts)
    shapely.prepare(rim)
    centre = shapely.get_coordinates(shapely.point_on_surface(kernel))
    radius = shapely.distance(shapely.points(centre), rim)
    step = low / 16
    angle = np.arange(8) * np.pi / 4
    compass = np.column_stack([np.cos(angle), np.sin(angle)])
    for _ in range(16):
        around_it = centre[:, None] + compass * step[:, None, None]
        there = shapely.distance(shapely.points(around_it), rim[:, None])
        best = there.argmax(axis=1)
        at = np.arange(len(parts))
        better = there[at, best] > radius
        centre[better] = around_it[at, best][better]
        radius[better] = there[at, best][better]
        step[~better] /= 2
    np.maximum.at(result, of, 2 * radius)
    return result


# -- gaps


def _gaps(
    edges: _Edges,
    near: _Near,
    follow: Ints,
    tree: shapely.STRtree,
    limits: Limits,
    own: int,
) -> list[Gap]:
    """Find the narrow regions that no parcel covers."""
    use = edges.length <= 2 * limits.gap
    use[near.i] = True
    use[near.j] = True
    if not use.any():
        return []
    doors = _doors(edges, near, follow, limits)
    edges = edges.take(use)
    lines = edges.lines()
    noded = shapely.union_all(np.concatenate([lines, doors]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    # What is surely wider than the limit is a road.
    faces = faces[2 * shapely.area(faces) < limits.gap * shapely.length(faces)]
    if not len(faces):
        return []
    covered = tree.query(shapely.point_on_surface(faces), predicate="intersects")[0]
    free = np.ones(len(faces), dtype=np.bool_)
    free[covered] = False
    # Doors within one gap part it into several faces.
    regions = shapely.get_parts(shapely.union_all(faces[free], grid_size=1e-6))
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
        mouth = shapely.length(
            shapely.intersection(shapely.buffer(regions[region], 1e-5), doors[door])
        )
        inside = shapely.length(
            shapely.intersection(shapely.buffer(regions[region], -1e-5), doors[door])
        )
        outer = (mouth > 1e-3) & (inside < mouth / 2)
        depth = shapely.hausdorff_distance(regions[region], doors[door])
        shut[region[outer & (depth < 2 * mouth)]] = False
        regions, widths = regions[shut], widths[shut]
    # Who lies along it, and how far.
    border = shapely.STRtree(lines)
    region, edge = border.query(regions, predicate="dwithin", distance=1e-4)
    shared = shapely.length(
        shapely.intersection(shapely.buffer(regions[region], 1e-4), lines[edge])
    )
    found = []
    for at, shape in enumerate(regions):
        mine = region == at
        owners, index = np.unique(edges.owner[edge[mine]], return_inverse=True)
        length = np.bincount(index, weights=shared[mine], minlength=len(owners))
        order = np.lexsort((owners, -np.rint(length * _PER_METRE)))
        parcels = tuple(int(owners[k]) for k in order if length[k] > limits.rounding)
        if any(parcel < own for parcel in parcels):
            found.append(Gap(parcels, shape.area, float(widths[at]), shape))
    return found


_DOORS = 3  # from one corner to one parcel


def _doors(edges: _Edges, near: _Near, follow: Ints, limits: Limits) -> Geometries:
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
        _, along = _to_edge(x, y, f)
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


def _corners(edges: _Edges, follow: Ints, limits: Limits) -> tuple[Bools, Bools]:
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


# -- unmatched vertices


def _unmatched_vertices(
    polygons: Geometries,
    edges: _Edges,
    near: _Near,
    overlaps: list[Overlap],
    gaps: list[Gap],
    limits: Limits,
    own: int,
) -> list[Unmatched]:
    """Find the vertices on or near another parcel's boundary that are no vertices of it."""
    parcel, other, distance, xs, ys = [], [], [], [], []
    lengths = edges.length
    for column, (vertex, across) in enumerate(
        ((near.i, near.j), (near.i, near.j), (near.j, near.i), (near.j, near.i))
    ):
        end = column % 2 == 1
        far = near.distance[:, column]
        pick = (far <= limits.snap) & (edges.owner[near.i] != edges.owner[near.j])
        pick &= (edges.owner[near.i] < own) | (edges.owner[near.j] < own)
        # The vertex after a common one, where the boundaries part, missed nothing.
        pick &= ~(near.joined & (far > limits.rounding) & (far > lengths[vertex] / 2))
        e = edges.take(vertex[pick])
        parcel.append(e.owner)
        other.append(edges.owner[across[pick]])
        distance.append(far[pick])
        xs.append(e.bx if end else e.ax)
        ys.append(e.by if end else e.ay)
    mine, theirs = np.concatenate(parcel), np.concatenate(other)
    far, x, y = np.concatenate(distance), np.concatenate(xs), np.concatenate(ys)
    if not len(mine):
        return []
    # Not if the other parcel has that vertex after all, on an edge that is matched.
    asked = np.unique(theirs)
    xy, of = shapely.get_coordinates(polygons[asked], return_index=True)
    grid = np.rint(xy * _PER_METRE).astype(np.int64) - edges.origin
    has = set(zip(asked[of].tolist(), grid[:, 0].tolist(), grid[:, 1].tolist(), strict=True))
    # By other parcel and vertex: the distance and the owners.
    best: dict[tuple[int, int, int], tuple[float, set[int]]] = {}
    for p, q, d, u, v in zip(
        mine.tolist(), theirs.tolist(), far.tolist(), x.tolist(), y.tolist(), strict=True
    ):
        if (q, u, v) in has or min(p, q) >= own:
            continue
        nearest, owners = best.setdefault((q, u, v), (d, set()))
        owners.add(p)
        best[q, u, v] = (min(d, nearest), owners)
    keys = np.array(list(best), dtype=np.int64).reshape(-1, 3)
    found = [
        Unmatched(min(owners), q, d, (px, py))
        for q, (px, py), (d, owners) in zip(
            keys[:, 0].tolist(),
            edges.metres(keys[:, 1], keys[:, 2]).tolist(),
            best.values(),
            strict=True,
        )
    ]
    told = _told_already(found, [owners for _, owners in best.values()], overlaps, gaps, limits)
    return [each for at, each in enumerate(found) if at not in told]


def _told_already(
    vertices: list[Unmatched],
    owners: list[set[int]],
    overlaps: list[Overlap],
    gaps: list[Gap],
    limits: Limits,
) -> set[int]:
    """Return which vertices are but corners of an overlap, or of a gap, of their parcels.

    A vertex right on the boundary along a gap is told beside it: closing the gap would not
    give it its counterpart.
    """
    regions: list[tuple[BaseGeometry, tuple[int, ...], bool]] = [
        (each.region, (each.first, each.second), True) for each in overlaps
    ]
    regions += [(each.region, each.parcels, False) for each in gaps]
    if not regions or not vertices:
        return set()
    points = shapely.points(np.array([each.point for each in vertices]))
    shapes = np.array([shape for shape, _, _ in regions], dtype=object)
    at, region = shapely.STRtree(shapes).query(
        points, predicate="dwithin", distance=limits.rounding
    )
    told = set()
    for k, r in zip(at.tolist(), region.tolist(), strict=True):
        _, parcels, overlapped = regions[r]
        both = vertices[k].other in parcels and not owners[k].isdisjoint(parcels)
        if both and (overlapped or vertices[k].distance > limits.rounding):
            told.add(k)
    return told
