"""The CRSs of the service, and how a geometry gets from one to another.

PostGIS transforms responses, pyproj the boxes and geometries of requests; both through the datum
operation that `migrations` pins (EPSG:6960), so neither picks one by position.
"""

from __future__ import annotations

import math
import re
import struct
from array import array
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.errors import BadRequest
from landdata.reference.vn2000 import VN_2000, ZONES, height_plane, transformer
from landdata.translations import sentence

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"

#: VN-2000, zones and geographic; each has a pinned twin in `spatial_ref_sys`.
VN2000 = frozenset({*ZONES, VN_2000})
PINNED = 910000

HALF_EQUATOR = 20037508.342789244  # metres of web Mercator

# Beyond this a transverse Mercator folds over; no parcel of the deployment is as far away.
_REACH_DEGREES = 40.0
_REACH_METRES = 3_000_000.0
_POLAR_METRES = 9_300_000.0

_SMALL_METRES = 1000.0

# A position from a response, transformed back, is that close to the grid of the store (1 mm).
_RESPONSE_METRES = 0.0001


@dataclass(frozen=True, slots=True)
class Crs:
    """A CRS of the service, with the authority's name for it.

    `north_first`: whether the authority puts the northing or latitude first. `digits`: decimals
    written, 0.1 mm or finer.
    """

    uri: str
    name: str
    srid: int
    geographic: bool
    north_first: bool
    digits: int


@cache
def supported(storage: int) -> dict[str, Crs]:
    """Return the CRSs of the service by URI, the default first; `storage` is an EPSG code."""
    codes = [4326, 3857, storage]
    if storage in VN2000:
        codes += sorted(VN2000 - {storage})
    systems = {
        CRS84: Crs(
            CRS84, "WGS 84 longitude-latitude", 4326, geographic=True, north_first=False, digits=9
        )
    }
    for code in dict.fromkeys(codes):
        definition = pyproj.CRS.from_epsg(code)
        systems[f"{EPSG}{code}"] = Crs(
            f"{EPSG}{code}",
            definition.name,
            code,
            geographic=definition.is_geographic,
            north_first=definition.axis_info[0].direction.lower() == "north",
            digits=9 if definition.is_geographic else 4,
        )
    return systems


@lru_cache(256)
def parse(text: str, storage: int, parameter: str) -> Crs:
    """Return the CRS of a URI, `[EPSG:9212]` or `EPSG:9212`. Raises `BadRequest`."""
    short = text.strip().removeprefix("[").removesuffix("]").upper()
    uri = text.strip()
    if short in {"CRS84", "OGC:CRS84", "URN:OGC:DEF:CRS:OGC:1.3:CRS84"}:
        uri = CRS84
    elif short.startswith("EPSG:"):
        uri = EPSG + short.removeprefix("EPSG:")
    elif short.startswith("URN:OGC:DEF:CRS:EPSG:"):
        uri = EPSG + short.rpartition(":")[2]
    elif uri.startswith("https://"):
        uri = "http://" + uri.removeprefix("https://")
    system = supported(storage).get(uri)
    if system is None:
        raise BadRequest(
            "Parameter {parameter} names a reference system that is not offered: {text!r}.",
            hint="The collection's `crs` lists those that are.",
            parameter=parameter,
            text=text[:200],
        )
    return system


def output_sql(column: str, storage: int, target: Crs, *, leads_back: bool = True) -> str:
    """Return SQL of `column` (storage CRS) in `target`, in its axis order.

    With `leads_back` the inverse operation, at height 0, returns to the stored position; without
    it that is up to 0.4 mm off. For that each vertex is lifted to its own height (`height_plane`),
    which depends on its position alone, so that a vertex that two parcels share stays one.
    """
    if target.srid == storage:
        moved = column
    elif storage in VN2000 and target.srid not in VN2000:
        moved = f"ST_SetSRID({column}, {PINNED + storage})"
        if leads_back:
            a, b, c = height_plane(storage)
            plane = f"1, 0, 0, 0, 1, 0, {-b:.9f}, {-c:.9f}, 1, 0, 0, {-a:.3f}"
            moved = f"ST_Affine(ST_Force3DZ({moved}), {plane})"
        moved = f"ST_Transform({moved}, {target.srid})"
        if leads_back:
            moved = f"ST_Force2D({moved})"
    else:
        moved = f"ST_Transform({column}, {target.srid})"
    return f"ST_FlipCoordinates({moved})" if target.north_first else moved


