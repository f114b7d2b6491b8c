"""Tolerances: by how much two measurements may differ, by map scale, land use and day.

They are data, `landdata/reference/data/tolerances.json`; a deployment's own take precedence. The
tolerance in force on the day of a parcel's survey applies, or on the day of the check where the
survey states none; before the earliest tolerance in the data, that one applies.
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

#: Without a map scale, the area and edge tolerance of this scale applies.
FALLBACK_SCALE = 2000


@dataclass(frozen=True, slots=True)
class ToleranceContext:
    """What the limits depend on: map scale, survey day and land use of n parcels."""

    scale: Ints  # (n,) denominators, 0 where none is stated
    day: NDArray[np.datetime64]  # (n,), or (1,) where all have the same
    uses: pa.DictionaryArray  # (n,) JSON as in `SCHEMA`

    @classmethod
    def from_survey(cls, survey: Survey, today: datetime.date) -> ToleranceContext:
        """Return the context of a survey's rows; `today` for a row without a survey day."""
        table = survey.attributes
        scale = table["scale"].combine_chunks().fill_null(0).to_numpy().astype(np.int64)
        day = np.array([today], dtype="datetime64[D]")
        surveyed = table["surveyed_on"].combine_chunks()
        if surveyed.null_count < len(surveyed):
            day = surveyed.fill_null(today).to_numpy(zero_copy_only=False).astype("datetime64[D]")
        return cls(scale, day, table["land_use"].combine_chunks().dictionary_encode())

    def take(self, index: Ints) -> ToleranceContext:
        """Return the context of the parcels at `index` (k,), which may repeat."""
        day = self.day if len(self.day) == 1 else self.day[index]
        return ToleranceContext(self.scale[index], day, self.uses.take(pa.array(index)))

    def between(self, first: datetime.date | None, last: datetime.date | None) -> Bools:
        """Return which (n,) parcels have their day from `first` to `last`, both included."""
        inside: Bools = np.ones(len(self.day), dtype=np.bool_)
        if first is not None:
            inside &= self.day >= np.datetime64(first)
        if last is not None:
            inside &= self.day <= np.datetime64(last)
        return np.broadcast_to(inside, len(self.scale)) if len(inside) == 1 else inside

    def uses_only(self, codes: frozenset[str]) -> Bools:
        """Return which (n,) parcels have uses, all of these codes and groups (`NNP` …)."""
        fits = []
        for text in self.uses.dictionary.to_pylist():
            uses = [use["code"] for use in json.loads(text)]
            fits.append(bool(uses) and all({use, land_use.group(use)} & codes for use in uses))
        index = pc.fill_null(self.uses.indices, len(fits)).to_numpy(zero_copy_only=False)
        result: Bools = np.array([*fits, False], dtype=np.bool_)[index]
        return result


