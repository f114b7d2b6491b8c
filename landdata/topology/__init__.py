"""A Survey and its neighbours become Findings. Pure: arrays in, arrays out.

Each room's docstring defines its rules: `record` and `lengths` (what a parcel says of itself),
`shape` (one parcel alone), `coverage` (a parcel and its neighbours), `border` (a parcel and its
commune); `rules` holds the limits, and `seam` names the polygons of a coverage.

What is official already takes part in the coverage rules, except the state that a row
replaces. A rejected row replaces nothing, so its official state stays and the other rows must
fit it too; `check` goes on until nothing changes. Hence what holds afterwards: the acceptable
rows, with all official parcels that they do not replace, do not overlap beyond rounding.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
    record,
    rules,
    shape,
)
from landdata.topology.edge_matching import Neighbours
from landdata.topology.rules import Limits
from landdata.topology.tolerances import Ground

if TYPE_CHECKING:
    from landdata.survey import Survey

__all__ = ["ACCEPTABLE", "DUPLICATE", "REJECTED", "Checked", "Limits", "Neighbours", "check"]

#: No finding of severity error names the row.
ACCEPTABLE = 0
#: A finding of severity error names the row.
REJECTED = 1
#: The row repeats an earlier one.
DUPLICATE = 2

Progress = Callable[[str, float], None]  # stage, and which share of it is done


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on each of a survey's n rows.

    `findings` are the survey's own, with their parcels filled in, and those of the rules; their
    order is by rule, row and place. `replaces` and `unchanged` index the neighbours.
    """

    findings: list[Finding]
    status: NDArray[np.int8]  # (n,) ACCEPTABLE, REJECTED or DUPLICATE
    parcels: NDArray[np.object_]  # (n,) keys, None where there is no usable number
    unchanged: NDArray[np.int64]  # (n,) neighbour of the same key and the same shape, or -1
    replaces: NDArray[np.int64]  # (n,) neighbour of the same key, or -1
    seconds: dict[str, float]  # by stage
    idle: frozenset[str] = frozenset()  # rules that are off or had nothing to go by


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
    """Run all rules over a survey, and over its seam with what is official around it.

    `commune` is the batch's; where it is None, what each row states makes its key. `boundary`
    is the commune's, in the storage CRS, and `from_wgs84` turns longitudes and latitudes into
    that; without them no parcel is held to its commune's border, no identifier to its cell.
    A parcel is held to the limits in force on the day of its survey, and where that is not
    stated, to those in force `today`.
    """
    asked, ground = limits or Limits(), Ground.of(survey, today or datetime.date.today())
    limits = asked.widest()
    tell = progress or (lambda stage, share: None)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[stage], started = seconds.get(stage, 0.0) + now - started, now

    official = edge_matching.Official.of(neighbours)
    parcels = record.keys(survey, commune)
    findings = _with_parcels(survey, parcels)
    found, repeats = record.check(survey, parcels, commune, limits, ground, from_wgs84)
    findings += found + lengths.check(survey, parcels, limits, ground)
    lap("record")
    tell("record", 1 / 1)

    found, usable = shape.usable(survey.rows, parcels, survey.geometry, limits)
    findings += found + _missing(survey, parcels, findings)
    lap("shape")
    tell("shape", 1 / 1)

    findings += commune_boundary.check(survey, parcels, usable, boundary, commune or "?", limits)
    replaces = official.of_keys(parcels)
    within = np.flatnonzero(usable & ~repeats)
    # In the first round each usable row counts as replacing its official state.
    stays = np.ones(len(official.geometry), dtype=np.bool_)
    stays[replaces[within][replaces[within] >= 0]] = False
    around = np.flatnonzero(stays & official.usable)
    # By key, so that findings do not depend on the order in which the neighbours came.
    around = around[np.argsort(official.parcels[around], kind="stable")]
    who = edge_matching.Who(survey, parcels, official, np.concatenate([within, -1 - around]))
    findings += _alone_and_together(who, usable, neighbours, limits, tell)
    lap("coverage")

    # Official states come back when the rows that were to replace them are rejected.
    back = np.empty(0, dtype=np.int64)
    while True:
        status = _status(survey, findings, repeats)
        returned = ~stays & official.usable
        returned[replaces[(status == ACCEPTABLE) & (replaces >= 0)]] = False
        fresh = np.setdiff1d(np.flatnonzero(returned), back)
        if not len(fresh):
            break
        back = np.union1d(back, fresh)
        left = np.flatnonzero((status == ACCEPTABLE) & usable)
        overlaps = coverage.between(survey.geometry[left], official.geometry[fresh], limits)
        who = edge_matching.Who(survey, parcels, official, np.concatenate([left, -1 - fresh]))
        findings += [edge_matching.overlap(each, who, limits) for each in overlaps]

    unchanged = _unchanged(survey, official, replaces, usable)
    findings += _replaced(
        survey, parcels, official, replaces, (status == ACCEPTABLE) & (unchanged < 0)
    )
    held = _held(findings, survey, asked, ground)
    findings = sorted((each for each in held if each.rule not in limits.off), key=_order)
    lap("official")
    return Checked(
        findings, status, parcels, unchanged, replaces, seconds,
        asked.off | _nothing_to_go_by(survey, neighbours, boundary, from_wgs84),
    )  # fmt: skip