def affine_map(
    bounds: tuple[float, float, float, float], target: Crs, storage: int, *, within: float
) -> tuple[float, float, float, float, float, float] | None:
    """Return the affine map from the storage CRS to `target` over a small area of `target`.

    As `ST_Affine` takes it: a, b, d, e, x, y, with easting first whatever the axes of `target`.
    None where the projection is further than `within` from it; `bounds` and `within` are in the
    units of `target`.
    """
    west, south, east, north = bounds
    to = np.array([(x, y) for x in (west, (west + east) / 2, east)
                       for y in (south, (south + north) / 2, north)])  # fmt: skip
    start = np.column_stack(transformer(target.srid, storage).transform(*to.T))
    if not np.isfinite(start).all():
        return None
    start_mean, to_mean = start.mean(axis=0), to.mean(axis=0)
    matrix = np.linalg.lstsq(start - start_mean, to - to_mean, rcond=None)[0].T
    if np.abs((start - start_mean) @ matrix.T + to_mean - to).max() > within:
        return None
    a, b, d, e = map(float, matrix.ravel())
    x, y = map(float, to_mean - matrix @ start_mean)
    return a, b, d, e, x, y


@dataclass(frozen=True, slots=True)
class BBox:
    """A box in the storage CRS: its polygon as hexadecimal EWKB, and its bounds.

    The bounds are (min E, min N, max E, max N), or NaN where the box is empty.
    """

    ewkb: str
    bounds: tuple[float, float, float, float]

    @property
    def is_empty(self) -> bool:
        """Whether the box is too far away for the storage CRS."""
        return math.isnan(self.bounds[0])

    @property
    def is_selective(self) -> bool:
        """Whether it holds so few parcels that the spatial index is always best."""
        return is_selective(self.bounds)


def is_selective(bounds: tuple[float, float, float, float]) -> bool:
    """Return whether bounds in the storage CRS hold few parcels."""
    west, south, east, north = bounds
    return east - west <= _SMALL_METRES and north - south <= _SMALL_METRES


def ewkb(geometry: BaseGeometry, storage: int) -> str:
    """Return a geometry in the storage CRS as hexadecimal EWKB.

    PostgreSQL reads it once, where it is bound as `geometry`; it would call a function of WKB for
    each row.
    """
    return str(shapely.to_wkb(shapely.set_srid(geometry, storage), hex=True, include_srid=True))


def parse_bbox(text: str, source: Crs, storage: int) -> BBox:
    """Return the box of a `bbox` parameter: `bbox_polygon`, at a fraction of its cost if small."""
    west, south, east, north = numbers = _numbers(text, source)
    x, y = (west, east, east, west), (south, south, north, north)
    if source.srid != storage:
        reach = _centre(storage) - _REACH_DEGREES, _centre(storage) + _REACH_DEGREES
        if not (
            (source.geographic or source.srid == 3857)
            and _SMALLEST < east - west <= _STEP
            and _SMALLEST < north - south <= _STEP
            and reach[0] < west < reach[1]
            and -85 < south < 84
        ):
            polygon = _polygon(numbers, source, storage)
            return BBox(ewkb(polygon, storage), polygon.bounds)
        # as `_boxes_to_storage` does with edges so short that they are not cut
        srid = source.srid if source.geographic else 4326
        x, y = transformer(srid, storage).transform(array("d", x), array("d", y))
    elif not (west < east and south < north):
        polygon = _polygon(numbers, source, storage)
        return BBox(ewkb(polygon, storage), polygon.bounds)
    packed = _QUADRANGLE.pack(
        1, _POLYGON, storage, 1, 5, x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3], x[0], y[0]
    )  # fmt: skip
    return BBox(packed.hex(), (min(x), min(y), max(x), max(y)))


