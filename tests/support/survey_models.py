"""Surveys and official parcels in memory, as `topology.check` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from landdata.findings import Finding
from landdata.survey import SCHEMA, CrsChoice, EncodingChoice, Survey
from landdata.topology import Checked, Neighbours

COMMUNE = "99901"


def survey(
    shapes: Sequence[shapely.Geometry | None],
    *,
    rows: Sequence[int] | None = None,
    findings: Sequence[Finding] = (),
    **columns: Sequence[Any],
) -> Survey:
    """Return a survey: parcels 1, 2, 3 … of sheet 1, with these columns."""
    geometry = np.empty(len(shapes), dtype=object)
    geometry[:] = shapes
    n = len(geometry)
    values: dict[str, Sequence[Any]] = {name: [None] * n for name in SCHEMA.names}
    values["sheet"] = ["1"] * n
    values["number"] = [str(k + 1) for k in range(n)]
    values["commune"] = [COMMUNE] * n
    values |= columns
    return Survey(
        source="made.zip",
        layer="made",
        rows=np.arange(n) if rows is None else np.asarray(rows),
        geometry=geometry,
        measured_area=shapely.area(geometry),
        attributes=pa.table(values, schema=SCHEMA),
        srid=9212,
        crs=CrsChoice(
            declared=None, declared_epsg=None, detected=9212, epsg=9212, reason="made up"
        ),
        encoding=EncodingChoice(name="UTF-8", confidence=1.0),
        fields=(),
        findings=tuple(findings),
    )


def official(**shapes: shapely.Geometry) -> Neighbours:
    """Return official parcels by number in sheet 1: `p3=box`."""
    keys = [f"{COMMUNE}/1/{name[1:]}" for name in shapes]
    geometry = np.empty(len(keys), dtype=object)
    geometry[:] = list(shapes.values())
    return Neighbours(np.array(keys, dtype=object), geometry)


def finding_rules(checked: Checked) -> list[str]:
    """Return the rule of each finding, in their order."""
    return [finding.rule for finding in checked.findings]


def cell(x: float, y: float = 0, w: float = 20, h: float = 20) -> shapely.Polygon:
    """Return a rectangle of w × h metres."""
    return shapely.box(x, y, x + w, y + h)
