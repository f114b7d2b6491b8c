"""Every rule on shape, record, coverage and seam at once, on a made-up survey with known defects.

A made-up coverage lies in a commune, a strip of it is official already, its sheets are blocks;
beside it stand specimens of odd shapes, each alone. Each run puts in defects of all kinds and
sizes from 2 mm up, and near each limit as many that are just within.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry
from support import coverages
from support.geohash import encode
from support.survey_models import COMMUNE, survey

from landdata import topology
from landdata.findings import RULES
from landdata.reference.vn2000 import transformer
from landdata.topology import Neighbours, tolerances
from landdata.topology.tolerances import ToleranceContext

Shape = BaseGeometry
#: An odd shape near (0, 0), and the findings that it makes.
Specimen = tuple[Shape | None, tuple[str, ...]]


def specimens(rng: np.random.Generator) -> list[Specimen]:
    """Shapes above each limit and just below it."""

    def box(*with_points: tuple[float, float], holes: Any = ()) -> shapely.Polygon:
        return shapely.Polygon([(0, 0), (9, 0), *with_points, (9, 9), (0, 9)], holes)

    def wave(n: int) -> Shape:
        return box(*((9 + 0.02 * (k % 2), 9 * k / n) for k in range(1, n)))

    def spike(degrees: float) -> Shape:
        # Between two vertices a metre apart along the side, however long that makes it.
        half = 3 * np.tan(np.radians(degrees / 2))
        return box((9, 5 - half), (12, 5), (9, 5 + half))

    under, over = rng.uniform(0.002, 0.0095, 2), rng.uniform(0.0105, 0.02)
    thin = float(np.exp(rng.uniform(*np.log([0.011, 0.095]))))
    hair = float(rng.uniform(0.002, 0.008))
    cut = [[(0, 3), (4, 5), (4, 3)]]
    return [
        (box((9, 4), (9, 4)), ("repeated-point",)),
        (box((9, 4), (9, 4 + under[0])), ("short-edge",)),
        (box((9, 4), (9, 4 + over)), ()),
        (spike(rng.uniform(0.1, 0.95)), ("spike",)),
        (spike(rng.uniform(1.05, 3)), ()),
        (shapely.box(0, 0, 9, thin), ("sliver",)),
        (shapely.box(0, 0, 9, hair), ("sliver", "short-edge", "short-edge")),
        (shapely.box(0, 0, 9, rng.uniform(0.105, 0.3)), ()),
        (shapely.box(0, 0, 0.31, 0.31), ("sliver",)),
        (wave(1200), ("dense-vertices",)),
        (wave(300), ()),
        (box(holes=cut), ("touching-hole", "unparcelled-area")),
        (box(holes=[[(x + 0.01, y) for x, y in cut[0]]]), ("unparcelled-area",)),
        (shapely.MultiPolygon([box(), shapely.box(11, 0, 14, 4)]), ("multipart",)),
        (shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]), ("invalid-ring",)),
        (box(holes=[[(20, 3), (21, 5), (21, 3)]]), ("invalid-ring",)),
        (shapely.Polygon([(0, 0), (9, 0), (9, 9), (4, 0), (0, 9)]), ("invalid-ring",)),
        (None, ("missing-geometry",)),
        (shapely.affinity.translate(box(), 150_000), ("out-of-zone",)),
        (shapely.affinity.translate(box(), 0, 450), ("island",)),
        (shapely.affinity.translate(box(), 0, 150), ()),
    ]


def on_grid(shape: Shape) -> Shape:
    return shapely.set_coordinates(shape, coverages.grid(shapely.get_coordinates(shape)))


class SyntheticSurvey:
    """A survey as it grows, with what is to be reported of it."""

    def __init__(self, seed: int, side: int, defects: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        clean = coverages.make(rng, side, side, extra=int(rng.integers(0, 3)))
        spoilt = coverages.inject(rng, clean, defects)
        touched = {k for fact in spoilt.truth for k in fact[1]}
        own = (spoilt.cell[:, 1] >= 3) | (spoilt.cell[:, 0] < 0)
        self.shapes: list[Any] = list(spoilt.polygons[own])
        at = np.flatnonzero(own).tolist()
        n = len(at)
        self.columns: dict[str, list[Any]] = {
            # Sheets are blocks; what was put in later is on the first.
            "sheet": [
                str(1 + max(0, r) // 5 * 3 + max(0, c) // 5) for r, c in spoilt.cell[own].tolist()
            ],
            "number": [str(k + 1) for k in range(n)],
            "commune": [COMMUNE] * n,
            "scale": [int(rng.choice([200, 500, 1000, 2000, 5000, 10000]))] * n,
            "land_use": [_uses(*rng.choice(["ODT", "CLN", "LUC", "ONT"], 2))] * n,
        }
        self.free = [k for k, was in enumerate(at) if was not in touched]
        rng.shuffle(self.free)
        self.expected: Counter[coverages.Fact] = Counter()
        strange = np.flatnonzero(~own).tolist()
        self.official = [(f"{COMMUNE}/9999/{k}", spoilt.polygons[k]) for k in strange]
        name: dict[int, int | str] = {was: k for k, was in enumerate(at)}
        name |= {k: f"{COMMUNE}/9999/{k}" for k in strange}
        for rule, parcels, *place in spoilt.truth:
            if any(own[k] for k in parcels):
                self.expect(rule, *(name[k] for k in parcels), place=place[0] if place else None)
        for k in np.flatnonzero(spoilt.cell[:, 0] < 0).tolist():
            if shapely.area(spoilt.polygons[k]) < 0.1:  # a box that was put in as an overlap
                self.expect("sliver", name[k])
        self.extra: dict[str, dict[int, Any]] = {
            "area": {}, "national_id": {}, "edges": {}, "commune": {}, "land_use": {}, "number": {}
        }  # fmt: skip

    def expect(self, rule: str, *parcels: Any, place: tuple[float, float] | None = None) -> None:
        self.expected[rule, frozenset(parcels), place] += 1

    def add(self, shape: Shape | None, **like: Any) -> int:
        for name, values in self.columns.items():
            values.append(like.get(name, values[0]))
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def clean(self) -> int:
        """Take a parcel that nothing was done to."""
        return self.free.pop()


def _uses(*codes: str) -> str:
    return json.dumps([{"code": str(code), "area": None} for code in codes])


def _record(draft: SyntheticSurvey) -> None:
    """Spoil what clean parcels say of themselves, and say as much just within the limits."""
    rng, extra = draft.rng, draft.extra
    scale = draft.columns["scale"][0]
    for code, bad in (("BHK", 1), ("NNP", 1), ("QQQ", 1), ("TSC", 0)):
        k = draft.clean()
        extra["land_use"][k] = _uses(code, "ODT")
        for _ in range(bad):
            draft.expect("unknown-land-use", k)
    for number in (None, "0", "-1", "A/1"):
        k = draft.clean()
        extra["number"][k] = number
        draft.expect("missing-number", k)
    k = draft.clean()
    extra["commune"][k] = "00001"
    draft.expect("commune-differs", k)
    # Two parcels of one number: one finding for each, that names the other.
    one, two = draft.clean(), draft.clean()
    draft.columns["sheet"][one] = draft.columns["sheet"][two] = "9950"
    extra["number"] |= {one: "7", two: "7"}
    draft.expect("duplicate-number", one, two)
    draft.expect("duplicate-number", one, two)
    k = draft.clean()
    again = draft.add(
        shapely.reverse(draft.shapes[k]),
        **{name: values[k] for name, values in draft.columns.items()},
    )
    draft.expect("duplicate-row", k, again)
    # Areas and lengths, half as much again as is allowed, and nine tenths.
    one_use = survey([None], scale=[scale], land_use=[draft.columns["land_use"][0]])
    ground = ToleranceContext.from_survey(one_use, np.datetime64("2026-03-01").astype(object))

    def allowed(of: tolerances.Quantity, value: float) -> float:
        limit, _ = tolerances.limits(of, np.array([value]), ground, tolerances.shipped())
        return float(limit[0])

    for share, rule in ((1.5, "area-differs"), (0.9, None)):
        k = draft.clean()
        area = shapely.area(draft.shapes[k])
        sign = rng.choice([-1, 1])
        extra["area"][k] = area + sign * (allowed("area", area) * share + 0.05 * bool(rule))
        if rule:
            draft.expect(rule, k)
    for share, rule in ((1.5, "edge-differs"), (0.9, None)):
        k = draft.clean()
        true = np.array(
            [
                x
                for ring in shapely.get_rings(draft.shapes[k])
                for x in np.hypot(*np.diff(shapely.get_coordinates(ring).T))
            ]
        )
        edge, stated = int(rng.integers(len(true))), true.copy()
        stated[edge] += allowed("edge", true[edge]) * share + 0.005 * bool(rule)
        extra["edges"][k] = stated.tolist()
        # A list may begin elsewhere or run the other way: one that fits so is no wrong one.
        within = np.array([allowed("edge", x) for x in true]) + 0.005
        turned = (np.roll(way, n) for way in (stated, stated[::-1]) for n in range(len(true)))
        if rule and not any((np.abs(way - true) <= within).all() for way in turned):
            draft.expect(rule, k)
    k = draft.clean()
    extra["edges"][k] = [1.0, 2.0, 3.0]
    draft.expect("edge-count-differs", k)
    # Identifiers: in the parcel, within what its cell may be off, further, and none at all.
    to_wgs84 = transformer(9212, 4326).transform
    for far, rule in ((0, None), (1.3, None), (float(rng.uniform(1.6, 9)), "identifier-outside")):
        k = draft.clean()
        vertices = shapely.get_coordinates(draft.shapes[k])
        inside = shapely.get_coordinates(shapely.point_on_surface(draft.shapes[k]))[0]
        x, y = vertices[np.argmin(vertices[:, 0])] if far else inside
        extra["national_id"][k] = encode(*to_wgs84(x - far, y))
        if rule:
            draft.expect(rule, k)
    k = draft.clean()
    extra["national_id"][k] = "w3gvk1td8wm"
    draft.expect("identifier-ill-formed", k)


def _twins(draft: SyntheticSurvey) -> None:
    """Lay smaller copies over parcels: nearly the same, and no more than inside."""
    for factor, rule in ((0.985, "near-duplicate"), (0.96, "containment")):
        while True:
            k = draft.clean()
            small = on_grid(
                shapely.affinity.scale(draft.shapes[k], factor, factor, origin="centroid")
            )
            clear = shapely.distance(small.boundary, draft.shapes[k].boundary) > 0.06
            if clear and shapely.covers(draft.shapes[k], small):
                break
        draft.expect(rule, k, draft.add(small, sheet="9980", number=str(k + 1)))


def _official(draft: SyntheticSurvey) -> None:
    """Make some numbers official already, with another shape and with the same one."""
    beyond = 0.0005 * draft.columns["scale"][0]  # half a millimetre on the sheet
    for change, rule in (
        (beyond, "replaces-official"),
        (0.002, "moved-within-accuracy"),
        (0, None),
    ):
        k = draft.clean()
        shape = shapely.affinity.translate(draft.shapes[k], change) if change else draft.shapes[k]
        key = f"{COMMUNE}/{draft.columns['sheet'][k]}/{draft.columns['number'][k]}"
        draft.official.append((key, on_grid(shape)))
        if rule:
            draft.expect(rule, k)


def _border(
    draft: SyntheticSurvey, border: Shape, move: Callable[[Shape, float, float], Shape]
) -> None:
    """Put parcels beside the commune's eastern border, across it, and across by a little."""
    _, south, east, _ = shapely.bounds(border)
    cell = shapely.box(0, 0, 9, 9)
    for place, (by, rule) in enumerate(
        ((1.2, "outside-commune"), (-3.0, "across-communes"), (-8.2, None), (-15, None))
    ):
        shape = on_grid(move(cell, east + by, south + 20 + 20 * place))
        k = draft.add(shape, number=f"7{place}", sheet="9970")
        if rule:
            draft.expect(rule, k)


