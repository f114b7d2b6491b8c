"""What files declare as their CRS, spelling by spelling: a code, or why there is none."""

import json
import re
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pyproj
import pytest

from landdata import survey
from landdata.errors import BadSurvey
from landdata.reference.vn2000 import ZONES
from landdata.settings import Settings
from landdata.survey import declared_crs

SHIFT = "-191.90441429,-39.30318279,-111.45032835,0.00928836,-0.01975479,0.00427372,0.252906278"
TM3 = "+proj=tmerc +lat_0=0 +lon_0=106.25 +k=0.9999 +x_0=500000 +y_0=0 +units=m +no_defs"
UTM = "+proj=utm +zone=48 +units=m +no_defs"
DEGREES = "+proj=longlat +no_defs"
VERTICAL = (
    'VERTCS["Hon_Dau",VDATUM["Hon_Dau"],PARAMETER["Vertical_Shift",0.0],'
    'PARAMETER["Direction",1.0],UNIT["Meter",1.0]]'
)
HEIGHT = 'VERT_CS["Hon Dau",VERT_DATUM["Hon Dau",2005],UNIT["metre",1],AXIS["Up",UP]]'
VERSIONS = ("WKT1_ESRI", "WKT1_GDAL", "WKT2_2015", "WKT2_2019")


def esri(
    name: str = "VN_2000_TM-3_106-15",
    *,
    datum: str = "D_Vietnam_2000",
    spheroid: str = 'SPHEROID["WGS_1984",6378137.0,298.257223563]',
    geographic: str = "GCS_VN_2000",
    prime: str = 'PRIMEM["Greenwich",0.0]',
    angle: str = 'UNIT["Degree",0.0174532925199433]',
    projection: str = "Transverse_Mercator",
    unit: str = 'UNIT["Meter",1.0]',
    meridian: float = 106.25,
    scale: float = 0.9999,
    easting: float = 500_000.0,
    northing: float = 0.0,
    latitude: float = 0.0,
) -> str:
    """Return a `.prj` as ArcGIS writes it."""
    return (
        f'PROJCS["{name}",GEOGCS["{geographic}",DATUM["{datum}",{spheroid}],{prime},{angle}],'
        f'PROJECTION["{projection}"],PARAMETER["False_Easting",{easting}],'
        f'PARAMETER["False_Northing",{northing}],PARAMETER["Central_Meridian",{meridian}],'
        f'PARAMETER["Scale_Factor",{scale}],PARAMETER["Latitude_Of_Origin",{latitude}],{unit}]'
    )


def degrees(datum: str, spheroid: str = 'SPHEROID["WGS_1984",6378137.0,298.257223563]') -> str:
    """Return a `.prj` in degrees as ArcGIS writes it."""
    return (
        f'GEOGCS["GCS_WGS_1984",DATUM["{datum}",{spheroid}],PRIMEM["Greenwich",0.0],'
        'UNIT["Degree",0.0174532925199433]]'
    )


def written(proj: str, version: str) -> str:
    """Return a PROJ string in a WKT; PROJ's, which loses a shift where the version has none."""
    return pyproj.CRS.from_user_input(proj).to_wkt(version)


KRASSOVSKY = 'SPHEROID["Krasovsky_1940",6378245.0,298.3]'
EVEREST = 'SPHEROID["Everest_Adjustment_1937",6377276.345,300.8017]'

