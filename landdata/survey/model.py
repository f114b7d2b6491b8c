"""A survey: arrays in the storage CRS, and how the file was interpreted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landdata.findings import Finding

#: The canonical columns of `Survey.attributes`: always all of them, in this order.
SCHEMA = pa.schema(
    [
        ("sheet", pa.string()),
        ("number", pa.string()),
        ("scale", pa.int32()),  # denominator: 500, 1000 …
        ("area", pa.float64()),  # stated, m²
        ("legal_area", pa.float64()),  # of the certificate, m²
        ("land_use", pa.string()),  # JSON: [{"code": "ONT", "area": null}, …]
        ("address", pa.string()),
        ("owner", pa.string()),
        ("owner_type", pa.string()),
        ("commune", pa.string()),  # five digits
        ("old_sheet", pa.string()),
        ("old_number", pa.string()),
        ("national_id", pa.string()),
        ("source_id", pa.string()),
        ("surveyed_on", pa.date32()),
        ("edges", pa.list_(pa.float64())),  # stated lengths in the order of the vertices, m
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrsChoice:
    """The CRS of the coordinates, and the reason for it.

    `declared` is the file's WKT (null if it has none), `declared_epsg` its code, `detected` the
    code by the bounds of the coordinates (null if they fit several or none). `epsg` is the code
    chosen; `candidates` are `(epsg, reason)`, the likeliest first.
    """

    declared: str | None
    declared_epsg: int | None
    detected: int | None
    epsg: int | None
    reason: str
    candidates: tuple[tuple[int, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the choice under its public JSON keys."""
        return {
            "declared": self.declared,
            "declared_epsg": self.declared_epsg,
            "detected": self.detected,
            "epsg": self.epsg,
            "reason": self.reason,
            "candidates": [{"epsg": e, "reason": r} for e, r in self.candidates],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingChoice:
    """The encoding of the text, and the confidence in it.

    `confidence` is 0 to 1; `candidates` are `(name, score)`, the best first; the score is the
    share of accented words that are valid Vietnamese syllables. `by` is the origin of the choice.
    `unfinished` counts the distinct values with an unfinished conversion, `mended` those of them
    that were finished at the surveyor's request.
    """

    name: str
    confidence: float
    candidates: tuple[tuple[str, float], ...] = ()
    by: Literal["cpg", "detected", "option"] = "detected"
    unfinished: int = 0
    mended: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the choice under its public JSON keys."""
        return {
            "name": self.name,
            "confidence": self.confidence,
            "by": self.by,
            "unfinished": self.unfinished,
            "mended": self.mended,
            "candidates": [{"name": n, "score": s} for n, s in self.candidates],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMatch:
    """A field of the source and its attribute (null: none).

    `how` is the kind of match; `filled` counts the rows in which the field holds a value.
    """

    source: str
    attribute: str | None
    how: Literal["name", "truncated", "order", "profile", "option"] | None = None
    filled: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the match under its public JSON keys."""
        return {
            "source": self.source,
            "attribute": self.attribute,
            "how": self.how,
            "filled": self.filled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructedParcels:
    """n parcels constructed from lines or points; `findings` name them by their index.

    `wkb` is null for a parcel that cannot be constructed. `columns` hold text as `reader.Layer`.
    """

    wkb: pa.ChunkedArray  # (n,) binary
    columns: dict[str, pa.ChunkedArray]  # field → (n,) values
    findings: tuple[Finding, ...]
    points: pa.Table | None = None  # survey points, if constructed from them


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyPoints:
    """m distinct measured points, and the parcels that they bound.

    `measured` is as in the file, in the survey's own CRS (`CrsChoice.epsg`), `stored` the same in
    the storage CRS on the 1 mm grid: x (easting) before y (northing).
    """

    lines: NDArray[np.int64]  # (m,) its first line in the file, counted from 1
    names: pa.Array  # (m,) string; null without a name
    measured: NDArray[np.float64]  # (m, 2)
    stored: NDArray[np.float64]  # (m, 2)
    parcels: pa.ListArray  # (m,) rows of the survey

    def __len__(self) -> int:
        """The number of points."""
        return len(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Consecutive rows of a survey; the arrays are those of `Survey`.

    A part that starts at row 0 replaces all before it: they were interpreted by a wrong decision.
    """

    start: int  # rows before it
    rows: NDArray[np.int64]
    geometry: NDArray[np.object_]
    measured_area: NDArray[np.float64]
    attributes: pa.Table
    findings: tuple[Finding, ...]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A survey file, read and interpreted. All arrays have one entry per row of the file.

    `geometry` is as surveyed, never repaired, in the storage CRS on the 1 mm grid.
    `measured_area` is of the polygon in the source's own projected CRS, before reprojection; in
    the storage CRS if the source's does not measure areas (`vn2000.metres_per_unit`).
    """

    source: str  # file name, without folders
    layer: str
    rows: NDArray[np.int64]  # (n,) feature ids of the source, 0-based in a shapefile
    geometry: NDArray[np.object_]  # (n,) Polygon, MultiPolygon or None
    measured_area: NDArray[np.float64]  # (n,) m²; NaN without geometry
    attributes: pa.Table  # n rows, SCHEMA
    srid: int  # EPSG code of the storage CRS
    crs: CrsChoice
    encoding: EncodingChoice
    fields: tuple[FieldMatch, ...]
    profile: str | None = None  # name and version
    points: SurveyPoints | None = None  # of a text of survey points
    findings: tuple[Finding, ...] = ()
    engine: str = "pyogrio"  # 'pyogrio' (in bulk), 'fiona' (row by row) or 'text'
    seconds: dict[str, float] = field(default_factory=dict)  # by stage

    def __len__(self) -> int:
        """The number of rows read."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The result of `landdata inspect`; nothing is stored.

    `refusal` is the sentence with which reading the file would be refused, or null.
    """

    source: str
    layers: tuple[str, ...]
    layer: str
    fields: tuple[FieldMatch, ...]
    encoding: EncodingChoice
    sample: tuple[dict[str, str], ...]  # ten rows, text by source field
    crs: CrsChoice
    rows: int
    geometry_type: str
    profile: str | None = None  # name and version
    refusal: str | None = None
    refusal_code: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the inspection under its public JSON keys."""
        return {
            "source": self.source,
            "layers": list(self.layers),
            "layer": self.layer,
            "profile": self.profile,
            "fields": [match.as_dict() for match in self.fields],
            "encoding": {**self.encoding.as_dict(), "rows": list(self.sample)},
            "crs": {
                **self.crs.as_dict(),
                "accepted": self.refusal is None,
                "refusal": self.refusal,
                "refusal_code": self.refusal_code,
            },
            "rows": self.rows,
            "geometry_type": self.geometry_type,
        }
