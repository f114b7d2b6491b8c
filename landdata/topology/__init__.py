"""A survey and its neighbours become findings. Pure: arrays in, arrays out.

The modules define their rules: `numbers`, `record` and `lengths` (what a parcel states of itself),
`shape` (one parcel alone), `coverage` (a parcel and its neighbours), `commune_boundary` (a parcel
and its commune). `rules` holds the limits; `edge_matching` maps polygons to rows and parcels.

Official parcels take part in the coverage rules, except the version that a row replaces. A
rejected row replaces nothing, so its official version stays and the other rows must fit it too;
`check` repeats until nothing changes. Afterwards, the acceptable rows and all official parcels
that they do not replace do not overlap beyond rounding.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import RULES, Finding
from landdata.topology import (
    commune_boundary,
    coverage,
    edge_matching,
    lengths,
    numbers,
    record,
    rules,
    shape,
    tolerances,
)
from landdata.topology.edge_matching import Neighbours
from landdata.topology.rules import Limits
from landdata.topology.tolerances import ToleranceContext

if TYPE_CHECKING:
    from landdata.survey import Survey

__all__ = ["ACCEPTABLE", "DUPLICATE", "REJECTED", "Checked", "Limits", "Neighbours", "check"]

#: No finding of severity error names the row.
ACCEPTABLE = 0
#: A finding of severity error names the row.
REJECTED = 1
#: The row repeats an earlier one.
DUPLICATE = 2

Progress = Callable[[str, float], None]  # stage, and the share of it that is done


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for a survey's n rows.

    `findings` are the survey's own, with their parcels filled in, and those of the rules, sorted
    by rule, row and place. `replaces` and `unchanged` index the neighbours.
    """

    findings: list[Finding]
    status: NDArray[np.int8]  # (n,) ACCEPTABLE, REJECTED or DUPLICATE
    parcels: NDArray[np.object_]  # (n,) keys, null without a usable number
    unchanged: NDArray[np.int64]  # (n,) neighbour of the same key and shape, or -1
    replaces: NDArray[np.int64]  # (n,) neighbour of the same key, or -1
    seconds: dict[str, float]  # by stage
    idle: frozenset[str] = frozenset()  # rules that are off or lack their data
    #: Row → all owners of a parcel whose co-owners have rows of their own.
    owners: Mapping[int, str] = field(default_factory=dict)
    #: Index → the shape of a parcel whose ring was taken apart.
    taken_apart: Mapping[int, BaseGeometry] = field(default_factory=dict)


