"""In which CRS a survey's coordinates are, and how they come into another.

A `.prj` can lie, coordinates cannot: what is declared must agree with where the numbers fall.
Where it does not, or where nothing is declared, the surveyor is asked, and nothing is guessed.

VN-2000 and WGS 84 are joined by one datum operation, EPSG:6960, everywhere. EPSG has another
(5194, Mekong delta) 0.8 m away, and PROJ left alone takes it for some points of a province.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError
from pyproj.transformer import TransformerGroup

from landdata.errors import BadRequest, BadSurvey, LandDataError
from landdata.survey.model import CrsChoice

#: The datum operation between VN-2000 and WGS 84, and its EPSG parameters in PROJ's words.
DATUM_OPERATION = 6960
_HELMERT = (
    "x=-191.90441429 y=-39.30318279 z=-111.45032835"
    " rx=-0.00928836 ry=0.01975479 rz=-0.00427372 s=0.252906278 convention=coordinate_frame"
)
VN_2000 = 4756

#: Projected CRSs of VN-2000: EPSG code → (central meridian, scale factor). All have the false
#: easting 500 000 m and the false northing 0; TM-3 zones by province, 3° zones, UTM.
ZONES: dict[int, tuple[float, float]] = {
    9205: (103.0, 0.9999), 9206: (104.0, 0.9999), 9207: (104.5, 0.9999), 9208: (104.75, 0.9999),
    9209: (105.5, 0.9999), 9210: (105.75, 0.9999), 9211: (106.0, 0.9999), 9212: (106.25, 0.9999),
    9213: (106.5, 0.9999), 9214: (107.0, 0.9999), 9215: (107.25, 0.9999), 9216: (107.5, 0.9999),
    5899: (107.75, 0.9999), 9217: (108.25, 0.9999), 9218: (108.5, 0.9999),
    5896: (102.0, 0.9999), 5897: (105.0, 0.9999), 5898: (108.0, 0.9999),
    3405: (105.0, 0.9996), 3406: (111.0, 0.9996),
}  # fmt: skip
#: Zones in which surveys of more than one province are made: likelier than another province's.
_COMMON = (5899, 5897, 5898, 5896, 3405, 3406)
_WGS84_UTM = {32648: 3405, 32649: 3406}  # equal numbers, 224 m apart on the ground

# Vietnam on land and its coast, in degrees and in metres of any of its zones.
_LON, _LAT = (101.5, 110.5), (7.5, 24.0)
_EASTING, _NORTHING = (150_000.0, 850_000.0), (800_000.0, 2_700_000.0)
_AT_HOME = "in the deployment's area"
_IN_COMMUNE = "in the commune"
_AROUND = 2_000.0  # metres around a commune's box in which the middle of its survey may lie

#: xmin, ymin, xmax, ymax of a commune's boundary, in the storage CRS.
Box = tuple[float, float, float, float]
_SAMPLE = 400_000  # coordinates
_MARGIN = 0.2  # degrees by which data may pass an area of use: it is a box drawn by hand


def on_globe(coordinates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which of the coordinates, shape (n, 2), any CRS of the Earth has.

    A stray vertex may have any number, with whose square nobody can count.
    """
    near: NDArray[np.bool_] = np.abs(coordinates) <= _GLOBE
    return near[:, 0] & near[:, 1]  # a fifth of what `all` takes along rows of two


_GLOBE = 1e8  # metres, or degrees; twice around the Earth, and more


