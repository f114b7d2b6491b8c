"""The parameters of a CRS in degrees and metres, compared with those of an EPSG code."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import pyproj

from landdata.reference import datums
from landdata.reference.datums import Datum
from landdata.reference.vn2000 import ZONES, crs_from_epsg
from landdata.translations import Sentence, sentence

#: Arguments of a datum shift in the order of TOWGS84: metres, arc-seconds, parts per million.
Shift = Sequence[float]

#: By unit: what a millimetre on the ground is at most.
_TOLERANCES = {"°": 1e-8, " m": 5e-4, "": 1e-10, " per m": 1e-9, " (flattening)": 1e-5}
_FLATTENING = "inverse flattening"
_SHIFT_KEYS = ("x", "y", "z", "rx", "ry", "rz", "s")
#: Published shifts, of which the second is the Mekong delta's operation (EPSG:5194) of VN-2000.
_MEKONG = (
    "x=-192.873 y=-39.382 z=-111.202 rx=0.00205 ry=0.0005 rz=-0.00335 s=0.0188"
    " convention=coordinate_frame"
)
_SAME_SHIFT = 0.5  # metres; the wrong sign of the rotations costs 0.5 to 0.8
_PLACES = np.array([(104.5, 9.0), (107.0, 11.5), (109.0, 13.0), (106.0, 17.0), (103.0, 22.0)])


@dataclass(frozen=True, slots=True)
class Difference:
    """A parameter, the file's value and the one that the EPSG code has, as text with units."""

    parameter: str
    declared: str
    expected: str

    def as_sentence(self) -> Sentence:
        """Return `parameter declared instead of expected`."""
        return sentence(
            "{parameter} {declared} instead of {expected}",
            parameter=_WORDS.get(self.parameter, self.parameter),
            declared=self.declared,
            expected=self.expected,
        )


_WORDS = {
    str(word): word
    for word in (
        sentence("central meridian"),
        sentence("latitude of origin"),
        sentence("scale factor"),
        sentence("false easting"),
        sentence("false northing"),
        sentence("semi-major axis"),
        sentence("inverse flattening"),
        sentence("prime meridian"),
        sentence("unit"),
        sentence("unit of angle"),
        sentence("projection"),
        sentence("axes"),
        sentence("datum"),
        sentence("datum shift"),
    )
}


def in_words(differences: Sequence[Difference]) -> Sentence:
    """Return all differences in one sentence."""
    return reduce(
        lambda one, other: sentence("{one}; {other}", one=one, other=other),
        (difference.as_sentence() for difference in differences),
    )


def compare(crs: pyproj.CRS, epsg: int) -> tuple[Difference, ...]:
    """Return in which parameters a CRS, projected or in degrees, differs from an EPSG code's.

    Names, codes, the order of the axes and the datum are not compared; the ellipsoid is.
    """
    reference = crs_from_epsg(epsg)
    methods = _method(crs), _method(reference)
    if methods[0] != methods[1]:
        return (Difference("projection", *methods),)
    differences = []
    declared, expected = _numbers(crs), _numbers(reference)
    for (name, unit), value in expected.items():
        other = declared.get((name, unit), 1.0 if name.startswith("scale") else 0.0)
        if not abs(other - value) <= _TOLERANCES[unit]:
            shown = unit.replace(" (flattening)", "").replace(" per m", " m")
            differences.append(Difference(name, f"{other:.12g}{shown}", f"{value:.12g}{shown}"))
    axes = _directions(crs), _directions(reference)
    if axes[0] != axes[1]:
        differences.append(Difference("axes", *(" and ".join(sorted(side)) for side in axes)))
    return tuple(differences)


def zone(crs: pyproj.CRS) -> int | None:
    """Return the zone of VN-2000 whose parameters a CRS has, on whichever datum."""
    return next((code for code in ZONES if not compare(crs, code)), None)


def nearest_zone(crs: pyproj.CRS) -> int | None:
    """Return the zone of VN-2000 that a transverse Mercator CRS is called, or comes nearest to."""
    if _method(crs) != _method(crs_from_epsg(next(iter(ZONES)))):
        return None
    values = {name: value for (name, _), value in _numbers(crs).items()}
    meridian = values.get("central meridian", 0.0)
    scale = values.get("scale factor", 1.0)
    for code in ZONES:
        if _plain(crs_from_epsg(code).name) == _plain(crs.name):
            return code
    return min(
        ZONES,
        key=lambda code: (
            len(compare(crs, code)),
            abs(ZONES[code][0] - meridian),
            abs(ZONES[code][1] - scale),
        ),
    )


