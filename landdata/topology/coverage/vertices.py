"""Vertices on or near another parcel's boundary that are no vertices of it.

*unmatched vertex*: a vertex of one parcel on the boundary of another (within
`Limits.rounding`) that is not a vertex of it too, T-junctions included. Further off, but within
`Limits.snap`, it is a near miss, and told too, unless it is only the next vertex after a common
one where the boundaries part (further off than half its distance from the common vertex). Not
told are corners of an overlap of the two parcels, and near misses along a gap between them:
they are that defect. One finding for each vertex and other parcel.
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
    grid = np.rint(xy * PER_METRE).astype(np.int64) - edges.origin
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
    if not vertices:
        return set()
    points = np.asarray(shapely.points(np.array([each.point for each in vertices])))
    # An overlap can be found by its two parcels: where many lie on one another, there are many.
    of, pair = [], []
    for k, each in enumerate(vertices):
        for one in owners[k]:
            of.append(k)
            pair.append(min(one, each.other) << 32 | max(one, each.other))
    known = np.array([each.first << 32 | each.second for each in overlaps], dtype=np.int64)
    order = np.argsort(known, kind="stable")
    asked = np.array(pair, dtype=np.int64)
    at = np.searchsorted(known[order], asked)
    at[at == len(known)] = 0
    hit = np.flatnonzero(known[order][at] == asked) if len(known) else np.empty(0, dtype=np.int64)
    vertex = np.array(of, dtype=np.int64)[hit]
    regions = np.array([overlaps[k].region for k in order[at[hit]].tolist()], dtype=object)
    near = shapely.dwithin(points[vertex], regions, limits.rounding)
    told = set(vertex[near].tolist())
    if not gaps:
        return told
    shapes = np.array([each.region for each in gaps], dtype=object)
    beside = shapely.STRtree(shapes).query(points, predicate="dwithin", distance=limits.rounding)
    for k, r in zip(*beside.tolist(), strict=True):
        parcels = gaps[r].parcels
        both = vertices[k].other in parcels and not owners[k].isdisjoint(parcels)
        if both and vertices[k].distance > limits.rounding:
            told.add(k)
    return told
