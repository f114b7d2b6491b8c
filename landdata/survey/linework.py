"""Drawings: boundary lines and labels become parcels with a number, an area and a land use.

A drawing has no rows. Its boundary lines are noded, the faces that they enclose are polygons, and
the labels inside hold their attributes. If all boundaries are closed lines, these are the
polygons, so that overlaps stay visible to the rules. Nothing is snapped, closed or extended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.errors import BadSurvey
from landdata.findings import Finding
from landdata.survey import encodings, fields
from landdata.survey.model import ConstructedParcels

Role = Literal["boundary", "papers", "edge", "number", "area", "land_use"]

#: Level of the national drawings → its contents: the boundary in reality and on paper; edges of
#: roads, banks, canals and dykes, which bound parcels too; and labels.
LEVELS: dict[int, Role] = {
    10: "boundary", 61: "papers", 23: "edge", 31: "edge", 32: "edge", 38: "edge",
    13: "number", 4: "area", 2: "land_use",
}  # fmt: skip
#: Names of layers in a DXF that are not levels. Case, accents and signs do not count.
NAMES: dict[str, Role] = {
    "RANH": "boundary", "RANHTHUA": "boundary", "RANHGIOI": "boundary", "THUADAT": "boundary",
    "THUA": "boundary", "BOUNDARY": "boundary", "PARCEL": "boundary", "PARCELS": "boundary",
    "SOTHUA": "number", "SHTHUA": "number", "SOHIEUTHUA": "number", "NUMBER": "number",
    "DIENTICH": "area", "AREA": "area",
    "LOAIDAT": "land_use", "MDSD": "land_use", "LANDUSE": "land_use",
}  # fmt: skip
_FIELDS: dict[Role, str] = {
    "number": "SoThuTuThua", "area": "DienTich", "land_use": "KyHieuMucDichSuDung",
}  # fmt: skip
_LINES = (int(shapely.GeometryType.LINESTRING), int(shapely.GeometryType.LINEARRING))
_FORMATTING = re.compile(r"\\[A-Za-z][^;\\]*;|\\P|[{}]")  # in MTEXT of a DXF


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPolygons:
    """n polygons with the values of their labels; `findings` name them by their index."""

    geometry: NDArray[np.object_]  # (n,) Polygon
    values: Mapping[Role, list[str | None]]  # number, area, land_use → (n,)
    findings: tuple[Finding, ...]


def build(
    lines: NDArray[np.object_], labels: NDArray[np.object_], roles: list[Role], texts: list[str]
) -> LabelledPolygons:
    """Return the polygons of boundary lines with their labels, all in one plane CRS.

    `lines` are LineStrings. `labels` are (m,) points with m `roles` and `texts`. The polygons are
    in order of the lower left corners of their boxes. There is a finding for a polygon without a
    number or with several, and for a number outside all polygons.
    """
    polygons = _closed(lines) if len(lines) and shapely.is_closed(lines).all() else _faces(lines)
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    polygons = polygons[np.lexsort((bounds[:, 0], bounds[:, 1]))]
    held: list[dict[Role, list[str]]] = [{} for _ in polygons]
    outside: list[int] = list(range(len(labels)))
    if len(polygons) and len(labels):
        label, polygon = shapely.STRtree(polygons).query(labels, predicate="intersects")
        for at, into in sorted(zip(label.tolist(), polygon.tolist(), strict=True)):
            held[into].setdefault(roles[at], []).append(texts[at])
        outside = sorted(set(outside) - set(label.tolist()))
    findings: list[Finding] = []
    values: dict[Role, list[str | None]] = {role: [] for role in _FIELDS}
    for row, labelled in enumerate(held):
        for role, field in _FIELDS.items():
            distinct = list(dict.fromkeys(labelled.get(role, [])))
            if role == "land_use" and distinct:
                distinct = ["+".join(distinct)]  # a parcel may have several uses
            values[role].append(distinct[0] if len(distinct) == 1 else None)
            if len(distinct) > 1:
                detail = {"what": field, "value": ", ".join(distinct[:5])}
                findings.append(Finding("several-labels", row=row, detail=detail))
            elif not distinct and role == "number":
                findings.append(Finding("no-label", row=row, detail={"row": str(row)}))
    for at in outside:
        x, y = shapely.get_coordinates(labels[at])[0]
        if roles[at] == "number":
            where = {"value": texts[at][:20], "x": f"{x:.2f}", "y": f"{y:.2f}"}
            findings.append(Finding("label-outside", detail=where))
    return LabelledPolygons(geometry=polygons, values=values, findings=tuple(findings))


def _faces(lines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the faces (n,) of the noded lines."""
    if not len(lines):
        return np.empty(0, object)
    noded = shapely.node(shapely.union_all(lines))
    faces: NDArray[np.object_] = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    return faces


