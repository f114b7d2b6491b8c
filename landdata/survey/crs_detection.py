"""Which CRS a survey's coordinates are in.

A `.prj` can be wrong, coordinates cannot: the declared CRS must agree with where the numbers fall.
Where it does not, or where none is declared, the survey is refused and the hint lists the CRSs
that fit; none is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray

from landdata.errors import BadRequest, BadSurvey
from landdata.reference import datums, vn2000
from landdata.reference.vn2000 import (
    EASTINGS,
    LATITUDES,
    LONGITUDES,
    NORTHINGS,
    VN_2000,
    ZONES,
    crs_from_epsg,
    is_vn2000,
    transformer,
)
from landdata.survey import declared_crs
from landdata.survey.declared_crs import WGS84_UTM
from landdata.survey.model import CrsChoice
from landdata.translations import Sentence, sentence

#: xmin, ymin, xmax, ymax of a commune's boundary, in the storage CRS.
Box = tuple[float, float, float, float]

#: Zones in which surveys of more than one province are made: likelier than another province's.
_COMMON = (5899, 5897, 5898, 5896, 3405, 3406)
_AT_HOME = sentence("in the deployment's area")
_IN_COMMUNE = sentence("in the commune")
_COMMUNE_MARGIN = 2_000.0  # metres around a commune's box in which the middle may lie
_AREA_MARGIN = 0.2  # degrees by which data may pass an area of use: it is a box drawn by hand
_SAMPLE = 400_000  # coordinates
_ACCURATE = 2.0  # metres that a datum operation may state; EPSG states 1 for VN-2000's
_GLOBE = 1e8  # metres, or degrees; twice around the Earth, and more


def on_globe(coordinates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which coordinates, shape (n, 2), can lie on the Earth in any CRS; shape (n,).

    The others are stray vertices, whose squares may overflow.
    """
    near: NDArray[np.bool_] = np.abs(coordinates) <= _GLOBE
    return near[:, 0] & near[:, 1]  # a fifth of what `all` takes along rows of two


class Sample:
    """Every n-th coordinate of a survey read in pieces; at most 400,000.

    Which ones are kept does not depend on the size of the pieces.
    """

    def __init__(self) -> None:
        self._step, self._seen = 1, 0
        self._kept: NDArray[np.float64] = np.empty((0, 2))

    def add(self, coordinates: NDArray[np.float64]) -> None:
        """Sample more coordinates, shape (n, 2)."""
        new = coordinates[-self._seen % self._step :: self._step]
        self._seen += len(coordinates)
        self._kept = np.concatenate([self._kept, new])
        while len(self._kept) > _SAMPLE:
            self._kept = self._kept[::2]
            self._step *= 2

    def bounds(self) -> Bounds | None:
        """Return the bounds without 0.5 % of the values at either end; null without coordinates."""
        if not len(self._kept):
            return None
        low, high = np.quantile(self._kept, (0.005, 0.995), axis=0)
        return Bounds(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the bulk of the coordinates, without stray vertices; in the unit of their CRS."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, (x, y)."""
        return (self.xmin + self.xmax) / 2, (self.ymin + self.ymax) / 2

    def within(self, x: tuple[float, float], y: tuple[float, float]) -> bool:
        """Tell whether the bounds lie in the ranges (lowest, highest) of x and of y."""
        return x[0] <= self.xmin <= self.xmax <= x[1] and y[0] <= self.ymin <= self.ymax <= y[1]

    def __str__(self) -> str:
        """Write `x from–to, y from–to`."""
        digits = 4 if self.within((-361, 361), (-91, 91)) else 0
        return (
            f"x {self.xmin:.{digits}f}–{self.xmax:.{digits}f},"
            f" y {self.ymin:.{digits}f}–{self.ymax:.{digits}f}"
        )


@lru_cache(maxsize=64)
def _to_degrees(epsg: int) -> pyproj.Transformer:
    crs = crs_from_epsg(epsg)
    return pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)


def _place(bounds: Bounds, epsg: int) -> tuple[float, float] | None:
    """Return (lon, lat) of the middle if the coordinates are in this CRS; null: not on Earth."""
    x, y = bounds.centre
    if crs_from_epsg(epsg).is_geographic and not bounds.within((-180, 180), (-90, 90)):
        return None
    lon, lat = _to_degrees(epsg).transform(x, y)
    return (float(lon), float(lat)) if np.isfinite(lon) and np.isfinite(lat) else None


