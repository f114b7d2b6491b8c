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
away. So each of its edges is either shorter than 2 w, or has an unmatched edge within w, or one
that it has an end in common with and whose far end is within 2 w: only these are made into faces.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

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
    islands: list[int]  # parcels that stand alone


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
        return Defects([], [], [], [])
    edges, touched = _unmatched_edges(polygons)
    tell("coverage", 1 / 5)
    tree = shapely.STRtree(polygons)
    near = _near_pairs(edges, limits.gap)
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
    return Defects(overlaps, gaps, unmatched, _islands(polygons, edges, tree, limits, own))


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
    """Return the unmatched edges, and (k, 2) pairs of owners of one and the same edge.

    An edge is known by its place: that of its start among all coordinates. numpy lets go of
    the interpreter's lock, so threads share the work, a stretch of coordinates each.
    """
    size, ring_owner, shell = rings(polygons)
    stop = np.cumsum(size)
    origin, vertex = _packed_vertices(shapely.get_coordinates(polygons))
    count = len(vertex)
    ring = np.repeat(np.arange(len(size), dtype=np.int32), size)
    is_edge = np.zeros(count, dtype=np.bool_)
    key = np.empty(count, dtype=np.uint64)
    area = np.zeros(len(size), dtype=np.int64)

    def weigh(of: slice) -> None:
        """Tell the edges of some rings, a key for each, and twice the ring's signed area."""
        begin, end = (int(stop[of.start - 1]) if of.start else 0), int(stop[of.stop - 1])
        here = vertex[begin:end]
        # Not from a ring's end to the next one's start, nor from a vertex to itself: a
        # repeated point is no edge.
        edge = is_edge[begin : end - 1]
        np.not_equal(here[1:], here[:-1], out=edge)
        edge[stop[of.start : of.stop - 1] - begin - 1] = False
        # The same key in both directions.
        mixed = _mixed(here)
        np.add(mixed[1:], mixed[:-1], out=key[begin : end - 1])
        # Wrapping around 2^64 on the way does no harm.
        x, y = here >> 32, here & _LOW
        cross = x[:-1] * y[1:] - x[1:] * y[:-1]
        cross[~edge] = 0
        area[of] = np.add.reduceat(cross, stop[of] - size[of] - begin)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(weigh, _stretches(stop)))
        turn = (area > 0) != shell
        left = is_edge.copy()

        def match(part: int) -> list[Ints]:
            """Match the edges of one part of all keys; returns the owners of odd edges."""
            bits = count.bit_length()
            mine = np.flatnonzero(is_edge & ((key >= _HALF) == bool(part)))
            # Sorting one number is many times faster than sorting an index by it, so the
            # place takes the room of the key's last bits. Edges that are not the same but
            # whose keys are, are told apart below; at worst they stay unmatched, which is safe.
            packed = key[mine] << np.uint64(1) >> np.uint64(bits) << np.uint64(bits)
            packed |= mine.view(np.uint64)
            packed.sort()
            at = (packed & np.uint64((1 << bits) - 1)).view(np.int64)
            packed >>= np.uint64(bits)
            begins, many = _runs(packed)
            pair = begins[many == 2]
            one, two = at[pair], at[pair + 1]
            # Of rings that run alike, neighbours run along it in opposite directions.
            across = (turn[ring[one]] == turn[ring[two]]).astype(np.int64)
            matched = vertex[one] == vertex[two + across]
            matched &= vertex[one + 1] == vertex[two + 1 - across]
            matched &= ring_owner[ring[one]] != ring_owner[ring[two]]
            left[np.concatenate([one[matched], two[matched]])] = False
            # Edges that stand twice in the same direction, or more than twice.
            odd = np.flatnonzero((many >= 2) & left[at[begins]])
            return [
                _all_pairs(np.unique(ring_owner[ring[at[begin : begin + much]]]))
                for begin, much in zip(begins[odd].tolist(), many[odd].tolist(), strict=True)
            ]

        shared = [pairs for part in pool.map(match, range(2)) for pairs in part]
    at = np.flatnonzero(left)
    turned = turn[ring[at]].astype(np.int64)
    a, b = vertex[at + turned], vertex[at + 1 - turned]
    edges = _Edges(origin, ring_owner[ring[at]], a >> 32, a & _LOW, b >> 32, b & _LOW)
    return edges, _distinct(shared)


