from __future__ import annotations

import re

import numpy as np
import pyproj
import pytest

from landdata.errors import BadRequest
from landdata.reference.vn2000 import ZONES, transformer
from landdata.survey import crs_candidates, crs_detection, declared_crs, extent
from landdata.survey.extent import Bounds

HOME = Bounds(550_000, 1_280_000, 556_000, 1_285_000)  # Bình Phước in EPSG:9212
MERGED = Bounds(380_000, 1_280_000, 385_000, 1_285_000)  # there in EPSG:5899
UTM = Bounds(700_000, 1_280_000, 705_000, 1_285_000)  # there in EPSG:5897 and 3405
DEGREES = Bounds(106.7, 11.5, 106.8, 11.6)


def wkt(epsg: int, version: str = "WKT1_ESRI") -> str:
    return pyproj.CRS.from_epsg(epsg).to_wkt(version)


def code(
    text: str | None, bounds: Bounds, srid: int = 9212, option: int | None = None
) -> int | str | None:
    choice, refusal = crs_detection.choose(text, bounds, srid, option)
    if refusal is not None:
        assert refusal.hint
        return refusal.code
    return choice.epsg


# -- what a .prj says


@pytest.mark.parametrize("epsg", [*ZONES, 4756, 4326, 32648, 3740])
@pytest.mark.parametrize("version", ["WKT1_ESRI", "WKT1_GDAL", "WKT2_2019"])
def test_every_zone_in_every_wkt(epsg: int, version: str) -> None:
    assert declared_crs.identify(wkt(epsg, version)) == epsg


def test_names_of_esri_and_mapinfo_and_a_bound_crs() -> None:
    esri = wkt(9212).replace(wkt(9212).split('"')[1], "VN_2000_TM-3_zone_106_15")
    assert declared_crs.identify(esri) == 9212
    mapinfo = (
        'PROJCS["unnamed",GEOGCS["unnamed",DATUM["unknown",'
        'SPHEROID["WGS 84",6378137,298.257223563],'
        "TOWGS84[-191.90441429,-39.30318279,-111.45032835,0.00928836,-0.01975479,0.00427372,"
        '0.252906278]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
        'PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        'PARAMETER["central_meridian",106.25],PARAMETER["scale_factor",0.9999],'
        'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["Meter",1]]'
    )
    assert declared_crs.identify(mapinfo) == 9212
    assert code(mapinfo, HOME) == 9212
    utm = mapinfo.replace("106.25", "105").replace("0.9999]", "0.9996]")
    assert code(utm, UTM) == 3405
    utm = re.sub(r",TOWGS84\[[^\]]*\]", "", utm)
    assert code(utm, UTM) == "crs-ambiguous-datum"
    assert code(utm, UTM, option=3405) == 3405


def test_datum_shift_that_is_missing() -> None:
    assert code(wkt(9212).replace("D_Vietnam_2000", "D_WGS_1984"), HOME) == "crs-datum"


def test_wgs84_utm_needs_the_option() -> None:
    assert code(wkt(32648), UTM) == "crs-ambiguous-datum"
    assert code(wkt(32648), UTM, option=32648) == 32648
    assert code(wkt(32648), UTM, option=3405) == 3405


def test_nonsense() -> None:
    assert code("nonsense", HOME) == "unknown-crs"
    assert code("nonsense", HOME, option=9212) == 9212
    with pytest.raises(BadRequest):
        crs_detection.choose(None, HOME, 9212, 1)


# -- former datums


HN72 = Bounds(18_690_000, 1_270_000, 18_695_000, 1_275_000)


def test_hn72_needs_the_option_and_is_converted() -> None:
    refusal = crs_detection.choose(wkt(2044), HN72, 9212)[1]
    assert refusal is not None
    assert (refusal.code, refusal.exit_code) == ("crs-former-datum", 2)
    assert "HN-72" in refusal.message
    assert "EPSG:1544" in refusal.message
    assert "5 m" in refusal.message
    assert "--crs 2044" in (refusal.hint or "")
    choice, refusal = crs_detection.choose(wkt(2044), HN72, 9212, 2044)
    assert (choice.epsg, refusal) == (2044, None)
    assert choice.reason.endswith("EPSG:1544 converts HN-72 to 5 m")


