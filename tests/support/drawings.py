"""Drawings of boundary lines and labels, written as DXF or DGN."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry
from support.surveys import plot

#: Layer or level, shape and, of a label, its text.
Element = tuple[Any, BaseGeometry, str | None]


def write_dxf(path: Path, elements: Iterable[Element]) -> Path:
    """Write (layer, geometry, text) as DXF: closed and open polylines, and texts."""
    lines = ["0", "SECTION", "2", "ENTITIES"]
    for layer, shape, text in elements:
        if isinstance(shape, shapely.Point):
            lines += ["0", "TEXT", "8", str(layer), "10", str(shape.x), "20", str(shape.y)]
            lines += ["30", "0", "40", "2", "1", text or ""]
            continue
        points = list(shape.coords)
        closed = points[0] == points[-1]
        points = points[:-1] if closed else points
        lines += ["0", "LWPOLYLINE", "8", str(layer), "90", str(len(points)), "70"]
        lines += ["1" if closed else "0"]
        for x, y in points:
            lines += ["10", repr(float(x)), "20", repr(float(y))]
    path.write_text("\n".join([*lines, "0", "ENDSEC", "0", "EOF"]) + "\n")
    return path


def write_dgn(path: Path, elements: Iterable[Element]) -> Path:
    """Write the same as DGN V7, on a grid of 1 mm."""
    features = [
        {
            "type": "Feature",
            "properties": {"Level": level, "Text": text},
            "geometry": shapely.geometry.mapping(shape),
        }
        for level, shape, text in elements
    ]
    source = path.with_suffix(".json")
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    units = ["-dsco", "SUB_UNITS_PER_MASTER_UNIT=1000", "-dsco", "UOR_PER_SUB_UNIT=1"]
    subprocess.run(["ogr2ogr", "-f", "DGN", *units, path, source], check=True)
    source.unlink()
    return path


def lattice(columns: int, rows: int) -> list[Element]:
    """Return the boundary lines of a lattice, each drawn once, and its labels."""
    x0, y0, _, _ = plot(0, 0).bounds
    segments = [
        shapely.LineString([(x0 + 20 * c, y0 + 20 * r), (x0 + 20 * (c + 1), y0 + 20 * r)])
        for c in range(columns)
        for r in range(rows + 1)
    ]
    segments += [
        shapely.LineString([(x0 + 20 * c, y0 + 20 * r), (x0 + 20 * c, y0 + 20 * (r + 1))])
        for c in range(columns + 1)
        for r in range(rows)
    ]
    elements: list[Element] = [(10, line, None) for line in segments]
    for row in range(rows):
        for column in range(columns):
            elements += labels(plot(column, row), row * columns + column + 1)
    return elements


def labels(shape: BaseGeometry, number: int, use: str = "ONT") -> list[Element]:
    """Return the number, the area and the land use of a parcel, where they are drawn."""
    middle = shape.centroid
    return [
        (13, shapely.Point(middle.x, middle.y + 3), str(number)),
        (4, shapely.Point(middle.x, middle.y - 3), f"{shape.area:.1f}"),
        (2, shapely.Point(middle.x - 3, middle.y), use),
    ]
