"""Proposals: how a survey's near misses might be mended. Nothing is ever applied here.

Each mend is local and follows what is there already:

*repeated point*: taken out. *Overlap* and *gap* no wider than the accuracy of a boundary point
at the map scale: one of the two parcels, the row rather than what is official, and of two rows
the larger, gives way or grows along the other's boundary, so that both have its vertices.
*Unmatched vertex*: it moves to the other's vertex where one is as near as that, in all rows that
have it; otherwise the other gets the vertex too.

No vertex moves further than a boundary point of the parcel's map scale and use may be off
(`landdata.topology.tolerances`), and nothing official moves. All rules then run over the result:
what makes any finding that was not there before is taken back, with all that hangs together with
it.
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
from landdata.topology.tolerances import Ground

if TYPE_CHECKING:
    from landdata.survey import Survey
    from landdata.topology import Checked, Neighbours

#: The rules whose findings a proposal may mend.
MENDS = frozenset({"repeated-point", "overlap", "gap", "unmatched-vertex"})

Check = Callable[["Survey"], "Checked"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Another shape for a row's parcel: `shift` is how far its boundary moves at most, in m."""

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
    """Proposals by row, and what they would do: findings mended and left, by rule."""

    proposals: list[Proposal]
    mended: dict[str, int]
    left: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return them under their public JSON keys."""
        return {
            "mended": self.mended,
            "left": self.left,
            "proposals": [each.as_dict() for each in self.proposals],
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
    """Propose mends for what `checked` found; `check` runs all rules over a survey again.

    It must do so with the same neighbours and limits. The survey itself stays as it is. A
    parcel whose survey states no day is held to what is in force `today`.
    """
    around = _seam(survey, checked, neighbours)
    ground = Ground.of(survey, today or datetime.date.today())
    nothing = np.zeros(len(survey))
    limit, _ = tolerances.limits("point", nothing, ground, (limits or Limits()).tolerances)
    at = {int(row): place for place, row in enumerate(survey.rows)}
    before = _counted(checked.findings)
    barred: set[int] = set()
    rounds = 6
    shapes, result = survey.geometry, checked
    for turn in range(rounds):
        # At the end, what still does not work goes as a whole.
        work = _Work(survey, limit, barred, around)
        mended = checked
        for step in range(4):
            work.mend([each for each in mended.findings if each.rule in MENDS], at)
            if not work.moved and step:
                break
            work.moved = False
            mended = check(replace(survey, geometry=work.shapes.copy()))
        shapes, result = work.shapes, mended
        bad = {
            at[row]
            for each in result.findings
            if _key(each) not in before
            for row in (each.row, each.other_row)
            if row is not None
        }
        bad |= {k for k, far in work.shifts().items() if far > limit[k] + 1e-9}
        bad &= work.together(bad)
        if not bad:
            break
        barred |= work.together(bad) if turn < rounds - 2 else set(work.changed())
    else:
        shapes, result = survey.geometry, checked
    changed = [k for k in range(len(shapes)) if shapes[k] is not survey.geometry[k]]
    proposals = [
        Proposal(
            int(survey.rows[k]),
            checked.parcels[k],
            shapes[k],
            float(shapely.area(shapes[k]) - shapely.area(survey.geometry[k])),
            _shift(survey.geometry[k], shapes[k]),
            float(limit[k]),
        )
        for k in changed
    ]
    told, left = (
        Counter(each.rule for each in run.findings if each.rule in MENDS)
        for run in (checked, result)
    )
    return Proposals(proposals, dict(sorted((told - left).items())), dict(sorted(left.items())))


def _seam(survey: Survey, checked: Checked, neighbours: Neighbours | None) -> list[BaseGeometry]:
    """Return the official parcels that findings name."""
    if neighbours is None:
        return []
    named = {each.other_parcel for each in checked.findings if each.other_row is None}
    return [
        shape
        for key, shape in zip(neighbours.parcels, neighbours.geometry, strict=True)
        if key in named
    ]


def _key(finding: Finding) -> tuple[Any, ...]:
    """Return what makes a finding the same before and after: its rule and parcels."""
    return (finding.rule, frozenset((finding.row, finding.other_row)), finding.other_parcel or "")


def _counted(findings: list[Finding]) -> set[tuple[Any, ...]]:
    """Return the findings, whichever of two parcels comes first."""
    keys = set()
    for each in findings:
        pair = frozenset((each.row, each.other_row))
        keys |= {
            (each.rule, pair, each.other_parcel or ""),
            (each.rule, pair, each.parcel or ""),
        }
    return keys


class _Work:
    """Shapes on their way: what was changed, and with which others it hangs together."""

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
        return {k: _shift(self.survey.geometry[k], self.shapes[k]) for k in self.changed()}

    def together(self, some: set[int]) -> set[int]:
        """Return the changed parcels that were changed along with some others, step by step."""
        found, more = set(some), True
        while more:
            more = False
            for link in self.links:
                if link & found and not link <= found:
                    found |= link
                    more = True
        return found & set(self.changed())

    def put(self, k: int, shape: BaseGeometry | None, *along: int) -> bool:
        """Take a new shape for a parcel, if it is one; `along` are the others concerned."""
        if shape is None or k in self.barred or not _sound(shape):
            return False
        self.shapes[k] = shape
        self.links.append({k, *along})
        self.moved = True
        return True

    def mend(self, findings: list[Finding], at: dict[int, int]) -> None:
        """Try a mend for each finding: shapes first, then the vertices along them."""
        self.tree = shapely.STRtree(self.shapes)
        for each in findings:
            one = at.get(-1 if each.row is None else each.row)
            two = at.get(-1 if each.other_row is None else each.other_row)
            if each.rule == "repeated-point" and one is not None:
                self.put(one, shapely.remove_repeated_points(self.shapes[one]))
            elif each.rule in ("overlap", "gap") and each.geometry is not None:
                self._along(each, one, two)
        misses = [each for each in findings if each.rule == "unmatched-vertex"]
        if misses:
            self.tree = shapely.STRtree(self.shapes)
            for each in misses:
                self._vertex(each, at)

    def _along(self, finding: Finding, one: int | None, two: int | None) -> None:
        """Shut a gap, or take an overlap away: one of two follows the other's boundary."""
        region = finding.geometry
        assert region is not None
        mine = [k for k in dict.fromkeys((one, two)) if k is not None and k not in self.barred]
        mine.sort(key=lambda k: (-shapely.area(self.shapes[k]), k))
        wide = float(coverage.width(np.array([region]))[0])
        assert self.tree is not None
        beside = self.tree.query(region, predicate="dwithin", distance=0.002).tolist()
        if finding.rule == "gap":
            # Without the feet of the door that shut it, which are nobody's vertices.
            region = _only(region, [*(self.shapes[k] for k in beside), *self.official])
        for k in mine:
            if wide > self.limit[k]:
                continue
            change = shapely.union if finding.rule == "gap" else shapely.difference
            # A hair more, lest noding leaves a hair.
            shape = change(self.shapes[k], region, grid_size=1e-6)
            if finding.rule == "overlap":
                shape = _largest(shape)
            shape = _on_grid(shape)
            shape = _without_needless(shape, self.shapes[k], region)
            # Its own old corner beside the other's, which nobody else has.
            around = [self.shapes[j] for j in beside if j != k] + self.official
            for point in np.unique(shapely.get_coordinates(region), axis=0):
                if _has(shape, point) and not any(_has(other, point) for other in around):
                    less = _without(shape, point)
                    if less is not None and _shift(shape, less) <= self.limit[k]:
                        shape = less
            others = [other for other in (one, two) if other is not None and other != k]
            if self.put(k, shape, *others):
                return

    def _vertex(self, finding: Finding, at: dict[int, int]) -> None:
        """Give an unmatched vertex its counterpart."""
        assert finding.point is not None
        assert self.tree is not None
        point = np.array(finding.point)
        rows = [finding.row, finding.other_row]
        pair = [at[row] for row in rows if row is not None]
        having = [k for k in pair if _has(self.shapes[k], point)]
        lacking = [k for k in pair if k not in having]
        if not having and not lacking:
            return
        if not having and not any(_has(shape, point) for shape in self.official):
            return  # gone with another mend
        if not lacking:
            # The other one is official: ours must come to it, or do without the vertex.
            for k in having:
                shape = _without(self.shapes[k], point)
                if shape is not None and _shift(self.shapes[k], shape) <= self.limit[k]:
                    self.put(k, shape)
            return
        other = lacking[0]
        reach = float(min(self.limit[k] for k in pair))
        vertex = _nearest_vertex(self.shapes[other], point)
        near = np.hypot(*(vertex - point))
        # Where the other's nearest vertex is as lonely, the two are one that was measured twice.
        lonely = having and not any(_has(self.shapes[k], vertex) for k in having)
        if 0 < near <= reach and lonely:
            sharing = [
                int(k)
                for k in self.tree.query(shapely.Point(point), predicate="dwithin", distance=0.001)
                if self.survey.geometry[int(k)] is not None and _has(self.shapes[int(k)], point)
            ]
            if not set(sharing) & self.barred and len(having) == len(
                [k for k in sharing if k in having]
            ):
                moved = {k: _moved(self.shapes[k], point, vertex) for k in sharing}
                if all(_sound(shape) for shape in moved.values()):
                    for k, shape in moved.items():
                        self.put(k, shape, *sharing, other)
                    return
        far = shapely.distance(shapely.Point(point), shapely.boundary(self.shapes[other]))
        if far <= reach:
            self.put(other, _with(self.shapes[other], point), *having)