@pytest.mark.parametrize("epsg", [3148, 3149, 4131, 23948, 4239, 24048, 28418, 4284, 4610, 4214])
@pytest.mark.parametrize("commune", [None, (5.5e5, 1.28e6, 5.6e5, 1.29e6)])
def test_a_datum_without_an_operation_is_refused_also_on_request(
    epsg: int, commune: crs_candidates.Box | None
) -> None:
    bounds = {True: DEGREES, False: UTM}[bool(pyproj.CRS.from_epsg(epsg).is_geographic)]
    for option in (None, epsg):
        refusal = crs_detection.choose(wkt(epsg), bounds, 9212, option, commune)[1]
        assert refusal is not None
        assert (refusal.code, refusal.exit_code) == ("crs-former-datum", 2)
        assert f"EPSG:{epsg}" in refusal.message
    # The numbers are those of VN-2000: whoever says so is believed.
    assert f"{4756 if bounds is DEGREES else 5897}" in (refusal.hint or "")


def test_a_former_datum_is_the_storage_of_another_country() -> None:
    thailand = Bounds(550_000, 1_550_000, 556_000, 1_555_000)
    assert code(wkt(24048), thailand, srid=24048) == 24048


@pytest.mark.parametrize("epsg", [4978, 5773, 9518, 4979])
def test_a_code_without_a_place_on_a_map_is_refused(epsg: int) -> None:
    for bounds in (HOME, DEGREES):
        assert code(None, bounds, option=epsg) == "unknown-crs"


# -- what the coordinates say


def test_without_a_prj_the_likeliest_crs_is_suggested_first() -> None:
    for bounds, first in ((HOME, 9212), (MERGED, 5899), (UTM, 5897)):
        choice, refusal = crs_detection.choose(None, bounds, 9212)
        assert refusal is not None
        assert refusal.code == "no-crs"
        assert choice.candidates[0][0] == first
        assert f"fit {first}" in refusal.hint
        assert choice.epsg is None
        assert code(None, bounds, option=first) == first
    assert crs_detection.choose(None, HOME, 9212)[0].detected == 9212
    choice, refusal = crs_detection.choose(None, DEGREES, 9212)  # 225 m apart: nothing tells
    assert [epsg for epsg, _ in choice.candidates] == [4756, 4326]
    assert (choice.detected, refusal.code) == (None, "no-crs")


@pytest.mark.parametrize("declared", [5897, 5899])
def test_a_prj_that_lies(declared: int) -> None:
    assert code(wkt(declared), HOME) == "crs-contradicted"
    assert code(wkt(declared), HOME, option=9212) == 9212


def test_true_zones_are_taken() -> None:
    assert code(wkt(9212), HOME) == 9212
    assert code(wkt(5899), MERGED) == 5899
    assert code(wkt(5897), UTM) == 5897
    assert code(wkt(3405), UTM) == 3405
    assert code(wkt(4326), DEGREES) == 4326
    assert code(wkt(4756), DEGREES) == 4756
    hanoi = Bounds(550_000, 2_320_000, 556_000, 2_325_000)
    assert code(wkt(5897), hanoi) == 5897


def test_swapped_axes_degrees_and_metres() -> None:
    turned = Bounds(1_280_000, 550_000, 1_285_000, 556_000)
    for text in (None, wkt(9212)):
        assert code(text, turned) == "crs-swapped-axes"
    assert code(wkt(9212), turned, option=9212) == "crs-swapped-axes"
    assert code(wkt(4326), Bounds(11.5, 106.7, 11.6, 106.8)) == "crs-swapped-axes"
    assert code(wkt(9212), DEGREES) == "crs-degrees"
    assert code(wkt(4326), HOME) == "crs-metres"


