"""Which CRS a survey's coordinates are in.

A `.prj` can be wrong, coordinates cannot: the declared CRS must agree with where the numbers fall.
Where it does not, or where none is declared, the survey is refused and the hint lists the CRSs
that fit; none is guessed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

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
)
from landdata.survey import crs_candidates, declared_crs
from landdata.survey.crs_candidates import AT_HOME, COMMUNE_MARGIN, IN_COMMUNE, Box
from landdata.survey.declared_crs import WGS84_UTM
from landdata.survey.extent import Bounds
from landdata.survey.model import CrsChoice
from landdata.translations import Sentence, sentence

_ACCURATE = 2.0  # metres that a datum operation may state; EPSG states 1 for VN-2000's


def _detected(fitting: tuple[tuple[int, str], ...]) -> int | None:
    """Return the one CRS that the coordinates allow, or null."""
    for place in (IN_COMMUNE, AT_HOME):
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
    fitting = crs_candidates.candidates(bounds, srid, commune)
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
    if commune is None:
        _check_area(bounds, srid, epsg, hint)
    elif crs_candidates.distance(bounds, epsg, srid, commune) > COMMUNE_MARGIN:
        _check_conversion(bounds, srid, epsg, choice, commune)
        _check_area(bounds, srid, epsg, hint)
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
    codes = ", ".join(str(code) for code, _ in crs_candidates.candidates(swapped, srid)[:4])
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
    away = _away(crs_candidates.distance(bounds, epsg, srid, commune))
    fitting = _in_commune(choice)
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


def _check_conversion(
    bounds: Bounds, srid: int, epsg: int, choice: CrsChoice, commune: Box
) -> None:
    """Refuse coordinates that were converted from a zone in which the parcels were not drawn."""
    if not is_vn2000(srid) or _in_commune(choice):
        return  # another CRS puts them in the commune as they are
    pair = crs_candidates.conversion(bounds, epsg, srid, commune)
    if pair is None:
        return
    drawn, converted = pair
    away = _away(crs_candidates.distance(bounds, epsg, srid, commune))
    raise BadSurvey(
        "In EPSG:{epsg} the parcels lie {away} from the commune. They lie in it if they were drawn"
        " in EPSG:{drawn} (meridian {meridian}°) but converted as if drawn in EPSG:{converted}"
        " (meridian {meridian2}°).",
        hint="Export the survey anew in the zone in which it was drawn, without converting it; or"
        " correct the code of the commune.",
        code="crs-neighbour-zone",
        epsg=epsg,
        away=away,
        drawn=drawn,
        meridian=ZONES[drawn][0],
        converted=converted,
        meridian2=ZONES[converted][0],
    )


def _in_commune(choice: CrsChoice) -> list[int]:
    return [code for code, reason in choice.candidates if reason.endswith(IN_COMMUNE)]


def _away(metres: float) -> str:
    return f"{metres / 1000:,.0f} km" if np.isfinite(metres) else sentence("far")


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
    place = crs_candidates.place(bounds, epsg)
    if is_vn2000(srid):
        at_home = place is not None and (
            LONGITUDES[0] <= place[0] <= LONGITUDES[1] and LATITUDES[0] <= place[1] <= LATITUDES[1]
        )
    else:
        at_home = crs_candidates.inside(place, srid, 1.0)
    if not at_home or not crs_candidates.inside(place, epsg, 1.0):
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
    place = crs_candidates.place(bounds, epsg)
    home = dict(choice.candidates).get(choice.detected or 0, "").endswith(AT_HOME)
    if (
        home
        and choice.detected != epsg
        and is_vn2000(epsg)
        and not crs_candidates.inside(place, srid)
    ):
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