ACCEPTED: dict[str, tuple[str, int]] = {
    # a hand-made VN-2000 with its shift, as PROJ, GDAL and QGIS write it
    **{
        f"shift {name} {version}": (written(f"{proj} {end} +towgs84={SHIFT}", version), epsg)
        for version in VERSIONS
        for name, proj, epsg in (("tm3", TM3, 9212), ("utm", UTM, 3405), ("degrees", DEGREES, 4756))
        for end in ("+ellps=WGS84", "+ellps=GRS80")
    },
    "shift on a datum called WGS 84": (f"{TM3} +datum=WGS84 +towgs84={SHIFT}", 9212),
    "shift as a PROJ string": (f"{TM3} +ellps=WGS84 +towgs84={SHIFT}", 9212),
    "shift of three numbers": (f"{TM3} +ellps=WGS84 +towgs84=-191.9,-39.3,-111.5", 9212),
    "shift of the Mekong delta": (
        f"{TM3} +ellps=WGS84 +towgs84=-192.873,-39.382,-111.202,-0.00205,-0.0005,0.00335,0.0188",
        9212,
    ),
    # spellings of ESRI and others
    "esri": (esri(), 9212),
    "esri, another name": (esri("anything"), 9212),
    "esri, gauss-krüger": (esri(projection="Gauss_Kruger"), 9212),
    "esri, GRS 80": (esri(spheroid='SPHEROID["GRS_1980",6378137.0,298.257222101]'), 9212),
    "esri, a rounded degree": (esri(angle='UNIT["Degree",0.017453292]'), 9212),
    "esri, blanks and lines": (esri().replace(",", ",\n  "), 9212),
    "esri, a byte order mark": ("\ufeff" + esri(), 9212),
    "datum unknown, the name and the parameters agree": (esri(datum="D_unknown"), 9212),
    "projjson": (pyproj.CRS(9212).to_json(), 9212),
    # codes
    "code": ("EPSG:9212", 9212),
    "code in small letters": ("epsg:9212", 9212),
    "urn": ("urn:ogc:def:crs:EPSG::9212", 9212),
    "uri": ("http://www.opengis.net/def/crs/EPSG/0/9212", 9212),
    "init": ("+init=epsg:9212", 9212),
    "crs84": ("OGC:CRS84", 4326),
    "crs84 uri": ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326),
    "realization": ("EPSG:9755", 4326),
    "esri code": ("ESRI:102100", 3857),
    # heights
    "vertcs": (f"{esri()},{VERTICAL}", 9212),
    "vertcs after degrees": (f"{degrees('D_WGS_1984')},{VERTICAL}", 4326),
    "vertcs after UTM": (f"{pyproj.CRS(32648).to_wkt('WKT1_ESRI')},{VERTICAL}", 32648),
    "compound": (f'COMPD_CS["x",{pyproj.CRS(9212).to_wkt("WKT1_GDAL")},{HEIGHT}]', 9212),
    "compound with a shift": (
        f'COMPD_CS["x",{written(f"{TM3} +ellps=WGS84 +towgs84={SHIFT}", "WKT1_GDAL")},{HEIGHT}]',
        9212,
    ),
    "compound code": ("EPSG:9212+5773", 9212),
    "compound WKT2": (pyproj.CRS("EPSG:9212+5773").to_wkt("WKT2_2019"), 9212),
    "three dimensions": ("EPSG:4979", 4326),
    "three dimensions, projected": (pyproj.CRS(9212).to_3d().to_wkt("WKT2_2019"), 9212),
    "geoid grid": (f"{UTM} +datum=WGS84 +geoidgrids=x.gtx", 32648),
    # axes in another order are read as GDAL gives them: easting first
    "northing first": (
        pyproj.CRS(9212)
        .to_wkt("WKT2_2019")
        .replace('AXIS["easting (E)",east,ORDER[1]', 'AXIS["northing (N)",north,ORDER[1]')
        .replace('AXIS["northing (N)",north,ORDER[2]', 'AXIS["easting (E)",east,ORDER[2]'),
        9212,
    ),
    "longitude first": (
        pyproj.CRS("OGC:CRS84").to_wkt("WKT2_2019"),
        4326,
    ),
    # other datums by their codes: whether they are used is for `crs_detection`
    **{
        f"{epsg} {version}": (pyproj.CRS(epsg).to_wkt(version), epsg)
        for epsg in (4147, 2044, 2093, 4131, 3148, 4239, 23948, 28418, 3740, 21037, 32628, 4269)
        for version in VERSIONS
    },
    "HN-72 by its shift": (f"{DEGREES} +ellps=krass +towgs84=-17.51,-108.32,-62.39", 4147),
}