def test_places_where_the_crs_is_not_used() -> None:
    assert code(wkt(9212), Bounds(0, 0, 100, 100)) == "crs-contradicted"
    assert code(wkt(9212), Bounds(5e6, 5e6, 6e6, 6e6)) == "crs-contradicted"


def test_outside_the_deployment() -> None:
    there = Bounds(583_000, 4_195_000, 584_000, 4_196_000)
    assert code(wkt(3740), there) == "crs-outside-deployment"
    assert code(wkt(3740), there, option=3740) == "crs-outside-deployment"
    assert code(wkt(3740), there, srid=3740) == 3740
    assert code(wkt(9212), HOME, srid=3740) == "crs-outside-deployment"


@pytest.mark.parametrize("stray", [1.1e8, -1.1e8, np.inf, np.nan])
def test_a_coordinate_is_on_the_globe_by_both_of_its_numbers(stray: float) -> None:
    near = extent.on_globe(np.array([(1e8, -1e8), (stray, 0.0), (0.0, stray), (stray, stray)]))
    assert near.tolist() == [True, False, False, False]


def test_stray_vertices_do_not_count() -> None:
    points = np.vstack([np.full((1000, 2), (553_000.0, 1_282_000.0)), [[0.0, 0.0]]])
    sample = extent.Sample()
    sample.add(points)
    assert sample.bounds() == Bounds(553_000, 1_282_000, 553_000, 1_282_000)


# -- the commune


def commune(bounds: Bounds = HOME) -> tuple[float, float, float, float]:
    return (bounds.xmin - 3000, bounds.ymin - 3000, bounds.xmax + 3000, bounds.ymax + 3000)


def test_the_zone_of_a_neighbour() -> None:
    x, y = transformer(9212, 9211).transform(*HOME.centre)
    beside = Bounds(x - 2000, y - 2000, x + 2000, y + 2000)  # EPSG:9211 numbers of HOME
    assert code(wkt(9212), beside) == 9212  # without the commune nothing tells
    choice, refusal = crs_detection.choose(wkt(9212), beside, 9212, None, commune())
    assert refusal.code == "crs-neighbour-zone"
    assert "21 km from the commune" in refusal.message
    assert "106.25°" in refusal.message
    assert "meridian 106°" in refusal.message
    assert "--crs 9211" in refusal.hint
    assert choice.detected == 9211
    assert crs_detection.choose(wkt(9212), beside, 9212, 9211, commune())[0].epsg == 9211
    assert (
        crs_detection.choose(wkt(9212), beside, 9212, 9212, commune())[1].code
        == "crs-neighbour-zone"
    )
    assert crs_detection.choose(wkt(9212), HOME, 9212, None, commune())[1] is None


@pytest.mark.parametrize("epsg", ZONES)
def test_the_commune_decides_between_all_zones(epsg: int) -> None:
    lon, lat = 106.7, 11.55
    x, y = transformer(4756, epsg).transform(lon, lat)
    survey = Bounds(x - 1000, y - 1000, x + 1000, y + 1000)
    there = transformer(4756, 9212).transform(lon, lat)
    box = (there[0] - 3000, there[1] - 3000, there[0] + 3000, there[1] + 3000)
    found = [c for c, reason in crs_candidates.candidates(survey, 9212, box) if "commune" in reason]
    assert epsg in found
    assert crs_detection.choose(wkt(epsg), survey, 9212, None, box)[0].epsg == epsg
    # beside it fits at most the UTM or the 3° zone of the same meridian, 0.4 km away
    assert {ZONES[c][0] for c in found} <= {ZONES[epsg][0]}


def mislabelled(drawn: int, converted: int, epsg: int) -> Bounds:
    """Return bounds in `epsg` of HOME drawn in one zone and converted as another."""
    x, y = transformer(9212, drawn).transform(*HOME.centre)
    x, y = transformer(converted, epsg).transform(x, y)
    return Bounds(x, y, x, y)


