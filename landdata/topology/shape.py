"""Rules on the shape of one parcel alone.

`invalid-ring`: the polygon is not valid in the sense of OGC Simple Features (a ring crosses or
touches itself, a hole lies outside its shell …), checked at stored precision, so also where
the crossing came about only by rounding to the grid. The finding's point is where. An invalid
parcel is rejected and takes no part in the coverage rules, because what it covers is not known.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding

_PLACE = re.compile(r"^(?P<why>.*?)\s*\[(?P<x>\S+) (?P<y>\S+?)(?: \S+)?\]$")

#: GEOS's reasons in the reader's language; what is not listed is shown as GEOS says it.
_REASONS = {
    "Self-intersection": "tự cắt",
    "Ring Self-intersection": "vòng tự chạm",
    "Hole lies outside shell": "lỗ nằm ngoài ranh",
    "Holes are nested": "lỗ lồng nhau",
    "Interior is disconnected": "phần trong bị chia cắt",
    "Nested shells": "các phần lồng nhau",
    "Duplicate Rings": "vòng lặp lại",
    "Too few points in geometry component": "quá ít điểm",
    "Invalid Coordinate": "tọa độ không hợp lệ",
    "Ring is not closed": "vòng không khép kín",
}


_CHUNK = 50_000


def _valid(geometry: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell which shapes are valid; two threads, as GEOS lets go of the interpreter's lock."""
    with ThreadPoolExecutor(2) as pool:
        parts = [geometry[k : k + _CHUNK] for k in range(0, len(geometry), _CHUNK)]
        return np.concatenate([np.empty(0, dtype=np.bool_), *pool.map(shapely.is_valid, parts)])


def check(
    rows: NDArray[np.int64], parcels: NDArray[np.object_], geometry: NDArray[np.object_]
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Return the findings, and which of the (n,) geometries are usable polygons.

    A missing geometry is not usable; what was wrong with it is told by whoever read the file.
    """
    present = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    usable = present & _valid(geometry)
    findings = []
    for at in np.flatnonzero(present & ~usable):
        told = _PLACE.match(shapely.is_valid_reason(geometry[at]))
        why = told["why"] if told else shapely.is_valid_reason(geometry[at])
        findings.append(
            Finding(
                rule="invalid-ring",
                row=int(rows[at]),
                parcel=parcels[at],
                point=(float(told["x"]), float(told["y"])) if told else None,
                geometry=geometry[at],
                detail={"why": _REASONS.get(why, why), "why_en": why.lower()},
            )
        )
    return findings, usable