def _closed(lines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the polygons (n,) of closed lines; one wholly inside another is a hole of it."""
    rings = lines[shapely.get_num_points(lines) >= 4]
    # A boundary that is drawn twice, as in two layers, is one parcel.
    shapes = shapely.normalize(np.array([shapely.Polygon(ring) for ring in rings], object))
    _, first = np.unique(shapely.to_wkb(shapes), return_index=True)
    polygons = shapes[np.sort(first)]
    outer, inner = shapely.STRtree(polygons).query(polygons, predicate="contains_properly")
    holes: dict[int, list[int]] = {}
    for a, b in zip(outer.tolist(), inner.tolist(), strict=True):
        holes.setdefault(a, []).append(b)
    result = polygons.copy()
    for a, inside in holes.items():
        direct = [b for b in inside if not any(b in holes.get(c, ()) for c in inside)]
        result[a] = shapely.Polygon(polygons[a].exterior, [polygons[b].exterior for b in direct])
    return result


# -- from the elements of a drawing


def read(
    wkb: pa.ChunkedArray, columns: Mapping[str, pa.ChunkedArray], name: str
) -> ConstructedParcels:
    """Return the parcels of the drawing `name` from its elements in GDAL's DGN or DXF layers.

    Raises `BadSurvey` for a drawing without boundaries.
    """
    geometry = shapely.force_2d(
        shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    )
    count = len(geometry)
    drawn = columns.get("Level", columns.get("Layer"))
    texts = columns["Text"].to_pylist() if "Text" in columns else [None] * count
    paper = columns["PaperSpace"].to_pylist() if "PaperSpace" in columns else [None] * count
    levels = drawn.to_pylist() if drawn is not None else [None] * count
    elements = [_role(level) for level in levels]
    wanted = {"boundary" if "boundary" in elements else "papers", "edge"}
    lines: list[BaseGeometry] = []
    points: list[BaseGeometry] = []
    roles: list[Role] = []
    words: list[str] = []
    lost = 0
    for shape, role, text, in_paper_space in zip(geometry, elements, texts, paper, strict=True):
        if role is None or in_paper_space:
            continue
        if role in wanted:
            parts = _as_lines(shape)
            lost += not parts
            lines += parts
        elif role in _FIELDS and text and shape is not None and not shapely.is_empty(shape):
            points.append(shapely.point_on_surface(shape))
            roles.append(role)
            words.append(" ".join(_FORMATTING.sub(" ", text).split()))
    if not lines:
        levels = ", ".join(sorted({str(level) for level in levels})[:20]) or "none"
        raise BadSurvey(
            "{name} has no boundary lines on level 10 or 61; its levels are {levels}.",
            hint="Put the parcels' boundaries on level 10, numbers on 13, areas on 4, uses on 2.",
            code="no-boundary",
            name=name,
            levels=levels,
        )
    parcels = build(np.array(lines, object), np.array(points, object), roles, words)
    if not len(parcels.geometry):
        raise BadSurvey(
            "The boundary lines of {name} enclose nothing.",
            hint="Close the boundaries of the parcels; ends must meet exactly.",
            code="no-boundary",
            name=name,
        )
    findings = list(parcels.findings)
    if lost:
        findings.append(Finding("unread-boundary", detail={"count": str(lost)}))
    return ConstructedParcels(
        wkb=pa.chunked_array([pa.array(shapely.to_wkb(parcels.geometry), pa.binary())]),
        columns={
            _FIELDS[role]: pa.chunked_array([pa.array(values, pa.string())])
            for role, values in parcels.values.items()
        },
        findings=tuple(findings),
    )


def _role(level: int | str | None) -> Role | None:
    """Return the contents of a level of a DGN or a layer of a DXF; null for others."""
    if level is None:
        return None
    name = str(level)
    raw = encodings.latin1_bytes(name) or name
    with suppress(UnicodeError):  # a DXF may be UTF-8 without declaring it
        name = raw.encode("latin-1").decode("utf-8")
    plain = fields.plain(name)
    number = re.fullmatch(r"(?:LEVEL|LV|L)?0*(\d{1,4})", plain)
    return LEVELS.get(int(number[1])) if number else NAMES.get(plain)


def _as_lines(shape: BaseGeometry | None) -> list[BaseGeometry]:
    """Return the lines of an element, the rings of a polygon; none if it cannot be read."""
    if shape is None or not np.isfinite(shapely.get_coordinates(shape)).all():
        return []
    parts = shapely.get_parts(shapely.get_parts(np.array([shape], object)))
    lines: list[BaseGeometry] = []
    for part in parts:
        kind = int(shapely.get_type_id(part))
        if kind in _LINES:
            lines.append(part)
        elif kind == int(shapely.GeometryType.POLYGON):
            lines += [shapely.LineString(ring) for ring in shapely.get_rings(part)]
    return [line for line in lines if shapely.length(line) > 0]
