"""Proposed repairs of a survey's near misses; a proposal changes nothing by itself.

Repairs are local and follow existing boundaries:

*repeated point*: removed. *Overlap* and *gap* no wider than the accuracy of a boundary point at
the map scale: one of the two parcels (a row rather than an official parcel, and the larger of two
rows) shrinks or grows to the other's boundary, so that both have its vertices. *Unmatched
vertex*: it moves, in all rows that have it, to a vertex of the other parcel that is as near as
that; otherwise the other parcel gets the vertex too.

No vertex moves further than the accuracy of a boundary point at the parcel's map scale and land
use (`landdata.topology.tolerances`), and no official parcel changes. All rules then run over the
result: a repair that causes a new finding is reverted, with all repairs linked to it.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding
from landdata.topology import coverage, tolerances
from landdata.topology.rules import Limits
from landdata.topology.tolerances import ToleranceContext
from landdata.topology.vertex_edits import (
    has_vertex,
    insert_vertex,
    is_sound,
    keep_vertices,
    move_vertex,
    nearest_vertex,
    on_grid,
    remove_straight_vertices,
    remove_vertex,
    shift,
    without_crumbs,
)

if TYPE_CHECKING:
    from landdata.survey import Survey
    from landdata.topology import Checked, Neighbours

#: The rules whose findings a proposal may repair.
REPAIRABLE = frozenset({"repeated-point", "overlap", "gap", "unmatched-vertex"})

Check = Callable[["Survey"], "Checked"]
_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Proposal:
    """Another shape for a row's parcel; `shift` is the largest movement of its boundary."""

    row: int
    parcel: str | None
    geometry: BaseGeometry
    area_change: float  # m²
    shift: float  # m
    limit: float  # m; the accuracy of a boundary point at the map scale

    def as_dict(self) -> dict[str, Any]:
        """Return the proposal under its public JSON keys."""
        return {
            "row": self.row,
            "parcel": self.parcel,
            "area_change": round(self.area_change, 4),
            "shift": round(self.shift, 4),
            "limit": self.limit,
            "geometry": shapely.geometry.mapping(self.geometry),
        }


@dataclass(frozen=True, slots=True)
class Proposals:
    """Proposals, and the numbers of findings by rule that they repair and leave."""

    proposals: list[Proposal]
    mended: dict[str, int]
    left: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return them under their public JSON keys."""
        return {
            "mended": self.mended,
            "left": self.left,
            "proposals": [proposal.as_dict() for proposal in self.proposals],
        }


def propose(
    survey: Survey,
    checked: Checked,
    check: Check,
    neighbours: Neighbours | None = None,
    *,
    limits: Limits | None = None,
    today: datetime.date | None = None,
) -> Proposals:
    """Return repairs for the findings of `checked`; `check` runs all rules over a survey.

    It must use the same neighbours and limits. The survey itself does not change. The limits in
    force `today` apply to a parcel whose survey states no day.
    """
    official = _named_official(survey, checked, neighbours)
    context = ToleranceContext.from_survey(survey, today or datetime.date.today())
    zeros = np.zeros(len(survey))
    limit, _ = tolerances.limits("point", zeros, context, (limits or Limits()).tolerances)
    at = {int(row): place for place, row in enumerate(survey.rows)}
    before = _keys(checked.findings)
    barred: set[int] = set()
    shapes, result = survey.geometry, checked
    for turn in range(_ROUNDS):
        draft = _Draft(survey, limit, barred, official)
        result = _repair(draft, checked, check, at)
        shapes = draft.shapes
        bad = {
            at[row]
            for finding in result.findings
            if _key(finding) not in before
            for row in (finding.row, finding.other_row)
            if row is not None
        }
        bad |= {k for k, moved in draft.shifts().items() if moved > limit[k] + 1e-9}
        bad &= draft.linked(bad)
        if not bad:
            break
        # In the end, all that still does not work is given up at once.
        barred |= draft.linked(bad) if turn < _ROUNDS - 2 else set(draft.changed())
    else:
        shapes, result = survey.geometry, checked
    changed = [k for k in range(len(shapes)) if shapes[k] is not survey.geometry[k]]
    proposals = [
        Proposal(
            int(survey.rows[k]),
            checked.parcels[k],
            shapes[k],
            float(shapely.area(shapes[k]) - shapely.area(survey.geometry[k])),
            shift(survey.geometry[k], shapes[k]),
            float(limit[k]),
        )
        for k in changed
    ]
    found, left = (
        Counter(finding.rule for finding in run.findings if finding.rule in REPAIRABLE)
        for run in (checked, result)
    )
    return Proposals(proposals, dict(sorted((found - left).items())), dict(sorted(left.items())))


def _repair(draft: _Draft, checked: Checked, check: Check, at: dict[int, int]) -> Checked:
    """Repair the draft's findings until nothing moves; return the result of all rules for it."""
    for step in range(4):
        draft.repair([f for f in checked.findings if f.rule in REPAIRABLE], at)
        if not draft.moved and step:
            break
        draft.moved = False
        checked = check(replace(draft.survey, geometry=draft.shapes.copy()))
    return checked


