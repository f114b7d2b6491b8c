"""The overlaps that landdata finds are those that PostGIS finds, pair by pair."""

from __future__ import annotations

import zipfile
from pathlib import Path

import coverages
import numpy as np
import pyogrio.raw
import pytest
import shapely
import sqlalchemy as sa

from landdata.topology import coverage
from landdata.topology.rules import Limits

JOIN = sa.text("""
SELECT a.id AS one, b.id AS two, ST_AsBinary(ST_Intersection(a.geom, b.geom)) AS region,
  ST_Contains(a.geom, b.geom) AS contains, ST_Within(a.geom, b.geom) AS within
FROM shapes a JOIN shapes b ON a.id < b.id AND a.geom && b.geom
WHERE ST_Relate(a.geom, b.geom, 'T********')
""")


def by_postgis(engine: sa.Engine, polygons: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the area of each pair's common region, where that is wider than rounding."""
    with engine.begin() as session:
        session.execute(sa.text("CREATE TEMP TABLE shapes (id int, geom geometry) ON COMMIT DROP"))
        session.execute(
            sa.text("INSERT INTO shapes VALUES (:id, ST_GeomFromWKB(:wkb))"),
            [{"id": k, "wkb": wkb} for k, wkb in enumerate(shapely.to_wkb(polygons))],
        )
        session.execute(sa.text("CREATE INDEX ON shapes USING gist (geom)"))
        session.execute(sa.text("ANALYZE shapes"))
        found = session.execute(JOIN).all()
    regions = shapely.from_wkb(np.array([bytes(row.region) for row in found], dtype=object))
    parts, of = shapely.get_parts(regions, return_index=True)
    widths = np.zeros(len(regions))
    np.maximum.at(widths, of, coverage.width(parts))
    return {
        (row.one, row.two): float(shapely.area(region))
        for row, region, width in zip(found, regions, widths, strict=True)
        if width > Limits().rounding
    }


def agree(engine: sa.Engine, polygons: np.ndarray) -> int:
    theirs = by_postgis(engine, polygons)
    ours = {(each.first, each.second): each.area for each in coverage.find(polygons).overlaps}
    assert set(ours) == set(theirs)
    for pair, area in ours.items():
        assert area == pytest.approx(theirs[pair], rel=1e-4, abs=1e-5)
    return len(ours)


@pytest.mark.parametrize("seed", range(4))
def test_made_up_coverages(engine: sa.Engine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 40, 40, extra=seed % 3)
    spoilt = coverages.inject(rng, clean, 60, sizes=(0.002, 0.5))
    assert agree(engine, spoilt.polygons) > 20


@pytest.mark.parametrize("name", ["phu_cat_vn.zip", "tenerife_es.gpkg", "nairobi_ke_parcels.gpkg"])
def test_real_surveys(engine: sa.Engine, shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        (path,) = tmp_path.glob("*.shp")
    else:
        path = Path((tmp_path / name).write_bytes(path.read_bytes()) and tmp_path / name)
    _, _, wkb, _ = pyogrio.raw.read(path, columns=[])
    polygons = shapely.from_wkb(wkb)
    polygons = polygons[~shapely.is_missing(polygons)]
    polygons = shapely.force_2d(polygons)
    polygons = shapely.set_coordinates(polygons, coverages.grid(shapely.get_coordinates(polygons)))
    agree(engine, polygons[shapely.is_valid(polygons)])