_QUADRANGLE = struct.Struct("<BIIII10d")  # a polygon of one ring of five points, as EWKB
_POLYGON = 0x20000003  # with an SRID
_STEP = 0.004  # degrees: a parallel that long bends by far less than 1 mm
_SMALLEST = 1e-7  # degrees: what is smaller may not be a polygon any more


def bbox_polygon(text: str, source: Crs, storage: int, parameter: str = "bbox") -> BaseGeometry:
    """Return the box that a parameter holds as a polygon in the storage CRS.

    Four numbers in the axis order of `source`, or six with heights, which CRS84 alone has. In a
    geographic CRS a box whose west is greater than its east crosses the antimeridian. Its edges
    follow the parallels and meridians (or grid lines) of `source` to 1 mm. Raises `BadRequest`.
    """
    return _polygon(_numbers(text, source, parameter), source, storage)


#: Numbers; Python also reads 1_000 and other alphabets.
_PLAIN = re.compile(r"[-+0-9.eE, ]+")


def _numbers(text: str, source: Crs, parameter: str = "bbox") -> tuple[float, float, float, float]:
    """Return west, south, east and north of a box, checked; of web Mercator in degrees."""
    try:
        numbers = [float(part) for part in text.split(",")] if _PLAIN.fullmatch(text) else []
    except ValueError:
        numbers = []
    if len(numbers) == 6 and source.uri == CRS84:
        if numbers[2] > numbers[5]:
            raise _bad_box(parameter, text, sentence("its lowest height is above its highest"))
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise _bad_box(
            parameter,
            text,
            sentence("it must be four numbers (minimum, minimum, maximum, maximum)"),
        )
    west, south, east, north = numbers
    if source.north_first:
        south, west, north, east = numbers
    if south > north:
        raise _bad_box(parameter, text, sentence("its south is north of its north"))
    if west > east and not source.geographic:
        raise _bad_box(parameter, text, sentence("its west is east of its east"))
    if source.geographic and not (south >= -90 and north <= 90):
        raise _bad_box(parameter, text, sentence("latitudes are from -90 to 90"))
    if source.srid == 3857:
        # its grid lines are parallels and meridians, so it is a geographic box
        (west, east), (south, north) = transformer(3857, 4326).transform(
            [min(max(x, -HALF_EQUATOR), HALF_EQUATOR) for x in (west, east)],
            [min(max(y, -HALF_EQUATOR), HALF_EQUATOR) for y in (south, north)],
        )
    return west, south, east, north


def _polygon(numbers: tuple[float, float, float, float], source: Crs, storage: int) -> BaseGeometry:
    west, south, east, north = numbers
    if source.geographic or source.srid == 3857:
        return _geographic(west, south, east, north, source, storage)
    if source.srid == storage:
        return _valid(shapely.box(west, south, east, north))
    limits = (500_000 - _REACH_METRES, 500_000 + _REACH_METRES)
    west, east = np.clip([west, east], *limits)
    south, north = np.clip([south, north], -_POLAR_METRES, _POLAR_METRES)
    return _boxes_to_storage([(west, south, east, north)], source.srid, storage, step=500.0)


