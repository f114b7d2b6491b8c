from __future__ import annotations

from typing import Any

import pyproj
import pytest

from landdata.reference import vn2000


def test_zones_are_those_of_epsg() -> None:
    for epsg, (meridian, scale) in vn2000.ZONES.items():
        crs = pyproj.CRS.from_epsg(epsg)
        values: dict[str, Any] = {p.name: p.value for p in crs.coordinate_operation.params}
        assert values["Longitude of natural origin"] == pytest.approx(meridian, abs=1e-9)
        assert values["Scale factor at natural origin"] == scale
        assert values["False easting"] == 500_000
        assert [a.direction for a in crs.axis_info] == ["east", "north"]


def vietnam() -> list[tuple[float, float]]:
    """Biên Hòa (in the box of operation 5194, but for its north) and Đồng Xoài, lon and lat."""
    return [(106.82, 10.95), (106.90, 11.53), (106.9, 10.99), (107.0, 11.05)]


@pytest.mark.parametrize("epsg", [*vn2000.ZONES, 4756])
def test_one_datum_operation_everywhere(epsg: int) -> None:
    pinned = pyproj.Transformer.from_pipeline("urn:ogc:def:coordinateOperation:EPSG::6960")
    assert vn2000.HELMERT in vn2000.pipeline(epsg, 4326)
    assert vn2000.HELMERT in vn2000.pipeline(4326, epsg)
    for lon, lat in vietnam():
        x, y = vn2000.transformer(4756, epsg).transform(lon, lat)
        there = vn2000.transformer(epsg, 4326).transform(x, y)
        expected = pinned.transform(lat, lon)[::-1]
        assert there == pytest.approx(expected, abs=1e-9)
        assert vn2000.transformer(4326, epsg).transform(*there) == pytest.approx(
            (x, y), abs=1e-3 if epsg != 4756 else 1e-9
        )


def test_the_other_operation_is_eight_tenths_of_a_metre_away() -> None:
    other = pyproj.Transformer.from_pipeline("urn:ogc:def:coordinateOperation:EPSG::5194")
    lat, lon = other.transform(10.95, 106.82)
    ours = vn2000.transformer(4756, 4326).transform(106.82, 10.95)
    distance = pyproj.Geod(ellps="WGS84").inv(lon, lat, *ours)[2]
    assert 0.7 < distance < 0.9


def test_zones_of_one_datum_need_no_datum_operation() -> None:
    for target in (5899, 5897, 3405, 4756):
        assert "helmert" not in vn2000.pipeline(9212, target)
    x, y = vn2000.transformer(9212, 5899).transform(573_000.0, 1_275_000.0)
    assert vn2000.transformer(5899, 9212).transform(x, y) == pytest.approx(
        (573_000, 1_275_000), abs=1e-6
    )
    assert vn2000.transformer(9212, 9212).transform(1.0, 2.0) == (1.0, 2.0)