# -- one shape


def _sound(shape: BaseGeometry) -> bool:
    return bool(
        shape.geom_type in ("Polygon", "MultiPolygon")
        and not shapely.is_empty(shape)
        and shapely.is_valid(shape)
    )


def _shift(one: BaseGeometry, two: BaseGeometry) -> float:
    """Return how far (m) any vertex of one boundary is from the other boundary, at most."""
    far = 0.0
    for a, b in ((one, two), (two, one)):
        points = shapely.points(shapely.get_coordinates(a))
        far = max(far, float(shapely.distance(points, shapely.boundary(b)).max()))
    return far


def _rings(
    shape: BaseGeometry, change: Callable[[NDArray[np.float64]], Any]
) -> BaseGeometry | None:
    """Return the shape with each closed ring's coordinates changed; None where one is gone."""
    parts = []
    for part in shapely.get_parts(shape):
        rings = [change(shapely.get_coordinates(r)) for r in (part.exterior, *part.interiors)]
        if any(len(ring) < 4 for ring in rings):
            return None
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _on_grid(shape: BaseGeometry) -> BaseGeometry:
    rounded: BaseGeometry = shapely.set_coordinates(
        shapely.transform(shape, lambda xy: xy),
        np.rint(shapely.get_coordinates(shape) * 1000) / 1000,
    )
    return shapely.remove_repeated_points(rounded)