def check(
    survey: Survey,
    neighbours: Neighbours | None = None,
    *,
    commune: str | None = None,
    boundary: BaseGeometry | None = None,
    limits: Limits | None = None,
    today: datetime.date | None = None,
    from_wgs84: record.FromWgs84 | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Return the result of all rules for a survey and the official parcels around it.

    `commune` is the batch's; if null, the commune that a row states is part of its key.
    `boundary` is the commune's, in the storage CRS, and `from_wgs84` transforms longitudes and
    latitudes into that; without them, parcels are not checked against the border, nor
    identifiers against their cells. The limits in force on the day of a parcel's survey apply,
    or `today` if the survey states no day.
    """
    configured = limits or Limits()
    context = ToleranceContext.from_survey(survey, today or datetime.date.today())
    limits = configured.widest()
    tell = progress or (lambda stage, share: None)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[stage], started = seconds.get(stage, 0.0) + now - started, now

    official = edge_matching.Official.from_neighbours(neighbours)
    parcels = numbers.keys(survey, commune)
    unusable, usable, taken_apart = shape.usable(survey.rows, parcels, survey.geometry, limits)
    survey = _with_shapes(survey, unusable, taken_apart)
    lap("shape")
    findings = _with_parcels(survey, parcels)
    record_findings, repeats, owners = record.check(
        survey, parcels, commune, limits, context, from_wgs84
    )
    findings += record_findings + lengths.check(survey, parcels, limits, context)
    lap("record")
    tell("record", 1.0)

    findings += unusable + _missing(survey, parcels, findings)
    lap("shape")
    tell("shape", 1.0)

    findings += commune_boundary.check(survey, parcels, usable, boundary, commune or "?", limits)
    replaces = official.find(parcels)
    within = np.flatnonzero(usable & ~repeats)
    # In the first round every usable row counts as replacing its official version.
    stays = np.ones(len(official.geometry), dtype=np.bool_)
    stays[replaces[within][replaces[within] >= 0]] = False
    around = np.flatnonzero(stays & official.usable)
    # By key, so that findings do not depend on the order of the neighbours.
    around = around[np.argsort(official.parcels[around], kind="stable")]
    places = np.concatenate([within, -1 - around])
    polygons = edge_matching.PolygonIndex(survey, parcels, official, places)
    findings += _shapes_and_coverage(polygons, usable, neighbours, limits, tell)
    lap("coverage")

    candidates = np.flatnonzero(~stays & official.usable)
    while True:
        # Official versions come back when the rows that were to replace them are rejected.
        status = _status(survey, findings, repeats)
        returned = np.setdiff1d(candidates, replaces[status == ACCEPTABLE])
        if not len(returned):
            break
        candidates = np.setdiff1d(candidates, returned)
        left = np.flatnonzero((status == ACCEPTABLE) & usable)
        findings += _overlaps_with(returned, left, polygons, limits)

    unchanged = _unchanged(survey, official, replaces, usable)
    changed = (status == ACCEPTABLE) & (unchanged < 0)
    findings += _replaced(survey, parcels, official, replaces, changed, context, limits)
    findings = _within_own_limits(findings, survey, configured, context)
    findings = sorted((f for f in findings if f.rule not in limits.off), key=_order)
    lap("official")
    return Checked(
        findings, status, parcels, unchanged, replaces, seconds,
        configured.off | _without_data(survey, neighbours, boundary, from_wgs84),
        owners, taken_apart,
    )  # fmt: skip


def _with_shapes(
    survey: Survey, unusable: list[Finding], taken_apart: Mapping[int, BaseGeometry]
) -> Survey:
    """Return a survey with rings taken apart, and without the areas of invalid polygons."""
    invalid = [f.row for f in unusable if f.rule == "invalid-ring" and f.row is not None]
    if not (invalid or taken_apart):
        return survey
    geometry = survey.geometry.copy()
    for at, polygon in taken_apart.items():
        geometry[at] = polygon
    area = np.where(np.isin(survey.rows, invalid), np.nan, survey.measured_area)
    return replace(survey, geometry=geometry, measured_area=area)


def _without_data(
    survey: Survey,
    neighbours: Neighbours | None,
    boundary: BaseGeometry | None,
    from_wgs84: record.FromWgs84 | None,
) -> frozenset[str]:
    """Return the rules whose data the survey does not state or the caller did not pass."""
    available = {
        "outside-commune": boundary is not None,
        "across-communes": boundary is not None,
        "identifier-outside": from_wgs84 is not None,
        "replaces-official": neighbours is not None,
        "moved-within-accuracy": neighbours is not None,
        "already-official": neighbours is not None,
    }
    stated = {
        "area": ("area-differs", "sheet-area-differs"),
        "edges": ("edge-differs", "edge-count-differs"),
        "national_id": ("identifier-ill-formed", "identifier-outside"),
        "land_use": ("unknown-land-use", "uses-exceed-area"),
    }
    for name, names in stated.items():
        column = survey.attributes[name]
        if column.null_count == len(column):
            available |= dict.fromkeys(names, False)
    return frozenset(rule for rule, is_available in available.items() if not is_available)


def _shapes_and_coverage(
    polygons: edge_matching.PolygonIndex,
    usable: NDArray[np.bool_],
    neighbours: Neighbours | None,
    limits: Limits,
    tell: Progress,
) -> list[Finding]:
    """Return the findings on the shape of usable rows, and on the coverage of `polygons`.

    Both run at once: the coverage alone leaves half of two processors idle.
    """
    survey, rows = polygons.survey, np.flatnonzero(usable)
    own, around = polygons.place[polygons.place >= 0], -1 - polygons.place[polygons.place < 0]
    geometry = np.concatenate([survey.geometry[own], polygons.official.geometry[around]])
    with ThreadPoolExecutor(1) as pool:
        shapes = pool.submit(
            shape.check, survey.rows[rows], polygons.parcels[rows], survey.geometry[rows], limits
        )
        defects = coverage.find(geometry, limits, own=len(own), progress=tell)
        defects = edge_matching.drop_unseen(defects, polygons, neighbours, limits)
        defects = edge_matching.drop_invalid(defects, survey.geometry[~usable])
        return shapes.result() + edge_matching.findings(defects, polygons, limits)


def _overlaps_with(
    returned: NDArray[np.int64],
    rows: NDArray[np.int64],
    polygons: edge_matching.PolygonIndex,
    limits: Limits,
) -> list[Finding]:
    """Return the overlaps of some rows with official parcels that come back, both by index."""
    survey, official = polygons.survey, polygons.official
    overlaps = coverage.between(survey.geometry[rows], official.geometry[returned], limits)
    polygons = replace(polygons, place=np.concatenate([rows, -1 - returned]))
    return [edge_matching.overlap(overlap, polygons, limits) for overlap in overlaps]


def _missing(
    survey: Survey, parcels: NDArray[np.object_], findings: list[Finding]
) -> list[Finding]:
    """Return `missing-geometry` for rows without a shape that have no such finding yet."""
    reported = {finding.row for finding in findings if finding.rule == "missing-geometry"}
    void = shapely.is_missing(survey.geometry) | shapely.is_empty(survey.geometry)
    return [
        Finding(
            rule="missing-geometry",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            detail={"why": "trống", "why_en": "empty"},
        )
        for at in np.flatnonzero(void).tolist()
        if int(survey.rows[at]) not in reported
    ]


def _within_own_limits(
    findings: list[Finding], survey: Survey, limits: Limits, context: ToleranceContext
) -> list[Finding]:
    """Return the findings that are defects by the limits of their own parcels.

    Of the limits of two rows, the one that reports more applies.
    """
    names = {case.limit for case in limits.cases} | set(limits.sources)
    if not names:
        return findings
    index = {int(row): at for at, row in enumerate(survey.rows.tolist())}
    values = {name: limits.values(name, context) for name in names if name in rules.DEPENDENT}
    kept = []
    for finding in findings:
        name = RULES[finding.rule].limit
        rows = [index[row] for row in (finding.row, finding.other_row) if row in index]
        if name not in values or not rows or finding.measured is None:
            own = limits.sources.get(name or "")
            kept.append(replace(finding, source=own) if own else finding)
            continue
        value, sources = values[name]
        above = rules.DEPENDENT[name]
        at = (min if above else max)(rows, key=lambda row: value[row])
        limit = float(value[at])
        beyond = finding.measured > limit if above else finding.measured < limit
        if finding.rule == "unmatched-vertex":  # a defect up to and including its limit
            beyond = finding.measured <= limit
        if finding.rule == "sliver" and shapely.area(survey.geometry[at]) < limits.sliver_area:
            beyond = True
        if beyond:
            source = next(text for which, text in sources if which[at])
            kept.append(replace(finding, limit=limit, source=source or finding.source))
    return kept


def _with_parcels(survey: Survey, parcels: NDArray[np.object_]) -> list[Finding]:
    """Return the survey's own findings with parcel keys, which the reader does not know."""
    rows = {finding.row for finding in survey.findings}
    key = {row: parcels[at] for at, row in enumerate(survey.rows.tolist()) if row in rows}
    return [
        replace(finding, parcel=key.get(finding.row)) if finding.parcel is None else finding
        for finding in survey.findings
    ]


def _unchanged(
    survey: Survey,
    official: edge_matching.Official,
    replaces: NDArray[np.int64],
    usable: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return for each row (n,) the official parcel of the same key and shape, or -1."""
    unchanged = np.full(len(replaces), -1, dtype=np.int64)
    same = np.flatnonzero((replaces >= 0) & usable)
    one, two = (
        shapely.normalize(_without_collection(shapes))
        for shapes in (survey.geometry[same], official.geometry[replaces[same]])
    )
    equal = shapely.equals_exact(one, two, 0.0)
    unchanged[same[equal]] = replaces[same[equal]]
    return unchanged


def _without_collection(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return shapes with the polygon in place of a multipolygon of one part, as the store has."""
    return np.where(
        shapely.get_num_geometries(shapes) == 1, shapely.get_geometry(shapes, 0), shapes
    )


def _replaced(
    survey: Survey,
    parcels: NDArray[np.object_],
    official: edge_matching.Official,
    replaces: NDArray[np.int64],
    which: NDArray[np.bool_],
    context: ToleranceContext,
    limits: Limits,
) -> list[Finding]:
    """Return a finding for each row that changes an official parcel's shape, with the change."""
    at = np.flatnonzero(which & (replaces >= 0))
    if not len(at):
        return []
    new, old = survey.geometry[at], official.geometry[replaces[at]]
    change = shapely.area(new) - shapely.area(old)
    # From each vertex of both to the other boundary: a vertex on an unmoved edge moves nothing.
    shift = shapely.hausdorff_distance(shapely.boundary(new), shapely.boundary(old))
    zeros = np.zeros(len(survey))
    accuracy, sources = tolerances.limits("point", zeros, context, limits.tolerances)
    findings = []
    for k, row in enumerate(at.tolist()):
        within = shift[k] <= accuracy[row]
        findings.append(
            Finding(
                rule="moved-within-accuracy" if within else "replaces-official",
                row=int(survey.rows[row]),
                parcel=parcels[row],
                other_parcel=parcels[row],
                measured=round(float(shift[k] if within else change[k]), 3),
                limit=float(accuracy[row]) if within else None,
                source=next(text for is_in, text in sources if is_in[row]) if within else None,
                point=shape.inside(survey.geometry[row]),
                detail={"area": f"{change[k]:+.2f}", "shift": f"{shift[k]:.3f}"},
            )
        )
    return findings


def _status(
    survey: Survey, findings: list[Finding], repeats: NDArray[np.bool_]
) -> NDArray[np.int8]:
    named = {
        row
        for finding in findings
        if finding.severity == "error"
        for row in (finding.row, finding.other_row, *finding.rows)
        if row is not None
    }
    status = np.where(np.isin(survey.rows, list(named)), REJECTED, ACCEPTABLE).astype(np.int8)
    status[repeats] = DUPLICATE
    return status


_PLACE_OF_RULE = {rule: place for place, rule in enumerate(RULES)}


def _order(finding: Finding) -> tuple[object, ...]:
    """Return the sort key: rule as in the catalogue, then row, other row and place."""
    return (
        _PLACE_OF_RULE[finding.rule],
        finding.row is None,
        finding.row or 0,
        finding.other_row is None,
        finding.other_row or 0,
        finding.other_parcel or "",
        finding.point or (0.0, 0.0),
        finding.measured or 0.0,
        sorted(finding.detail.items()),
    )