def verify(seed: int, side: int = 15, defects: int = 14) -> Counter[str]:
    """Check a coverage of `side` × `side` parcels; return how many findings each rule has.

    Raises AssertionError where the findings differ from the defects.
    """
    draft = SyntheticSurvey(seed, side, defects)
    west, south, east, north = shapely.total_bounds(
        np.array([s for s in draft.shapes if s is not None])
    )
    _record(draft)
    _twins(draft)
    _official(draft)
    for slot, (shape, rules) in enumerate(specimens(draft.rng)):
        if shape is not None:
            x, y = west + 25 * (slot % 10), north + 8 + 20 * (slot // 10)
            shape = on_grid(shapely.affinity.translate(shape, x, y))  # noqa: PLW2901
        k = draft.add(shape, sheet="9960", number=str(slot + 1))
        for rule in rules:
            place = None
            if rule == "unparcelled-area" and isinstance(shape, shapely.Polygon):
                place = coverages.place_of(shapely.Polygon(shape.interiors[0]))
            draft.expect(rule, k, place=place)
    east = max(east, west + 260)
    border = shapely.box(west - 100, south - 10, east + 40, north + 700)
    _border(draft, border, shapely.affinity.translate)
    n = len(draft.shapes)
    columns = {name: list(values) for name, values in draft.columns.items()}
    for name, values in draft.extra.items():
        column = columns.setdefault(name, [None] * n)
        column += [None] * (n - len(column))
        for k, value in values.items():
            column[k] = value
    stated = [None if s is None else round(shapely.area(s), 1) for s in draft.shapes]
    columns["area"] = [
        a if a is not None else b for a, b in zip(columns["area"], stated, strict=True)
    ]
    geometry = np.empty(len(draft.official), dtype=object)
    geometry[:] = [shape for _, shape in draft.official]
    checked = topology.check(
        survey(draft.shapes, **columns),
        Neighbours(np.array([key for key, _ in draft.official], dtype=object), geometry),
        commune=COMMUNE,
        boundary=border,
        from_wgs84=transformer(4326, 9212).transform,
    )
    changes = {"replaces-official", "moved-within-accuracy"}
    placed = {"unmatched-vertex", "unparcelled-area"}
    reported: Counter[coverages.Fact] = Counter()
    for finding in checked.findings:
        other = finding.other_row if finding.other_row is not None else finding.other_parcel
        parcels = {finding.row, None if finding.rule in changes else other} - {None}
        place = finding.point
        if finding.rule == "unparcelled-area" and finding.geometry:
            place = coverages.place_of(finding.geometry)
        reported[finding.rule, frozenset(parcels), place if finding.rule in placed else None] += 1
    assert (reported - draft.expected, draft.expected - reported) == (Counter(), Counter())
    # Verdicts: rows of findings of severity error, no other.
    rejected = {k for rule, parcels, _ in reported for k in parcels
                if RULES[rule].severity == "error" and isinstance(k, int)}  # fmt: skip
    assert set(np.flatnonzero(checked.status == topology.REJECTED).tolist()) == rejected
    return Counter(finding.rule for finding in checked.findings)
