"""The limits of the rules, as data, with their sources.

Sentences and severities are in `landdata.findings.RULES`; legal tolerances by map scale, land use
and day are in `tolerances`.
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
from landdata.topology.tolerances import Bools, Floats, Tolerance, ToleranceContext

#: The limits that may depend on map scale, land use and day → whether a rule's `measured` is a
#: defect above its limit (else below it).
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
    """Another value of a limit, for some map scales, land uses and survey days."""

    limit: str
    value: float
    source: str
    scales: frozenset[int] = frozenset()  # denominators; empty: any
    land_use: frozenset[str] = frozenset()  # codes and groups; empty: any
    valid_from: datetime.date | None = None
    valid_to: datetime.date | None = None

    def applies(self, context: ToleranceContext) -> Bools:
        """Return to which (n,) parcels it applies."""
        held = context.between(self.valid_from, self.valid_to).copy()
        if self.scales:
            held &= np.isin(context.scale, list(self.scales))
        if self.land_use:
            held &= context.uses_only(self.land_use)
        return held


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the rules; lengths in metres.

    `rounding`: boundaries no further apart than this are one. A point computed on a line and
    rounded to the 1 mm grid lies up to 0.71 mm off it, so two rounded boundaries may be 1.42 mm
    apart; what is wider did not come from rounding.

    `gap`: an unparcelled strip narrower than this is a gap, a wider one a road or a canal. Far
    below the narrowest lane or ditch, far above the accuracy of a boundary point at any scale
    down to 1:2000. `strip`: an enclosed region without a parcel whose length is at least this
    many times its width is a road, a bank, a canal or a dyke.

    `snap`: a vertex this near to a neighbour's boundary was meant to lie on it; the accuracy of a
    boundary point at 1:200, the largest scale. `corner`: degrees by which a boundary must turn
    for an open strip to end there.

    `edge`: the shortest side of a parcel. `spike`: degrees; the smallest angle between two sides.
    `sliver`, `sliver_area` (m²): a narrower or smaller parcel is a drawing artefact. `density`:
    vertices per metre of boundary, at most. `island`: a parcel this far from all others stands
    alone. `far`: the furthest from the middle of the survey. `border`: how far a parcel may cross
    its commune's border, since borders are drawn at small scales. `same`: two parcels that share
    this part of the larger one are near duplicates. `cell`: the furthest from a parcel to the
    cell of its identifier.

    `off`: rules turned off by the deployment, none of severity error. `cases`: values under
    conditions; the first that applies is used. `sources`: the sources of a deployment's values.
    `tolerances`: legal tolerances, a deployment's own before the package's.
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
    sources: Mapping[str, str] = field(default_factory=dict)
    tolerances: tuple[Tolerance, ...] = field(default_factory=tolerances.shipped)

    def widest(self) -> Limits:
        """Return the limits with which no case misses a finding."""
        values: dict[str, Any] = {}
        for name, above in DEPENDENT.items():
            options = [getattr(self, name), *(c.value for c in self.cases if c.limit == name)]
            values[name] = min(options) if above else max(options)
        return replace(self, **values)

    def values(
        self, name: str, context: ToleranceContext
    ) -> tuple[Floats, list[tuple[Bools, str | None]]]:
        """Return a limit's values (n,) for n parcels, and `(which, source)` pairs that cover them.

        A null source stands for the rule's own.
        """
        value = np.full(len(context.scale), getattr(self, name))
        left = np.ones(len(value), dtype=np.bool_)
        sources: list[tuple[Bools, str | None]] = []
        for case in self.cases:
            if case.limit == name:
                held = left & case.applies(context)
                value[held] = case.value
                sources.append((held, case.source))
                left &= ~held
        sources.append((left, self.sources.get(name)))
        return value, sources

    @classmethod
    def load(cls, path: Path | None) -> Limits:
        """Read a deployment's limits, and the rules that it turns off, from a TOML file.

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

        The first value whose conditions a parcel meets applies, else the default. The form of
        `[[tolerances]]` is that of `landdata/reference/data/tolerances.json`. Returns the defaults
        if `path` is null. Raises `BadRequest` for an invalid file, also for one that turns a rule
        of severity error off: official parcels must never overlap.
        """
        if path is None:
            return cls()
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _bad(path, f"can't be read: {error}") from None
        limits, enabled = data.pop("limits", {}), data.pop("rules", {})
        own = data.pop("tolerances", [])
        for name in data:
            raise _bad(path, f"has a part {name!r}; it may have [limits], [rules], [[tolerances]]")
        values: dict[str, float] = {}
        sources: dict[str, str] = {}
        cases: list[Case] = []
        for name, value in limits.items():
            for case in _cases(path, name, value):
                if name in values:
                    raise _bad(path, f"gives values of {name!r} after one that always holds")
                if replace(case, limit="", value=0.0, source="") == Case("", 0.0, ""):
                    values[name], sources[name] = case.value, case.source
                else:
                    cases.append(case)
        for name, value in enabled.items():
            if name not in RULES or not isinstance(value, bool):
                raise _bad(path, f"gives {name} = {value!r}; write a rule's id = true or false")
            if not value and RULES[name].severity == "error":
                raise _bad(path, f"turns {name!r} off, which is a rule of severity error")
        try:
            allowed = tuple(Tolerance.read(entry) for entry in own)
        except ValueError as error:
            raise _bad(path, f"has an invalid tolerance: {error}") from None
        return cls(
            **values,
            off=frozenset(name for name, value in enabled.items() if not value),
            cases=tuple(cases),
            sources=sources,
            tolerances=allowed + tolerances.shipped(),
        )


#: The rounding error of coordinates in centimetres; with more, real overlaps would pass.
_COARSEST = 0.015
_NUMBERS = frozenset(limit.name for limit in fields(Limits) if limit.type == "float")


def _cases(path: Path, name: str, data: Any) -> list[Case]:
    """Parse one limit of a rules file: a number, a table, or a list of tables."""
    if name not in _NUMBERS:
        raise _bad(path, f"gives {name!r}, which is no limit; {sorted(_NUMBERS)} are")
    cases = []
    for entry in data if isinstance(data, list) else [data]:
        table = entry if isinstance(entry, dict) else {"value": entry}
        value = table.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise _bad(path, f"gives {value!r} as limit {name!r}, which is not a number above 0")
        if name == "rounding" and value > _COARSEST:
            raise _bad(path, f"lets overlaps of {value} m pass as rounding; {_COARSEST} m may")
        unknown = set(table) - {"value", "source", "scales", "land_use", "from", "to"}
        if unknown:
            raise _bad(
                path, f"gives {sorted(unknown)} for limit {name!r}, which are not conditions"
            )
        if set(table) - {"value", "source"} and name not in DEPENDENT:
            raise _bad(
                path,
                f"has limit {name!r} depend on {sorted(set(table) - {'value', 'source'})};"
                f" only {sorted(DEPENDENT)} may",
            )
        try:
            cases.append(
                Case(
                    name,
                    float(value),
                    str(table.get("source", f"limits of this deployment, {path.name}")),
                    frozenset(map(int, table.get("scales", ()))),
                    tolerances.codes(table.get("land_use", ())),
                    tolerances.day(table.get("from")),
                    tolerances.day(table.get("to")),
                )
            )
        except (ValueError, TypeError) as error:
            raise _bad(path, f"misstates limit {name!r}: {error}") from None
    return cases


def _bad(path: Path, why: str) -> BadRequest:
    return BadRequest(
        "The rules file {name} {why}.",
        hint="Correct it, or unset LANDDATA_RULES; docs/topology.md shows one.",
        code="bad-rules",
        name=path.name,
        why=why,
    )
