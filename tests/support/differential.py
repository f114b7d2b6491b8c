"""What PostGIS finds in a coverage, beside what landdata finds: pair by pair, gap by gap.

Used by tests/topology/test_postgis.py and bench/differential.py.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyogrio.raw
import shapely
from numpy.typing import NDArray
from support import coverages

from landdata.topology import coverage
from landdata.topology.rules import Limits

#: Pairs whose interiors meet, by the matrix of `ST_Relate`; `ST_Overlaps` is false where one
#: contains the other or both are the same.
PAIRS = """
SELECT a.id, b.id, ST_AsBinary(ST_Intersection(a.geom, b.geom)), ST_Overlaps(a.geom, b.geom),
  ST_Within(a.geom, b.geom), ST_Within(b.geom, a.geom), ST_Equals(a.geom, b.geom)
FROM shapes a JOIN shapes b ON a.id < b.id AND a.geom && b.geom
WHERE ST_Relate(a.geom, b.geom, 'T********')
ORDER BY 1, 2
"""
#: Holes of the union of each sheet.
HOLES = """
SELECT ST_AsBinary(ST_MakePolygon(ST_ExteriorRing((rings).geom)))
FROM (
  SELECT ST_DumpRings((ST_Dump(whole)).geom) AS rings
  FROM (SELECT ST_Union(geom) AS whole FROM shapes GROUP BY sheet) AS sheets
) AS all_rings
WHERE (rings).path[1] > 0
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The counts of PostGIS, and each disagreement in words."""

    pairs: int
    overlaps: int
    within: int
    equal: int
    holes: int
    disagreements: list[str]

    def as_row(self) -> str:
        """Return the counts as a row of a Markdown table."""
        counts = (self.pairs, self.overlaps, self.within, self.equal, self.holes)
        return " | ".join(f"{count:,}" for count in (*counts, len(self.disagreements)))


def compare(
    connection: psycopg.Connection, polygons: np.ndarray, sheets: np.ndarray | None = None
) -> Comparison:
    """Compare on valid polygons on the 1 mm grid; `sheets` (n,) tell which union each is of.

    What is thinner than the rounding limit was made by rounding, and is no overlap and no gap.
    """
    sheets = np.zeros(len(polygons), dtype=int) if sheets is None else sheets
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS shapes")
        cursor.execute("CREATE TEMP TABLE shapes (id int, sheet int, geom geometry)")
        with cursor.copy("COPY shapes FROM STDIN") as copy:
            texts = shapely.to_wkb(polygons, hex=True)
            for number, (sheet, text) in enumerate(zip(sheets.tolist(), texts, strict=True)):
                copy.write_row((number, sheet, text))
        cursor.execute("CREATE INDEX ON shapes USING gist (geom)")
        cursor.execute("ANALYZE shapes")
        pairs = cursor.execute(PAIRS).fetchall()
        holes = cursor.execute(HOLES).fetchall()
    defects = coverage.find(polygons)
    disagreements = _overlaps(pairs, defects)
    narrow = np.array([shapely.from_wkb(bytes(row[0])) for row in holes], dtype=object)
    disagreements += _gaps(narrow := _narrow(narrow), defects, polygons)
    wide = _wide(pairs)
    kept = [row for row, width in zip(pairs, wide, strict=True) if width > Limits().rounding]
    return Comparison(
        len(kept),
        sum(row[3] for row in kept),
        sum((row[4] or row[5]) and not row[6] for row in kept),
        sum(row[6] for row in kept),
        len(narrow),
        disagreements,
    )


def _wide(pairs: list[Any]) -> NDArray[np.float64]:
    regions = np.array([shapely.from_wkb(bytes(row[2])) for row in pairs], dtype=object)
    widths = np.zeros(len(regions))
    if len(regions):
        parts, of = shapely.get_parts(regions, return_index=True)
        areal = shapely.get_dimensions(parts) == 2
        np.maximum.at(widths, of[areal], coverage.width(parts[areal]))
    return widths


def _overlaps(pairs: list[Any], defects: coverage.Defects) -> list[str]:
    ours = {(overlap.first, overlap.second): overlap for overlap in defects.overlaps}
    disagreements = []
    for (one, two, region, overlaps, within, holds, equal), width in zip(
        pairs, _wide(pairs), strict=True
    ):
        if width <= Limits().rounding:
            continue
        mine = ours.pop((one, two), None)
        if mine is None:
            disagreements.append(f"{one}, {two}: only PostGIS has the overlap, {width:.4f} m wide")
            continue
        area = shapely.from_wkb(bytes(region)).area
        if abs(mine.area - area) > max(1e-4 * area, 1e-5):
            disagreements.append(f"{one}, {two}: {mine.area} m², PostGIS {area} m²")
        if mine.equal != equal:
            disagreements.append(f"{one}, {two}: the same shape {mine.equal}, PostGIS {equal}")
        inner = {within: one, holds: two}.get(True)
        # Within all but rounding is within for us.
        if inner is not None and not equal and mine.inner != inner:
            disagreements.append(f"{one}, {two}: {inner} is within by PostGIS, {mine.inner} by us")
        if overlaps == (inner is not None):
            disagreements.append(f"{one}, {two}: PostGIS disagrees with itself")
    return disagreements + [f"{one}, {two}: only we have the overlap" for one, two in ours]


def _narrow(holes: np.ndarray) -> np.ndarray:
    if not len(holes):
        return holes
    width = coverage.width(holes)
    return holes[(width > Limits().rounding) & (width < Limits().gap)]


def _gaps(narrow: np.ndarray, defects: coverage.Defects, polygons: np.ndarray) -> list[str]:
    """Each narrow hole is a gap, and no gap lies under a parcel."""
    gaps = np.array([gap.region for gap in defects.gaps], dtype=object)
    disagreements = []
    tree = shapely.STRtree(gaps) if len(gaps) else None
    for hole in narrow:
        near = gaps[tree.query(hole)] if tree else gaps
        common = shapely.area(shapely.intersection(near, hole)).sum()
        if abs(common - hole.area) > max(0.01 * hole.area, 1e-5):
            disagreements.append(f"a hole of {hole.area:.4f} m² at {hole.centroid.wkt} is no gap")
    under = shapely.STRtree(polygons)
    for gap in defects.gaps:
        beside = polygons[under.query(gap.region)]
        covered = shapely.area(shapely.intersection(beside, gap.region)).sum()
        if covered > max(0.01 * gap.area, 1e-5):
            disagreements.append(f"a gap of {gap.area:.4f} m² has {covered:.4f} m² under parcels")
    return disagreements


#: The files of shared/data.
REAL = (
    "phu_cat_vn.zip",
    "phu_cat_vn_tcvn3.zip",
    "walnut_creek_us.zip",
    "nairobi_ke_parcels.gpkg",
    "tenerife_es.gpkg",
)


def real(path: Path, scratch: Path) -> np.ndarray:
    """Read the valid polygons of a real file, on the grid."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch / path.stem)
        (path,) = (scratch / path.stem).rglob("*.shp")
    else:  # GDAL writes beside a GeoPackage that it reads
        path = Path(shutil.copy(path, scratch))
    _, _, wkb, _ = pyogrio.raw.read(path, columns=[])
    shapes = shapely.force_2d(shapely.from_wkb(wkb))
    shapes = shapes[~shapely.is_missing(shapes)]
    grid = shapely.set_coordinates(shapes, coverages.grid(shapely.get_coordinates(shapes)))
    return np.asarray(grid[shapely.is_valid(grid)])
