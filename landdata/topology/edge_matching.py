"""The polygons of a coverage: rows of a survey, and what is official around them.

`Official` knows which of the neighbours are fit for the coverage rules, `Who` names each polygon,
and what `coverage` found of them by index becomes findings, which name rows and parcels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding
from landdata.topology import coverage
from landdata.topology.rules import Limits
from landdata.topology.shape import inside

if TYPE_CHECKING:
    from landdata.survey import Survey


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Official parcels in and around a survey, in the storage CRS."""

    parcels: NDArray[np.object_]  # (m,) keys commune/sheet/number
    geometry: NDArray[np.object_]  # (m,)
    seen: BaseGeometry | None = None  # where they are all that there are; everywhere if None


@dataclass(frozen=True, slots=True)
class Official:
    """The neighbours, and which of them are fit for the coverage rules."""

    parcels: NDArray[np.object_]
    geometry: NDArray[np.object_]
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, neighbours: Neighbours | None) -> Official:
        """Take them from what was fetched; none, where nothing was."""
        if neighbours is None:
            none = np.empty(0, dtype=object)
            return cls(none, none, np.empty(0, dtype=np.bool_))
        geometry = neighbours.geometry
        usable = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
        usable &= shapely.is_valid(geometry)
        return cls(neighbours.parcels, geometry, usable)

    def of_keys(self, parcels: NDArray[np.object_]) -> NDArray[np.int64]:
        """Return the index of each key among the official parcels, or -1."""
        if not len(self.parcels):
            return np.full(len(parcels), -1, dtype=np.int64)
        index = pc.index_in(
            pa.array(parcels, pa.string()), value_set=pa.array(self.parcels, pa.string())
        )
        result: NDArray[np.int64] = (
            index.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        )
        result[pa.array(parcels, pa.string()).is_null().to_numpy(False)] = -1
        return result


@dataclass(frozen=True, slots=True)
class Who:
    """Names the polygons of a coverage: rows (index ≥ 0) and official parcels (-1 - index)."""

    survey: Survey
    parcels: NDArray[np.object_]
    official: Official
    index: NDArray[np.int64]

    def row(self, polygon: int) -> int | None:
        """Return the row; null for an official parcel."""
        at = int(self.index[polygon])
        return int(self.survey.rows[at]) if at >= 0 else None

    def shape(self, polygon: int) -> BaseGeometry:
        """Return the polygon itself."""
        at = int(self.index[polygon])
        shape: BaseGeometry = (
            self.survey.geometry[at] if at >= 0 else self.official.geometry[-1 - at]
        )
        return shape

    def parcel(self, polygon: int) -> str | None:
        """Return the key; null where a row has none."""
        at = int(self.index[polygon])
        key: str | None = self.parcels[at] if at >= 0 else self.official.parcels[-1 - at]
        return key


def seen(
    defects: coverage.Defects, who: Who, neighbours: Neighbours | None, limits: Limits
) -> coverage.Defects:
    """Drop islands and enclosed areas where an official parcel that was not given may lie."""
    if neighbours is None or neighbours.seen is None:
        return defects
    ground = neighbours.seen
    shapely.prepare(ground)
    islands = np.array([who.shape(each) for each in defects.islands], dtype=object)
    around = shapely.box(*(shapely.bounds(islands) + np.array([-1, -1, 1, 1]) * limits.island).T)
    regions = np.array([each.region for each in defects.enclosed], dtype=object)
    return replace(
        defects,
        islands=[defects.islands[k] for k in np.flatnonzero(shapely.covers(ground, around))],
        enclosed=[defects.enclosed[k] for k in np.flatnonzero(shapely.covers(ground, regions))],
    )


def findings(defects: coverage.Defects, who: Who, limits: Limits) -> list[Finding]:
    """Return the findings on all that `coverage` found."""
    found = [overlap(each, who, limits) for each in defects.overlaps]
    found += [
        Finding(
            rule="island",
            row=who.row(each),
            parcel=who.parcel(each),
            limit=limits.island,
            point=inside(who.shape(each)),
        )
        for each in defects.islands
    ]
    own = int(np.count_nonzero(who.index >= 0))
    for gap in defects.gaps:
        first, other = _first_two(gap.parcels, own)
        found.append(
            Finding(
                rule="gap",
                row=who.row(first),
                other_row=who.row(other),
                parcel=who.parcel(first),
                other_parcel=who.parcel(other),
                measured=round(gap.width, 4),
                limit=limits.gap,
                point=inside(gap.region),
                geometry=gap.region,
                detail={"area": f"{gap.area:.3g}" if gap.area < 1 else f"{gap.area:.2f}"},
            )
        )
    found += [
        Finding(
            rule="unparcelled-area",
            row=who.row(first),
            other_row=None if other == first else who.row(other),
            parcel=who.parcel(first),
            other_parcel=None if other == first else who.parcel(other),
            measured=round(each.area, 2),
            point=inside(each.region),
            geometry=each.region,
        )
        for each in defects.enclosed
        for first, other in [_first_two(each.parcels, own)]
    ]
    found += [
        Finding(
            rule="unmatched-vertex",
            row=who.row(first),
            other_row=who.row(other),
            parcel=who.parcel(first),
            other_parcel=who.parcel(other),
            measured=round(each.distance, 4),
            limit=limits.snap,
            point=each.point,
            geometry=shapely.Point(each.point),
        )
        for each in defects.unmatched
        # A finding is a row's; where the vertex is an official parcel's, the row comes first.
        for first, other in [
            (each.parcel, each.other) if each.parcel < own else (each.other, each.parcel)
        ]
    ]
    return found


def overlap(one: coverage.Overlap, who: Who, limits: Limits) -> Finding:
    """Return the finding on an overlap, by the rule that says what it is."""
    first, second = one.first, one.second
    rule = "overlap"
    if one.equal:
        rule = "duplicate-geometry"
    elif one.share >= limits.same:
        rule = "near-duplicate"
    elif one.inner is not None:
        rule = "containment"
        if one.inner == second:
            first, second = second, first
    if rule != "containment":
        rows = who.row(first), who.row(second)
        if rows[0] is not None and rows[1] is not None and rows[1] < rows[0]:
            first, second = second, first
    return Finding(
        rule=rule,
        row=who.row(first),
        other_row=who.row(second),
        parcel=who.parcel(first),
        other_parcel=who.parcel(second),
        measured=round(one.area, 4),
        limit=0.0,  # m²; what is thinner than the rounding limit never gets here
        point=inside(one.region),
        geometry=one.region,
        detail={"width": f"{one.width:.3f}", "share": f"{100 * one.share:.1f}"},
    )


def _first_two(parcels: tuple[int, ...], own: int) -> tuple[int, int]:
    """Return the row that has most of a border, and of all others the one that has most."""
    first = next(each for each in parcels if each < own)
    return first, next((each for each in parcels if each != first), first)
