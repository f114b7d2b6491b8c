"""The limits of the rules, as data, each with its source.

The sentences and severities are in `landdata.findings.RULES`; here is from which measure on a
rule speaks. What the law allows by map scale, land use and day is in `tolerances`.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from landdata.errors import BadRequest
from landdata.findings import RULES
from landdata.topology import tolerances
from landdata.topology.tolerances import Bools, Floats, Ground, Tolerance

#: The limits that may depend on map scale, land use and day, and whether a rule speaks above
#: its limit (else below). A finding's `measured` is compared with each.
DEPENDENT = {
    "gap": False,
    "snap": False,
    "edge": False,
    "spike": False,
    "sliver": False,
    "density": True,
    "cell": True,
}


@dataclass(frozen=True, slots=True)
class Case:
    """Another value of a limit for parcels of some scales and uses, within some days."""

    limit: str
    value: float
    source: str
    scales: frozenset[int] = frozenset()  # denominators; empty: any
    land_use: frozenset[str] = frozenset()  # codes and groups; empty: any
    valid_from: datetime.date | None = None
    valid_to: datetime.date | None = None

    def holds(self, ground: Ground) -> Bools:
        """Tell for which parcels."""
        held = ground.between(self.valid_from, self.valid_to).copy()
        if self.scales:
            held &= np.isin(ground.scale, list(self.scales))
        if self.land_use:
            held &= ground.only(self.land_use)
        return held


@dataclass(frozen=True, slots=True)
class Limits:
    """From which measure on a coverage rule speaks; lengths in metres.

    `rounding`: two boundaries no further apart than this are one boundary. A point computed on
    a line and rounded to the 1 mm grid lies up to 0.71 mm off it, so two rounded boundaries
    may stray 1.42 mm; what is thicker was not made by rounding.

    `gap`: an unparcelled strip narrower than this is a gap, wider it is a road or a canal. Far
    below the narrowest lane or ditch that is left unparcelled, far above the accuracy of a
    boundary point at any scale down to 1:2000.

    `strip`: an enclosed region without a parcel that is so many times as long as it is wide is a
    road, a bank, a canal or a dyke.

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

    `off`: the rules that a deployment does without; none of severity error. `cases`: where
    another value holds, the first that fits. `said`: where a deployment's own values come from.
    `tolerances`: what the law allows, a deployment's own before the package's.
    """

    rounding: float = 0.0015
    gap: float = 0.5
    strip: float = 10.0
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
    cases: tuple[Case, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    tolerances: tuple[Tolerance, ...] = field(default_factory=tolerances.shipped)

    def widest(self) -> Limits:
        """Return these limits so that no parcel's finding is missed, whichever case is its own."""
        values: dict[str, Any] = {}
        for name, above in DEPENDENT.items():
            all_ = [getattr(self, name), *(c.value for c in self.cases if c.limit == name)]
            values[name] = min(all_) if above else max(all_)
        return replace(self, **values)

    def of(self, name: str, ground: Ground) -> tuple[Floats, list[tuple[Bools, str | None]]]:
        """Return a limit's value for each of n parcels, and the source for each part of them.

        The source is null where the rule's own counts.
        """
        value = np.full(len(ground.scale), getattr(self, name))
        left = np.ones(len(value), dtype=np.bool_)
        sources: list[tuple[Bools, str | None]] = []
        for case in self.cases:
            if case.limit == name:
                held = left & case.holds(ground)
                value[held] = case.value
                sources.append((held, case.source))
                left &= ~held
        sources.append((left, self.said.get(name)))
        return value, sources

    @classmethod
    def load(cls, path: Path | None) -> Limits:
        """Read a deployment's limits and the rules that it turned off from a TOML file.

            [limits]
            gap = 0.3
            snap = [
              {value = 0.15, scales = [1000], land_use = ["NNP"], from = 2026-01-01,
               source = "Decision 12/2026"},
              {value = 0.05},
            ]
            [rules]
            spike = false
            [[tolerances]]
            of = "point"
            …

        Of several values the first that fits a parcel counts, and the default where none does.
        `[[tolerances]]` are of the form of `landdata/reference/data/tolerances.json`. The defaults
        where `path` is None. Raises `BadRequest` for what makes no sense, a rule of severity error
        turned off among it: what is official must never overlap.
        """
        if path is None:
            return cls()
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _bad(path, f"can't be read: {error}") from None
        limits, on = given.pop("limits", {}), given.pop("rules", {})
        own = given.pop("tolerances", [])
        for name in given:
            raise _bad(path, f"has a part {name!r}; it may have [limits], [rules], [[tolerances]]")
        values: dict[str, float] = {}
        said: dict[str, str] = {}
        cases: list[Case] = []
        for name, value in limits.items():
            for case in _cases(path, name, value):
                if name in values:
                    raise _bad(path, f"gives values of {name!r} after one that always holds")
                if replace(case, limit="", value=0.0, source="") == Case("", 0.0, ""):
                    values[name], said[name] = case.value, case.source
                else:
                    cases.append(case)
        for name, value in on.items():
            if name not in RULES or not isinstance(value, bool):
                raise _bad(path, f"gives {name} = {value!r}; write a rule's id = true or false")
            if not value and RULES[name].severity == "error":
                raise _bad(path, f"turns {name!r} off, which is a rule of severity error")
        try:
            allowed = tuple(Tolerance.read(each) for each in own)
        except ValueError as error:
            raise _bad(path, f"has a tolerance that is not understood: {error}") from None
        return cls(
            **values,
            off=frozenset(name for name, value in on.items() if not value),
            cases=tuple(cases),
            said=said,
            tolerances=allowed + tolerances.shipped(),
        )