def _nothing_to_go_by(
    survey: Survey,
    neighbours: Neighbours | None,
    boundary: BaseGeometry | None,
    from_wgs84: record.FromWgs84 | None,
) -> frozenset[str]:
    """Return the rules that nothing could be held to: it is not stated, or not known."""
    needs = {
        "outside-commune": boundary is not None,
        "across-communes": boundary is not None,
        "identifier-outside": from_wgs84 is not None,
        "replaces-official": neighbours is not None,
        "already-official": neighbours is not None,
    }
    stated = {
        "area": ("area-differs", "sheet-area-differs"),
        "edges": ("edge-differs", "edge-count-differs"),
        "national_id": ("identifier-ill-formed", "identifier-outside"),
        "land_use": ("unknown-land-use",),
    }
    for name, held in stated.items():
        column = survey.attributes[name]
        if column.null_count == len(column):
            needs |= dict.fromkeys(held, False)
    return frozenset(rule for rule, there in needs.items() if not there)


def _alone_and_together(
    who: edge_matching.Who,
    usable: NDArray[np.bool_],
    neighbours: Neighbours | None,
    limits: Limits,
    tell: Progress,
) -> list[Finding]:
    """Tell what is odd in each usable row, and in the coverage of `who`.

    At once, because the coverage alone leaves half of two processors idle.
    """
    survey, alone = who.survey, np.flatnonzero(usable)
    own, around = who.index[who.index >= 0], -1 - who.index[who.index < 0]
    polygons = np.concatenate([survey.geometry[own], who.official.geometry[around]])
    with ThreadPoolExecutor(1) as beside:
        odd = beside.submit(
            shape.odd, survey.rows[alone], who.parcels[alone], survey.geometry[alone], limits
        )
        defects = coverage.find(polygons, limits, own=len(own), progress=tell)
        defects = edge_matching.seen(defects, who, neighbours, limits)
        return odd.result() + edge_matching.findings(defects, who, limits)


def _missing(
    survey: Survey, parcels: NDArray[np.object_], findings: list[Finding]
) -> list[Finding]:
    """Tell of rows without a shape, where whoever read the file has not."""
    told = {each.row for each in findings if each.rule == "missing-geometry"}
    void = shapely.is_missing(survey.geometry) | shapely.is_empty(survey.geometry)
    return [
        Finding(
            rule="missing-geometry",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            detail={"why": "trống", "why_en": "empty"},
        )
        for at in np.flatnonzero(void).tolist()
        if int(survey.rows[at]) not in told
    ]


def _held(findings: list[Finding], survey: Survey, limits: Limits, ground: Ground) -> list[Finding]:
    """Hold each finding to the limit of its own parcels' scale, use and day.

    Where two rows have one, the one that tells more counts.
    """
    names = {case.limit for case in limits.cases} | set(limits.said)
    if not names:
        return findings
    index = {int(row): at for at, row in enumerate(survey.rows.tolist())}
    values = {name: limits.of(name, ground) for name in names if name in rules.DEPENDENT}
    held = []
    for each in findings:
        name = RULES[each.rule].limit
        rows = [index[row] for row in (each.row, each.other_row) if row in index]
        if name not in values or not rows or each.measured is None:
            own = limits.said.get(name or "")
            held.append(replace(each, source=own) if own else each)
            continue
        value, sources = values[name]
        above = rules.DEPENDENT[name]
        at = (min if above else max)(rows, key=lambda row: value[row])
        limit = float(value[at])
        beyond = each.measured > limit if above else each.measured < limit
        if each.rule == "unmatched-vertex":  # the limit is within
            beyond = each.measured <= limit
        if each.rule == "sliver" and shapely.area(survey.geometry[at]) < limits.sliver_area:
            beyond = True
        if beyond:
            source = next(text for which, text in sources if which[at])
            held.append(replace(each, limit=limit, source=source or each.source))
    return held


def _with_parcels(survey: Survey, parcels: NDArray[np.object_]) -> list[Finding]:
    """Return the survey's own findings with the keys that the reader of the file lacked."""
    asked = {each.row for each in survey.findings}
    key = {row: parcels[at] for at, row in enumerate(survey.rows.tolist()) if row in asked}
    return [
        replace(each, parcel=key.get(each.row)) if each.parcel is None else each
        for each in survey.findings
    ]


def _unchanged(
    survey: Survey,
    official: edge_matching.Official,
    replaces: NDArray[np.int64],
    usable: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return for each row the official parcel of the same key and shape, or -1."""
    unchanged = np.full(len(replaces), -1, dtype=np.int64)
    same = np.flatnonzero((replaces >= 0) & usable)
    one = shapely.normalize(survey.geometry[same])
    two = shapely.normalize(official.geometry[replaces[same]])
    equal = shapely.equals_exact(one, two, 0.0)
    unchanged[same[equal]] = replaces[same[equal]]
    return unchanged


def _replaced(
    survey: Survey,
    parcels: NDArray[np.object_],
    official: edge_matching.Official,
    replaces: NDArray[np.int64],
    which: NDArray[np.bool_],
) -> list[Finding]:
    """Tell which rows give an official parcel another shape, and the change of area (m²)."""
    return [
        Finding(
            rule="replaces-official",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            other_parcel=parcels[at],
            measured=round(
                float(
                    shapely.area(survey.geometry[at])
                    - shapely.area(official.geometry[replaces[at]])
                ),
                3,
            ),
            point=shape.inside(survey.geometry[at]),
        )
        for at in np.flatnonzero(which & (replaces >= 0)).tolist()
    ]


def _status(
    survey: Survey, findings: list[Finding], repeats: NDArray[np.bool_]
) -> NDArray[np.int8]:
    named = {
        row
        for each in findings
        if each.severity == "error"
        for row in (each.row, each.other_row)
        if row is not None
    }
    status = np.where(np.isin(survey.rows, list(named)), REJECTED, ACCEPTABLE).astype(np.int8)
    status[repeats] = DUPLICATE
    return status


_PLACE_OF_RULE = {rule: place for place, rule in enumerate(RULES)}


def _order(finding: Finding) -> tuple[object, ...]:
    """Sort by rule as in the catalogue, then row, other row and place."""
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