def _inside(place: tuple[float, float] | None, epsg: int, margin: float = _AREA_MARGIN) -> bool:
    """Tell whether (lon, lat) is in the area of use of a CRS, widened by `margin` degrees."""
    area = crs_from_epsg(epsg).area_of_use
    if place is None or area is None:
        return place is not None
    return (
        area.west - margin <= place[0] <= area.east + margin
        and area.south - margin <= place[1] <= area.north + margin
    )


def _distance(bounds: Bounds, epsg: int, srid: int, commune: Box) -> float:
    """Return the metres from a commune to the middle if the coordinates are in CRS `epsg`."""
    x, y = transformer(epsg, srid).transform(*bounds.centre)
    if not (np.isfinite(x) and np.isfinite(y)):
        return float("inf")
    beside = max(commune[0] - x, 0.0, x - commune[2])
    above = max(commune[1] - y, 0.0, y - commune[3])
    return float(np.hypot(beside, above))


def candidates(
    bounds: Bounds, srid: int, commune: Box | None = None
) -> tuple[tuple[int, str], ...]:
    """Return the CRSs that the coordinates fit, as `(epsg, reason)`, the likeliest first.

    `srid` is the storage CRS, whose area of use is the deployment's; `commune` is the box in which
    this survey's parcels should lie.
    """
    in_commune: list[tuple[int, str]] = []
    at_home: list[tuple[int, str]] = []
    elsewhere: list[tuple[int, str]] = []
    codes = dict.fromkeys((srid, *_COMMON, *ZONES, VN_2000)) if is_vn2000(srid) else {srid: None}
    for code in codes:
        place = _place(bounds, code)
        home = _inside(place, srid, 0)
        # A whole province is surveyed in one 3° zone, also beyond the area of use of that zone.
        near = commune is not None and _distance(bounds, code, srid, commune) <= _COMMUNE_MARGIN
        if place is None or (
            not near and not _inside(place, code, 1.0 if home and code in _COMMON else _AREA_MARGIN)
        ):
            continue
        area = _IN_COMMUNE if near else _AT_HOME if home else sentence("in the area of this CRS")
        reason = sentence(
            "the parcels lie at {longitude}°E {latitude}°N, {area}",
            longitude=round(place[0], 2),
            latitude=round(place[1], 2),
            area=area,
        )
        (in_commune if near else at_home if home else elsewhere).append((code, reason))
    return tuple(in_commune + at_home + elsewhere)


def _detected(fitting: tuple[tuple[int, str], ...]) -> int | None:
    """Return the one CRS that the coordinates allow, or null."""
    for place in (_IN_COMMUNE, _AT_HOME):
        codes = [code for code, reason in fitting if reason.endswith(place)]
        if codes:
            return codes[0] if len(codes) == 1 else None
    return fitting[0][0] if len(fitting) == 1 else None


def choose(
    wkt: str | None,
    bounds: Bounds,
    srid: int,
    option: int | None = None,
    commune: Box | None = None,
) -> tuple[CrsChoice, BadSurvey | None]:
    """Return the CRS of the coordinates, and the refusal where there is no certain one.

    `wkt` is the `.prj`, `bounds` those of the coordinates, `srid` the storage CRS and `option`
    the surveyor's EPSG code, which overrules the `.prj` but not the coordinates. `commune` is the
    box of the survey's commune. Raises `BadRequest` if EPSG does not list `option`.
    """
    fitting = candidates(bounds, srid, commune)
    declared = declared_crs.read(wkt) if wkt else None
    if declared is not None and declared.doubt == "undefined":
        declared = None
    choice = CrsChoice(
        declared=wkt,
        declared_epsg=declared.epsg if declared else None,
        detected=_detected(fitting),
        epsg=None,
        reason="",
        candidates=fitting,
    )

    try:
        epsg, reason = _decide(declared, bounds, srid, option, choice, commune)
    except BadSurvey as refusal:
        code = option or choice.declared_epsg
        return replace(choice, epsg=code, reason=refusal.message), refusal
    return replace(choice, epsg=epsg, reason=reason), None


