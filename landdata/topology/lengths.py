"""Rules on the lengths of a parcel's edges, where a survey states them.

`edge-differs`: a stated and a measured length differ by more than the tolerance `edge` at the map
scale and land use, plus the rounding of the stated one, half a centimetre. One finding per edge.
`edge-count-differs`: a parcel states more or fewer lengths than its boundary has edges.

Lengths are in the order of the vertices, ring by ring, the outer ring first; those of the outer
ring alone are enough. Surveyors' lists and some programs begin rings elsewhere or reverse them: if
the lengths as stated do not all fit, the start and direction with the fewest misfits are used
(not for a ring of more than a thousand edges, which no list of lengths has).

Lengths are measured in the source's projected CRS, as areas are. Both CRSs are conformal, so a
reprojection scales lengths by the root of the factor by which it scales the area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.topology import tolerances
from landdata.topology.rules import Limits
from landdata.topology.tolerances import Floats, Ints, ToleranceContext

if TYPE_CHECKING:
    from landdata.survey import Survey

#: Surveys state lengths to 1 cm; metres.
_ROUNDING = 0.005
#: Edges of a ring that is tried from each start, at most: they make a million comparisons.
_MAX_ROTATED = 1000
#: On the 1 mm grid a shorter edge is a repeated point.
_NO_EDGE = 0.0005


def check(
    survey: Survey, parcels: NDArray[np.object_], limits: Limits, context: ToleranceContext
) -> list[Finding]:
    """Return the findings on the rows that state lengths."""
    column = survey.attributes["edges"]
    if column.null_count == len(column):
        return []
    findings: list[Finding] = []
    rings: list[_Ring] = []
    has_shape = ~(shapely.is_missing(survey.geometry) | shapely.is_empty(survey.geometry))
    for at, values in enumerate(column.to_pylist()):
        if values is None or not has_shape[at]:
            continue
        boundary = _rings(survey, at)
        count = sum(len(lengths) for _, lengths in boundary)
        if not count:  # all vertices in one point: an `invalid-ring`
            continue
        stated = list(values)
        while len(stated) > count and stated[-1] is None:
            stated.pop()
        if len(stated) == len(boundary[0][1]):
            boundary = boundary[:1]
        elif len(stated) != count:
            findings.append(
                Finding(
                    rule="edge-count-differs",
                    row=int(survey.rows[at]),
                    parcel=parcels[at],
                    measured=len(stated),
                    point=tuple(boundary[0][0][0, 0].tolist()),
                    detail={"stated": str(len(stated)), "count": str(count)},
                )
            )
            continue
        numbers = np.array([np.nan if length is None else length for length in stated])
        first = 0
        for edges, lengths in boundary:
            rings.append(_Ring(at, first, edges, lengths, numbers[first : first + len(lengths)]))
            first += len(lengths)
    return findings + _differing(rings, survey, parcels, limits, context) if rings else findings


@dataclass(frozen=True, slots=True)
class _Ring:
    """A ring of row `row`, whose first edge is number `first` of the parcel's, from 0."""

    row: int
    first: int
    edges: Floats  # (k, 2, 2) storage CRS
    measured: Floats  # (k,) m
    stated: Floats  # (k,) m, NaN where none is stated


def _differing(
    rings: list[_Ring],
    survey: Survey,
    parcels: NDArray[np.object_],
    limits: Limits,
    context: ToleranceContext,
) -> list[Finding]:
    """Return `edge-differs` for the edges of some rings."""
    rows = np.repeat([ring.row for ring in rings], [len(ring.measured) for ring in rings])
    allowed, sources = tolerances.limits(
        "edge",
        np.concatenate([ring.measured for ring in rings]),
        context.take(rows),
        limits.tolerances,
    )
    findings: list[Finding] = []
    start = 0
    for ring in rings:
        limit = allowed[start : start + len(ring.measured)]
        stated = _rotated(ring.stated, ring.measured, limit)
        off = np.abs(stated - ring.measured)
        findings += [
            Finding(
                rule="edge-differs",
                row=int(survey.rows[ring.row]),
                parcel=parcels[ring.row],
                measured=round(float(off[k]), 3),
                limit=round(float(limit[k]), 4),
                source=next(text for which, text in sources if which[start + k]),
                point=tuple(np.round(ring.edges[k].mean(axis=0), 4).tolist()),
                geometry=shapely.LineString(ring.edges[k]),
                detail={
                    "edge": str(ring.first + k + 1),
                    "stated": f"{stated[k]:.2f}",
                    "length": f"{ring.measured[k]:.2f}",
                },
            )
            for k in np.flatnonzero(off > limit + _ROUNDING).tolist()
        ]
        start += len(limit)
    return findings


def _rings(survey: Survey, at: int) -> list[tuple[Floats, Floats]]:
    """Return each ring's edges, (k, 2, 2) in the storage CRS, and their lengths (m)."""
    shape = survey.geometry[at]
    measured, stored = survey.measured_area[at], float(shapely.area(shape))
    scale = float(np.sqrt(measured / stored)) if measured > 0 and stored > 0 else 1.0
    rings = []
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        xy = shapely.get_coordinates(ring)
        length = np.hypot(*np.diff(xy, axis=0).T)
        is_edge = length > _NO_EDGE
        edges = np.stack([xy[:-1], xy[1:]], axis=1)
        rings.append((edges[is_edge], length[is_edge] * scale))
    return rings


def _rotated(stated: Floats, measured: Floats, limit: Floats) -> Floats:
    """Return the stated lengths (n,) from the start and in the direction that fit best."""
    n = len(stated)
    if n > _MAX_ROTATED or not (np.abs(stated - measured) > limit + _ROUNDING).any():
        return stated
    shift = (np.arange(n)[:, None] + np.arange(n)) % n
    ways = np.concatenate([stated[shift], stated[::-1][shift]])
    off = np.abs(ways - measured)
    misfits: Ints = (off > limit + _ROUNDING).sum(axis=1)
    way = np.arange(2 * n)
    # Of equally good ways, the lengths as stated, else the smallest sum of differences.
    best = np.lexsort((way, np.nansum(off, axis=1), way > 0, misfits))[0]
    rotated: Floats = ways[best]
    return rotated
