"""Unmatched edges of a coverage.

Rings run with their parcel on the left. An edge is *matched* if it occurs exactly once in each
direction; the other edges are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from landdata.errors import BadSurvey
from landdata.topology.parallel import spread

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Geometries = NDArray[np.object_]

#: Units of integer coordinates per metre.
PER_METRE = 1000
_LOW = 0xFFFF_FFFF
_HALF = np.uint64(1 << 63)
_STRETCH = 1 << 18  # coordinates; their arrays fit into a processor's cache


@dataclass(frozen=True, slots=True)
class Edges:
    """Directed edges (n,), the owner on the left. Coordinates in millimetres from `origin`."""

    origin: Ints  # (2,), millimetres
    owner: Ints
    ax: Ints
    ay: Ints
    bx: Ints
    by: Ints

    def __len__(self) -> int:
        """The number of edges."""
        return len(self.owner)

    def take(self, which: Ints | Bools) -> Edges:
        """Return the edges at an index or mask."""
        return Edges(
            self.origin,
            self.owner[which],
            self.ax[which],
            self.ay[which],
            self.bx[which],
            self.by[which],
        )

    def metres(self, x: Ints | Floats, y: Ints | Floats) -> Floats:
        """Return points as (k, 2) coordinates in the CRS, exactly on the grid."""
        return np.asarray((np.column_stack([x, y]) + self.origin) / PER_METRE, dtype=np.float64)

    @property
    def a(self) -> Ints:
        """The start points as single numbers."""
        return self.ax << 32 | self.ay

    @property
    def b(self) -> Ints:
        """The end points as single numbers."""
        return self.bx << 32 | self.by

    @property
    def length(self) -> Floats:
        """The lengths in metres."""
        length: Floats = np.hypot(self.bx - self.ax, self.by - self.ay) / PER_METRE
        return length

    def lines(self) -> Geometries:
        """Return the edges as lines in the CRS."""
        ends = np.stack([self.metres(self.ax, self.ay), self.metres(self.bx, self.by)], axis=1)
        return np.asarray(shapely.linestrings(ends), dtype=object)


def unmatched_edges(polygons: Geometries) -> tuple[Edges, Ints]:
    """Return the unmatched edges, and (k, 2) pairs of owners of one and the same edge.

    One subject: hash, sort and compare the edges, over arrays that the steps share. An edge is
    identified by the index of its start among all coordinates. Threads process stretches of
    coordinates, as numpy releases the interpreter's lock.
    """
    size, ring_owner, shell = rings(polygons)
    stop = np.cumsum(size)
    origin, vertex = _packed_vertices(shapely.get_coordinates(polygons))
    count = len(vertex)
    ring = np.repeat(np.arange(len(size), dtype=np.int32), size)
    is_edge = np.zeros(count, dtype=np.bool_)
    key = np.empty(count, dtype=np.uint64)
    area = np.zeros(len(size), dtype=np.int64)

    def scan(part: slice) -> None:
        """Set which coordinates of some rings begin an edge, edge keys, and double ring areas."""
        begin, end = (int(stop[part.start - 1]) if part.start else 0), int(stop[part.stop - 1])
        here = vertex[begin:end]
        # No edge from a ring's end to the next ring's start, nor at a repeated point.
        edge = is_edge[begin : end - 1]
        np.not_equal(here[1:], here[:-1], out=edge)
        edge[stop[part.start : part.stop - 1] - begin - 1] = False
        # The same key in both directions.
        mixed = _mixed(here)
        np.add(mixed[1:], mixed[:-1], out=key[begin : end - 1])
        # Overflow beyond 2^64 in between is harmless.
        x, y = here >> 32, here & _LOW
        cross = x[:-1] * y[1:] - x[1:] * y[:-1]
        cross[~edge] = 0
        area[part] = np.add.reduceat(cross, stop[part] - size[part] - begin)

    spread(scan, _stretches(stop))
    turn = (area > 0) != shell
    left = is_edge.copy()

    def match(part: int) -> list[Ints]:
        """Match the edges of one half of the keys; return pairs of owners of the same edge."""
        bits = count.bit_length()
        mine = np.flatnonzero(is_edge & ((key >= _HALF) == bool(part)))
        # Sorting numbers is many times faster than sorting an index by them, so the index
        # replaces the key's last bits. Different edges with equal keys are compared below;
        # at worst they stay unmatched, which is safe.
        packed = key[mine] << np.uint64(1) >> np.uint64(bits) << np.uint64(bits)
        packed |= mine.view(np.uint64)
        packed.sort()
        at = (packed & np.uint64((1 << bits) - 1)).view(np.int64)
        packed >>= np.uint64(bits)
        begins, many = runs(packed)
        pair = begins[many == 2]
        one, two = at[pair], at[pair + 1]
        # Neighbouring rings of the same orientation have the edge in opposite directions.
        across = (turn[ring[one]] == turn[ring[two]]).astype(np.int64)
        matched = vertex[one] == vertex[two + across]
        matched &= vertex[one + 1] == vertex[two + 1 - across]
        matched &= ring_owner[ring[one]] != ring_owner[ring[two]]
        left[np.concatenate([one[matched], two[matched]])] = False
        # Edges that occur twice in the same direction, or more than twice.
        odd = np.flatnonzero((many >= 2) & left[at[begins]])
        return [
            _all_pairs(np.unique(ring_owner[ring[at[begin : begin + much]]]))
            for begin, much in zip(begins[odd].tolist(), many[odd].tolist(), strict=True)
        ]

    shared = [pairs for part in spread(match, range(2)) for pairs in part]
    at = np.flatnonzero(left)
    turned = turn[ring[at]].astype(np.int64)
    a, b = vertex[at + turned], vertex[at + 1 - turned]
    edges = Edges(origin, ring_owner[ring[at]], a >> 32, a & _LOW, b >> 32, b & _LOW)
    return edges, distinct(shared)


def _stretches(stop: Ints) -> list[slice]:
    """Cut rings that end at these coordinates into slices of about `_STRETCH` coordinates."""
    if not len(stop):
        return []
    wanted = np.arange(_STRETCH, int(stop[-1]) + _STRETCH, _STRETCH)
    ends = np.unique(np.minimum(np.searchsorted(stop, wanted) + 1, len(stop)))
    begins = np.concatenate([[0], ends[:-1]])
    return [slice(b, e) for b, e in zip(begins.tolist(), ends.tolist(), strict=True)]


def runs(values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return the beginnings and the lengths of the runs of equal values."""
    fresh = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=fresh[1:])
    begins = np.flatnonzero(fresh)
    return begins, np.diff(begins, append=len(values))


