"""Rules on the shape of one parcel alone.

`invalid-ring`: the polygon is not valid by OGC Simple Features (a ring crosses or touches itself,
a hole lies outside its shell …) at stored precision, so also if only rounding to the grid made it
invalid. The finding's point is the place. An invalid parcel is rejected and takes no part in the
coverage rules, because what it covers is not defined.
`ring-taken-apart`: an invalid ring that is shell and holes in one (`landdata.topology.rings`); the
parcel is taken as these, and is not rejected.

`out-of-zone`: further than `Limits.far` from the middle of the survey (the median of the centres
of its parcels' boxes). Rejected, and not part of the coverage either.

Of valid parcels only:

`multipart`: more than one part. `touching-hole`: a hole has a point in common with its shell.
`repeated-point`: a vertex equals the previous one; one finding per vertex.
`spike`: two sides, not counting repeated points, enclose less than `Limits.spike`, inwards or
outwards; one finding per vertex.
`short-edge`: an edge is longer than zero and shorter than `Limits.edge`; one finding per edge.
`sliver`: the largest circle that fits is narrower than `Limits.sliver`, or the area is below
`Limits.sliver_area`. `dense-vertices`: more than fifty vertices, and more than `Limits.density`
per metre of boundary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding
from landdata.topology import coverage, rings
from landdata.topology.parallel import spread
from landdata.topology.rules import Limits

_PLACE = re.compile(r"^(?P<why>.*?)\s*\[(?P<x>\S+) (?P<y>\S+?)(?: \S+)?\]$")

#: GEOS's reasons → ours in Vietnamese and English.
_REASONS = {
    "Self-intersection": ("ranh tự cắt", "it crosses itself"),
    "Ring Self-intersection": ("ranh tự chạm", "it touches itself"),
    "Hole lies outside shell": ("lỗ nằm ngoài ranh", "a hole lies outside it"),
    "Holes are nested": ("lỗ nằm trong lỗ", "a hole lies in another hole"),
    "Interior is disconnected": ("lỗ chia cắt thửa", "holes cut the parcel into pieces"),
    "Nested shells": ("phần nằm trong phần", "a part lies in another part"),
    "Duplicate Rings": ("vòng lặp lại", "a ring is drawn twice"),
    "Too few points in geometry component": (
        "vòng có ít hơn ba đỉnh khác nhau",
        "a ring has fewer than three different vertices",
    ),
    "Invalid Coordinate": ("tọa độ không phải là số", "a coordinate is no number"),
    "Ring is not closed": ("vòng không khép kín", "a ring is not closed"),
}
_OTHER_REASON = ("không phải là vùng", "it bounds no area")
_CHUNK = 20_000  # polygons
_MANY = 50  # vertices; fewer are never too dense


def _valid(geometry: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return which shapes (n,) are valid."""
    parts = [geometry[k : k + _CHUNK] for k in range(0, len(geometry), _CHUNK)]
    return np.concatenate([np.empty(0, dtype=np.bool_), *spread(shapely.is_valid, parts)])


def usable(
    rows: NDArray[np.int64],
    parcels: NDArray[np.object_],
    geometry: NDArray[np.object_],
    limits: Limits,
) -> tuple[list[Finding], NDArray[np.bool_], dict[int, BaseGeometry]]:
    """Return the findings on unusable polygons, which of the (n,) are usable, and new shapes.

    The new shapes are of rings that were taken apart, by index. A missing geometry is not usable;
    the reader of the file has the finding on it.
    """
    present = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    fit = present & _valid(geometry)
    findings: list[Finding] = []
    taken_apart: dict[int, BaseGeometry] = {}
    for at in np.flatnonzero(present & ~fit).tolist():
        apart = rings.take_apart(geometry[at])
        if apart is not None:
            taken_apart[at], fit[at] = apart, True
        findings.append(_invalid(int(rows[at]), parcels[at], geometry[at], apart))
    bounds = shapely.bounds(geometry)
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    if fit.any():
        off = np.hypot(*(middle - np.median(middle[fit], axis=0)).T)
        astray = np.flatnonzero(fit & (off > limits.far))
        fit[astray] = False
        findings += [
            Finding(
                rule="out-of-zone",
                row=int(rows[at]),
                parcel=parcels[at],
                measured=round(float(off[at])),
                limit=limits.far,
                point=(float(middle[at, 0]), float(middle[at, 1])),
            )
            for at in astray.tolist()
        ]
    return findings, fit, taken_apart


def _invalid(
    row: int, parcel: str | None, shape: BaseGeometry, apart: BaseGeometry | None
) -> Finding:
    """Return the finding on an invalid polygon, or on one that was taken `apart`."""
    reason = shapely.is_valid_reason(shape)
    match = _PLACE.match(reason)
    why, why_en = _REASONS.get(match["why"] if match else reason, _OTHER_REASON)
    detail = {"why": why, "why_en": why_en}
    if apart is not None:
        detail = {"count": str(shapely.get_num_interior_rings(shapely.get_parts(apart)).sum())}
    return Finding(
        rule="invalid-ring" if apart is None else "ring-taken-apart",
        row=row,
        parcel=parcel,
        point=(float(match["x"]), float(match["y"])) if match else None,
        geometry=shape,
        detail=detail,
    )