REFUSED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # name → (text, code, words of the message)
    "meridian": (esri(meridian=106.15), "unknown-crs", ("EPSG:9212", "106.15°", "106.25°")),
    "meridian by a second": (esri(meridian=106.2502778), "unknown-crs", ("106.2502778°",)),
    "scale 1": (esri(scale=1.0), "unknown-crs", ("EPSG:9212", "factor 1 ", "0.9999")),
    "scale of UTM": (esri(scale=0.9996), "unknown-crs", ("EPSG:9212", "0.9996", "0.9999")),
    "scale by a millionth": (esri(scale=0.999901), "unknown-crs", ("0.999901", "0.9999")),
    "northing": (esri(northing=-1000), "unknown-crs", ("EPSG:9212", "northing -1000 m", "0 m")),
    "easting": (esri(easting=200_000), "unknown-crs", ("200000 m", "500000 m")),
    "easting with zone": (esri(easting=48_500_000), "unknown-crs", ("48500000 m", "500000 m")),
    "latitude": (esri(latitude=10), "unknown-crs", ("latitude of origin 10°", "0°")),
    "ellipsoid": (esri(spheroid=KRASSOVSKY), "unknown-crs", ("6378245 m", "6378137 m", "298.3")),
    "two": (esri(scale=1.0, northing=5.0), "unknown-crs", ("factor 1 ", "northing 5 m")),
    "feet": (esri(unit='UNIT["Foot",0.3048]'), "unknown-crs", ("0.3048 m", "1 m")),
    "survey feet": (esri(unit='UNIT["Foot_US",0.304800609601219]'), "unknown-crs", ("0.3048006",)),
    "kilometres": (TM3.replace("=m", "=km") + f" +ellps=WGS84 +towgs84={SHIFT}", "unknown-crs", ()),
    "paris": (esri(prime='PRIMEM["Paris",2.33722917]'), "unknown-crs", ("2.33722917°", "0°")),
    "grads": (
        esri(angle='UNIT["Grad",0.01570796326794897]', meridian=106.25),
        "unknown-crs",
        ("95.625°", "106.25°"),
    ),
    "degrees in grads": (
        degrees("D_Vietnam_2000")
        .replace("Degree", "Grad")
        .replace("0.0174532925199433", "0.0157079632679"),
        "unknown-crs",
        ("unit of angle 0.89999", "1°"),
    ),
    "degrees, ellipsoid": (
        degrees("D_WGS_1984", KRASSOVSKY),
        "unknown-crs",
        ("EPSG:4326", "6378245 m"),
    ),
    "south-orientated": (
        esri(projection="Transverse_Mercator_South_Orientated"),
        "unknown-crs",
        (),
    ),
    "a code with other parameters": (
        pyproj.CRS(9212).to_wkt("WKT1_GDAL").replace("0.9999", "0.9996"),
        "unknown-crs",
        ("0.9996", "0.9999"),
    ),
    "a code with another datum": (
        pyproj.CRS(9212).to_wkt("WKT1_GDAL").replace("Vietnam_2000", "WGS_1984"),
        "crs-datum",
        ("WGS 84", "225 m"),
    ),
    # datums without a name, or with one that nobody lists
    **{
        f"anonymous {name} {version}": (
            written(f"{proj} +ellps=WGS84", version),
            "crs-ambiguous-datum",
            ("names no datum", metres),
        )
        for version in VERSIONS
        for name, proj, metres in (
            ("tm3", TM3, "225 m"),
            ("utm", UTM, "225 m"),
            ("degrees", DEGREES, "225 m"),
        )
    },
    "custom datum": (esri(datum="D_Foo"), "crs-ambiguous-datum", ('"D_Foo"', "225 m")),
    "custom datum in degrees": (degrees("D_Foo"), "crs-ambiguous-datum", ('"D_Foo"', "225 m")),
    "epsg's unknown datum": ("EPSG:4030", "crs-ambiguous-datum", ("225 m",)),
    "custom datum on another ellipsoid": (degrees("D_Foo", EVEREST), "unknown-crs", ()),
    "anonymous on krassovsky": (f"{DEGREES} +ellps=krass", "unknown-crs", ()),
    "nadgrids": (f"{TM3} +ellps=WGS84 +nadgrids=@null", "crs-ambiguous-datum", ()),
    "datum WGS 84": (f"{TM3} +datum=WGS84", "crs-datum", ("225 m",)),
    "HN-72 on the ellipsoid of WGS 84": (
        esri("HN_72", datum="D_Hanoi_1972"),
        "unknown-crs",
        ("6378137 m", "6378245 m"),
    ),
    "HN-72 in a zone of VN-2000": (
        esri("HN_72", datum="D_Hanoi_1972", spheroid=KRASSOVSKY),
        "unknown-crs",
        (),
    ),
    # shifts that are another's
    "no shift": (f"{TM3} +ellps=WGS84 +towgs84=0,0,0,0,0,0,0", "crs-datum", ("225 m",)),
    "rotations of the other sign": (
        f"{TM3} +ellps=WGS84 +towgs84=-191.90441429,-39.30318279,-111.45032835,"
        "-0.00928836,0.01975479,-0.00427372,0.252906278",
        "crs-datum",
        ("-0.00928836", "0.00928836"),
    ),
    "the shift the other way": (
        f"{TM3} +ellps=WGS84 +towgs84=191.90441429,39.30318279,111.45032835,0,0,0,0",
        "crs-datum",
        ("191.904414", "-191.904414"),
    ),
    # what is no CRS for parcels
    "a name": ("VN-2000 / TM-3 106-15", "unknown-crs", ()),
    "a number": ("9212", "unknown-crs", ()),
    "nonsense": ("nonsense", "unknown-crs", ()),
    "half of a WKT": (esri()[:200], "unknown-crs", ()),
    "geocentric": ("EPSG:4978", "unknown-crs", ()),
    "vertical": ("EPSG:5773", "unknown-crs", ()),
    "local": ('LOCAL_CS["VN-2000 / TM-3 106-15",UNIT["Meter",1]]', "unknown-crs", ()),
    "lambert": (
        "+proj=lcc +lat_1=10 +lat_2=12 +lon_0=106 +datum=WGS84 +units=m",
        "unknown-crs",
        (),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_declared_crs_is_accepted_by_its_parameters(case: str) -> None:
    text, epsg = ACCEPTED[case]
    declaration = declared_crs.read(text)
    assert (declaration.epsg, declaration.doubt) == (epsg, None)


@pytest.mark.parametrize("case", REFUSED)
def test_a_declared_crs_is_refused_with_both_values(case: str) -> None:
    text, code, words = REFUSED[case]
    with pytest.raises(BadSurvey) as refusal:
        declared_crs.require_code(declared_crs.read(text), "Give --crs.")
    assert refusal.value.code == code
    assert refusal.value.hint
    for word in words:
        assert word in refusal.value.message
    mentioned = re.findall(r"EPSG:(\d+)", refusal.value.message)
    assert all(int(epsg) in (*ZONES, 4756, 4326, 4147) for epsg in mentioned)


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("prj_dms", "central meridian 106.15° instead of 106.25°"),
        ("prj_k1", "scale factor 1 instead of 0.9999"),
        ("prj_k9996_name", "scale factor 0.9996 instead of 0.9999"),
        ("prj_fn", "false northing -1000 m instead of 0 m"),
        ("prj_krass", "semi-major axis 6378245 m instead of 6378137 m"),
    ],
)
def test_a_file_is_not_believed_by_the_name_of_its_crs(
    shared: Path, name: str, difference: str
) -> None:
    file = shared.parent / "cases" / "prj-matched-by-name-alone" / f"{name}.zip"
    with pytest.raises(BadSurvey) as refusal:
        survey.read(file, Settings(srid=9212))
    assert (refusal.value.code, refusal.value.exit_code) == ("unknown-crs", 2)
    assert "EPSG:9212" in refusal.value.message
    assert difference in refusal.value.message
    with zipfile.ZipFile(file) as parts:
        assert "VN_2000_TM3_106_15" in parts.read(f"{name}.prj").decode()