#: Coordinates that are rounded to centimetres stray as far; with more an overlap would be none.
_COARSEST = 0.015
_NUMBERS = frozenset(each.name for each in fields(Limits) if each.type == "float")


def _cases(path: Path, name: str, given: Any) -> list[Case]:
    """Read what a rules file says of one limit: a number, a table, or a list of tables."""
    if name not in _NUMBERS:
        raise _bad(path, f"gives {name!r}, which is no limit; {sorted(_NUMBERS)} are")
    found = []
    for each in given if isinstance(given, list) else [given]:
        told = each if isinstance(each, dict) else {"value": each}
        value = told.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise _bad(path, f"gives {value!r} as limit {name!r}, which is no number above 0")
        if name == "rounding" and value > _COARSEST:
            raise _bad(path, f"lets {value} m of an overlap pass as rounding; {_COARSEST} may")
        unknown = set(told) - {"value", "source", "scales", "land_use", "from", "to"}
        if unknown:
            raise _bad(path, f"says {sorted(unknown)} of limit {name!r}, which it can't depend on")
        if set(told) - {"value", "source"} and name not in DEPENDENT:
            raise _bad(
                path,
                f"has limit {name!r} depend on {sorted(set(told) - {'value', 'source'})};"
                f" only {sorted(DEPENDENT)} may",
            )
        try:
            found.append(
                Case(
                    name,
                    float(value),
                    str(told.get("source", f"limits of this deployment, {path.name}")),
                    frozenset(map(int, told.get("scales", ()))),
                    tolerances.codes(told.get("land_use", ())),
                    tolerances.day(told.get("from")),
                    tolerances.day(told.get("to")),
                )
            )
        except (ValueError, TypeError) as error:
            raise _bad(path, f"misstates limit {name!r}: {error}") from None
    return found


def _bad(path: Path, why: str) -> BadRequest:
    return BadRequest(
        f"The rules file {path.name} {why}.",
        hint="Correct it, or unset LANDDATA_RULES; docs/topology.md shows one.",
        code="bad-rules",
    )
