"""Tolerances: by how much two measurements may differ, by map scale, land use and day.

They are data, `landdata/reference/data/tolerances.json`; a deployment may put its own before them.
A parcel is held to what was in force on the day of its survey, and where that is not stated, to
what is in force on the day of the check. Before the first table that is known, that one counts.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata.reference import land_use

if TYPE_CHECKING:
    from landdata.survey import Survey

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: `area`: m², of an area in m². `edge`: m, of a length in m. `point`: m, whatever the value.
Quantity = Literal["area", "edge", "point"]
QUANTITIES: dict[Quantity, str] = {"area": "m²", "edge": "m", "point": "m"}

#: A parcel whose map scale is not told is held to the area and edge tolerance of this one.
FALLBACK_SCALE = 2000


@dataclass(frozen=True, slots=True)
class Ground:
    """By what limits depend, of n parcels."""

    scale: Ints  # (n,) denominators, 0 where the scale is not told
    day: NDArray[np.datetime64]  # (n,), or (1,) where all have the same
    uses: pa.DictionaryArray  # (n,) JSON as in `SCHEMA`

    @classmethod
    def of(cls, survey: Survey, today: datetime.date) -> Ground:
        """Take from a survey what it states; where it states no day, `today`."""
        table = survey.attributes
        scale = table["scale"].combine_chunks().fill_null(0).to_numpy().astype(np.int64)
        day = np.array([today], dtype="datetime64[D]")
        surveyed = table["surveyed_on"].combine_chunks()
        if surveyed.null_count < len(surveyed):
            day = surveyed.fill_null(today).to_numpy(zero_copy_only=False).astype("datetime64[D]")
        return cls(scale, day, table["land_use"].combine_chunks().dictionary_encode())

    def take(self, index: Ints) -> Ground:
        """Return the ground of some parcels, any of them as often as it is asked for."""
        day = self.day if len(self.day) == 1 else self.day[index]
        return Ground(self.scale[index], day, self.uses.take(pa.array(index)))

    def between(self, first: datetime.date | None, last: datetime.date | None) -> Bools:
        """Tell which parcels are judged by a day of this span, both days included."""
        inside: Bools = np.ones(len(self.day), dtype=np.bool_)
        if first is not None:
            inside &= self.day >= np.datetime64(first)
        if last is not None:
            inside &= self.day <= np.datetime64(last)
        return np.broadcast_to(inside, len(self.scale)) if len(inside) == 1 else inside

    def only(self, codes: frozenset[str]) -> Bools:
        """Tell which parcels have uses, and none but of these codes and groups (`NNP` …)."""
        fits = []
        for text in self.uses.dictionary.to_pylist():
            found = [use["code"] for use in json.loads(text)]
            fits.append(bool(found) and all({c, land_use.group(c)} & codes for c in found))
        index = pc.fill_null(self.uses.indices, len(fits)).to_numpy(zero_copy_only=False)
        result: Bools = np.array([*fits, False], dtype=np.bool_)[index]
        return result


@dataclass(frozen=True, slots=True)
class Table:
    """A tolerance at one map scale: `base`, and so much more for each unit in each band."""

    base: float
    bands: tuple[tuple[float, float], ...] = ()  # (up to, per unit); the first adds nothing
    whole: bool = False  # each band counts whole steps alone
    step: float = 1.0

    def at(self, values: Floats) -> Floats:
        """Return the tolerance of each of the (k,) values."""
        if not self.bands:
            return np.full(len(values), self.base)
        low = np.array([0.0, *(up for up, _ in self.bands[:-1])])
        per = np.array([more for _, more in self.bands])
        if self.whole:
            wide = np.diff(low, append=np.inf)
            inside = np.clip(values[:, None] - low, 0, wide)
            # A hair, lest 12 metres count as eleven whole ones.
            steps = np.floor(inside / self.step + 1e-6)
            stepped: Floats = self.base + (steps * self.step * per).sum(axis=1)
            return stepped
        far = 1e9
        x = np.append(low, far)
        y = self.base + np.concatenate([[0.0], np.cumsum(np.diff(x) * per)])
        return np.asarray(np.interp(values, x, y), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Factor:
    """What all figures of some scales are multiplied by for some uses of the land."""

    by: float
    scales: frozenset[int]
    land_use: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What one text of law allows, from its first day to its last (`None`: not yet told)."""

    of: Quantity
    source: str
    scales: Mapping[int, Table]
    factors: tuple[Factor, ...] = ()
    valid_from: datetime.date | None = None
    valid_to: datetime.date | None = None
    note: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Tolerance:
        """Read one of the `tolerances` of the data, or of a deployment.

        Raises `ValueError`, with the reason, where it is not of that form.
        """
        known = {"of", "unit", "source", "note", "from", "to", "per", "whole", "scales", "factors"}
        for name in given:
            if name not in known:
                raise ValueError(f"{name!r} is no part of a tolerance; {sorted(known)} are")
        of = given.get("of")
        if of not in QUANTITIES:
            raise ValueError(f"'of' is {of!r} and must be one of {', '.join(QUANTITIES)}")
        if given.get("unit", QUANTITIES[of]) != QUANTITIES[of]:
            raise ValueError(f"the unit of {of} is {QUANTITIES[of]}")
        if not isinstance(given.get("source"), str):
            raise ValueError(f"the tolerance of {of} has no 'source'")
        step = float(given.get("per", 1))
        try:
            scales = {
                int(scale): _table(table, step, bool(given.get("whole", False)))
                for scale, table in given["scales"].items()
            }
            factors = tuple(
                Factor(
                    float(each["by"]), frozenset(map(int, each["scales"])), codes(each["land_use"])
                )
                for each in given.get("factors", ())
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the tolerance of {of} lacks or misstates {error}") from None
        if not scales:
            raise ValueError(f"the tolerance of {of} names no scale")
        first, last = day(given.get("from")), day(given.get("to"))
        return cls(of, given["source"], scales, factors, first, last, given.get("note"))

    def limit(self, values: Floats, ground: Ground) -> Floats:
        """Return what is allowed for each of the n values.

        Where the scale is not told or lies between two tables, an area or an edge gets what
        allows more, that of `FALLBACK_SCALE` or of the smaller scale. A point gets what allows
        less, that of the largest scale or of the larger one: nothing moves further than is sure.
        """
        scales = np.array(sorted(self.scales))
        if self.of == "point":
            at = np.searchsorted(scales, np.maximum(ground.scale, scales[0]), side="right") - 1
        else:
            asked = np.where(ground.scale > 0, ground.scale, FALLBACK_SCALE)
            at = np.minimum(np.searchsorted(scales, asked), len(scales) - 1)
        table = scales[at]
        limit = np.full(len(values), np.nan)
        for each in np.unique(table):
            chosen = table == each
            limit[chosen] = self.scales[int(each)].at(values[chosen])
        for factor in self.factors:
            apply = np.isin(table, list(factor.scales))
            if apply.any():
                limit[apply & ground.only(factor.land_use)] *= factor.by
        return limit


def _table(given: Any, step: float, whole: bool) -> Table:
    bands = tuple(
        (np.inf if up is None else float(up), float(more) / step)
        for up, more in given.get("bands", ())
    )
    if bands and bands[-1][0] != np.inf:
        bands = (*bands, (np.inf, bands[-1][1]))
    if any(a[0] >= b[0] for a, b in itertools.pairwise(bands)):
        raise ValueError("the bands of a tolerance must rise")
    return Table(float(given["base"]), bands, whole, step)


def day(value: Any) -> datetime.date | None:
    """Read a day of validity, a date or its ISO text; `ValueError` for anything else."""
    if value is None or (
        isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    ):
        return value
    if isinstance(value, str):
        return datetime.date.fromisoformat(value)
    raise ValueError(f"{value!r} is no day; write 2025-01-15")


def codes(given: Sequence[str]) -> frozenset[str]:
    """Read codes and groups of land use; `ValueError` where one is not known."""
    if isinstance(given, str):
        given = [given]
    for code in given:
        if land_use.status(code).kind == "unknown":
            raise ValueError(f"{code!r} is no code or group of land use")
    return frozenset(given)


@cache
def shipped() -> tuple[Tolerance, ...]:
    """Return the tolerances that the package carries."""
    text = (files("landdata.reference") / "data" / "tolerances.json").read_text(encoding="utf-8")
    return tuple(Tolerance.read(each) for each in json.loads(text)["tolerances"])


def limits(
    of: Quantity, values: Floats, ground: Ground, tolerances: Sequence[Tolerance]
) -> tuple[Floats, list[tuple[Bools, str]]]:
    """Return what is allowed for each of n values, and the source for each part of them.

    `tolerances` that come first take precedence over later ones that are in force as well.
    """
    limit = np.full(len(values), np.nan)
    sources = []
    for tolerance, which in _in_force(of, ground, tolerances):
        if which.any():
            at = np.flatnonzero(which)
            whole = len(at) == len(values)
            limit[at] = tolerance.limit(values[at], ground if whole else ground.take(at))
            sources.append((which, tolerance.source))
    return limit, sources


def _in_force(
    of: Quantity, ground: Ground, tolerances: Sequence[Tolerance]
) -> Iterator[tuple[Tolerance, Bools]]:
    """Yield the tolerances of a quantity, each with the parcels that it holds for."""
    mine = [each for each in tolerances if each.of == of]
    left = np.ones(len(ground.scale), dtype=np.bool_)
    for each in mine:
        held = left & ground.between(each.valid_from, each.valid_to)
        left &= ~held
        yield each, held
    # No text of law is known for that day: the first one that is.
    yield min(mine, key=lambda each: each.valid_from or datetime.date.min), left