@pytest.mark.parametrize("name", ["prj_vert.zip", "compound.zip", "compound.gpkg"])
def test_a_file_with_heights_is_read_without_them(shared: Path, name: str) -> None:
    file = shared.parent / "cases" / "prj-vertcs-unknown" / name
    read = survey.read(file, Settings(srid=9212))
    assert (read.crs.epsg, read.crs.declared_epsg) == (9212, 9212)
    assert len(read)


@pytest.mark.parametrize("srs_id", [0, -1])
def test_an_undefined_srs_of_a_geopackage_is_no_crs(
    shared: Path, tmp_path: Path, srs_id: int
) -> None:
    file = tmp_path / "thua.gpkg"
    file.write_bytes((shared.parent / "cases/prj-vertcs-unknown/compound.gpkg").read_bytes())
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("UPDATE gpkg_geometry_columns SET srs_id = ?", (srs_id,))
        store.execute("UPDATE gpkg_contents SET srs_id = ?", (srs_id,))
    for engine in ("pyogrio", "fiona"):
        inspection = survey.inspect(file, Settings(srid=9212), engine=engine)
        assert (inspection.refusal_code, inspection.crs.declared_epsg) == ("no-crs", None)
        assert survey.read(file, Settings(srid=9212), crs=9212, engine=engine).crs.epsg == 9212