def check(
    rows: NDArray[np.int64],
    parcels: NDArray[np.object_],
    geometry: NDArray[np.object_],
    limits: Limits,
) -> list[Finding]:
    """Return the findings on the shapes of (n,) usable polygons."""
    findings = []
    for start in range(0, len(geometry), _CHUNK):
        part = np.arange(start, min(start + _CHUNK, len(geometry)))
        findings += [
            Finding(row=int(rows[at]), parcel=parcels[at], **values)
            for at, values in _odd_shapes(part, geometry[part], limits)
        ]
    return findings


def _odd_shapes(
    at: NDArray[np.int64], shapes: NDArray[np.object_], limits: Limits
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (index, fields of a finding) for the defects of valid polygons."""
    yield from _odd_vertices(at, shapes, limits)
    count = shapely.get_num_geometries(shapes)
    for k in np.flatnonzero(count > 1).tolist():
        yield (
            at[k],
            {
                "rule": "multipart",
                "point": inside(shapes[k]),
                "detail": {"count": str(count[k])},
            },
        )
    area, around = shapely.area(shapes), shapely.length(shapes)
    # A circle of diameter 2 · area / perimeter fits in any polygon.
    thin = np.flatnonzero((2 * area < limits.sliver * around) | (area < limits.sliver_area))
    widths = coverage.width(shapes[thin])
    for k, width in zip(thin.tolist(), widths.tolist(), strict=True):
        if width < limits.sliver or area[k] < limits.sliver_area:
            yield (
                at[k],
                {
                    "rule": "sliver",
                    "measured": round(width, 4),
                    "limit": limits.sliver,
                    "point": inside(shapes[k]),
                    "geometry": shapes[k],
                    "detail": {"area": f"{area[k]:.3g}"},
                },
            )
    vertices = shapely.get_num_coordinates(shapes)
    for k in np.flatnonzero((vertices > _MANY) & (vertices > limits.density * around)).tolist():
        yield (
            at[k],
            {
                "rule": "dense-vertices",
                "measured": round(float(vertices[k] / around[k]), 1),
                "limit": limits.density,
                "point": inside(shapes[k]),
                "detail": {"count": str(vertices[k])},
            },
        )
    holed = np.flatnonzero(coverage.holed(shapes))
    polygons, owner = shapely.get_parts(shapes[holed], return_index=True)
    each_ring, ring_of = shapely.get_rings(polygons, return_index=True)
    inner = np.flatnonzero(np.diff(ring_of, prepend=-1) == 0)
    shells = shapely.get_exterior_ring(polygons[ring_of[inner]])
    for k in inner[shapely.intersects(each_ring[inner], shells)].tolist():
        place = shapely.intersection(each_ring[k], shapely.get_exterior_ring(polygons[ring_of[k]]))
        yield (
            at[holed[owner[ring_of[k]]]],
            {
                "rule": "touching-hole",
                "point": tuple(shapely.get_coordinates(place)[0].tolist()),
                "geometry": place,
            },
        )


def _odd_vertices(
    at: NDArray[np.int64], shapes: NDArray[np.object_], limits: Limits
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield repeated points, short edges and spikes."""
    size, owner, _ = coverage.rings(shapes)
    xy = shapely.get_coordinates(shapes)
    way = np.diff(xy, axis=0)
    is_edge = np.ones(len(way), dtype=np.bool_)
    is_edge[np.cumsum(size)[:-1] - 1] = False  # from one ring's end to the next one's start
    squared = np.einsum("ij,ij->i", way, way)
    # On the 1 mm grid, less than half a millimetre is zero.
    is_repeated = squared < 0.0005**2
    ring = np.repeat(np.arange(len(size)), size)[:-1]
    for k in np.flatnonzero(is_edge & is_repeated).tolist():
        yield at[owner[ring[k]]], {"rule": "repeated-point", "point": _at(xy[k])}
    for k in np.flatnonzero(
        is_edge & ~is_repeated & (squared < (limits.edge - 1e-6) ** 2)
    ).tolist():
        yield (
            at[owner[ring[k]]],
            {
                "rule": "short-edge",
                "measured": round(float(np.sqrt(squared[k])), 4),
                "limit": limits.edge,
                "point": _at((xy[k] + xy[k + 1]) / 2),
            },
        )
    edge = np.flatnonzero(is_edge & ~is_repeated)
    ring, way, squared = ring[edge], way[edge], squared[edge]
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    last = np.append(first[1:], len(ring)) - 1
    before = np.arange(-1, len(ring) - 1)
    before[first] = last
    # The directions to and from the vertex: nearly opposite ones enclose a small angle.
    dot = np.einsum("ij,ij->i", way, way[before])
    flat = dot < 0
    least = np.cos(np.radians(limits.spike)) ** 2
    flat &= dot * dot > least * squared * squared[before]
    for k in np.flatnonzero(flat).tolist():
        cross = way[k, 0] * way[before[k], 1] - way[k, 1] * way[before[k], 0]
        yield (
            at[owner[ring[k]]],
            {
                "rule": "spike",
                "measured": round(float(np.degrees(np.arctan2(abs(cross), -dot[k]))), 3),
                "limit": limits.spike,
                "point": _at(xy[edge[k]]),
            },
        )


def _at(xy: NDArray[np.float64]) -> tuple[float, float]:
    return (round(float(xy[0]), 4), round(float(xy[1]), 4))


def inside(shape: shapely.Geometry) -> tuple[float, float]:
    """Return a point inside a shape, to find it on a map."""
    point = shapely.point_on_surface(shape)
    return (round(shapely.get_x(point), 4), round(shapely.get_y(point), 4))