def _decide(
    declared: declared_crs.Declaration | None,
    bounds: Bounds,
    srid: int,
    option: int | None,
    choice: CrsChoice,
    commune: Box | None,
) -> tuple[int, str]:
    """Return the code and the reason, or raise the refusal."""
    hint = _hint(choice.candidates)
    if option is None:
        if declared is None:
            _check_axes(bounds, srid, None, hint)
            raise BadSurvey(
                "The survey declares no CRS, in a .prj or otherwise (coordinates {bounds}).",
                hint=hint,
                code="no-crs",
                bounds=bounds,
            )
        epsg = declared_crs.require_code(declared, hint, vietnamese=is_vn2000(srid))
    else:
        epsg = option
    _check_kind(epsg)
    _check_axes(bounds, srid, epsg, hint)
    _check_deployment(epsg, srid)
    accuracy = _check_datum(epsg, srid, choice.candidates, requested=option is not None)
    # Some communes are surveyed in another province's zone: there the commune decides.
    if commune is None or _distance(bounds, epsg, srid, commune) > _COMMUNE_MARGIN:
        _check_area(bounds, srid, epsg, hint)
    if commune is not None:
        _check_commune(bounds, srid, epsg, choice, commune)
    if option is not None:
        return epsg, sentence(
            "EPSG:{epsg} was given, and the coordinates fit it{accuracy}",
            epsg=epsg,
            accuracy=accuracy,
        )
    _check_home(bounds, srid, epsg, choice)
    if epsg in WGS84_UTM and is_vn2000(srid):
        twin = WGS84_UTM[epsg]
        raise BadSurvey(
            "The file says WGS 84 / UTM (EPSG:{epsg}), but VN-2000 / UTM (EPSG:{twin}) "
            "has the same numbers 224 m away on the ground.",
            hint="Say which it is: --crs {twin} for VN-2000, --crs {epsg} for WGS 84.",
            code="crs-ambiguous-datum",
            epsg=epsg,
            twin=twin,
        )
    return epsg, sentence("the file says EPSG:{epsg}, and the coordinates fit it", epsg=epsg)


def _hint(fitting: tuple[tuple[int, str], ...]) -> Sentence:
    if not fitting:
        return sentence("Give the EPSG code of the survey with --crs.")
    codes = ", ".join(f"{code} ({crs_from_epsg(code).name})" for code, _ in fitting[:6])
    return sentence("Give the EPSG code with --crs; the coordinates fit {codes}.", codes=codes)


def _check_axes(bounds: Bounds, srid: int, epsg: int | None, hint: str) -> None:
    """Refuse degrees in a projected CRS, metres in a geographic one, and swapped axes."""
    crs = crs_from_epsg(epsg if epsg is not None else srid)
    degrees = bounds.within((-180, 180), (-90, 90)) or bounds.within((-90, 90), (-180, 180))
    if epsg is not None and degrees and crs.is_projected:
        raise BadSurvey(
            "The coordinates are degrees ({bounds}), but EPSG:{epsg} is in metres.",
            hint="Say which degrees they are: --crs {vn2000} for VN-2000, --crs 4326 for WGS 84."
            if bounds.within(LONGITUDES, LATITUDES)
            else "Give the geographic CRS with --crs.",
            code="crs-degrees",
            vn2000=VN_2000,
            bounds=bounds,
            epsg=epsg,
        )
    if epsg is not None and not degrees and crs.is_geographic:
        raise BadSurvey(
            "The coordinates are not degrees ({bounds}), but EPSG:{epsg} is geographic.",
            hint=hint,
            code="crs-metres",
            bounds=bounds,
            epsg=epsg,
        )
    vietnamese = is_vn2000(epsg if epsg is not None else srid) or (
        is_vn2000(srid) and (crs.is_geographic or epsg in WGS84_UTM)
    )
    swapped = bounds.within(NORTHINGS, EASTINGS) and not bounds.within(EASTINGS, NORTHINGS)
    swapped_degrees = degrees and bounds.within(LATITUDES, LONGITUDES)
    if vietnamese and (swapped or swapped_degrees):
        raise BadSurvey(
            "The axes are swapped: x holds northings and y eastings ({bounds}).",
            hint=_swapped_hint(bounds, srid),
            code="crs-swapped-axes",
            bounds=bounds,
        )


