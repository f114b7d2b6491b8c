"""Which CRS a file declares: in OGC's, ESRI's, MapInfo's or PROJ's spelling, or by a code.

Parameters decide. A name alone never does: it only says which datum an ellipsoid belongs to, and
which EPSG code the parameters are compared with.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import pyproj
from pyproj.exceptions import CRSError

from landdata.errors import BadSurvey
from landdata.reference import datums, vn2000
from landdata.reference.datums import VN2000, WGS84, Datum
from landdata.reference.vn2000 import VN_2000, ZONES, crs_from_epsg
from landdata.survey import crs_parameters
from landdata.survey.crs_parameters import Difference

#: WGS 84 / UTM → VN-2000 / UTM: equal numbers, 224 m apart on the ground.
WGS84_UTM = {32648: 3405, 32649: 3406}

#: How a WKT, a PROJ string, PROJJSON or an authority's code begins; a bare name is none of them.
_DEFINITION = re.compile(
    r"\w+\s*[\[(]|\{|\+|(EPSG|ESRI|OGC|IGNF):\w|urn:ogc:def:crs|https?://\S+/def/crs",
    re.IGNORECASE,
)
#: Spellings of WGS 84 in a GeoJSON that PROJ does not read.
_CRS84 = re.compile(r"CRS:?84$|EPSG:+[\d.]*:?4326$", re.IGNORECASE)
_VERTICAL = re.compile(r"\s*,\s*(VERTCS|VERT_CS|VERTCRS)\s*[\[(]", re.IGNORECASE)
#: A shift that PROJ put into the name of a datum; ESRI's spelling has underscores for `.` and `,`.
_SHIFT_IN_NAME = re.compile(r"towgs84[=_](?P<values>-?\d[-\d_.,]*)$")


@dataclass(frozen=True, slots=True)
class Declaration:
    """The EPSG code that a file declares, or why there is none.

    `doubt` is 'undefined' (the file says that it knows none), 'unknown', 'differs', 'datum',
    'no-shift', 'other-shift', 'unnamed', 'unnamed-utm' or 'unnamed-degrees'. `zone` is the code
    whose parameters the CRS has, or comes nearest to; `name` and `datum` are the file's words.
    """

    epsg: int | None
    doubt: str | None = None
    zone: int | None = None
    name: str = ""
    datum: str = ""
    differences: tuple[Difference, ...] = ()


def identify(wkt: str) -> int | None:
    """Return the EPSG code that a WKT declares; null where it is in doubt."""
    return read(wkt).epsg


@lru_cache(maxsize=256)
def read(wkt: str) -> Declaration:
    """Return what a WKT, PROJ string or code declares; one that PROJ cannot parse is unknown."""
    parsed = _parse(wkt)
    if parsed is None:
        return Declaration(None, "unknown")
    crs, shift = _horizontal(parsed)
    name = "" if crs is None or crs.datum is None else crs.datum.name
    if parsed.name.lower().startswith("undefined") and datums.is_anonymous(name):
        return Declaration(None, "undefined")  # the SRS 0 and -1 of a GeoPackage
    if crs is None:
        return Declaration(None, "unknown", name=parsed.name)
    datum, doubt = _datum(crs, name, shift or _shift_in_name(name))
    if datum is not None and (differences := crs_parameters.ellipsoid_differences(crs, datum)):
        zone = crs_parameters.nearest_zone(crs) if crs.is_projected and datum is VN2000 else None
        if zone is not None:
            differences = crs_parameters.compare(crs, zone)
        return Declaration(None, "differs", zone or datum.epsg, crs.name, name, differences)
    if doubt == "other-shift":
        return _other_shift(crs, name, shift or _shift_in_name(name) or ())
    read_as = _geographic(crs, datum) if crs.is_geographic else _projected(crs, datum, doubt)
    return replace(read_as, name=crs.name, datum=name)


def contradicted(crs: str | None, own: str | None) -> str | None:
    """Return the CRS text that decides: GDAL's of a layer, or the file's `own` that contradicts it.

    GDAL believes the code of a GeoPackage's CRS, not its definition, and takes a `crs` of a GeoJSON
    that it does not know for WGS 84.
    """
    if crs is None or own is None or own == "null":  # null: a GeoJSON without a CRS
        return None if own == "null" else crs
    by_gdal, by_file = read(crs), read(own)
    if not re.match(r"\w+\s*[\[(]", own):  # a GeoJSON's, or no definition at all
        is_known = by_gdal.epsg != WGS84.epsg or by_file.epsg == WGS84.epsg or _CRS84.search(own)
        return crs if is_known or own == "undefined" else own
    contradicts = by_file.doubt in ("differs", "datum", "no-shift", "other-shift")
    return own if contradicts or by_file.epsg not in (None, by_gdal.epsg) else crs


def require_code(declaration: Declaration, hint: str, *, vietnamese: bool = True) -> int:
    """Return the declared code; raise `BadSurvey` where it is in doubt, `hint` if unknown.

    `vietnamese` says whether VN-2000 is likely in this deployment.
    """
    if declaration.epsg is not None:
        return declaration.epsg
    zone = declaration.zone
    if declaration.doubt in ("datum", "no-shift", "other-shift"):
        raise _wrong_shift(declaration)
    if declaration.doubt in ("unnamed", "unnamed-utm"):
        raise _unnamed_datum(declaration)
    if declaration.doubt == "unnamed-degrees":
        raise _unnamed_degrees(declaration, vietnamese=vietnamese)
    if declaration.doubt == "differs" and zone is not None:
        raise BadSurvey(
            "The CRS that the file declares, {declared}, is not EPSG:{zone} ({name}):"
            " {differences}.",
            hint="Ask the surveyor in which CRS the survey was drawn, and give its EPSG code with"
            " --crs; if it was EPSG:{zone}, --crs {zone}.",
            code="unknown-crs",
            declared=declaration.name,
            zone=zone,
            name=crs_from_epsg(zone).name,
            differences=crs_parameters.in_words(declaration.differences),
        )
    raise BadSurvey("The CRS that the file declares is unknown.", hint=hint, code="unknown-crs")


def _wrong_shift(declaration: Declaration) -> BadSurvey:
    zone = declaration.zone
    if declaration.doubt == "datum":
        return BadSurvey(
            "The file has the projection of VN-2000 (EPSG:{zone}) on the datum WGS 84: a "
            "datum shift is missing, which puts parcels 225 m off.",
            hint="If the coordinates are VN-2000, say so with --crs {zone}.",
            code="crs-datum",
            zone=zone,
        )
    if declaration.doubt == "no-shift":
        return BadSurvey(
            "The file declares VN-2000 (EPSG:{zone}) with a datum shift of zero: "
            "programs that apply it take VN-2000 for WGS 84, which puts parcels 225 m "
            "off.",
            hint="If the coordinates were never converted with it, say --crs {zone}; else "
            "export them again with the right shift.",
            code="crs-datum",
            zone=zone,
        )
    return BadSurvey(
        "The shift to WGS 84 that the file declares is not VN-2000's: {differences}.",
        hint="If the coordinates were never converted with it, say --crs {zone}; else "
        "export them again with the right shift."
        if zone
        else "Export the survey again with the right shift.",
        code="crs-datum",
        differences=crs_parameters.in_words(declaration.differences),
        zone=zone,
    )


def _unnamed_datum(declaration: Declaration) -> BadSurvey:
    projection = f"VN-2000 (EPSG:{declaration.zone})" if declaration.doubt == "unnamed" else "UTM"
    return BadSurvey(
        "The file has the projection of {projection} but names no datum: VN-2000 and WGS 84 differ"
        " by 225 m."
        if datums.is_anonymous(declaration.datum)
        else 'The file has the projection of {projection} on the datum "{datum}", which is unknown:'
        " VN-2000 and WGS 84 differ by 225 m.",
        hint="If the coordinates are VN-2000, say so with --crs {zone}.",
        code="crs-ambiguous-datum",
        projection=projection,
        datum=declaration.datum,
        zone=declaration.zone,
    )


def _unnamed_degrees(declaration: Declaration, *, vietnamese: bool) -> BadSurvey:
    datum = declaration.datum
    if not vietnamese:
        return BadSurvey(
            'The file has degrees on the datum "{datum}", which is unknown.',
            hint="If they are of WGS 84, say so with --crs 4326.",
            code="crs-ambiguous-datum",
            datum=datum,
        )
    return BadSurvey(
        "The file has degrees but names no datum: VN-2000 and WGS 84 differ by 225 m."
        if datums.is_anonymous(datum)
        else 'The file has degrees on the datum "{datum}", which is unknown: VN-2000 and WGS 84'
        " differ by 225 m.",
        hint="Say which degrees they are: --crs {vn2000} for VN-2000, --crs 4326 for WGS 84.",
        code="crs-ambiguous-datum",
        datum=datum,
        vn2000=VN_2000,
    )


def _geographic(crs: pyproj.CRS, datum: Datum | None) -> Declaration:
    if datum is not None:
        return Declaration(datum.epsg)
    if code := _registered(crs):
        return Declaration(code)
    like_wgs84 = not crs_parameters.compare(crs, WGS84.epsg)
    return Declaration(None, "unnamed-degrees" if like_wgs84 else "unknown")


def _projected(crs: pyproj.CRS, datum: Datum | None, doubt: str | None) -> Declaration:
    zone = crs_parameters.zone(crs)
    if zone is None:
        return _no_zone(crs, datum)
    if datum is VN2000:
        return Declaration(None if doubt else zone, doubt, zone)
    if datum is WGS84:
        utm = next((code for code, twin in WGS84_UTM.items() if twin == zone), None)
        return Declaration(utm, None if utm else "datum", zone)
    if not datums.is_anonymous(_name_of(crs.datum)):
        code = _registered(crs)
        return Declaration(code, None if code else "unnamed", zone)
    # Only VN-2000 has the scale factor 0.9999: with it, a name beside the datum's is believed.
    names = datums.find(crs.name), datums.find(_name_of(crs.geodetic_crs))
    if ZONES[zone][1] == 0.9999:
        is_named = VN2000 in names
        return Declaration(zone if is_named else None, None if is_named else "unnamed", zone)
    return Declaration(None, "unnamed-utm", zone)


def _no_zone(crs: pyproj.CRS, datum: Datum | None) -> Declaration:
    nearest = crs_parameters.nearest_zone(crs)
    if datum is not VN2000 and (code := _registered(crs)) is not None:
        return Declaration(code)
    if nearest is None or VN2000 not in (datum, datums.find(crs.name)):
        return Declaration(None, "unknown")
    differences = crs_parameters.compare(crs, nearest)
    if datum is WGS84:
        differences += (Difference("datum", WGS84.name, VN2000.name),)
    return Declaration(None, "differs", nearest, differences=differences)


def _registered(crs: pyproj.CRS) -> int | None:
    """Return the EPSG code that has the parameters and the datum of a CRS."""
    # For a datum without a name PROJ compares ellipsoids only.
    if datums.is_anonymous(_name_of(crs.datum)):
        return None
    if (code := crs.to_epsg(min_confidence=70)) is not None:  # equal, whatever the name
        return None if datums.is_anonymous(_name_of(crs_from_epsg(code).datum)) else code
    # The order of the axes makes PROJ less sure, and so do other parameters.
    code, datum = crs.to_epsg(min_confidence=25), datums.find(_name_of(crs.datum))
    if code is None or datum is None or vn2000.datum(code) is not datum:
        return None
    return None if crs_parameters.compare(crs, code) else code


def _datum(
    crs: pyproj.CRS, name: str, shift: crs_parameters.Shift | None
) -> tuple[Datum | None, str | None]:
    """Return the datum by its shift to WGS 84, else by its name; and a doubt about the shift."""
    named = datums.find(name)
    if shift is None or (named is None and not datums.is_anonymous(name)):
        return named, None
    if not any(shift):
        like_wgs84 = not crs_parameters.ellipsoid_differences(crs, WGS84)
        return named or (WGS84 if like_wgs84 else None), "no-shift" if named is VN2000 else None
    if (shifted := crs_parameters.datum_of_shift(crs, shift)) is not None:
        return shifted, None
    return named, None if named is not None and named.is_former else "other-shift"


def _other_shift(crs: pyproj.CRS, name: str, shift: crs_parameters.Shift) -> Declaration:
    zone = crs_parameters.nearest_zone(crs) if crs.is_projected else VN_2000
    differences = () if zone is None else crs_parameters.compare(crs, zone)
    differences += (
        Difference(
            "datum shift",
            crs_parameters.shift_text(shift),
            crs_parameters.shift_text(crs_parameters.towgs84(VN2000)),
        ),
    )
    return Declaration(None, "other-shift", zone, crs.name, name, differences)


def _parse(text: str) -> pyproj.CRS | None:
    text = text.strip().removeprefix("\ufeff").removeprefix("ï»¿")
    if not _DEFINITION.match(text):
        return None
    end = _end_of_node(text)
    if _VERTICAL.match(text, end):  # ESRI's spelling of a CRS with heights
        text = text[:end]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PROJ's advice on `+init=`
            return pyproj.CRS.from_user_input(text)
    except CRSError:
        return None


def _end_of_node(text: str) -> int:
    """Return where the first bracketed node of a WKT ends."""
    depth, quoted = 0, False
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "[(":
            depth += 1
        elif not quoted and letter in "])":
            depth -= 1
            if depth == 0:
                return at + 1
    return len(text)


def _horizontal(crs: pyproj.CRS) -> tuple[pyproj.CRS | None, crs_parameters.Shift | None]:
    """Return the projected or geographic part, in two dimensions, and its shift to WGS 84."""
    shift: crs_parameters.Shift | None = None
    part: pyproj.CRS | None = crs
    while part is not None and (part.is_bound or part.is_compound):
        if part.is_bound:  # the shift describes the way out of the CRS, not the CRS
            operation = part.coordinate_operation
            shift = tuple(operation.towgs84 or ()) if operation is not None else ()
            part = part.source_crs
        else:
            part = part.sub_crs_list[0]
    if part is None:
        return None, shift
    if len(part.axis_info) == 3 and (part.is_geographic or part.is_projected):
        part = part.to_2d()
    usable = part.type_name in ("Geographic 2D CRS", "Projected CRS")
    return (part if usable else None), shift or None


def _shift_in_name(name: str) -> crs_parameters.Shift | None:
    """Return the shift that a datum's name spells out, if it does so in full."""
    spelt = _SHIFT_IN_NAME.search(name)
    if spelt is None:
        return None
    values = spelt["values"]
    if "," not in values:  # `-191_90441429_-39_30318279`: whole numbers and fractions by turns
        words = values.split("_")
        values = ",".join(".".join(words[at : at + 2]) for at in range(0, len(words), 2))
    try:
        shift = tuple(float(value) for value in values.split(","))
    except ValueError:
        return None
    return shift if len(shift) in (3, 7) else None


def _name_of(part: object) -> str:
    return str(getattr(part, "name", "") or "")