@pytest.mark.parametrize(
    ("crs", "code"),
    [
        ({"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4756"}}, None),
        ({"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}, None),
        ({"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG:6.6:4326"}}, None),
        ({"type": "name", "properties": {"name": "EPSG:4756"}}, None),
        ({"type": "name", "properties": {"name": "VN-2000"}}, "unknown-crs"),
        ({"type": "name", "properties": {"name": "EPSG:999999"}}, "unknown-crs"),
        ({"type": "link", "properties": {"href": "vn2000.prj", "type": "esriwkt"}}, "unknown-crs"),
        ("EPSG:4756", "unknown-crs"),
        (None, "no-crs"),
    ],
)
def test_a_geojson_whose_crs_is_not_known_is_not_wgs84(
    tmp_path: Path, crs: object, code: str | None
) -> None:
    ring = [[106.7, 11.5], [106.7002, 11.5], [106.7002, 11.5002], [106.7, 11.5]]
    feature = {
        "type": "Feature",
        "properties": {"SHBANDO": "1", "SHTHUA": "1"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    file = tmp_path / "thua.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    for engine in ("pyogrio", "fiona"):
        inspection = survey.inspect(file, Settings(srid=9212), engine=engine)
        assert inspection.refusal_code == code


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (pyproj.CRS(9212).to_wkt("WKT1_GDAL"), 9212),
        (esri(), 9212),
        ("undefined", 9212),
        (pyproj.CRS(9212).to_wkt("WKT1_GDAL").replace("0.9999", "0.9996"), "unknown-crs"),
        (pyproj.CRS(9212).to_wkt("WKT1_GDAL").replace("Vietnam_2000", "WGS_1984"), "crs-datum"),
        (pyproj.CRS(5899).to_wkt("WKT1_GDAL"), "crs-contradicted"),
    ],
)
@pytest.mark.parametrize("organization", ["EPSG", "NONE"])
def test_the_definition_of_a_geopackage_decides_not_its_code(
    shared: Path, tmp_path: Path, organization: str, definition: str, expected: int | str
) -> None:
    if (organization, definition) == ("NONE", "undefined"):
        expected = "no-crs"
    file = tmp_path / "thua.gpkg"
    file.write_bytes((shared.parent / "cases/prj-vertcs-unknown/compound.gpkg").read_bytes())
    with closing(sqlite3.connect(file)) as store, store:
        store.execute(
            "INSERT INTO gpkg_spatial_ref_sys (srs_name, srs_id, organization,"
            " organization_coordsys_id, definition) VALUES ('VN-2000', 9212, ?, 9212, ?)",
            (organization, definition),
        )
        store.execute("UPDATE gpkg_geometry_columns SET srs_id = 9212")
        store.execute("UPDATE gpkg_contents SET srs_id = 9212")
    inspection = survey.inspect(file, Settings(srid=9212))
    assert (inspection.refusal_code or inspection.crs.epsg) == expected
