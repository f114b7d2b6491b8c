"""A survey with a finding of every shape, for reports and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding
from landdata.survey.model import SCHEMA, CrsChoice, EncodingChoice, FieldMatch, Survey
from landdata.topology import Checked

EAST, NORTH = 548_000.0, 1_281_000.0
SHAPES = [
    box(EAST, NORTH, EAST + 30, NORTH + 40),
    box(EAST + 29.8, NORTH, EAST + 60, NORTH + 40),  # overlaps the first by 0.2 m
    Polygon(
        [(EAST + 60, NORTH), (EAST + 80, NORTH + 40), (EAST + 80, NORTH), (EAST + 60, NORTH + 40)]
    ),  # a bow tie
    None,
    box(EAST + 60, NORTH + 40, EAST + 90, NORTH + 70).difference(
        box(EAST + 65, NORTH + 45, EAST + 70, NORTH + 50)
    ),
]
FINDINGS = [
    Finding(
        "missing-geometry", row=3, parcel="99901/1/4", detail={"why": "<null>", "why_en": "<null>"}
    ),
    Finding(
        "invalid-ring",
        row=2,
        parcel="99901/1/3",
        point=(EAST + 70, NORTH + 20),
        detail={"why": "x", "why_en": "x"},
    ),
    Finding(
        "overlap",
        row=0,
        other_row=1,
        parcel="99901/1/1",
        other_parcel="99901/1/2",
        measured=8.0,
        limit=0.0,
        point=(EAST + 29.9, NORTH + 20),
        geometry=box(EAST + 29.8, NORTH, EAST + 30, NORTH + 40),
        detail={"width": "0.2"},
    ),
    Finding(
        "unmatched-vertex",
        row=4,
        other_row=None,
        parcel="99901/1/5",
        other_parcel="99902/7/31",
        measured=0.03,
        limit=0.05,
        point=(EAST + 60, NORTH + 55),
        geometry=Point(EAST + 60, NORTH + 55),
    ),
    Finding(
        "gap",
        row=1,
        other_row=4,
        parcel="99901/1/2",
        other_parcel="99901/1/5",
        measured=0.15,
        limit=0.5,
        point=(EAST + 60, NORTH + 40),
        geometry=LineString([(EAST + 60, NORTH + 40), (EAST + 60.15, NORTH + 40)]),
        detail={"area": "0.1"},
    ),
]


def survey_with(shapes: Sequence[BaseGeometry | None]) -> Survey:
    n = len(shapes)
    columns: dict[str, list[Any]] = {name: [None] * n for name in SCHEMA.names}
    columns["owner"] = [f"Chủ sử dụng {i:04}" for i in range(n)]
    columns["address"] = ["Thôn Đồng Ruộng"] * n
    return Survey(
        source="<to> 1.zip",
        layer="to1",
        rows=np.arange(n, dtype=np.int64),
        geometry=np.array(shapes, dtype=object),
        measured_area=np.array([s.area if s else np.nan for s in shapes]),
        attributes=pa.table(columns, schema=SCHEMA),
        srid=9212,
        crs=CrsChoice(
            declared="VN-2000", declared_epsg=5899, detected=5899, epsg=5899, reason="by its name"
        ),
        encoding=EncodingChoice(name="TCVN3", confidence=0.98),
        fields=(
            FieldMatch(source="TENCHU", attribute="owner", how="name", filled=n),
            FieldMatch(source="GHICHU", attribute=None, filled=1),
        ),
        seconds={"read": 0.123},
    )


def checked_with(n: int, findings: list[Finding]) -> Checked:
    status = np.zeros(n, dtype=np.int8)
    for finding in findings:
        if finding.severity == "error":
            status[[r for r in (finding.row, finding.other_row) if r is not None]] = 1
    return Checked(
        findings=findings,
        status=status,
        parcels=np.array([f"99901/1/{i + 1}" for i in range(n)], dtype=object),
        unchanged=np.full(n, -1),
        replaces=np.full(n, -1),
        seconds={"overlap": 0.456},
    )
