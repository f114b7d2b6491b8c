"""The limits of the rules, as data, each with its source.

The sentences and severities are in `landdata.findings.RULES`; here is from which measure on a
rule speaks.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landdata.errors import BadRequest
from landdata.findings import RULES

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

    `edge`: an edge shorter than this is no side of a parcel. `spike`: degrees; two sides that
    enclose less are one line there and back. `sliver`, `sliver_area` (m²): a parcel narrower, or
    smaller, is a left-over of drawing. `density`: vertices to the metre of boundary that no
    ground needs. `island`: so far (m) from every other parcel one stands alone. `far`: so far
    from the middle of the survey no parcel of it can be. `border`: a parcel may lie across its
    commune's border by as much, since borders are drawn at small scales. `same`: two parcels
    that have this share of the larger one in common are nearly one. `cell`: how far an
    identifier's cell may lie from its parcel.

    `off`: the rules that a deployment does without; none of severity error.
    """

    rounding: float = 0.0015
    gap: float = 0.5
    snap: float = 0.05
    corner: float = 20.0
    edge: float = 0.01
    spike: float = 1.0
    sliver: float = 0.1
    sliver_area: float = 0.1
    density: float = 20.0
    island: float = 200.0
    far: float = 100_000.0
    border: float = 1.0
    same: float = 0.95
    cell: float = 1.5
    off: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: Path | None) -> Limits:
        """Read a deployment's limits and the rules that it turned off from a TOML file.

            [limits]
            gap = 0.3
            [rules]
            spike = false

        The defaults where `path` is None. Raises `BadRequest` for what makes no sense, a rule of
        severity error turned off among it: what is official must never overlap.
        """
        if path is None:
            return cls()
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _bad(path, f"can't be read: {error}") from None
        numbers = {each.name for each in fields(cls)} - {"off"}
        limits, on = given.pop("limits", {}), given.pop("rules", {})
        for name in given:
            raise _bad(path, f"has a part {name!r}; it may have [limits] and [rules]")
        for name, value in limits.items():
            if name not in numbers:
                raise _bad(path, f"gives {name!r}, which is no limit; {sorted(numbers)} are")
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise _bad(path, f"gives {value!r} as limit {name!r}, which is no number above 0")
        for name, value in on.items():
            if name not in RULES or not isinstance(value, bool):
                raise _bad(path, f"gives {name} = {value!r}; write a rule's id = true or false")
            if not value and RULES[name].severity == "error":
                raise _bad(path, f"turns {name!r} off, which is a rule of severity error")
        off = frozenset(name for name, value in on.items() if not value)
        return cls(**{name: float(value) for name, value in limits.items()}, off=off)


def _bad(path: Path, why: str) -> BadRequest:
    return BadRequest(
        f"The rules file {path.name} {why}.",
        hint="Correct it, or unset LANDDATA_RULES; docs/topology.md shows one.",
        code="bad-rules",
    )


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


def point_accuracy(scale: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far (m) a boundary point may be off its true place, by map scale.

    `scale` is the denominator; a point of a map whose scale is not told, or that lies between
    two of the table, is held to the next larger one: nothing is moved further than is sure.
    Source: Circular 25/2014/TT-BTNMT, art. 7 (one secondary source). The factor for
    agricultural land is left out for the same reason.
    """
    table = json.loads(
        (files("landdata") / "data" / "tolerances.json").read_text(encoding="utf-8")
    )["point"]["metres"]
    scales = np.array(sorted(map(int, table)))
    metres = np.array([table[str(each)] for each in scales])
    at = np.searchsorted(scales, np.maximum(scale, scales[0]), side="right") - 1
    result: NDArray[np.float64] = metres[at]
    return result


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