@pytest.mark.parametrize("epsg", [4326, 4756, 3857])
@pytest.mark.parametrize(
    ("drawn", "converted", "away"), [(9212, 5897, 130), (9212, 5899, 158), (5899, 9212, 158)]
)
def test_a_survey_converted_from_the_wrong_zone(
    epsg: int, drawn: int, converted: int, away: int
) -> None:
    bounds = mislabelled(drawn, converted, epsg)
    for option in (None, epsg):
        refusal = crs_detection.choose(wkt(epsg), bounds, 9212, option, commune())[1]
        assert refusal is not None
        assert (refusal.code, refusal.exit_code) == ("crs-neighbour-zone", 2)
        assert f"{away} km from the commune" in refusal.message
        assert f"drawn in EPSG:{drawn} " in refusal.message
        assert f"meridian {ZONES[drawn][0]:g}°" in refusal.message
        assert f"meridian {ZONES[converted][0]:g}°" in refusal.message


@pytest.mark.parametrize("drawn", ZONES)
@pytest.mark.parametrize("converted", [9212, 5897, 9214, 3405])
def test_every_zone_is_tried_for_degrees_too(drawn: int, converted: int) -> None:
    refusal = crs_detection.choose(
        wkt(4326), mislabelled(drawn, converted, 4326), 9212, None, commune()
    )[1]
    if ZONES[drawn][0] == ZONES[converted][0]:
        return  # in the commune, or within 0.4 km of it: the scale factor's
    assert refusal is not None
    assert refusal.code == "crs-neighbour-zone"
    named = [int(epsg) for epsg in re.findall(r"EPSG:(\d+) \(", refusal.message)]
    difference = ZONES[named[0]][0] - ZONES[named[1]][0]
    assert difference == pytest.approx(ZONES[drawn][0] - ZONES[converted][0])


def test_another_commune() -> None:
    far = (700_000.0, 1_400_000.0, 705_000.0, 1_405_000.0)
    refusal = crs_detection.choose(wkt(9212), HOME, 9212, None, far)[1]
    assert (refusal.code, "km" in refusal.message) == ("outside-commune", True)


def test_two_crs_that_fit_need_the_option() -> None:
    x, y = transformer(9212, 5897).transform(*HOME.centre)
    survey = Bounds(x - 1000, y - 1000, x + 1000, y + 1000)
    choice, refusal = crs_detection.choose(None, survey, 9212, None, commune())
    assert refusal.code == "no-crs"
    fitting = [c for c, reason in choice.candidates if reason.endswith("commune")]
    assert fitting == [5897, 3405]
    assert choice.detected is None


# -- what is likeliest


def test_a_shift_of_nought() -> None:
    text = wkt(9212, "WKT1_GDAL")
    at = text.index(',AUTHORITY["EPSG","6756"]')
    for shift, expected in (("0,0,0,0,0,0,0", "crs-datum"), ("-191.9,-39.3,-111.4,0,0,0,0", 9212)):
        assert code(f"{text[:at]},TOWGS84[{shift}]{text[at:]}", HOME) == expected
    refusal = crs_detection.choose(f"{text[:at]},TOWGS84[0,0,0]{text[at:]}", HOME, 9212)[1]
    assert "--crs 9212" in refusal.hint


def test_each_refusal_names_the_likeliest_answer() -> None:
    turned = Bounds(HOME.ymin, HOME.xmin, HOME.ymax, HOME.xmax)
    assert "they fit 9212" in crs_detection.choose(None, turned, 9212)[1].hint
    degrees = crs_detection.choose(wkt(9212), DEGREES, 9212)[1].hint
    assert "--crs 4756" in degrees
    assert "--crs 4326" in degrees
    assert "fit 9212" in crs_detection.choose(wkt(4326), HOME, 9212)[1].hint
    assert "--crs 9212" in crs_detection.choose(wkt(5897), HOME, 9212)[1].hint
    utm = crs_detection.choose(wkt(32648), UTM, 9212)[1].hint
    assert "--crs 3405" in utm
    assert "--crs 32648" in utm
