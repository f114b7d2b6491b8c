"""The CRSs that a survey's coordinates fit, by where each would put them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj

from landdata.reference.datums import WGS84
from landdata.reference.vn2000 import VN_2000, ZONES, crs_from_epsg, is_vn2000, transformer
from landdata.survey.extent import Bounds
from landdata.translations import sentence

#: xmin, ymin, xmax, ymax of a commune's boundary, in the storage CRS.
Box = tuple[float, float, float, float]

#: Zones in which surveys of more than one province are made: likelier than another province's.
_COMMON = (5899, 5897, 5898, 5896, 3405, 3406)
AT_HOME = sentence("in the deployment's area")
IN_COMMUNE = sentence("in the commune")
_IN_AREA = sentence("in the area of this CRS")
COMMUNE_MARGIN = 2_000.0  # metres around a commune's box in which the middle may lie
AREA_MARGIN = 0.2  # degrees by which data may pass an area of use: it is a box drawn by hand


@lru_cache(maxsize=64)
def _to_degrees(epsg: int) -> pyproj.Transformer:
    crs = crs_from_epsg(epsg)
    return pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)


def place(bounds: Bounds, epsg: int) -> tuple[float, float] | None:
    """Return (lon, lat) of the middle if the coordinates are in this CRS; null: not on Earth."""
    x, y = bounds.centre
    if crs_from_epsg(epsg).is_geographic and not bounds.within((-180, 180), (-90, 90)):
        return None
    lon, lat = _to_degrees(epsg).transform(x, y)
    return (float(lon), float(lat)) if np.isfinite(lon) and np.isfinite(lat) else None


def inside(place: tuple[float, float] | None, epsg: int, margin: float = AREA_MARGIN) -> bool:
    """Tell whether (lon, lat) is in the area of use of a CRS, widened by `margin` degrees."""
    area = crs_from_epsg(epsg).area_of_use
    if place is None or area is None:
        return place is not None
    return (
        area.west - margin <= place[0] <= area.east + margin
        and area.south - margin <= place[1] <= area.north + margin
    )


def distance(bounds: Bounds, epsg: int, srid: int, commune: Box) -> float:
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
    codes = (
        dict.fromkeys((srid, *_COMMON, *ZONES, VN_2000, WGS84.epsg))
        if is_vn2000(srid)
        else {srid: None}
    )
    for code in codes:
        there = place(bounds, code)
        home = inside(there, srid, 0)
        # A whole province is surveyed in one 3° zone, also beyond the area of use of that zone.
        near = commune is not None and distance(bounds, code, srid, commune) <= COMMUNE_MARGIN
        if there is None or (
            not near and not inside(there, code, 1.0 if home and code in _COMMON else AREA_MARGIN)
        ):
            continue
        reason = sentence(
            "the parcels lie at {longitude}°E {latitude}°N, {area}",
            longitude=round(there[0], 2),
            latitude=round(there[1], 2),
            area=IN_COMMUNE if near else AT_HOME if home else _IN_AREA,
        )
        (in_commune if near else at_home if home else elsewhere).append((code, reason))
    return tuple(in_commune + at_home + elsewhere)


def conversion(bounds: Bounds, epsg: int, srid: int, commune: Box) -> tuple[int, int] | None:
    """Return (zone, other): from the zone the parcels were converted as if drawn in the other.

    Taken back to the numbers of the other zone and read in the zone they were drawn in, they lie
    in the commune. Several pairs of zones may do that; the likeliest is returned: a zone used
    where the commune lies, both of one scale factor. Null: none does.
    """
    pairs: list[tuple[tuple[bool, bool, int], tuple[int, int]]] = []
    likely = list(dict.fromkeys((srid, *_COMMON, *ZONES)))
    centre = (commune[0] + commune[2]) / 2, (commune[1] + commune[3]) / 2
    middle = transformer(srid, VN_2000).transform(*centre)
    for other in ZONES:
        x, y = transformer(epsg, other).transform(*bounds.centre)
        numbers = Bounds(x, y, x, y)
        for zone in ZONES:
            if (
                ZONES[zone][0] != ZONES[other][0]
                and distance(numbers, zone, srid, commune) <= COMMUNE_MARGIN
            ):
                unlikely = not inside(middle, zone), ZONES[zone][1] != ZONES[other][1]
                rank = (*unlikely, likely.index(zone) + likely.index(other))
                pairs.append((rank, (zone, other)))
    return min(pairs)[1] if pairs else None