def datum_of_shift(crs: pyproj.CRS, shift: Shift) -> Datum | None:
    """Return the datum that a shift to WGS 84 belongs to on the ellipsoid of a CRS; null: none."""
    for datum in datums.DATUMS:
        if not datum.helmert or ellipsoid_differences(crs, datum):
            continue
        published = (datum.helmert, _MEKONG) if datum is datums.VN2000 else (datum.helmert,)
        if any(_apart(datum, _helmert(shift), helmert) <= _SAME_SHIFT for helmert in published):
            return datum
    return None


def ellipsoid_differences(crs: pyproj.CRS, datum: Datum) -> tuple[Difference, ...]:
    """Return in which ellipsoid, prime meridian or unit of angle a CRS differs from a datum's."""
    return compare(crs.geodetic_crs, datum.epsg) if crs.geodetic_crs is not None else ()


def shift_text(shift: Shift) -> str:
    """Write a shift as TOWGS84 does."""
    return ", ".join(f"{value:.9g}" for value in shift)


def towgs84(datum: Datum) -> tuple[float, ...]:
    """Return a datum's published shift in the signs of TOWGS84 (position vector)."""
    words = dict(word.split("=") for word in datum.helmert.split())
    sign = -1.0 if words.get("convention") == "coordinate_frame" else 1.0
    return tuple(
        float(words.get(key, 0)) * (sign if key.startswith("r") else 1.0) for key in _SHIFT_KEYS
    )


def _helmert(shift: Shift) -> str:
    text = " ".join(f"{key}={value!r}" for key, value in zip(_SHIFT_KEYS, shift, strict=False))
    return f"{text} convention=position_vector" if len(shift) > 3 else text


@lru_cache(maxsize=256)
def _apart(datum: Datum, one: str, other: str) -> float:
    """Return the metres between the places to which two shifts bring a position, at most."""
    pipeline = (
        "proj=pipeline step proj=unitconvert xy_in=deg xy_out=rad"
        " step proj=push v_3 step proj=cart ellps={0} step proj=helmert {1}"
        " step inv proj=cart ellps=WGS84 step proj=pop v_3"
        " step proj=unitconvert xy_in=rad xy_out=deg"
    )
    places = [
        pyproj.Transformer.from_pipeline(pipeline.format(datum.ellipsoid.name, helmert)).transform(
            *_PLACES.T
        )
        for helmert in (one, other)
    ]
    metres = pyproj.Geod(ellps="WGS84").inv(*places[0], *places[1])[2]
    return float(np.max(metres))


def _method(crs: pyproj.CRS) -> str:
    if crs.is_geographic or crs.coordinate_operation is None:
        return "none (degrees)"
    return str(crs.coordinate_operation.method_name)


_NAMES = {
    "latitude of natural origin": "latitude of origin",
    "longitude of natural origin": "central meridian",
    "scale factor at natural origin": "scale factor",
}


def _numbers(crs: pyproj.CRS) -> dict[tuple[str, str], float]:
    """Return (name, unit) → value of all that puts a coordinate in its place."""
    numbers: dict[tuple[str, str], float] = {}
    operation = crs.coordinate_operation if crs.is_projected else None
    for parameter in operation.params if operation is not None else ():
        name = parameter.name.lower()
        name = _NAMES.get(name, name)
        category = getattr(parameter, "unit_category", "")
        factor = float(parameter.unit_conversion_factor or 1.0)
        value = float(parameter.value)
        if category == "angular" or "meridian" in name or "latitude" in name:
            numbers[name, "°"] = value * _degrees(factor)
        elif name.startswith("false"):
            numbers[name, " m"] = value * factor
        else:
            numbers[name, ""] = value * factor
    ellipsoid, meridian = crs.ellipsoid, crs.prime_meridian
    if ellipsoid is not None:
        numbers["semi-major axis", " m"] = float(ellipsoid.semi_major_metre)
        numbers[_FLATTENING, " (flattening)"] = float(ellipsoid.inverse_flattening)
    if meridian is not None:
        numbers["prime meridian", "°"] = meridian.longitude * _degrees(
            float(meridian.unit_conversion_factor)
        )
    axis = float(crs.axis_info[0].unit_conversion_factor)
    if crs.is_geographic:
        numbers["unit of angle", "°"] = _degrees(axis)
    else:
        numbers["unit", " per m"] = axis
    return numbers


def _degrees(factor: float) -> float:
    """Return how many degrees a unit of angle (radians each) is; 1 where its last digits differ."""
    degrees = math.degrees(factor)
    return 1.0 if abs(degrees - 1.0) < 1e-7 else degrees


def _plain(name: str) -> str:
    return re.sub(r"zone|[^a-z0-9]", "", name.lower())


def _directions(crs: pyproj.CRS) -> frozenset[str]:
    return frozenset(axis.direction.lower() for axis in crs.axis_info[:2])