def _swapped_hint(bounds: Bounds, srid: int) -> Sentence:
    """Name the CRSs that the coordinates fit with their axes swapped back."""
    swapped = Bounds(bounds.ymin, bounds.xmin, bounds.ymax, bounds.xmax)
    codes = ", ".join(str(code) for code, _ in candidates(swapped, srid)[:4])
    template = (
        sentence(
            "Export again with x = easting, y = northing; sheets write X for the northing."
            " Swapped back, they fit {codes}."
        )
        if codes
        else sentence(
            "Export again with x = easting, y = northing; sheets write X for the northing."
        )
    )
    return sentence(template, codes=codes)


def _check_commune(bounds: Bounds, srid: int, epsg: int, choice: CrsChoice, commune: Box) -> None:
    """Refuse a CRS, mostly a neighbouring zone, that puts the parcels outside their commune."""
    distance = _distance(bounds, epsg, srid, commune)
    if distance <= _COMMUNE_MARGIN:
        return
    away = f"{distance / 1000:,.0f} km" if np.isfinite(distance) else sentence("far")
    fitting = [code for code, reason in choice.candidates if reason.endswith(_IN_COMMUNE)]
    if not fitting:
        raise BadSurvey(
            "In EPSG:{epsg} the parcels lie {away} from the commune, and no CRS of the "
            "country puts them there ({bounds}).",
            hint="Check the code of the commune, and that this is its survey.",
            code="outside-commune",
            epsg=epsg,
            away=away,
            bounds=bounds,
        )
    likeliest = fitting[0]
    zones = ZONES.get(epsg), ZONES.get(likeliest)
    if zones[0] and zones[1] and zones[0][0] != zones[1][0]:
        raise BadSurvey(
            "In EPSG:{epsg} (meridian {zones}°) the parcels lie {away} from the commune; "
            "they are of another zone, EPSG:{likeliest} (meridian {zones2}°).",
            hint=_commune_hint(fitting),
            code="crs-neighbour-zone",
            epsg=epsg,
            zones=zones[0][0],
            away=away,
            likeliest=likeliest,
            zones2=zones[1][0],
        )
    raise BadSurvey(
        "In EPSG:{epsg} the parcels lie {away} from the commune; the coordinates fit "
        "EPSG:{likeliest}.",
        hint=_commune_hint(fitting),
        code="crs-contradicted",
        epsg=epsg,
        away=away,
        likeliest=likeliest,
    )


def _commune_hint(codes: list[int]) -> Sentence:
    options = ", ".join(f"--crs {code} ({crs_from_epsg(code).name})" for code in codes[:4])
    return sentence("If the commune is right, say one of {options}.", options=options)


def _check_kind(epsg: int) -> None:
    """Refuse an EPSG code without a place on a map, as of heights."""
    crs = crs_from_epsg(epsg)
    if crs.type_name not in ("Projected CRS", "Geographic 2D CRS"):
        raise BadSurvey(
            "EPSG:{epsg} ({name}) is neither a projected nor a geographic CRS.",
            hint="Give the EPSG code of a projected or geographic CRS with --crs.",
            code="unknown-crs",
            epsg=epsg,
            name=crs.name,
        )


def _check_deployment(epsg: int, srid: int) -> None:
    """Refuse a CRS of another part of the world than the storage CRS."""
    datum = vn2000.datum(epsg)
    if is_vn2000(srid) and datum is not None and datum.is_former:
        return  # seen in this country, wherever EPSG says that it is used
    if not _overlap(epsg, VN_2000 if is_vn2000(srid) else srid):
        raise BadSurvey(
            "The survey is in EPSG:{epsg} ({name}), which lies outside this deployment's "
            "area (EPSG:{srid}, {name2}).",
            hint="Give the right CRS with --crs, or set LANDDATA_SRID for a deployment there.",
            code="crs-outside-deployment",
            epsg=epsg,
            name=crs_from_epsg(epsg).name,
            srid=srid,
            name2=crs_from_epsg(srid).name,
        )


