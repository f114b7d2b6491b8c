"""Matching a survey's polygons with the official ones around them, and the findings on both.

`Official` says which neighbours the coverage rules can use, `PolygonIndex` maps the polygons of a
coverage to rows and parcels, and `findings` turns its defects, by index, into findings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
    seen: BaseGeometry | None = None  # the area in which they are complete; null: everywhere


@dataclass(frozen=True, slots=True)
class Official:
    """The neighbours, and which of them the coverage rules can use."""

    parcels: NDArray[np.object_]
    geometry: NDArray[np.object_]
    usable: NDArray[np.bool_]

    @classmethod
    def from_neighbours(cls, neighbours: Neighbours | None) -> Official:
        """Return the official parcels among the neighbours; without neighbours, none."""
        if neighbours is None:
            empty = np.empty(0, dtype=object)
            return cls(empty, empty, np.empty(0, dtype=np.bool_))
        geometry = neighbours.geometry
        usable = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
        usable &= shapely.is_valid(geometry)
        return cls(neighbours.parcels, geometry, usable)

    def find(self, parcels: NDArray[np.object_]) -> NDArray[np.int64]:
        """Return the index of each key (n,) among the official parcels, or -1."""
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
class PolygonIndex:
    """Maps polygons of a coverage to rows (`place` ≥ 0) and official parcels (-1 - `place`)."""

    survey: Survey
    parcels: NDArray[np.object_]
    official: Official
    place: NDArray[np.int64]

    def row(self, polygon: int) -> int | None:
        """Return the row of a polygon; null for an official parcel."""
        at = int(self.place[polygon])
        return int(self.survey.rows[at]) if at >= 0 else None

    def shape(self, polygon: int) -> BaseGeometry:
        """Return the geometry of a polygon."""
        at = int(self.place[polygon])
        shape: BaseGeometry = (
            self.survey.geometry[at] if at >= 0 else self.official.geometry[-1 - at]
        )
        return shape

    def parcel(self, polygon: int) -> str | None:
        """Return the parcel key of a polygon; null for a row without one."""
        at = int(self.place[polygon])
        key: str | None = self.parcels[at] if at >= 0 else self.official.parcels[-1 - at]
        return key


def drop_unseen(
    defects: coverage.Defects, polygons: PolygonIndex, neighbours: Neighbours | None, limits: Limits
) -> coverage.Defects:
    """Return the defects without islands and enclosed areas that reach beyond `neighbours.seen`.

    An official parcel that was not fetched may lie there.
    """
    if neighbours is None or neighbours.seen is None:
        return defects
    seen = neighbours.seen
    shapely.prepare(seen)
    islands = np.array([polygons.shape(polygon) for polygon in defects.islands], dtype=object)
    windows = shapely.box(*(shapely.bounds(islands) + np.array([-1, -1, 1, 1]) * limits.island).T)
    regions = np.array([area.region for area in defects.enclosed], dtype=object)
    return replace(
        defects,
        islands=[defects.islands[k] for k in np.flatnonzero(shapely.covers(seen, windows))],
        enclosed=[defects.enclosed[k] for k in np.flatnonzero(shapely.covers(seen, regions))],
    )


def drop_invalid(defects: coverage.Defects, invalid: NDArray[np.object_]) -> coverage.Defects:
    """Return the defects without gaps and enclosed areas on which an unusable parcel lies.

    That land has a parcel, whose own finding says what is wrong with it.
    """
    present = invalid[~shapely.is_missing(invalid)]
    # Polygons alone: GEOS overlays no shapes of mixed dimension.
    polygons = shapely.make_valid(present, method="structure", keep_collapsed=False)
    grounds = shapely.STRtree(polygons)

    def without(regions: list[Any]) -> list[Any]:
        shapes = np.array([defect.region for defect in regions], dtype=object)
        at, ground = grounds.query(shapes, predicate="intersects")
        covers = shapely.area(shapely.intersection(shapes[at], grounds.geometries[ground])) > 0
        return [regions[k] for k in sorted({*range(len(regions))} - {*at[covers].tolist()})]

    if not len(grounds):
        return defects
    return replace(defects, gaps=without(defects.gaps), enclosed=without(defects.enclosed))


def findings(defects: coverage.Defects, polygons: PolygonIndex, limits: Limits) -> list[Finding]:
    """Return the findings on the defects of a coverage."""
    own = int(np.count_nonzero(polygons.place >= 0))
    return [
        *(overlap(defect, polygons, limits) for defect in defects.overlaps),
        *(_island(polygon, polygons, limits) for polygon in defects.islands),
        *(_gap(gap, polygons, limits, own) for gap in defects.gaps),
        *(_unparcelled(area, polygons, own) for area in defects.enclosed),
        *(_unmatched(vertex, polygons, limits, own) for vertex in defects.unmatched),
    ]


def _island(polygon: int, polygons: PolygonIndex, limits: Limits) -> Finding:
    return Finding(
        rule="island",
        row=polygons.row(polygon),
        parcel=polygons.parcel(polygon),
        limit=limits.island,
        point=inside(polygons.shape(polygon)),
    )


def _gap(gap: coverage.Gap, polygons: PolygonIndex, limits: Limits, own: int) -> Finding:
    first, other = _first_two(gap.parcels, own)
    return Finding(
        rule="gap",
        row=polygons.row(first),
        other_row=polygons.row(other),
        parcel=polygons.parcel(first),
        other_parcel=polygons.parcel(other),
        measured=round(gap.width, 4),
        limit=limits.gap,
        point=inside(gap.region),
        geometry=gap.region,
        detail={"area": f"{gap.area:.3g}" if gap.area < 1 else f"{gap.area:.2f}"},
    )


def _unparcelled(area: coverage.Enclosed, polygons: PolygonIndex, own: int) -> Finding:
    first, other = _first_two(area.parcels, own)
    return Finding(
        rule="unparcelled-area",
        row=polygons.row(first),
        other_row=None if other == first else polygons.row(other),
        parcel=polygons.parcel(first),
        other_parcel=None if other == first else polygons.parcel(other),
        measured=round(area.area, 2),
        point=inside(area.region),
        geometry=area.region,
    )


def _unmatched(
    vertex: coverage.Unmatched, polygons: PolygonIndex, limits: Limits, own: int
) -> Finding:
    # A finding belongs to a row: if the vertex is an official parcel's, the row comes first.
    first, other = vertex.parcel, vertex.other
    if first >= own:
        first, other = other, first
    return Finding(
        rule="unmatched-vertex",
        row=polygons.row(first),
        other_row=polygons.row(other),
        parcel=polygons.parcel(first),
        other_parcel=polygons.parcel(other),
        measured=round(vertex.distance, 4),
        limit=limits.snap,
        point=vertex.point,
        geometry=shapely.Point(vertex.point),
    )


def overlap(defect: coverage.Overlap, polygons: PolygonIndex, limits: Limits) -> Finding:
    """Return the finding on an overlap: duplicate, near duplicate, containment or overlap."""
    first, second = defect.first, defect.second
    rule = "overlap"
    if defect.equal:
        rule = "duplicate-geometry"
    elif defect.share >= limits.same:
        rule = "near-duplicate"
    elif defect.inner is not None:
        rule = "containment"
        if defect.inner == second:
            first, second = second, first
    if rule != "containment":
        rows = polygons.row(first), polygons.row(second)
        if rows[0] is not None and rows[1] is not None and rows[1] < rows[0]:
            first, second = second, first
    return Finding(
        rule=rule,
        row=polygons.row(first),
        other_row=polygons.row(second),
        parcel=polygons.parcel(first),
        other_parcel=polygons.parcel(second),
        measured=round(defect.area, 4),
        limit=0.0,  # m²; overlaps within the rounding limit are no defects
        point=inside(defect.region),
        geometry=defect.region,
        detail={"width": f"{defect.width:.3f}", "share": f"{100 * defect.share:.1f}"},
    )


def _first_two(parcels: tuple[int, ...], own: int) -> tuple[int, int]:
    """Return the row with the longest border, and of all others the one with the longest."""
    first = next(parcel for parcel in parcels if parcel < own)
    return first, next((parcel for parcel in parcels if parcel != first), first)
