"""Every row of a file is staged, whatever its shape and its text."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import shapely
import sqlalchemy as sa
from support.surveys import parcel, plot

from landdata.batches import checking, queries
from landdata.settings import Settings
from landdata.store import communes, database

COMMUNE = "99901"
SQUARE = list(plot(0, 0).exterior.coords)
THERE_AND_BACK = [(548_005.0, 1_281_005.0), (548_010.0, 1_281_010.0), (548_005.0, 1_281_005.0)]


def write_geojson(path: Path, geometries: list[dict[str, Any]], **values: Any) -> Path:
    """Write parcels 1, 2, 3 … as GeoJSON, without any check of their shapes."""
    rows = [parcel(number, plot(0, 0), **values) for number in range(1, len(geometries) + 1)]
    features = [
        {
            "type": "Feature",
            "properties": {name: value for name, value in row.items() if name != "geometry"},
            "geometry": geometry,
        }
        for row, geometry in zip(rows, geometries, strict=True)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::9212"}}
    path.write_text(
        json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}), "utf-8"
    )
    return path


def stage(engine: sa.Engine, settings: Settings, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what `batch show` gives, and the staged shapes as WKT."""
    with database.session(engine) as session:
        communes.add(session, COMMUNE, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
        batch = checking.receive_and_check(session, settings, path, commune=COMMUNE, by="x")
        shapes = session.scalars(sa.text("SELECT ST_AsText(geom) FROM staged_parcels ORDER BY row"))
        return queries.show(session, batch.id), list(shapes)


def test_rings_of_three_points_are_staged(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    polygons: list[list[Any]] = [
        [list(plot(3, 0).exterior.coords)],
        [THERE_AND_BACK],
        [SQUARE, THERE_AND_BACK],
    ]
    geometries: list[dict[str, Any]] = [
        {"type": "Polygon", "coordinates": rings} for rings in polygons
    ]
    geometries.append({"type": "MultiPolygon", "coordinates": [[SQUARE], [THERE_AND_BACK]]})
    shown, shapes = stage(engine, settings, write_geojson(tmp_path / "rings.geojson", geometries))
    assert shown["summary"]["read"] == len(shapes) == 4
    assert shown["summary"]["rejected"] == 3
    assert {f["row"] for f in shown["findings"] if f["rule"] == "invalid-ring"} == {1, 2, 3}
    # the same points; only the last one is repeated
    for staged, rings in zip(shapes[1:3], polygons[1:], strict=True):
        points = {tuple(xy) for xy in shapely.get_coordinates(shapely.from_wkt(staged)).tolist()}
        assert points == {tuple(xy) for ring in rings for xy in ring}


@pytest.mark.parametrize("name", ["ring3_outer", "ring3_hole"])
def test_the_case_of_a_ring_of_three_points_is_rejected_and_not_lost(
    engine: sa.Engine, settings: Settings, shared: Path, name: str
) -> None:
    path = shared.parent / "cases" / "ring-of-three-points" / f"{name}.geojson"
    shown, shapes = stage(engine, settings, path)
    assert (shown["summary"]["read"], shown["summary"]["rejected"], len(shapes)) == (2, 1, 2)


def test_control_characters_are_refused_in_keys_and_stripped_elsewhere(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    hostile = "a\x1b[31m\u202eb"
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    path = write_geojson(
        tmp_path / "evil\x1b\u202e.geojson",
        [geometry],
        SHTHUA="1\u202e2",
        TENCHU=hostile,
        DIACHI=hostile,
        **{f"field{hostile}": "x"},
    )
    shown, _ = stage(engine, settings, path)
    assert (shown["summary"]["read"], shown["summary"]["rejected"]) == (1, 1)
    assert shown["summary"]["findings"]["error"] == {"missing-number": 1}
    assert json.dumps(shown, ensure_ascii=False, default=str).isprintable()
    with engine.connect() as connection:
        query = sa.text("SELECT number, owner, address FROM staged_parcels")
        number, owner, address = connection.execute(query).one()
    assert number == "1<U+202E>2"
    assert owner == address
    assert owner.isprintable()
