"""Which CRS a WKT declares: OGC's, ESRI's or MapInfo's spelling, in a `.prj` or a file's header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from pyproj.exceptions import CRSError

from landdata.errors import BadSurvey
from landdata.reference.vn2000 import VN_2000, ZONES

#: WGS 84 / UTM → VN-2000 / UTM: equal numbers, 224 m apart on the ground.
WGS84_UTM = {32648: 3405, 32649: 3406}
_VIETNAMESE = r"viet|vn[-_ ]?2000"


@dataclass(frozen=True, slots=True)
class Declaration:
    """The EPSG code that a WKT declares, or why there is none."""

    epsg: int | None
    doubt: str | None = None  # 'datum', 'no-shift', 'unnamed-utm' or 'unknown'
    zone: int | None = None  # the VN-2000 zone of the same parameters


def identify(wkt: str) -> int | None:
    """Return the EPSG code that a WKT declares; null where it is in doubt."""
    return read(wkt).epsg


@lru_cache(maxsize=256)
def read(wkt: str) -> Declaration:
    """Return what a WKT declares; one that PROJ cannot parse declares an unknown CRS."""
    try:
        crs = pyproj.CRS.from_user_input(wkt)
    except CRSError:
        return Declaration(None, "unknown")
    unshifted = False
    if crs.is_bound and crs.source_crs is not None:
        shift = crs.coordinate_operation
        unshifted = shift is not None and shift.towgs84 != [] and not any(shift.towgs84)
        crs = crs.source_crs  # TOWGS84 describes the way out of the CRS, not the CRS
    zone = _zone_of(crs)
    datum = _datum_name(crs)
    if zone is None:
        return Declaration(code) if (code := crs.to_epsg(min_confidence=70)) else _by_name(crs)
    # The name of the datum decides: the parameters are the same on WGS 84.
    if re.search(r"wgs|world", datum) and not re.search(_VIETNAMESE, datum):
        code = crs.to_epsg(min_confidence=70)
        return (
            Declaration(code, zone=zone) if code in WGS84_UTM else Declaration(None, "datum", zone)
        )
    # Only VN-2000 has a scale factor of 0.9999, so there the datum need not be named.
    is_vietnamese = re.search(_VIETNAMESE, f"{datum} {crs.name.lower()}") or (
        ZONES[zone][1] == 0.9999
    )
    if not is_vietnamese:
        return Declaration(None, "unnamed-utm", zone)
    return Declaration(None, "no-shift", zone) if unshifted else Declaration(zone, zone=zone)


def require_code(declaration: Declaration, hint: str) -> int:
    """Return the declared code; raise `BadSurvey` where it is in doubt, `hint` if unknown."""
    if declaration.epsg is not None:
        return declaration.epsg
    if declaration.doubt == "datum":
        raise BadSurvey(
            "The file has the projection of VN-2000 (EPSG:{zone}) on the datum WGS 84: a "
            "datum shift is missing, which puts parcels 225 m off.",
            hint="If the coordinates are VN-2000, say so with --crs {zone}.",
            code="crs-datum",
            zone=declaration.zone,
        )
    if declaration.doubt == "no-shift":
        raise BadSurvey(
            "The file declares VN-2000 (EPSG:{zone}) with a datum shift of zero: "
            "programs that apply it take VN-2000 for WGS 84, which puts parcels 225 m "
            "off.",
            hint="If the coordinates were never converted with it, say --crs {zone}; else "
            "export them again with the right shift.",
            code="crs-datum",
            zone=declaration.zone,
        )
    if declaration.doubt == "unnamed-utm":
        raise BadSurvey(
            "The file has the projection of UTM but names no datum: VN-2000 and WGS 84 differ by"
            " 224 m.",
            hint="If the coordinates are VN-2000, say so with --crs {zone}.",
            code="crs-ambiguous-datum",
            zone=declaration.zone,
        )
    raise BadSurvey("The CRS that the file declares is unknown.", hint=hint, code="unknown-crs")


def _by_name(crs: pyproj.CRS) -> Declaration:
    if crs.is_geographic and re.search(_VIETNAMESE, _datum_name(crs)):
        return Declaration(VN_2000)
    code = crs.to_epsg(min_confidence=25)
    return Declaration(code, None if code else "unknown")


def _datum_name(crs: pyproj.CRS) -> str:
    return (crs.datum.name if crs.datum is not None else "").lower()


def _zone_of(crs: pyproj.CRS) -> int | None:
    """Return the VN-2000 zone whose parameters a CRS has."""
    operation, ellipsoid = crs.coordinate_operation, crs.ellipsoid
    if (
        not crs.is_projected
        or operation is None
        or ellipsoid is None
        or "transverse mercator" not in operation.method_name.lower()
        or crs.axis_info[0].unit_conversion_factor != 1.0
        or abs(ellipsoid.semi_major_metre - 6_378_137.0) > 1e-3
        or abs(ellipsoid.inverse_flattening - 298.257223563) > 1e-4
    ):
        return None
    values = {parameter.name.lower(): float(parameter.value) for parameter in operation.params}
    parameters = np.array(
        [
            values.get("longitude of natural origin", 0.0),
            values.get("scale factor at natural origin", 1.0),
            values.get("false easting", 0.0),
            values.get("false northing", 0.0),
            values.get("latitude of natural origin", 0.0),
        ]
    )
    for code, (meridian, scale) in ZONES.items():
        if np.all(np.abs(parameters - (meridian, scale, 500_000.0, 0.0, 0.0)) < 1e-6):
            return code
    return None