def to_storage(geometry: BaseGeometry, source: Crs, storage: int) -> BaseGeometry:
    """Return a geometry in `source`, in its axis order, in the storage CRS.

    Its edges, straight in `source`, are cut as those of a box are. Vertices too far away for the
    storage CRS are moved to the edge of its reach, where no parcel is. A vertex from a response
    returns to where it is stored, so shapes that touch or are equal still do and are.
    """
    if source.north_first:
        geometry = shapely.transform(geometry, lambda points: points[:, ::-1])
    if source.srid == storage:
        return _valid(geometry)
    step = _STEP if source.geographic else 500.0
    pieces = shapely.length(geometry) / step
    geometry = shapely.segmentize(geometry, step * max(1.0, pieces / 20_000))
    centre = _centre(storage)
    if source.geographic:
        low, high = (centre - _REACH_DEGREES, -85.0), (centre + _REACH_DEGREES, 85.0)
    elif source.srid == 3857:
        metre = HALF_EQUATOR / 180
        low = ((centre - _REACH_DEGREES) * metre, -20037508.0)
        high = ((centre + _REACH_DEGREES) * metre, 20037508.0)
    else:
        low = (500_000 - _REACH_METRES, -_POLAR_METRES)
        high = (500_000 + _REACH_METRES, _POLAR_METRES)
    move = transformer(source.srid, storage).transform

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        exact = np.column_stack(move(*np.clip(points, low, high).T))
        stored = np.round(exact, 3)
        is_stored = (np.abs(exact - stored) < _RESPONSE_METRES).all(axis=1, keepdims=True)
        return np.where(is_stored, stored, exact)

    return _valid(shapely.transform(geometry, place))


def _geographic(
    west: float, south: float, east: float, north: float, source: Crs, storage: int
) -> BaseGeometry:
    srid = 4326 if source.srid == 3857 else source.srid
    centre = _centre(storage)
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    if east - west >= 360:
        spans = [(centre - _REACH_DEGREES, centre + _REACH_DEGREES)]
    south, north = max(south, -85.0), min(north, 85.0)
    parts = []
    for left, right in spans:
        for turn in (-360.0, 0.0, 360.0):  # a longitude may be written past 180
            a = max(left + turn, centre - _REACH_DEGREES)
            b = min(right + turn, centre + _REACH_DEGREES)
            if a <= b and south <= north:
                parts.append((a, south, b, north))
    return _boxes_to_storage(parts, srid, storage, step=_STEP)


@cache
def _centre(storage: int) -> float:
    """Return the central longitude of the storage CRS in degrees."""
    definition = pyproj.CRS.from_epsg(storage)
    operation = definition.coordinate_operation
    for parameter in operation.params if operation else ():
        if parameter.name in {"Longitude of natural origin", "Longitude of false origin"}:
            return float(parameter.value)
    area = definition.area_of_use
    return (area.west + area.east) / 2 if area else 0.0


def _boxes_to_storage(
    boxes: list[tuple[float, float, float, float]], srid: int, storage: int, *, step: float
) -> BaseGeometry:
    """Return boxes in the storage CRS, their edges cut so that chords stay within 1 mm.

    `step` is half a kilometre in the unit of `srid`: a parallel that long bends by far less than
    1 mm in a transverse Mercator; very large boxes get 400 pieces an edge.
    """
    move = transformer(srid, storage).transform
    parts = []
    for west, south, east, north in boxes:
        along = _steps(west, east, step)
        up = _steps(south, north, step)
        x = np.concatenate([along, np.full(up.size, east), along[::-1], np.full(up.size, west)])
        y = np.concatenate([np.full(along.size, south), up, np.full(along.size, north), up[::-1]])
        parts.append(shapely.Polygon(np.column_stack(move(x, y))))
    return _valid(shapely.MultiPolygon(parts) if len(parts) != 1 else parts[0])


def _valid(shape: BaseGeometry) -> BaseGeometry:
    """A box without width is a line or a point; the two sides of a huge one may touch."""
    return shape if shapely.is_valid(shape) else shapely.make_valid(shape)


def _steps(start: float, end: float, step: float) -> NDArray[np.float64]:
    pieces = min(400, max(1, math.ceil((end - start) / step)))
    return np.linspace(start, end, pieces + 1) if pieces > 1 else np.array([start, end])


def _bad_box(parameter: str, text: str, why: str) -> BadRequest:
    what, system = ("", "bbox-crs") if parameter == "bbox" else ("BBOX: ", f"{parameter}-crs")
    return BadRequest(
        "Parameter {parameter} is not usable: {what}{why} (given: {text!r}).",
        hint="Give west,south,east,north in the axis order of {system}; CRS84 by default.",
        parameter=parameter,
        what=what,
        why=why,
        text=text[:200],
        system=system,
    )