class Sample:
    """Every so many-th of the coordinates that come, in as far as they came; at most 400,000.

    Which ones are kept does not depend on how many come at once.
    """

    def __init__(self) -> None:
        self._step, self._seen = 1, 0
        self._kept: NDArray[np.float64] = np.empty((0, 2))

    def add(self, coordinates: NDArray[np.float64]) -> None:
        """Take in coordinates, shape (n, 2)."""
        new = coordinates[-self._seen % self._step :: self._step]
        self._seen += len(coordinates)
        self._kept = np.concatenate([self._kept, new])
        while len(self._kept) > _SAMPLE:
            self._kept = self._kept[::2]
            self._step *= 2

    def bounds(self) -> Bounds | None:
        """Bound the coordinates, but for a half per cent at each end; null: there are none."""
        if not len(self._kept):
            return None
        low, high = np.quantile(self._kept, (0.005, 0.995), axis=0)
        return Bounds(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the bulk of the coordinates lies; stray vertices are left out."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return (self.xmin + self.xmax) / 2, (self.ymin + self.ymax) / 2

    def within(self, x: tuple[float, float], y: tuple[float, float]) -> bool:
        """Tell whether all lies in the ranges."""
        return x[0] <= self.xmin <= self.xmax <= x[1] and y[0] <= self.ymin <= self.ymax <= y[1]

    def __str__(self) -> str:
        """Write them as x from–to, y from–to."""
        digits = 4 if self.within((-361, 361), (-91, 91)) else 0
        return (
            f"x {self.xmin:.{digits}f}–{self.xmax:.{digits}f},"
            f" y {self.ymin:.{digits}f}–{self.ymax:.{digits}f}"
        )


def is_vn2000(epsg: int) -> bool:
    """Tell whether an EPSG code is of VN-2000."""
    return epsg in ZONES or epsg == VN_2000


@lru_cache(maxsize=64)
def unit(epsg: int) -> float | None:
    """Return how many metres the unit of a CRS is; null: areas are not measured in it.

    Not in degrees, and not in Mercator's projection, which enlarges with the latitude: by 4 % in
    the south of Vietnam, by 15 % in the north. A code that nobody knows raises `BadRequest`.
    """
    crs = _crs(epsg)
    operation = crs.coordinate_operation
    if not crs.is_projected or operation is None or _MERCATOR.match(operation.method_name):
        return None
    return float(crs.axis_info[0].unit_conversion_factor)


_MERCATOR = re.compile(r"(popular visualisation pseudo )?mercator", re.IGNORECASE)


def check_storage(srid: int) -> None:
    """Refuse a storage CRS in which limits and areas would mean nothing: `BadRequest`."""
    if unit(srid) != 1.0:
        raise BadRequest(
            f"LANDDATA_SRID={srid} ({_crs(srid).name}) is no CRS in which metres can be measured.",
            hint="Name a projected CRS in metres, for example 9212.",
            code="bad-storage-crs",
        )


# -- what a .prj says


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a WKT says: the code, or why there is none."""

    epsg: int | None
    doubt: str | None = None  # 'datum', 'no-shift', 'unnamed-utm' or 'unknown'
    zone: int | None = None  # the VN-2000 zone of the same parameters


def identify(wkt: str) -> int | None:
    """Return the EPSG code that a WKT (OGC, ESRI, MapInfo's) means; null where it is in doubt."""
    return _identify(wkt).epsg


@lru_cache(maxsize=256)
def _identify(wkt: str) -> _Declared:
    try:
        crs = pyproj.CRS.from_user_input(wkt)
    except CRSError:
        return _Declared(None, "unknown")
    unshifted = False
    if crs.is_bound and crs.source_crs is not None:
        shift = crs.coordinate_operation
        unshifted = shift is not None and shift.towgs84 != [] and not any(shift.towgs84)
        crs = crs.source_crs  # a TOWGS84 tells how to leave the CRS, not which it is
    zone = _zone_of(crs)
    datum = _datum_name(crs)
    if zone is None:
        return _Declared(code) if (code := crs.to_epsg(min_confidence=70)) else _by_name(crs)
    # The name of the datum decides: the parameters are the same on WGS 84.
    vietnamese = r"viet|vn[-_ ]?2000"
    if re.search(r"wgs|world", datum) and not re.search(vietnamese, datum):
        code = crs.to_epsg(min_confidence=70)
        return _Declared(code, zone=zone) if code in _WGS84_UTM else _Declared(None, "datum", zone)
    # A scale factor of 0.9999 is VN-2000's own, so there the datum need not be named.
    named = re.search(vietnamese, f"{datum} {crs.name.lower()}")
    if unshifted and (named or ZONES[zone][1] == 0.9999):
        return _Declared(None, "no-shift", zone)
    if named or ZONES[zone][1] == 0.9999:
        return _Declared(zone, zone=zone)
    return _Declared(None, "unnamed-utm", zone)


def _by_name(crs: pyproj.CRS) -> _Declared:
    if crs.is_geographic and re.search(r"viet|vn[-_ ]?2000", _datum_name(crs)):
        return _Declared(VN_2000)
    code = crs.to_epsg(min_confidence=25)
    return _Declared(code, None if code else "unknown")


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
    given = np.array(
        [
            values.get("longitude of natural origin", 0.0),
            values.get("scale factor at natural origin", 1.0),
            values.get("false easting", 0.0),
            values.get("false northing", 0.0),
            values.get("latitude of natural origin", 0.0),
        ]
    )
    for code, (meridian, scale) in ZONES.items():
        if np.all(np.abs(given - (meridian, scale, 500_000.0, 0.0, 0.0)) < 1e-6):
            return code
    return None


# -- what the coordinates say


@lru_cache(maxsize=64)
def _crs(epsg: int) -> pyproj.CRS:
    try:
        return pyproj.CRS.from_epsg(epsg)
    except CRSError:
        raise BadRequest(
            f"EPSG:{epsg} is not a known CRS.",
            hint="Give the EPSG code of the survey's CRS, for example 9212.",
            code="unknown-crs",
        ) from None


@lru_cache(maxsize=64)
def _to_degrees(epsg: int) -> pyproj.Transformer:
    crs = _crs(epsg)
    return pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)


def _place(bounds: Bounds, epsg: int) -> tuple[float, float] | None:
    """Return (lon, lat) of the middle, were the coordinates in a CRS."""
    x, y = bounds.centre
    if _crs(epsg).is_geographic and not bounds.within((-180, 180), (-90, 90)):
        return None
    lon, lat = _to_degrees(epsg).transform(x, y)
    return (float(lon), float(lat)) if np.isfinite(lon) and np.isfinite(lat) else None


def _inside(place: tuple[float, float] | None, epsg: int, margin: float = _MARGIN) -> bool:
    """Tell whether a place is in the area of use of a CRS."""
    area = _crs(epsg).area_of_use
    if place is None or area is None:
        return place is not None
    return (
        area.west - margin <= place[0] <= area.east + margin
        and area.south - margin <= place[1] <= area.north + margin
    )


def _distance(bounds: Bounds, epsg: int, srid: int, commune: Box) -> float:
    """Return how far from a commune the middle lies, were the coordinates in a CRS; metres."""
    x, y = transformer(epsg, srid).transform(*bounds.centre)
    if not (np.isfinite(x) and np.isfinite(y)):
        return float("inf")
    beside = max(commune[0] - x, 0.0, x - commune[2])
    above = max(commune[1] - y, 0.0, y - commune[3])
    return float(np.hypot(beside, above))


def candidates(
    bounds: Bounds, srid: int, commune: Box | None = None
) -> tuple[tuple[int, str], ...]:
    """List the CRSs in which coordinates make sense, `(epsg, reason)`, the likeliest first.

    `srid` is the storage CRS, whose area of use is where the deployment's parcels are;
    `commune` is where this survey's parcels should be.
    """
    in_commune: list[tuple[int, str]] = []
    at_home: list[tuple[int, str]] = []
    elsewhere: list[tuple[int, str]] = []
    codes = dict.fromkeys((srid, *_COMMON, *ZONES, VN_2000)) if is_vn2000(srid) else {srid: None}
    for code in codes:
        place = _place(bounds, code)
        home = _inside(place, srid, 0)
        # A province is surveyed in one 3° zone whole, also where that zone's own area ends.
        near = commune is not None and _distance(bounds, code, srid, commune) <= _AROUND
        if place is None or (
            not near and not _inside(place, code, 1.0 if home and code in _COMMON else _MARGIN)
        ):
            continue
        where = f"{place[0]:.2f}°E {place[1]:.2f}°N"
        if near:
            in_commune.append((code, f"the parcels lie at {where}, {_IN_COMMUNE}"))
        elif home:
            at_home.append((code, f"the parcels lie at {where}, {_AT_HOME}"))
        else:
            elsewhere.append((code, f"the parcels lie at {where}, in the area of this CRS"))
    return tuple(in_commune + at_home + elsewhere)


def _detected(found: tuple[tuple[int, str], ...]) -> int | None:
    """Return the one CRS that the coordinates allow, or null."""
    for place in (_IN_COMMUNE, _AT_HOME):
        there = [code for code, reason in found if reason.endswith(place)]
        if there:
            return there[0] if len(there) == 1 else None
    return found[0][0] if len(found) == 1 else None


# -- the choice


def choose(
    wkt: str | None,
    bounds: Bounds,
    srid: int,
    option: int | None = None,
    commune: Box | None = None,
) -> tuple[CrsChoice, BadSurvey | None]:
    """Choose the CRS of coordinates; the second value is the refusal, where they are refused.

    `wkt` is the `.prj`, `bounds` those of the coordinates, `srid` the storage CRS and `option`
    the EPSG code that the surveyor gives, which overrules the `.prj` but not the coordinates.
    `commune` is the box of the commune that the survey is of, where that is known.
    """
    found = candidates(bounds, srid, commune)
    declared = _identify(wkt) if wkt else None
    choice = CrsChoice(
        declared=wkt,
        declared_epsg=declared.epsg if declared else None,
        detected=_detected(found),
        epsg=None,
        reason="",
        candidates=found,
    )

    def settle(epsg: int | None, reason: str) -> CrsChoice:
        return CrsChoice(
            declared=choice.declared,
            declared_epsg=choice.declared_epsg,
            detected=choice.detected,
            epsg=epsg,
            reason=reason,
            candidates=choice.candidates,
        )

    try:
        epsg, reason = _decide(declared, bounds, srid, option, choice, commune)
    except BadSurvey as refusal:
        return settle(option or choice.declared_epsg, refusal.message), refusal
    return settle(epsg, reason), None


def _decide(
    declared: _Declared | None,
    bounds: Bounds,
    srid: int,
    option: int | None,
    choice: CrsChoice,
    commune: Box | None,
) -> tuple[int, str]:
    """Return the code and the reason, or raise the refusal."""
    ask = _ask(choice.candidates)
    if option is None:
        if declared is None:
            _check_axes(bounds, srid, None, ask)
            raise BadSurvey(
                f"The survey does not say its CRS, for want of a .prj or the like"
                f" (coordinates {bounds}).",
                hint=ask,
                code="no-crs",
            )
        epsg = _declared_code(declared, ask)
    else:
        epsg = option
    _check_axes(bounds, srid, epsg, ask)
    # Some are surveyed in a zone that is not their province's: there the commune decides.
    if commune is None or _distance(bounds, epsg, srid, commune) > _AROUND:
        _check_area(bounds, srid, epsg, ask)
    if commune is not None:
        _check_commune(bounds, srid, epsg, choice, commune)
    if option is not None:
        return epsg, f"EPSG:{epsg} was given, and the coordinates fit it"
    _check_home(bounds, srid, epsg, choice)
    if epsg in _WGS84_UTM and is_vn2000(srid):
        twin = _WGS84_UTM[epsg]
        raise BadSurvey(
            f"The file says WGS 84 / UTM (EPSG:{epsg}), but VN-2000 / UTM (EPSG:{twin}) has the"
            " same numbers 224 m away on the ground.",
            hint=f"Say which it is: --crs {twin} for VN-2000, --crs {epsg} for WGS 84.",
            code="crs-ambiguous-datum",
        )
    return epsg, f"the file says EPSG:{epsg}, and the coordinates fit it"


def _ask(found: tuple[tuple[int, str], ...]) -> str:
    if not found:
        return "Give the EPSG code of the survey with --crs."
    codes = ", ".join(f"{code} ({_crs(code).name})" for code, _ in found[:6])
    return f"Give the EPSG code with --crs; the coordinates fit {codes}."


def _declared_code(declared: _Declared, ask: str) -> int:
    """Return the code that a `.prj` means, or raise what is in doubt."""
    if declared.epsg is not None:
        return declared.epsg
    if declared.doubt == "datum":
        raise BadSurvey(
            f"The file has the projection of VN-2000 (EPSG:{declared.zone}) on the datum WGS 84:"
            " a datum shift is missing, which puts parcels 225 m off.",
            hint=f"If the coordinates are VN-2000, say so with --crs {declared.zone}.",
            code="crs-datum",
        )
    if declared.doubt == "no-shift":
        raise BadSurvey(
            f"The file has VN-2000 (EPSG:{declared.zone}) with a datum shift of nought: programs"
            " that believed it took VN-2000 for WGS 84, which puts parcels 225 m off.",
            hint=f"If the coordinates were never converted so, say --crs {declared.zone}; else"
            " export them again with the right shift.",
            code="crs-datum",
        )
    if declared.doubt == "unnamed-utm":
        raise BadSurvey(
            "The file has the projection of UTM but names no datum: VN-2000 and WGS 84 differ by"
            " 224 m.",
            hint=f"If the coordinates are VN-2000, say so with --crs {declared.zone}.",
            code="crs-ambiguous-datum",
        )
    raise BadSurvey("The CRS that the file states is not known.", hint=ask, code="unknown-crs")


def _check_axes(bounds: Bounds, srid: int, epsg: int | None, ask: str) -> None:
    """Refuse degrees in a projected CRS, metres in degrees, and northings in place of eastings."""
    crs = _crs(epsg if epsg is not None else srid)
    degrees = bounds.within((-180, 180), (-90, 90)) or bounds.within((-90, 90), (-180, 180))
    if epsg is not None and degrees and crs.is_projected:
        raise BadSurvey(
            f"The coordinates are degrees ({bounds}), but EPSG:{epsg} is in metres.",
            hint=f"Say which degrees they are: --crs {VN_2000} for VN-2000, --crs 4326 for WGS 84."
            if bounds.within(_LON, _LAT)
            else "Give the geographic CRS with --crs.",
            code="crs-degrees",
        )
    if epsg is not None and not degrees and crs.is_geographic:
        raise BadSurvey(
            f"The coordinates are no degrees ({bounds}), but EPSG:{epsg} is geographic.",
            hint=ask,
            code="crs-metres",
        )
    vietnamese = is_vn2000(epsg if epsg is not None else srid) or (
        is_vn2000(srid) and (crs.is_geographic or epsg in _WGS84_UTM)
    )
    turned = bounds.within(_NORTHING, _EASTING) and not bounds.within(_EASTING, _NORTHING)
    turned_degrees = degrees and bounds.within(_LAT, _LON)
    if vietnamese and (turned or turned_degrees):
        raise BadSurvey(
            f"The axes are swapped: x holds northings and y eastings ({bounds}).",
            hint="Export again with x = easting, y = northing; sheets write X for the northing."
            + _turned(bounds, srid),
            code="crs-swapped-axes",
        )


def _turned(bounds: Bounds, srid: int) -> str:
    """Say in which CRS the coordinates would make sense with their axes the right way round."""
    right = Bounds(bounds.ymin, bounds.xmin, bounds.ymax, bounds.xmax)
    codes = [str(code) for code, _ in candidates(right, srid)[:4]]
    return f" Turned round, they fit {', '.join(codes)}." if codes else ""


def _check_commune(bounds: Bounds, srid: int, epsg: int, choice: CrsChoice, commune: Box) -> None:
    """Refuse a CRS that puts the parcels beside their commune: the neighbouring zone's, mostly."""
    distance = _distance(bounds, epsg, srid, commune)
    if distance <= _AROUND:
        return
    away = f"{distance / 1000:,.0f} km" if np.isfinite(distance) else "far"
    fitting = [code for code, reason in choice.candidates if reason.endswith(_IN_COMMUNE)]
    if not fitting:
        raise BadSurvey(
            f"In EPSG:{epsg} the parcels lie {away} from the commune, and no CRS of the country"
            f" puts them there ({bounds}).",
            hint="Check the code of the commune, and that this is its survey.",
            code="outside-commune",
        )
    likeliest = fitting[0]
    zones = ZONES.get(epsg), ZONES.get(likeliest)
    if zones[0] and zones[1] and zones[0][0] != zones[1][0]:
        raise BadSurvey(
            f"In EPSG:{epsg} (meridian {zones[0][0]}°) the parcels lie {away} from the commune;"
            f" they are of another zone, EPSG:{likeliest} (meridian {zones[1][0]}°).",
            hint=_either(fitting),
            code="crs-neighbour-zone",
        )
    raise BadSurvey(
        f"In EPSG:{epsg} the parcels lie {away} from the commune; the coordinates fit"
        f" EPSG:{likeliest}.",
        hint=_either(fitting),
        code="crs-contradicted",
    )


def _either(codes: list[int]) -> str:
    said = " or ".join(f"--crs {code} ({_crs(code).name})" for code in codes[:4])
    return f"If the commune is right, say {said}."


def _check_area(bounds: Bounds, srid: int, epsg: int, ask: str) -> None:
    """Refuse coordinates that do not lie where their CRS, or the deployment, is."""
    storage = _crs(srid)
    if is_vn2000(srid):
        place = _place(bounds, epsg) if _inside(_place(bounds, epsg), epsg, 1.0) else None
        at_home = place is not None and (
            _LON[0] <= place[0] <= _LON[1] and _LAT[0] <= place[1] <= _LAT[1]
        )
        foreign = not _overlap(epsg, VN_2000)
    else:
        place = _place(bounds, epsg)
        at_home = _inside(place, srid, 1.0)
        foreign = not _overlap(epsg, srid)
    if foreign:
        raise BadSurvey(
            f"The survey is in EPSG:{epsg} ({_crs(epsg).name}), which lies outside this"
            f" deployment's area (EPSG:{srid}, {storage.name}).",
            hint="Give the right CRS with --crs, or set LANDDATA_SRID for a deployment there.",
            code="crs-outside-deployment",
        )
    if not at_home or place is None or not _inside(place, epsg, 1.0):
        raise BadSurvey(
            f"The coordinates ({bounds}) do not lie where EPSG:{epsg} ({_crs(epsg).name}) is used.",
            hint=ask,
            code="crs-contradicted",
        )


def _check_home(bounds: Bounds, srid: int, epsg: int, choice: CrsChoice) -> None:
    """Refuse a `.prj` that puts parcels elsewhere while another CRS puts them at home."""
    place = _place(bounds, epsg)
    home = dict(choice.candidates).get(choice.detected or 0, "").endswith(_AT_HOME)
    if home and choice.detected != epsg and is_vn2000(epsg) and not _inside(place, srid):
        where = "elsewhere" if place is None else f"at {place[0]:.2f}°E {place[1]:.2f}°N"
        raise BadSurvey(
            f"In EPSG:{epsg}, as the file says, the parcels lie {where}, outside the deployment's"
            f" area; the coordinates ({bounds}) fit EPSG:{choice.detected}.",
            hint=f"Say which it is: --crs {choice.detected}, or --crs {epsg} if the file is right.",
            code="crs-contradicted",
        )


def _overlap(one: int, other: int) -> bool:
    """Tell whether the areas of use of two CRSs meet."""
    a, b = _crs(one).area_of_use, _crs(other).area_of_use
    if a is None or b is None:
        return True
    return a.west <= b.east and b.west <= a.east and a.south <= b.north and b.south <= a.north


# -- from one CRS to another


def pipeline(source: int, target: int) -> str:
    """Return the PROJ pipeline from one EPSG code to another, x before y (lon before lat).

    Between VN-2000 and any other datum it goes through EPSG:6960 and nothing else. The same
    text serves PROJ in Python and in the database.
    """
    return _pipeline(source, target)


@lru_cache(maxsize=256)
def _pipeline(source: int, target: int) -> str:
    with warnings.catch_warnings():
        # A finer grid that is not installed is no news: the operation is chosen below.
        warnings.simplefilter("ignore", UserWarning)
        group = TransformerGroup(_crs(source), _crs(target), always_xy=True)
    pinned = is_vn2000(source) != is_vn2000(target)
    for transformer in group.transformers:
        text = transformer.definition
        if not pinned or f"{_HELMERT} step" in text or f"inv proj=helmert {_HELMERT}" in text:
            return text
    raise LandDataError(
        f"PROJ has no operation EPSG:{DATUM_OPERATION} from EPSG:{source} to EPSG:{target}.",
        hint="Install PROJ's own database (proj.db) again; `landdata doctor` tells more.",
        code="no-datum-operation",
    )


@lru_cache(maxsize=256)
def transformer(source: int, target: int) -> pyproj.Transformer:
    """Return the one transformer between two EPSG codes: x, y (lon, lat) in and out.

    The datum operation is pinned: see `pipeline`.
    """
    if source == target:
        return pyproj.Transformer.from_pipeline("proj=noop")
    return pyproj.Transformer.from_pipeline(pipeline(source, target))


@lru_cache(maxsize=64)
def height_plane(srid: int) -> tuple[float, float, float]:
    """Return (a, b, c): VN-2000's ellipsoid lies a + b·easting + c·northing m above WGS 84's.

    For a zone of VN-2000 (EPSG code), within 0.2 m all over Vietnam. The two ellipsoids are up to
    40 m apart, and a position that leaves one at height 0 reaches the other beside the one from
    which it would be reached at height 0, by up to 0.4 mm. Taken from this height it is the same.
    """
    solid = pipeline(srid, 4326).replace("step proj=push v_3", "").replace("step proj=pop v_3", "")
    east, north = (
        axis.ravel() for axis in np.meshgrid(np.linspace(*_EASTING, 9), np.linspace(*_NORTHING, 19))
    )
    lifted = pyproj.Transformer.from_pipeline(solid).transform(east, north, np.zeros_like(east))[2]
    plane = np.linalg.lstsq(np.column_stack([np.ones_like(east), east, north]), lifted)[0]
    # millimetres, and as many digits in every version of PROJ
    return round(float(plane[0]), 3), round(float(plane[1]), 9), round(float(plane[2]), 9)