_LOW = 0xFFFF_FFFF
_HALF = np.uint64(1 << 63)
_STRETCH = 1 << 18  # coordinates; what they need fits into a processor's cache


def _stretches(stop: Ints) -> list[slice]:
    """Cut rings that end at these coordinates into slices of about `_STRETCH` coordinates."""
    if not len(stop):
        return []
    wanted = np.arange(_STRETCH, int(stop[-1]) + _STRETCH, _STRETCH)
    ends = np.unique(np.minimum(np.searchsorted(stop, wanted) + 1, len(stop)))
    begins = np.concatenate([[0], ends[:-1]])
    return [slice(b, e) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]


def _runs(values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return where each run of equal values begins, and how long it is."""
    fresh = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=fresh[1:])
    begins = np.flatnonzero(fresh)
    return begins, np.diff(begins, append=len(values))


def _packed_vertices(xy: Floats) -> tuple[Ints, Ints]:
    """Return the origin (2,) in millimetres, and each coordinate from there as one number."""
    low, high = (np.rint(of(xy, axis=0) * _PER_METRE).astype(np.int64) for of in (np.min, np.max))
    if (high - low).max() >= 2**31:
        # Two such numbers must fit into one.
        raise BadSurvey(
            "The parcels lie more than 2,000 km apart, which no survey does.",
            hint="Look for a parcel with coordinates of another zone or with swapped axes.",
            code="far-apart",
        )
    vertex = np.empty(len(xy), dtype=np.int64)

    def pack(begin: int) -> None:
        part = np.rint(xy[begin : begin + _STRETCH] * _PER_METRE).astype(np.int64) - low
        np.bitwise_or(part[:, 0] << 32, part[:, 1], out=vertex[begin : begin + _STRETCH])

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(pack, range(0, len(xy), _STRETCH)))
    return low, vertex


def _mixed(vertex: Ints) -> NDArray[np.uint64]:
    """Return a hash of each vertex."""
    mixed = vertex.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed


def rings(polygons: Geometries) -> tuple[Ints, Ints, Bools]:
    """Return each ring's number of coordinates, its owner, and whether it is a shell.

    In the order of `shapely.get_coordinates`. Taking rings out costs several times as much as
    counting, so only polygons of more than one ring are taken apart.
    """
    owner = np.arange(len(polygons))
    with ThreadPoolExecutor(_THREADS) as pool:
        asked = pool.map(
            lambda ask: ask(polygons),
            (shapely.get_num_coordinates, shapely.get_type_id, shapely.get_num_interior_rings),
        )
        size, kind, holes = (each.astype(np.int64) for each in asked)
    one = (kind == shapely.GeometryType.POLYGON) & (holes == 0)
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


def holed(polygons: Geometries) -> Bools:
    """Tell which (n,) polygons have a hole, in any of their parts."""
    many = shapely.get_type_id(polygons) == shapely.GeometryType.MULTIPOLYGON
    has: Bools = shapely.get_num_interior_rings(polygons) > 0
    has[many] = [any(part.interiors for part in shape.geoms) for shape in polygons[many]]
    return has


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
    """Return the pairs of edges within `reach` (m), and those with a common end within twice that.

    Those that merely follow each other are none.
    """
    # Boxes alone, without a predicate: the distances follow.
    half = reach / 2
    boxes = shapely.box(
        np.minimum(edges.ax, edges.bx) / _PER_METRE - half,
        np.minimum(edges.ay, edges.by) / _PER_METRE - half,
        np.maximum(edges.ax, edges.bx) / _PER_METRE + half,
        np.maximum(edges.ay, edges.by) / _PER_METRE + half,
    )
    tree = shapely.STRtree(boxes)
    tree.query(boxes[:1])  # builds the tree, before the threads share it

    def ask(begin: int) -> _Near:
        i, j = tree.query(boxes[begin : begin + _CHUNK])
        i += begin
        later = i < j
        return _how_near(edges, i[later], j[later], reach)

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(ask, range(0, len(boxes), _CHUNK)))
    if not found:
        none = np.empty(0, dtype=np.int64)
        found = [_how_near(edges, none, none, reach)]
    return _Near(
        np.concatenate([each.i for each in found]),
        np.concatenate([each.j for each in found]),
        np.concatenate([each.distance for each in found]),
        np.concatenate([each.touch for each in found]),
        np.concatenate([each.joined for each in found]),
    )


def _how_near(edges: _Edges, i: Ints, j: Ints, reach: float) -> _Near:
    """Measure pairs of edges; those that are not near are dropped."""
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
    least = distance.min(axis=1, initial=np.inf)
    touch = crossing | same | (least <= 0.001)
    keep = touch | (least <= np.where(joined, 2 * reach, reach))
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
    # GEOS finds the circle of a stout shape at once, but takes ages over a sliver.
    stout = area > 0.02 * around**2
    circle = shapely.maximum_inscribed_circle(parts[stout], tolerance=5e-4 * low[stout])
    np.maximum.at(result, of[stout], 2 * shapely.length(circle))
    parts, of, low, high = (each[~stout] for each in (parts, of, low, high))
    if not len(parts):
        return result
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
    for turned in range(20):
        # Another way each time, or the search ends on a ridge that runs between two of the ways.
        compass = np.column_stack([np.cos(angle + 0.3 * turned), np.sin(angle + 0.3 * turned)])
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


# -- islands


#: Of fewer parcels, each may lie where it will.
_CROWD = 10


def _islands(
    polygons: Geometries, edges: _Edges, tree: shapely.STRtree, limits: Limits, own: int
) -> list[int]:
    """Return the parcels that have no other within `Limits.island`."""
    if len(polygons) < _CROWD:
        return []
    # Only one whose edges are all unmatched can be alone, and only if no other's box is near.
    unmatched = np.bincount(edges.owner, minlength=len(polygons))[:own]
    some = np.flatnonzero(unmatched >= 3)
    some = some[unmatched[some] >= shapely.get_num_coordinates(polygons[some]) // 2]
    plain = shapely.remove_repeated_points(polygons[some])
    parts = np.maximum(shapely.get_num_geometries(plain), 1)
    holes = shapely.get_num_interior_rings(plain)
    some = some[unmatched[some] >= shapely.get_num_coordinates(plain) - parts - holes]
    if not len(some):
        return []
    low, high = np.array([-limits.island] * 2), np.array([limits.island] * 2)
    bounds = shapely.bounds(polygons[some])
    window = shapely.box(*(bounds + np.concatenate([low, high])).T)
    asked = np.bincount(tree.query(window)[0], minlength=len(some))
    # Few others at most: measured one by one.
    far = []
    for at in some[asked <= 8].tolist():
        beside = tree.query(polygons[at], predicate="dwithin", distance=limits.island)
        if len(beside) == 1:
            far.append(at)
    return far


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
    regions, doors, lines, owner = _free_regions(edges, near, follow, tree, limits)
    if not len(regions):
        return []
    # Doors within one gap part it into several faces.
    regions = shapely.get_parts(shapely.union_all(regions, grid_size=1e-6))
    regions = regions[~shapely.is_empty(shapely.buffer(regions, -limits.rounding / 2))]
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
        owners, index = np.unique(owner[edge[mine]], return_inverse=True)
        length = np.bincount(index, weights=shared[mine], minlength=len(owners))
        order = np.lexsort((owners, -np.rint(length * _PER_METRE)))
        parcels = tuple(int(owners[k]) for k in order if length[k] > limits.rounding)
        if any(parcel < own for parcel in parcels):
            found.append(Gap(parcels, shape.area, float(widths[at]), shape))
    return found


def _free_regions(
    edges: _Edges, near: _Near, follow: Ints, tree: shapely.STRtree, limits: Limits
) -> tuple[Geometries, Geometries, Geometries, Ints]:
    """Return the faces that no parcel covers and that may be narrow.

    And the doors; the edges that the faces were made of, as lines; and those edges' owners.
    """
    use = edges.length <= 2 * limits.gap
    use[near.i] = True
    use[near.j] = True
    nothing = np.empty(0, dtype=object)
    none = nothing, nothing, nothing, np.empty(0, dtype=np.int64)
    if not use.any():
        return none
    doors = _doors(edges, near, follow, limits)
    if len(doors):
        # A door that runs through parcels alone shuts nothing.
        spots = shapely.line_interpolate_point(doors[:, None], [0.25, 0.5, 0.75], normalized=True)
        inside = np.zeros(spots.size, dtype=np.bool_)
        inside[tree.query(spots.ravel(), predicate="intersects")[0]] = True
        doors = doors[~inside.reshape(spots.shape).all(axis=1)]
    edges = edges.take(use)
    lines = edges.lines()
    noded = shapely.union_all(np.concatenate([lines, doors]))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    # What is surely wider than the limit is a road.
    faces = faces[2 * shapely.area(faces) < limits.gap * shapely.length(faces)]
    # Where two neighbours were digitised apart, thousands of faces are thinner than rounding:
    # out, unless they belong to something wider, or a door parts one from it.
    thin = shapely.is_empty(shapely.buffer(faces, -limits.rounding / 2))
    some = np.flatnonzero(thin)
    wide = np.concatenate([faces[~thin], doors])
    if len(wide):
        beside = shapely.STRtree(wide).query(faces[some], predicate="dwithin", distance=1e-6)[0]
        thin[some[beside]] = False
    faces = faces[~thin]
    if not len(faces):
        return none
    covered = tree.query(shapely.point_on_surface(faces), predicate="intersects")[0]
    free = np.ones(len(faces), dtype=np.bool_)
    free[covered] = False
    return faces[free], doors, lines, edges.owner


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
    of = asked[of]
    near_any = np.isin(grid[:, 0] << 32 | grid[:, 1], np.unique(x << 32 | y))
    has = set(
        zip(
            of[near_any].tolist(),
            grid[near_any, 0].tolist(),
            grid[near_any, 1].tolist(),
            strict=True,
        )
    )
    # By other parcel and vertex: the distance and the owners.
    order = np.lexsort((mine, far, y, x, theirs))
    mine, theirs, x, y = (each[order] for each in (mine, theirs, x, y))
    far = far[order]
    fresh = np.ones(len(mine), dtype=np.bool_)
    fresh[1:] = (np.diff(theirs) != 0) | (np.diff(x) != 0) | (np.diff(y) != 0)
    begin = np.flatnonzero(fresh)
    least = np.minimum.reduceat(mine, begin)
    found, owners = [], []
    listed = mine.tolist()
    for first, end, p, q, d, u, v, place in zip(
        begin.tolist(),
        [*begin[1:].tolist(), len(mine)],
        least.tolist(),
        theirs[begin].tolist(),
        far[begin].tolist(),
        x[begin].tolist(),
        y[begin].tolist(),
        edges.metres(x[begin], y[begin]).tolist(),
        strict=True,
    ):
        if (q, u, v) not in has:
            found.append(Unmatched(p, q, d, (place[0], place[1])))
            owners.append(set(listed[first:end]))
    told = _told_already(found, owners, overlaps, gaps, limits)
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
