"""Unmatched vertices: on or near another parcel's boundary, but not vertices of it.

*unmatched vertex*: a vertex of one parcel on the boundary of another (within `Limits.rounding`)
that the other does not have, T-junctions included; or a near miss, further off but within
`Limits.snap`, unless it is only the next vertex after a common one where the boundaries part
(further off than half its distance from the common vertex). Corners of an overlap of the two
parcels and near misses along a gap between them belong to that defect and are left out. One
finding per vertex and other parcel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from landdata.topology.coverage.edges import PER_METRE, Edges, Geometries
from landdata.topology.coverage.gaps import Gap
from landdata.topology.coverage.overlaps import Overlap
from landdata.topology.coverage.proximity import Near
from landdata.topology.rules import Limits


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A vertex of `parcel` at `point` that `other` lacks, `distance` m off its boundary."""

    parcel: int
    other: int
    distance: float
    point: tuple[float, float]


def unmatched_vertices(
    polygons: Geometries,
    edges: Edges,
    near: Near,
    overlaps: list[Overlap],
    gaps: list[Gap],
    limits: Limits,
    own: int,
) -> list[Unmatched]:
    """Return the unmatched vertices, by other parcel and vertex.

    One subject: the columns of `near`, sorted and grouped.
    """
    parcel, other, distance, xs, ys = [], [], [], [], []
    lengths = edges.length
    for column, (vertex, across) in enumerate(
        ((near.i, near.j), (near.i, near.j), (near.j, near.i), (near.j, near.i))
    ):
        end = column % 2 == 1
        off = near.distance[:, column]
        pick = (off <= limits.snap) & (edges.owner[near.i] != edges.owner[near.j])
        pick &= (edges.owner[near.i] < own) | (edges.owner[near.j] < own)
        # The next vertex after a common one, where the boundaries part, is no near miss.
        pick &= ~(near.joined & (off > limits.rounding) & (off > lengths[vertex] / 2))
        e = edges.take(vertex[pick])
        parcel.append(e.owner)
        other.append(edges.owner[across[pick]])
        distance.append(off[pick])
        xs.append(e.bx if end else e.ax)
        ys.append(e.by if end else e.ay)
    mine, theirs = np.concatenate(parcel), np.concatenate(other)
    off, x, y = np.concatenate(distance), np.concatenate(xs), np.concatenate(ys)
    if not len(mine):
        return []
    # Not if the other parcel has the vertex after all, on a matched edge.
    others = np.unique(theirs)
    xy, index = shapely.get_coordinates(polygons[others], return_index=True)
    grid = np.rint(xy * PER_METRE).astype(np.int64) - edges.origin
    owner = others[index]
    near_any = np.isin(grid[:, 0] << 32 | grid[:, 1], np.unique(x << 32 | y))
    has = set(
        zip(
            owner[near_any].tolist(),
            grid[near_any, 0].tolist(),
            grid[near_any, 1].tolist(),
            strict=True,
        )
    )
    # By other parcel and vertex: the distance and the owners.
    order = np.lexsort((mine, off, y, x, theirs))
    mine, theirs, x, y = (array[order] for array in (mine, theirs, x, y))
    off = off[order]
    fresh = np.ones(len(mine), dtype=np.bool_)
    fresh[1:] = (np.diff(theirs) != 0) | (np.diff(x) != 0) | (np.diff(y) != 0)
    begin = np.flatnonzero(fresh)
    least = np.minimum.reduceat(mine, begin)
    vertices, owners = [], []
    listed = mine.tolist()
    for first, end, p, q, d, u, v, place in zip(
        begin.tolist(),
        [*begin[1:].tolist(), len(mine)],
        least.tolist(),
        theirs[begin].tolist(),
        off[begin].tolist(),
        x[begin].tolist(),
        y[begin].tolist(),
        edges.metres(x[begin], y[begin]).tolist(),
        strict=True,
    ):
        if (q, u, v) not in has:
            vertices.append(Unmatched(p, q, d, (place[0], place[1])))
            owners.append(set(listed[first:end]))
    explained = _explained(vertices, owners, overlaps, gaps, limits)
    return [vertex for at, vertex in enumerate(vertices) if at not in explained]


def _explained(
    vertices: list[Unmatched],
    owners: list[set[int]],
    overlaps: list[Overlap],
    gaps: list[Gap],
    limits: Limits,
) -> set[int]:
    """Return which vertices are only corners of an overlap or a gap of their parcels.

    A vertex on the boundary along a gap is not: closing the gap would not match it.
    """
    if not vertices:
        return set()
    points = np.asarray(shapely.points(np.array([vertex.point for vertex in vertices])))
    # Overlaps are looked up by their two parcels: in a stack there are very many.
    index, pair = [], []
    for k, corner in enumerate(vertices):
        for one in owners[k]:
            index.append(k)
            pair.append(min(one, corner.other) << 32 | max(one, corner.other))
    overlapping = np.array([o.first << 32 | o.second for o in overlaps], dtype=np.int64)
    order = np.argsort(overlapping, kind="stable")
    overlapping = overlapping[order]
    pairs = np.array(pair, dtype=np.int64)
    at = np.searchsorted(overlapping, pairs)
    at[at == len(overlapping)] = 0
    hit = np.flatnonzero(overlapping[at] == pairs) if len(overlapping) else np.empty(0, np.int64)
    vertex = np.array(index, dtype=np.int64)[hit]
    regions = np.array([overlaps[k].region for k in order[at[hit]].tolist()], dtype=object)
    near = shapely.dwithin(points[vertex], regions, limits.rounding)
    explained = set(vertex[near].tolist())
    if not gaps:
        return explained
    shapes = np.array([gap.region for gap in gaps], dtype=object)
    beside = shapely.STRtree(shapes).query(points, predicate="dwithin", distance=limits.rounding)
    for k, r in zip(*beside.tolist(), strict=True):
        parcels = gaps[r].parcels
        both = vertices[k].other in parcels and not owners[k].isdisjoint(parcels)
        if both and vertices[k].distance > limits.rounding:
            explained.add(k)
    return explained