def _packed_vertices(xy: Floats) -> tuple[Ints, Ints]:
    """Return the origin (2,) in millimetres, and the coordinates from there as single numbers."""
    # Column by column: along the first axis numpy takes ten times as long.
    low, high = (
        np.rint(np.array([extreme(xy[:, 0]), extreme(xy[:, 1])]) * PER_METRE).astype(np.int64)
        for extreme in (np.min, np.max)
    )
    if (high - low).max() >= 2**31:
        # Both coordinates must fit into one number.
        raise BadSurvey(
            "The parcels lie more than 2,000 km apart.",
            hint="Look for a parcel with coordinates of another zone or with swapped axes.",
            code="far-apart",
        )
    vertex = np.empty(len(xy), dtype=np.int64)

    def pack(begin: int) -> None:
        part = np.rint(xy[begin : begin + _STRETCH] * PER_METRE).astype(np.int64) - low
        np.bitwise_or(part[:, 0] << 32, part[:, 1], out=vertex[begin : begin + _STRETCH])

    spread(pack, range(0, len(xy), _STRETCH))
    return low, vertex


def _mixed(vertex: Ints) -> NDArray[np.uint64]:
    """Return the hashes of vertices."""
    mixed = vertex.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed


def rings(polygons: Geometries) -> tuple[Ints, Ints, Bools]:
    """Return for each ring the number of coordinates, the owner, and whether it is a shell.

    In the order of `shapely.get_coordinates`. Extracting rings costs several times as much as
    counting, so that is done only for polygons of several rings.
    """
    owner = np.arange(len(polygons))
    counts = spread(
        lambda count: count(polygons),
        (shapely.get_num_coordinates, shapely.get_type_id, shapely.get_num_interior_rings),
    )
    size, kind, holes = (count.astype(np.int64) for count in counts)
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
    """Return which (n,) polygons have a hole in any part."""
    many = shapely.get_type_id(polygons) == shapely.GeometryType.MULTIPOLYGON
    has: Bools = shapely.get_num_interior_rings(polygons) > 0
    has[many] = [any(part.interiors for part in shape.geoms) for shape in polygons[many]]
    return has


def _all_pairs(members: Ints) -> Ints:
    """Return all (k, 2) pairs i < j of sorted members."""
    i, j = np.triu_indices(len(members), 1)
    return np.column_stack([members[i], members[j]])


def distinct(pairs: list[Ints]) -> Ints:
    """Return the distinct (k, 2) pairs, the smaller index first, without self-pairs."""
    if not pairs:
        return np.empty((0, 2), dtype=np.int64)
    ordered = np.sort(np.concatenate(pairs).astype(np.int64), axis=1)
    ordered = ordered[ordered[:, 0] != ordered[:, 1]]
    distinct: Ints = np.unique(ordered, axis=0)
    return distinct


def follow_on(edges: Edges) -> tuple[Ints, Bools]:
    """Return the next edges (n,) through simple vertices, and which edges have another vertex.

    A vertex is simple if one edge ends and one begins there. The next edge of a chain's last one
    is itself.
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
    """Return which sorted values occur only once."""
    fresh = np.concatenate([[True], values[1:] != values[:-1], [True]])
    once: Bools = fresh[:-1] & fresh[1:]
    return once


def chain_of(follow: Ints) -> Ints:
    """Return for each edge the edge that represents its chain."""
    ends = follow == np.arange(len(follow))
    low, step, open_before = np.arange(len(follow)), follow, -1
    while True:
        # `low` is the lowest of the next 2^k edges, `step` the edge 2^k further.
        lower, step = np.minimum(low, low[step]), step[step]
        open_now = int(np.count_nonzero(~ends[step]))
        # Doubling the distance would change something in a longer chain or ring.
        if open_now == open_before and np.array_equal(lower, low):
            break
        low, open_before = lower, open_now
    chain: Ints = np.where(ends[step], step, low)
    return chain
