"""The limits of the rules, as data, each with its source.

The sentences and severities are in `landdata.findings.RULES`; here is from which measure on a
rule speaks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

#: A parcel whose map scale is not told is held to the tolerance of this one (denominator).
FALLBACK_SCALE = 2000


@dataclass(frozen=True, slots=True)
class Limits:
    """From which measure on a coverage rule speaks; lengths in metres.

    `rounding`: two boundaries no further apart than this are one boundary. A point computed on
    a line and rounded to the 1 mm grid lies up to 0.71 mm off it, so two rounded boundaries
    may stray 1.42 mm; what is thicker was not made by rounding.

    `gap`: an unparcelled strip narrower than this is a gap, wider it is a road or a canal. Far
    below the narrowest lane or ditch that is left unparcelled, far above the accuracy of a
    boundary point at any scale down to 1:2000.

    `snap`: a vertex that comes this near to a neighbour's boundary was meant to lie on it; the
    accuracy of a boundary point at 1:200, the largest scale.

    `corner`: degrees by which a boundary must turn away for an open strip to end there.
    """

    rounding: float = 0.0015
    gap: float = 0.5
    snap: float = 0.05
    corner: float = 20.0


#: By rule, where its limit comes from; shown with every finding.
SOURCES = {
    "overlap": "parcels never overlap; landdata lets pass what is thinner than 1.5 mm, rounding",
    "containment": "parcels never overlap",
    "duplicate-geometry": "parcels never overlap",
    "gap": "landdata: default gap width, docs/topology.md",
    "unmatched-vertex": "Circular 25/2014/TT-BTNMT, art. 7: 5 cm at 1:200",
}


@cache
def _tolerances() -> tuple[dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]], str]:
    """Read `data/tolerances.json` as knots (m²) of piecewise linear limits (m²), by scale."""
    text = (files("landdata") / "data" / "tolerances.json").read_text(encoding="utf-8")
    tables = json.loads(text)
    knots = {}
    for scale, table in tables["area"].items():
        x = np.array([0.0, *(band["up_to"] for band in table["bands"])])
        per_m2 = np.array([band["per_10_m2"] / 10 for band in table["bands"]])
        y = table["base"] + np.concatenate([[0.0], np.cumsum(np.diff(x) * per_m2)])
        # The last band has no end: a knot far out carries its slope.
        end = 1e9
        x = np.append(x, end)
        y = np.append(y, y[-1] + (end - x[-2]) * table["beyond_per_10_m2"] / 10)
        knots[int(scale)] = (x, y)
    return knots, tables["source"]


def area_source() -> str:
    """Return where the area tolerances come from."""
    return _tolerances()[1]


def area_tolerance(area: NDArray[np.float64], scale: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return by how much (m²) two measurements of an `area` (m²) may differ, by map scale.

    `scale` is the denominator, 0 where it is not told (`FALLBACK_SCALE` then). A scale between
    two of the tables takes the smaller scale's table, which allows more.
    Source: Circular 26/2024/TT-BTNMT, annex 04. The annex counts "per 10 m²"; we read that as
    a slope, not as a staircase.
    """
    knots, _ = _tolerances()
    scales = np.array(sorted(knots))
    asked = np.where(scale > 0, scale, FALLBACK_SCALE)
    table = scales[np.minimum(np.searchsorted(scales, asked), len(scales) - 1)]
    limit = np.full(len(area), np.nan)
    for each in np.unique(table):
        chosen = table == each
        limit[chosen] = np.interp(area[chosen], *knots[int(each)])
    return limit
