from __future__ import annotations

from typing import Any

import pyproj
import pytest

from landdata.errors import BadRequest
from landdata.reference import datums, vn2000


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


@pytest.mark.parametrize("datum", datums.DATUMS, ids=lambda datum: datum.name)
def test_a_datum_is_what_epsg_says(datum: datums.Datum) -> None:
    crs = pyproj.CRS.from_epsg(datum.epsg)
    assert crs.ellipsoid is not None
    assert (crs.ellipsoid.semi_major_metre, crs.ellipsoid.inverse_flattening) == pytest.approx(
        (datum.ellipsoid.axis, datum.ellipsoid.flattening), abs=1e-9
    )
    for version in ("WKT1_ESRI", "WKT1_GDAL", "WKT2_2019"):
        written = pyproj.CRS(crs.to_wkt(version)).datum
        assert written is not None
        assert datums.find(written.name) is datum
    if datum.operation is None:
        return
    pinned = pyproj.Transformer.from_pipeline(
        f"urn:ogc:def:coordinateOperation:EPSG::{datum.operation}"
    )
    assert datum.helmert in pinned.definition
    assert pinned.accuracy == datum.accuracy


def by_steps(epsg: int, target: int, x: float, y: float) -> tuple[float, float]:
    """Transform HN-72 by EPSG's own operations, one after the other: 1544, then 6960 backwards."""
    lon, lat = pyproj.Transformer.from_crs(epsg, 4147, always_xy=True).transform(x, y)
    urn = "urn:ogc:def:coordinateOperation:EPSG::{}"
    lat, lon = pyproj.Transformer.from_pipeline(urn.format(1544)).transform(lat, lon)
    lat, lon = pyproj.Transformer.from_pipeline(urn.format(6960)).transform(
        lat, lon, direction="INVERSE"
    )
    to = pyproj.Transformer.from_crs(4756, target, always_xy=True).transform(lon, lat)
    return float(to[0]), float(to[1])


@pytest.mark.parametrize("target", [9212, 5899, 5897, 3405])
@pytest.mark.parametrize(
    ("epsg", "x", "y"),
    [
        (2044, 18_690_000.0, 1_275_000.0),
        (2045, 19_030_000.0, 1_280_000.0),
        (2093, 580_000.0, 1_200_000.0),
        (4147, 106.75, 11.5),
    ],
)
def test_hn72_is_transformed_by_one_operation_everywhere(
    epsg: int, x: float, y: float, target: int
) -> None:
    there = vn2000.transformer(epsg, target).transform(x, y)
    assert there == pytest.approx(by_steps(epsg, target, x, y), abs=1e-3)
    back = vn2000.transformer(target, epsg).transform(*there)
    assert back == pytest.approx((x, y), abs=1e-3 if epsg != 4147 else 1e-8)
    assert vn2000.operation(epsg, target)[1] == 6.0


@pytest.mark.parametrize("epsg", [4131, 3148, 3149, 4239, 23948, 4240, 4284, 28418, 4610, 4214])
def test_a_datum_without_an_operation_here_is_refused(epsg: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        vn2000.pipeline(epsg, 9212)
    assert refusal.value.code == "no-datum-operation"
    assert str(epsg) in refusal.value.message


def test_other_countries_keep_the_operations_of_proj() -> None:
    assert vn2000.pipeline(24048, 4326)
    assert vn2000.pipeline(28418, 4326)