def _largest(shape: BaseGeometry) -> BaseGeometry:
    """Drop crumbs that a difference leaves."""
    parts = shapely.get_parts(shape)
    parts = parts[shapely.area(parts) > 1e-4] if len(parts) > 1 else parts
    if len(parts) == 0:
        return shape
    if len(parts) == 1:
        only: BaseGeometry = parts[0]
        return only
    return shapely.MultiPolygon(list(parts))


def _has(shape: BaseGeometry, point: NDArray[np.float64]) -> bool:
    return bool((np.abs(shapely.get_coordinates(shape) - point).max(axis=1) < 1e-4).any())


def _nearest_vertex(shape: BaseGeometry, point: NDArray[np.float64]) -> NDArray[np.float64]:
    xy = shapely.get_coordinates(shape)
    nearest: NDArray[np.float64] = xy[np.hypot(*(xy - point).T).argmin()]
    return nearest


def _moved(
    shape: BaseGeometry, point: NDArray[np.float64], to: NDArray[np.float64]
) -> BaseGeometry:
    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        xy = xy.copy()
        xy[np.abs(xy - point).max(axis=1) < 1e-4] = to
        return xy

    moved = _rings(shape, change)
    assert moved is not None
    return moved


def _without(shape: BaseGeometry, point: NDArray[np.float64]) -> BaseGeometry | None:
    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        open_ = xy[:-1]
        open_ = open_[np.abs(open_ - point).max(axis=1) >= 1e-4]
        return np.concatenate([open_, open_[:1]])

    return _rings(shape, change)


def _with(shape: BaseGeometry, point: NDArray[np.float64]) -> BaseGeometry | None:
    """Put a vertex into the edge that is nearest to it."""
    best: list[float] = [np.inf]
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            best.append(float(_to_edges(shapely.get_coordinates(ring), point).min()))
    least, done = min(best), False

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal done
        far = _to_edges(xy, point)
        k = int(far.argmin())
        if done or far[k] > least:
            return xy
        done = True
        return np.insert(xy, k + 1, point, axis=0)

    return _rings(shape, change)


def _to_edges(xy: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    way, off = np.diff(xy, axis=0), point - xy[:-1]
    long = np.maximum((way**2).sum(axis=1), 1e-18)
    along = np.clip((way * off).sum(axis=1) / long, 0, 1)
    far: NDArray[np.float64] = np.hypot(*(off - along[:, None] * way).T)
    return far


def _only(region: BaseGeometry, shapes: list[BaseGeometry]) -> BaseGeometry:
    """Return the region without vertices that are none of the shapes'; itself if too few stay."""

    def change(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = np.array([point for point in xy[:-1] if any(_has(s, point) for s in shapes)])
        return np.concatenate([kept, kept[:1]]) if len(kept) else kept

    less = _rings(region, change)
    return less if less is not None and _sound(less) else region


def _without_needless(shape: BaseGeometry, was: BaseGeometry, region: BaseGeometry) -> BaseGeometry:
    """Take out what an overlay put on a straight line: no vertex of the parcel or the region."""
    known = np.concatenate([shapely.get_coordinates(was), shapely.get_coordinates(region)])
    tree = shapely.STRtree(np.asarray(shapely.points(known)))
    xy = shapely.get_coordinates(shape)
    lone = np.ones(len(xy), dtype=np.bool_)
    lone[tree.query(shapely.points(xy), predicate="dwithin", distance=0.0015)[0]] = False
    for point in np.unique(xy[lone], axis=0):
        less = _without(shape, point)
        shape = less if less is not None else shape
    return shape