@dataclass(frozen=True, slots=True)
class Table:
    """A tolerance at one map scale: `base`, plus a rate per unit of the value in each band."""

    base: float
    bands: tuple[tuple[float, float], ...] = ()  # (upper end, rate per unit), rising
    whole: bool = False  # only whole steps of a band count
    step: float = 1.0

    def at(self, values: Floats) -> Floats:
        """Return the tolerances (k,) of the values (k,)."""
        if not self.bands:
            return np.full(len(values), self.base)
        low = np.array([0.0, *(upper for upper, _ in self.bands[:-1])])
        rates = np.array([rate for _, rate in self.bands])
        if self.whole:
            wide = np.diff(low, append=np.inf)
            inside = np.clip(values[:, None] - low, 0, wide)
            # 1e-6, so that 12 m are not rounded down to eleven whole metres.
            steps = np.floor(inside / self.step + 1e-6)
            stepped: Floats = self.base + (steps * self.step * rates).sum(axis=1)
            return stepped
        far = 1e9
        x = np.append(low, far)
        y = self.base + np.concatenate([[0.0], np.cumsum(np.diff(x) * rates)])
        return np.asarray(np.interp(values, x, y), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Factor:
    """A multiplier of the tolerances at some scales for some land uses."""

    by: float
    scales: frozenset[int]
    land_use: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What one legal text allows from its first day to its last (null: open)."""

    quantity: Quantity
    source: str
    scales: Mapping[int, Table]
    factors: tuple[Factor, ...] = ()
    valid_from: datetime.date | None = None
    valid_to: datetime.date | None = None
    note: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Tolerance:
        """Parse one entry of `tolerances.json` or of a deployment's `[[tolerances]]`.

        Raises `ValueError` with the reason for an entry of another form.
        """
        keys = {"of", "unit", "source", "note", "from", "to", "per", "whole", "scales", "factors"}
        for name in data:
            if name not in keys:
                raise ValueError(f"{name!r} is not a key of a tolerance; {sorted(keys)} are")
        quantity = data.get("of")
        if quantity not in QUANTITIES:
            raise ValueError(f"'of' is {quantity!r} and must be one of {', '.join(QUANTITIES)}")
        if data.get("unit", QUANTITIES[quantity]) != QUANTITIES[quantity]:
            raise ValueError(f"the unit of {quantity} is {QUANTITIES[quantity]}")
        if not isinstance(data.get("source"), str):
            raise ValueError(f"the tolerance of {quantity} has no 'source'")
        step = float(data.get("per", 1))
        try:
            scales = {
                int(scale): _table(table, step, bool(data.get("whole", False)))
                for scale, table in data["scales"].items()
            }
            factors = tuple(
                Factor(
                    float(factor["by"]),
                    frozenset(map(int, factor["scales"])),
                    codes(factor["land_use"]),
                )
                for factor in data.get("factors", ())
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the tolerance of {quantity} lacks or misstates {error}") from None
        if not scales:
            raise ValueError(f"the tolerance of {quantity} names no scale")
        first, last = day(data.get("from")), day(data.get("to"))
        return cls(quantity, data["source"], scales, factors, first, last, data.get("note"))

    def limit(self, values: Floats, context: ToleranceContext) -> Floats:
        """Return the tolerances (n,) of the values (n,).

        For a scale that is missing or between two tables, areas and edges get the wider
        tolerance (of `FALLBACK_SCALE`, or of the smaller scale), points the narrower one (of the
        largest scale, or of the larger one), so that no repair moves a point too far.
        """
        scales = np.array(sorted(self.scales))
        if self.quantity == "point":
            at = np.searchsorted(scales, np.maximum(context.scale, scales[0]), side="right") - 1
        else:
            scale = np.where(context.scale > 0, context.scale, FALLBACK_SCALE)
            at = np.minimum(np.searchsorted(scales, scale), len(scales) - 1)
        used = scales[at]
        limit = np.full(len(values), np.nan)
        for scale in np.unique(used):
            chosen = used == scale
            limit[chosen] = self.scales[int(scale)].at(values[chosen])
        for factor in self.factors:
            apply = np.isin(used, list(factor.scales))
            if apply.any():
                limit[apply & context.uses_only(factor.land_use)] *= factor.by
        return limit


def _table(data: Any, step: float, whole: bool) -> Table:
    bands = tuple(
        (np.inf if upper is None else float(upper), float(rate) / step)
        for upper, rate in data.get("bands", ())
    )
    if bands and bands[-1][0] != np.inf:
        bands = (*bands, (np.inf, bands[-1][1]))
    if any(a[0] >= b[0] for a, b in itertools.pairwise(bands)):
        raise ValueError("the bands of a tolerance must rise")
    return Table(float(data["base"]), bands, whole, step)


def day(value: Any) -> datetime.date | None:
    """Parse a day of validity, a date or ISO text; raises `ValueError` for anything else."""
    if value is None or (
        isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    ):
        return value
    if isinstance(value, str):
        return datetime.date.fromisoformat(value)
    raise ValueError(f"{value!r} is no day; write 2025-01-15")


def codes(texts: Sequence[str]) -> frozenset[str]:
    """Parse land-use codes and groups; raises `ValueError` for one that is not listed."""
    if isinstance(texts, str):
        texts = [texts]
    for code in texts:
        if land_use.status(code).kind == "unknown":
            raise ValueError(f"{code!r} is not a code or group of land use")
    return frozenset(texts)


@cache
def shipped() -> tuple[Tolerance, ...]:
    """Return the tolerances that come with the package."""
    text = (files("landdata.reference") / "data" / "tolerances.json").read_text(encoding="utf-8")
    return tuple(Tolerance.read(entry) for entry in json.loads(text)["tolerances"])


def limits(
    quantity: Quantity, values: Floats, context: ToleranceContext, tolerances: Sequence[Tolerance]
) -> tuple[Floats, list[tuple[Bools, str]]]:
    """Return the tolerances (n,) of the values (n,), and `(which, source)` pairs that cover them.

    Of several `tolerances` in force, the first in the sequence applies.
    """
    limit = np.full(len(values), np.nan)
    sources = []
    for tolerance, which in _in_force(quantity, context, tolerances):
        if which.any():
            at = np.flatnonzero(which)
            whole = len(at) == len(values)
            limit[at] = tolerance.limit(values[at], context if whole else context.take(at))
            sources.append((which, tolerance.source))
    return limit, sources


def _in_force(
    quantity: Quantity, context: ToleranceContext, tolerances: Sequence[Tolerance]
) -> Iterator[tuple[Tolerance, Bools]]:
    """Yield the tolerances of a quantity, each with the parcels (n,) to which it applies."""
    candidates = [tolerance for tolerance in tolerances if tolerance.quantity == quantity]
    left = np.ones(len(context.scale), dtype=np.bool_)
    for tolerance in candidates:
        applies = left & context.between(tolerance.valid_from, tolerance.valid_to)
        left &= ~applies
        yield tolerance, applies
    # For a day before the first legal text in the data, that one applies.
    yield min(candidates, key=lambda text: text.valid_from or datetime.date.min), left