def _named_official(
    survey: Survey, checked: Checked, neighbours: Neighbours | None
) -> list[BaseGeometry]:
    """Return the official parcels that findings name."""
    if neighbours is None:
        return []
    named = {f.other_parcel for f in checked.findings if f.other_row is None}
    return [
        shape
        for key, shape in zip(neighbours.parcels, neighbours.geometry, strict=True)
        if key in named
    ]


def _key(finding: Finding) -> tuple[Any, ...]:
    """Return what identifies a finding before and after a repair: its rule and parcels."""
    return (finding.rule, frozenset((finding.row, finding.other_row)), finding.other_parcel or "")


def _keys(findings: list[Finding]) -> set[tuple[Any, ...]]:
    """Return the keys of findings, with either of two parcels first."""
    keys = set()
    for finding in findings:
        pair = frozenset((finding.row, finding.other_row))
        keys |= {
            (finding.rule, pair, finding.other_parcel or ""),
            (finding.rule, pair, finding.parcel or ""),
        }
    return keys


class _Draft:
    """The shapes of a survey under repair, and which changes are linked."""

    def __init__(
        self,
        survey: Survey,
        limit: NDArray[np.float64],
        barred: set[int],
        official: list[BaseGeometry],
    ) -> None:
        self.survey = survey
        self.official = official
        self.limit = limit
        self.barred = barred
        self.shapes = survey.geometry.copy()
        self.links: list[set[int]] = []
        self.moved = False
        self.tree: shapely.STRtree | None = None

    def changed(self) -> list[int]:
        return [k for k, shape in enumerate(self.shapes) if shape is not self.survey.geometry[k]]

    def shifts(self) -> dict[int, float]:
        return {k: shift(self.survey.geometry[k], self.shapes[k]) for k in self.changed()}

    def linked(self, parcels: set[int]) -> set[int]:
        """Return the changed parcels whose changes are linked, directly or not, to `parcels`."""
        linked, more = set(parcels), True
        while more:
            more = False
            for link in self.links:
                if link & linked and not link <= linked:
                    linked |= link
                    more = True
        return linked & set(self.changed())

    def put(self, k: int, shape: BaseGeometry | None, *others: int) -> bool:
        """Set the new shape of a parcel, if it is sound, and link it to `others`."""
        if shape is None or k in self.barred or not is_sound(shape):
            return False
        self.shapes[k] = shape
        self.links.append({k, *others})
        self.moved = True
        return True

    def repair(self, findings: list[Finding], at: dict[int, int]) -> None:
        """Try to repair the findings: shapes first, then unmatched vertices."""
        self.tree = shapely.STRtree(self.shapes)
        for finding in findings:
            one = at.get(-1 if finding.row is None else finding.row)
            two = at.get(-1 if finding.other_row is None else finding.other_row)
            if finding.rule == "repeated-point" and one is not None:
                self.put(one, shapely.remove_repeated_points(self.shapes[one]))
            elif finding.rule in ("overlap", "gap") and finding.geometry is not None:
                self._follow_boundary(finding, one, two)
        unmatched = [finding for finding in findings if finding.rule == "unmatched-vertex"]
        if unmatched:
            self.tree = shapely.STRtree(self.shapes)
            for finding in unmatched:
                self._match_vertex(finding, at)

    def _follow_boundary(self, finding: Finding, one: int | None, two: int | None) -> None:
        """Close a gap or remove an overlap: one of two parcels follows the other's boundary."""
        region = finding.geometry
        assert region is not None
        rows = [k for k in dict.fromkeys((one, two)) if k is not None and k not in self.barred]
        rows.sort(key=lambda k: (-shapely.area(self.shapes[k]), k))
        width = float(coverage.width(np.array([region]))[0])
        assert self.tree is not None
        beside = self.tree.query(region, predicate="dwithin", distance=0.002).tolist()
        if finding.rule == "gap":
            # Without the ends of the line that closed the gap, which are no parcel's vertices.
            region = keep_vertices(region, [*(self.shapes[k] for k in beside), *self.official])
        for k in rows:
            if width > self.limit[k]:
                continue
            change = shapely.union if finding.rule == "gap" else shapely.difference
            # A fine grid, so that noding leaves no sliver.
            shape = change(self.shapes[k], region, grid_size=1e-6)
            if finding.rule == "overlap":
                shape = without_crumbs(shape)
            shape = on_grid(shape)
            shape = remove_straight_vertices(shape, self.shapes[k], region)
            # Remove its own old corner beside the other's, which no other parcel has.
            around = [self.shapes[j] for j in beside if j != k] + self.official
            for point in np.unique(shapely.get_coordinates(region), axis=0):
                if has_vertex(shape, point) and not any(
                    has_vertex(other, point) for other in around
                ):
                    reduced = remove_vertex(shape, point)
                    if reduced is not None and shift(shape, reduced) <= self.limit[k]:
                        shape = reduced
            others = [other for other in (one, two) if other is not None and other != k]
            if self.put(k, shape, *others):
                return

    def _match_vertex(self, finding: Finding, at: dict[int, int]) -> None:
        """Give an unmatched vertex its counterpart."""
        assert finding.point is not None
        assert self.tree is not None
        point = np.array(finding.point)
        rows = [finding.row, finding.other_row]
        pair = [at[row] for row in rows if row is not None]
        having = [k for k in pair if has_vertex(self.shapes[k], point)]
        lacking = [k for k in pair if k not in having]
        if not having and not lacking:
            return
        if not having and not any(has_vertex(shape, point) for shape in self.official):
            return  # another repair removed it
        if not lacking:
            # The other parcel is official: the row may only drop the vertex.
            for k in having:
                shape = remove_vertex(self.shapes[k], point)
                if shape is not None and shift(self.shapes[k], shape) <= self.limit[k]:
                    self.put(k, shape)
            return
        other = lacking[0]
        reach = float(min(self.limit[k] for k in pair))
        vertex = nearest_vertex(self.shapes[other], point)
        distance = np.hypot(*(vertex - point))
        # If the other's nearest vertex is unmatched too, both are one point, measured twice.
        unmatched = having and not any(has_vertex(self.shapes[k], vertex) for k in having)
        if 0 < distance <= reach and unmatched:
            sharing = [
                int(k)
                for k in self.tree.query(shapely.Point(point), predicate="dwithin", distance=0.001)
                if self.survey.geometry[int(k)] is not None
                and has_vertex(self.shapes[int(k)], point)
            ]
            if not set(sharing) & self.barred and len(having) == len(
                [k for k in sharing if k in having]
            ):
                moved = {k: move_vertex(self.shapes[k], point, vertex) for k in sharing}
                if all(is_sound(shape) for shape in moved.values()):
                    for k, shape in moved.items():
                        self.put(k, shape, *sharing, other)
                    return
        distance = shapely.distance(shapely.Point(point), shapely.boundary(self.shapes[other]))
        if distance <= reach:
            self.put(other, insert_vertex(self.shapes[other], point), *having)