def _check_datum(
    epsg: int, srid: int, fitting: tuple[tuple[int, str], ...], *, requested: bool
) -> str:
    """Refuse a datum that has no operation to VN-2000, or, unless it is requested, a coarse one.

    Returns the accuracy of a coarse operation as the end of a reason, else nothing.
    """
    datum = vn2000.datum(epsg)
    if not is_vn2000(srid) or datum in (datums.VN2000, datums.WGS84):
        return ""
    try:
        accuracy = vn2000.operation(epsg, srid)[1]
    except BadRequest:
        accuracy = None
    if datum is None and accuracy is not None and accuracy <= _ACCURATE:
        return ""
    codes = ", ".join(str(code) for code, _ in fitting[:4] if is_vn2000(code))
    if datum is None or datum.operation is None or accuracy is None:
        raise BadSurvey(
            "The survey is in EPSG:{epsg} ({name}): EPSG publishes no operation to VN-2000 that is"
            " accurate enough for parcels.",
            hint="Convert it to VN-2000 with the parameters of the office that made it. If the"
            " coordinates are VN-2000, give its code with --crs; they fit {codes}."
            if codes
            else "Convert it to VN-2000 with the parameters of the office that made it.",
            code="crs-former-datum",
            epsg=epsg,
            name=crs_from_epsg(epsg).name,
            codes=codes,
        )
    if not requested:
        raise BadSurvey(
            "The survey is in EPSG:{epsg} ({name}), on the former datum {datum}: the only published"
            " operation, EPSG:{operation}, is accurate to {metres} m.",
            hint="Convert it to VN-2000 with the parameters of the office that made it, or accept"
            " that with --crs {epsg}.",
            code="crs-former-datum",
            epsg=epsg,
            name=crs_from_epsg(epsg).name,
            datum=datum.name,
            operation=datum.operation,
            metres=datum.accuracy,
        )
    return sentence(
        "; EPSG:{operation} converts {datum} to {metres} m",
        operation=datum.operation,
        datum=datum.name,
        metres=round(datum.accuracy),
    )


def _check_area(bounds: Bounds, srid: int, epsg: int, hint: str) -> None:
    """Refuse coordinates outside the area of use of their CRS or of the storage CRS."""
    place = _place(bounds, epsg)
    if is_vn2000(srid):
        at_home = place is not None and (
            LONGITUDES[0] <= place[0] <= LONGITUDES[1] and LATITUDES[0] <= place[1] <= LATITUDES[1]
        )
    else:
        at_home = _inside(place, srid, 1.0)
    if not at_home or not _inside(place, epsg, 1.0):
        raise BadSurvey(
            "The coordinates ({bounds}) do not lie where EPSG:{epsg} ({name}) is used.",
            hint=hint,
            code="crs-contradicted",
            bounds=bounds,
            epsg=epsg,
            name=crs_from_epsg(epsg).name,
        )


def _check_home(bounds: Bounds, srid: int, epsg: int, choice: CrsChoice) -> None:
    """Refuse a `.prj` that puts parcels outside the deployment where one CRS puts them in it."""
    place = _place(bounds, epsg)
    home = dict(choice.candidates).get(choice.detected or 0, "").endswith(_AT_HOME)
    if home and choice.detected != epsg and is_vn2000(epsg) and not _inside(place, srid):
        where = "elsewhere" if place is None else f"at {place[0]:.2f}°E {place[1]:.2f}°N"
        raise BadSurvey(
            "In EPSG:{epsg}, as the file says, the parcels lie {where}, outside the "
            "deployment's area; the coordinates ({bounds}) fit EPSG:{detected}.",
            hint="Say which it is: --crs {detected}, or --crs {epsg} if the file is right.",
            code="crs-contradicted",
            epsg=epsg,
            where=where,
            bounds=bounds,
            detected=choice.detected,
        )


def _overlap(one: int, other: int) -> bool:
    """Tell whether the areas of use of two CRSs intersect."""
    a, b = crs_from_epsg(one).area_of_use, crs_from_epsg(other).area_of_use
    if a is None or b is None:
        return True
    return a.west <= b.east and b.west <= a.east and a.south <= b.north and b.south <= a.north
