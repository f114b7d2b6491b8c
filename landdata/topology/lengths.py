"""Rules on the lengths of a parcel's edges, where a survey states them.

`edge-differs`: a stated length is further off the measured one than two measurements may be at
the map scale and land use (tolerance `edge`) and half a centimetre, the writing of the stated
one. One finding for each edge.
`edge-count-differs`: a parcel states more or fewer lengths than its boundary has edges.

Lengths stand in the order of the vertices, the first from the first vertex to the second, ring by
ring, the outer first; those of the outer ring alone will do. Surveyors' lists, and programs that
write files, begin rings elsewhere and turn them round: where the lengths as they stand do not all
fit, the beginning and direction count in which the fewest are off. (Not of a ring of more than a
thousand edges, which no list of lengths has.)

Measured is in the source's projected CRS, as areas are: both CRSs are conformal, so what a
reprojection did to the parcel's area it did to its lengths by the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.topology import tolerances
from landdata.topology.rules import Limits
from landdata.topology.tolerances import Floats, Ground, Ints

if TYPE_CHECKING:
    from landdata.survey import Survey

#: Surveys state lengths to 1 cm.
_WRITING = 0.005
#: Edges of a ring that is tried from each beginning; a thousand of them are a million tries.
_TURNED = 1000
#: On the grid, what is shorter is no edge but a repeated point.
_NOTHING = 0.0005


def check(
    survey: Survey, parcels: NDArray[np.object_], limits: Limits, ground: Ground
) -> list[Finding]:
    """Return the findings on the rows that state lengths."""
    column = survey.attributes["edges"]
    if column.null_count == len(column):
        return []
    findings: list[Finding] = []
    ends, lengths, stated, row_of, before = [], [], [], [], []
    drawn = ~(shapely.is_missing(survey.geometry) | shapely.is_empty(survey.geometry))
    for at, said in enumerate(column.to_pylist()):
        if said is None or not drawn[at]:
            continue
        rings = _rings(survey, at)
        count = sum(len(length) for _, length in rings)
        if not count:  # all in one point: `invalid-ring` tells of it
            continue
        told = list(said)
        while len(told) > count and told[-1] is None:
            told.pop()
        if len(told) == len(rings[0][1]):
            rings = rings[:1]
        elif len(told) != count:
            findings.append(
                Finding(
                    rule="edge-count-differs",
                    row=int(survey.rows[at]),
                    parcel=parcels[at],
                    measured=len(told),
                    point=tuple(rings[0][0][0, 0].tolist()),
                    detail={"stated": str(len(told)), "count": str(count)},
                )
            )
            continue
        values = np.array([np.nan if each is None else each for each in told])
        begin = 0
        for edges, length in rings:
            ends.append(edges)
            lengths.append(length)
            stated.append(values[begin : begin + len(length)])
            row_of.append(at)
            before.append(begin)
            begin += len(length)
    if not ends:
        return findings
    size = np.array([len(each) for each in lengths])
    rows = np.repeat(np.array(row_of), size)
    allowed, sources = tolerances.limits(
        "edge", np.concatenate(lengths), ground.take(rows), limits.tolerances
    )
    start = 0
    for at, edges, length, said, first in zip(row_of, ends, lengths, stated, before, strict=True):
        limit = allowed[start : start + len(length)]
        said = _turned(said, length, limit)  # noqa: PLW2901
        off = np.abs(said - length)
        findings += [
            Finding(
                rule="edge-differs",
                row=int(survey.rows[at]),
                parcel=parcels[at],
                measured=round(float(off[k]), 3),
                limit=round(float(limit[k]), 4),
                source=next(text for which, text in sources if which[start + k]),
                point=tuple(np.round(edges[k].mean(axis=0), 4).tolist()),
                geometry=shapely.LineString(edges[k]),
                detail={
                    "edge": str(first + k + 1),  # counted on through the rings
                    "stated": f"{said[k]:.2f}",
                    "length": f"{length[k]:.2f}",
                },
            )
            for k in np.flatnonzero(off > limit + _WRITING).tolist()
        ]
        start += len(length)
    return findings


def _rings(survey: Survey, at: int) -> list[tuple[Floats, Floats]]:
    """Return each ring's edges, (k, 2, 2) in the storage CRS, and their lengths (m)."""
    shape = survey.geometry[at]
    area, here = survey.measured_area[at], float(shapely.area(shape))
    stretch = float(np.sqrt(area / here)) if area > 0 and here > 0 else 1.0
    rings = []
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        xy = shapely.get_coordinates(ring)
        length = np.hypot(*np.diff(xy, axis=0).T)
        real = length > _NOTHING
        edges = np.stack([xy[:-1], xy[1:]], axis=1)
        rings.append((edges[real], length[real] * stretch))
    return rings


def _turned(stated: Floats, measured: Floats, limit: Floats) -> Floats:
    """Return the stated lengths from the beginning and in the direction that fit best."""
    n = len(stated)
    if n > _TURNED or not (np.abs(stated - measured) > limit + _WRITING).any():
        return stated
    shift = (np.arange(n)[:, None] + np.arange(n)) % n
    ways = np.concatenate([stated[shift], stated[::-1][shift]])
    off = np.abs(ways - measured)
    amiss: Ints = (off > limit + _WRITING).sum(axis=1)
    way = np.arange(2 * n)
    # Of ways that are as good the lengths as they stand, then the nearest.
    best = np.lexsort((way, np.nansum(off, axis=1), way > 0, amiss))[0]
    turned: Floats = ways[best]
    return turned
