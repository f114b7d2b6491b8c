"""Rules on a parcel and its commune: whether it lies inside.

`outside-commune`: no part of the parcel lies in the commune. `across-communes`: a part lies
outside, further than `Limits.border` beyond the border; borders are drawn at small scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding
from landdata.topology.rules import Limits
from landdata.topology.shape import inside

if TYPE_CHECKING:
    from landdata.survey import Survey

#: m²; the rounding error of cutting a parcel at a border that it only touches.
_NOTHING = 0.0005


def check(
    survey: Survey,
    parcels: NDArray[np.object_],
    usable: NDArray[np.bool_],
    boundary: BaseGeometry | None,
    commune: str,
    limits: Limits,
) -> list[Finding]:
    """Return the findings on the (n,) `usable` rows; none without a boundary.

    `boundary` is in the storage CRS, `commune` its code.
    """
    if boundary is None:
        return []
    tolerated = shapely.buffer(boundary, limits.border)
    shapely.prepare(tolerated)
    out = np.flatnonzero(usable)
    out = out[~shapely.covers(tolerated, survey.geometry[out])]
    shapes = survey.geometry[out]
    distances = shapely.distance(shapes, boundary)
    outside = shapely.difference(shapes, boundary)
    findings = []
    for at, far, part in zip(out.tolist(), distances.tolist(), outside, strict=True):
        inside_area = shapely.area(survey.geometry[at]) - shapely.area(part)
        wholly = far > 0 or inside_area < _NOTHING
        findings.append(
            Finding(
                rule="outside-commune" if wholly else "across-communes",
                row=int(survey.rows[at]),
                parcel=parcels[at],
                measured=round(far if wholly else shapely.area(part), 3),
                limit=limits.border if wholly else 0.0,
                point=inside(part),
                geometry=part,
                detail={"commune": commune},
            )
        )
    return findings
