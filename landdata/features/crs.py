"""The reference systems on offer, and how a geometry gets from one to another.

PostGIS transforms what goes out, pyproj the boxes that come in; both through the datum operation
that `migrations` pins (EPSG:6960), so neither picks one by place. A CRS is named by its URI.
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

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"

#: VN-2000, zones and geographic; each has a pinned twin in `spatial_ref_sys`.
VN2000 = frozenset({*ZONES, VN_2000})
PINNED = 910000

# Beyond this a transverse Mercator folds over; no parcel of the deployment is as far away.
_REACH_DEGREES = 40.0
_REACH_METRES = 3_000_000.0
_POLAR_METRES = 9_300_000.0

_SMALL_METRES = 1000.0

# A position that was read here, moved back, is less than that from the grid of the store (1 mm).
_READ_METRES = 0.0001


@dataclass(frozen=True, slots=True)
class Crs:
    """A reference system as this service speaks it.

    `north_first`: whether the first coordinate is the northing or latitude, as the authority
    orders them. `digits`: decimals written, 0.1 mm or finer.
    `name`: as the authority calls it.
    """

    uri: str
    name: str
    srid: int
    geographic: bool
    north_first: bool
    digits: int


@cache
def supported(storage: int) -> dict[str, Crs]:
    """Return what can be asked for by URI, the default first, for a storage CRS (EPSG code)."""
    codes = [4326, 3857, storage]
    if storage in VN2000:
        codes += sorted(VN2000 - {storage})
    made = {
        CRS84: Crs(
            CRS84, "WGS 84 longitude-latitude", 4326, geographic=True, north_first=False, digits=9
        )
    }
    for code in dict.fromkeys(codes):
        known = pyproj.CRS.from_epsg(code)
        made[f"{EPSG}{code}"] = Crs(
            f"{EPSG}{code}",
            known.name,
            code,
            geographic=known.is_geographic,
            north_first=known.axis_info[0].direction.lower() == "north",
            digits=9 if known.is_geographic else 4,
        )
    return made


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
    found = supported(storage).get(uri)
    if found is None:
        raise BadRequest(
            f"Parameter {parameter} names a reference system that is not offered: {text[:200]!r}.",
            hint="The collection's `crs` lists those that are.",
        )
    return found


def output_sql(column: str, storage: int, target: Crs, *, leads_back: bool = True) -> str:
    """Return SQL that gives `column` (storage CRS) in `target`, its axes in the right order.

    It becomes the position from which the inverse operation, at height 0, leads back to the
    stored one: for that each vertex is lifted to its own height (`vn2000.height_plane`), which
    depends on nothing else, so that a vertex that two parcels share stays one. Without
    `leads_back` that is up to 0.4 mm less exact.
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
    None where over `bounds` (target's units) it is further than `within` from the projection.
    """
    west, south, east, north = bounds
    wanted = np.array([(x, y) for x in (west, (west + east) / 2, east)
                       for y in (south, (south + north) / 2, north)])  # fmt: skip
    given = np.column_stack(transformer(target.srid, storage).transform(*wanted.T))
    if not np.isfinite(given).all():
        return None
    middle, aim = given.mean(axis=0), wanted.mean(axis=0)
    matrix = np.linalg.lstsq(given - middle, wanted - aim, rcond=None)[0].T
    if np.abs((given - middle) @ matrix.T + aim - wanted).max() > within:
        return None
    a, b, d, e = (float(each) for each in matrix.ravel())
    x, y = (float(each) for each in aim - matrix @ middle)
    return a, b, d, e, x, y


@dataclass(frozen=True, slots=True)
class BBox:
    """Some ground in the storage CRS: as hexadecimal EWKB, and its bounds.

    The bounds (min E, min N, max E, max N) of no ground at all are no numbers.
    """

    ewkb: str
    bounds: tuple[float, float, float, float]

    @property
    def is_empty(self) -> bool:
        """Whether it is no ground at all: too far away for the storage CRS."""
        return math.isnan(self.bounds[0])

    @property
    def is_selective(self) -> bool:
        """Whether so few parcels are there that its index is always the way to them."""
        return is_selective(self.bounds)


def is_selective(bounds: tuple[float, float, float, float]) -> bool:
    """Whether few parcels are within bounds in the storage CRS."""
    west, south, east, north = bounds
    return east - west <= _SMALL_METRES and north - south <= _SMALL_METRES


def ewkb(geometry: BaseGeometry, storage: int) -> str:
    """Return a geometry in the storage CRS as PostGIS reads it: hexadecimal EWKB.

    Bound as `geometry` it is read once; a function of WKB would be called again for each row.
    """
    return str(shapely.to_wkb(shapely.set_srid(geometry, storage), hex=True, include_srid=True))


def parse_bbox(text: str, asked: Crs, storage: int) -> BBox:
    """Return the area of a `bbox` parameter: that of `box`, at a fraction of its cost if small."""
    west, south, east, north = numbers = _numbers(text, asked)
    x, y = (west, east, east, west), (south, south, north, north)
    if asked.srid != storage:
        reach = _centre(storage) - _REACH_DEGREES, _centre(storage) + _REACH_DEGREES
        if not (
            (asked.geographic or asked.srid == 3857)
            and _SMALLEST < east - west <= _STEP
            and _SMALLEST < north - south <= _STEP
            and reach[0] < west < reach[1]
            and -85 < south < 84
        ):
            made = _shape(numbers, asked, storage)
            return BBox(ewkb(made, storage), made.bounds)
        # as `_moved` would, whose edges in one piece these are
        source = asked.srid if asked.geographic else 4326
        x, y = transformer(source, storage).transform(array("d", x), array("d", y))
    elif not (west < east and south < north):
        made = _shape(numbers, asked, storage)
        return BBox(ewkb(made, storage), made.bounds)
    packed = _QUADRANGLE.pack(
        1, _POLYGON, storage, 1, 5, x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3], x[0], y[0]
    )  # fmt: skip
    return BBox(packed.hex(), (min(x), min(y), max(x), max(y)))


_QUADRANGLE = struct.Struct("<BIIII10d")  # a polygon of one ring of five points, as EWKB
_POLYGON = 0x20000003  # with an SRID
_STEP = 0.004  # degrees: a parallel that long bends by far less than 1 mm
_SMALLEST = 1e-7  # degrees: what is smaller may not be a polygon any more


def bbox_polygon(text: str, asked: Crs, storage: int, parameter: str = "bbox") -> BaseGeometry:
    """Return the area of a `bbox` parameter, or of a box in another one, in the storage CRS.

    Four numbers in the axis order of `asked`, or six with heights, which CRS84 alone has. In a
    geographic CRS a box whose west is greater than its east crosses the antimeridian. Its edges
    follow the parallels and meridians (or grid lines) of `asked` to 1 mm. Raises `BadRequest`.
    """
    return _shape(_numbers(text, asked, parameter), asked, storage)


#: What numbers are written with; Python itself would also take 1_000 and other alphabets.
_PLAIN = re.compile(r"[-+0-9.eE, ]+")


def _numbers(text: str, asked: Crs, parameter: str = "bbox") -> tuple[float, float, float, float]:
    """West, south, east and north of a box, checked; of web mercator in degrees."""
    try:
        numbers = [float(part) for part in text.split(",")] if _PLAIN.fullmatch(text) else []
    except ValueError:
        numbers = []
    if len(numbers) == 6 and asked.uri == CRS84:
        if numbers[2] > numbers[5]:
            raise _bad_box(parameter, text, "its lowest height is above its highest")
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        four = "it must be four numbers (minimum, minimum, maximum, maximum)"
        raise _bad_box(parameter, text, four)
    west, south, east, north = numbers
    if asked.north_first:
        south, west, north, east = numbers
    if south > north:
        raise _bad_box(parameter, text, "its south is north of its north")
    if west > east and not asked.geographic:
        raise _bad_box(parameter, text, "its west is east of its east")
    if asked.geographic and not (south >= -90 and north <= 90):
        raise _bad_box(parameter, text, "latitudes are from -90 to 90")
    if asked.srid == 3857:
        # its grid lines are parallels and meridians, so it is a geographic box
        half = 20037508.342789244
        (west, east), (south, north) = transformer(3857, 4326).transform(
            [min(max(each, -half), half) for each in (west, east)],
            [min(max(each, -half), half) for each in (south, north)],
        )
    return west, south, east, north


def _shape(numbers: tuple[float, float, float, float], asked: Crs, storage: int) -> BaseGeometry:
    west, south, east, north = numbers
    if asked.geographic or asked.srid == 3857:
        return _geographic(west, south, east, north, asked, storage)
    if asked.srid == storage:
        return _valid(shapely.box(west, south, east, north))
    limits = (500_000 - _REACH_METRES, 500_000 + _REACH_METRES)
    west, east = np.clip([west, east], *limits)
    south, north = np.clip([south, north], -_POLAR_METRES, _POLAR_METRES)
    return _moved([(west, south, east, north)], asked.srid, storage, step=500.0)


def to_storage(geometry: BaseGeometry, asked: Crs, storage: int) -> BaseGeometry:
    """Return a geometry given in `asked`, axes in its order, in the storage CRS.

    Its edges, straight in `asked`, are cut as those of a box are. What lies too far away for
    the storage CRS is drawn to the edge of its reach, where no parcel is. A vertex that was read
    from here comes back to where it is stored, so what touched or was equal does so again.
    """
    if asked.north_first:
        geometry = shapely.transform(geometry, lambda points: points[:, ::-1])
    if asked.srid == storage:
        return _valid(geometry)
    step = _STEP if asked.geographic else 500.0
    pieces = shapely.length(geometry) / step
    geometry = shapely.segmentize(geometry, step * max(1.0, pieces / 20_000))
    centre = _centre(storage)
    if asked.geographic:
        low, high = (centre - _REACH_DEGREES, -85.0), (centre + _REACH_DEGREES, 85.0)
    elif asked.srid == 3857:
        metre = 20037508.342789244 / 180
        low = ((centre - _REACH_DEGREES) * metre, -20037508.0)
        high = ((centre + _REACH_DEGREES) * metre, 20037508.0)
    else:
        low = (500_000 - _REACH_METRES, -_POLAR_METRES)
        high = (500_000 + _REACH_METRES, _POLAR_METRES)
    move = transformer(asked.srid, storage).transform

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        made = np.column_stack(move(*np.clip(points, low, high).T))
        stored = np.round(made, 3)
        return np.where(
            (np.abs(made - stored) < _READ_METRES).all(axis=1, keepdims=True), stored, made
        )

    return _valid(shapely.transform(geometry, place))


def _geographic(
    west: float, south: float, east: float, north: float, asked: Crs, storage: int
) -> BaseGeometry:
    source = 4326 if asked.srid == 3857 else asked.srid
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
    return _moved(parts, source, storage, step=_STEP)


@cache
def _centre(storage: int) -> float:
    """The longitude around which the storage CRS is at its best."""
    known = pyproj.CRS.from_epsg(storage)
    operation = known.coordinate_operation
    for parameter in operation.params if operation else ():
        if parameter.name in {"Longitude of natural origin", "Longitude of false origin"}:
            return float(parameter.value)
    area = known.area_of_use
    return (area.west + area.east) / 2 if area else 0.0


def _moved(
    boxes: list[tuple[float, float, float, float]], source: int, storage: int, *, step: float
) -> BaseGeometry:
    """The boxes in the storage CRS, their edges cut so that chords stay within 1 mm.

    `step` is half a kilometre in the source's unit: a parallel that long bends by far less than
    1 mm in a transverse Mercator; very large boxes get 400 pieces an edge.
    """
    move = transformer(source, storage).transform
    parts = []
    for west, south, east, north in boxes:
        along = _steps(west, east, step)
        up = _steps(south, north, step)
        x = np.concatenate([along, np.full(up.size, east), along[::-1], np.full(up.size, west)])
        y = np.concatenate([np.full(along.size, south), up, np.full(along.size, north), up[::-1]])
        parts.append(shapely.Polygon(np.column_stack(move(x, y))))
    made: BaseGeometry = shapely.MultiPolygon(parts) if len(parts) != 1 else parts[0]
    return _valid(made)


def _valid(made: BaseGeometry) -> BaseGeometry:
    """A box of no width is a line or a point; the two sides of a huge one may touch."""
    return made if shapely.is_valid(made) else shapely.make_valid(made)


def _steps(start: float, end: float, step: float) -> NDArray[np.float64]:
    pieces = min(400, max(1, math.ceil((end - start) / step)))
    return np.linspace(start, end, pieces + 1) if pieces > 1 else np.array([start, end])


def _bad_box(parameter: str, text: str, why: str) -> BadRequest:
    what, system = ("", "bbox-crs") if parameter == "bbox" else ("BBOX: ", f"{parameter}-crs")
    return BadRequest(
        f"Parameter {parameter} is not usable: {what}{why} (given: {text[:200]!r}).",
        hint=f"Give west,south,east,north in the axis order of {system}; CRS84 unless told.",
    )
