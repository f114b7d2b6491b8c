"""VN-2000: its zones, its one datum operation, and the transformer between any two CRSs.

VN-2000 and WGS 84 are joined by EPSG:6960 everywhere. EPSG lists a second operation (5194, Mekong
delta) 0.8 m away, which PROJ on its own picks for some points of a province.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

import numpy as np
import pyproj
from pyproj.exceptions import CRSError
from pyproj.transformer import TransformerGroup

from landdata.errors import BadRequest, LandDataError
from landdata.reference import datums
from landdata.reference.datums import Datum

#: EPSG code of VN-2000 in degrees.
VN_2000 = datums.VN2000.epsg
#: The datum operation between VN-2000 and WGS 84, and its EPSG parameters in PROJ's syntax.
DATUM_OPERATION, HELMERT = datums.VN2000.operation, datums.VN2000.helmert

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

#: Vietnam on land and its coast, as (lowest, highest): degrees, and metres of any of its zones.
LONGITUDES, LATITUDES = (101.5, 110.5), (7.5, 24.0)
EASTINGS, NORTHINGS = (150_000.0, 850_000.0), (800_000.0, 2_700_000.0)

_MERCATOR = re.compile(r"(popular visualisation pseudo )?mercator", re.IGNORECASE)


def is_vn2000(epsg: int) -> bool:
    """Tell whether an EPSG code is a zone of VN-2000 or VN-2000 in degrees."""
    return epsg in ZONES or epsg == VN_2000


@lru_cache(maxsize=64)
def crs_from_epsg(epsg: int) -> pyproj.CRS:
    """Return the CRS of an EPSG code; raises `BadRequest` for a code that EPSG does not list."""
    try:
        return pyproj.CRS.from_epsg(epsg)
    except CRSError:
        raise BadRequest(
            "EPSG:{epsg} is not a known CRS.",
            hint="Give the EPSG code of the survey's CRS, for example 9212.",
            code="unknown-crs",
            epsg=epsg,
        ) from None


@lru_cache(maxsize=64)
def metres_per_unit(epsg: int) -> float | None:
    """Return how many metres the unit of a CRS is; null where no areas are measured in it.

    That is in degrees, and in Mercator's projection, whose scale grows with the latitude: by 4 %
    in the south of Vietnam, by 15 % in the north. Raises `BadRequest` for an unlisted code.
    """
    operation = crs_from_epsg(epsg).coordinate_operation
    if (
        not crs_from_epsg(epsg).is_projected
        or operation is None
        or _MERCATOR.match(operation.method_name)
    ):
        return None
    return float(crs_from_epsg(epsg).axis_info[0].unit_conversion_factor)


def check_storage(srid: int) -> None:
    """Raise `BadRequest` for a storage CRS in which limits and areas are not in metres."""
    if metres_per_unit(srid) != 1.0:
        raise BadRequest(
            "LANDDATA_SRID={srid} ({name}) is not a CRS that measures metres.",
            hint="Name a projected CRS in metres, for example 9212.",
            code="bad-storage-crs",
            srid=srid,
            name=crs_from_epsg(srid).name,
        )


@lru_cache(maxsize=64)
def datum(epsg: int) -> Datum | None:
    """Return the datum of a CRS; null for one that `datums` does not list."""
    geodetic = crs_from_epsg(epsg).datum
    return datums.find(geodetic.name) if geodetic is not None else None


def pipeline(source: int, target: int) -> str:
    """Return the PROJ pipeline from one EPSG code to another, x before y (lon before lat).

    Between VN-2000 and any other datum it goes through EPSG:6960 and nothing else, between HN-72
    and any other through EPSG:1544. The same text serves PROJ in Python and in the database.
    Raises `BadRequest` where EPSG has no operation between the two datums.
    """
    return operation(source, target)[0]


@lru_cache(maxsize=256)
def operation(source: int, target: int) -> tuple[str, float | None]:
    """Return `pipeline` and the accuracy in metres that EPSG states; null: it states none."""
    one, other = datum(source), datum(target)
    if one and other and one != other and (one.is_former or other.is_former):
        if one.leads_to_wgs84 and other.leads_to_wgs84:
            return _former_pipeline(source, one, other, target)
        if datums.VN2000 in (one, other):
            raise _no_operation(source, target)
    group = _group(source, target)
    pinned = is_vn2000(source) != is_vn2000(target)
    for step in group.transformers:
        text, accuracy = step.definition, step.accuracy if step.accuracy >= 0 else None
        if not pinned or f"{HELMERT} step" in text or f"inv proj=helmert {HELMERT}" in text:
            return text, accuracy
    if one in (datums.VN2000, datums.WGS84) and other in (datums.VN2000, datums.WGS84):
        raise LandDataError(
            "PROJ has no operation EPSG:{datum_operation} from EPSG:{source} to EPSG:{target}.",
            hint="Reinstall PROJ's database (proj.db), then run `landdata doctor`.",
            code="no-datum-operation",
            datum_operation=DATUM_OPERATION,
            source=source,
            target=target,
        )
    raise _no_operation(source, target)


def _group(source: int, target: int) -> TransformerGroup:
    with warnings.catch_warnings():
        # PROJ warns of finer grids that are not installed; the operation is chosen by us.
        warnings.simplefilter("ignore", UserWarning)
        return TransformerGroup(crs_from_epsg(source), crs_from_epsg(target), always_xy=True)


def _former_pipeline(source: int, one: Datum, other: Datum, target: int) -> tuple[str, float]:
    """Return the pipeline by the operations of both datums, and the sum of their accuracies."""
    steps = [
        _steps(_group(source, one.epsg).transformers[0].definition),
        "step proj=unitconvert xy_in=deg xy_out=rad step proj=push v_3",
        f"step proj=cart ellps={one.ellipsoid.name}",
        *([f"step proj=helmert {one.helmert}"] if one.helmert else []),
        *([f"step inv proj=helmert {other.helmert}"] if other.helmert else []),
        f"step inv proj=cart ellps={other.ellipsoid.name}",
        "step proj=pop v_3 step proj=unitconvert xy_in=rad xy_out=deg",
        _steps(_group(other.epsg, target).transformers[0].definition),
    ]
    return f"proj=pipeline {' '.join(steps)}", one.accuracy + other.accuracy


def _steps(text: str) -> str:
    return text.removeprefix("proj=pipeline ") if "step " in text else f"step {text}"


def _no_operation(source: int, target: int) -> BadRequest:
    return BadRequest(
        "EPSG has no operation for parcels from EPSG:{source} ({name}) to EPSG:{target}.",
        hint="Convert the survey to VN-2000 with the parameters of the office that made it.",
        code="no-datum-operation",
        source=source,
        name=crs_from_epsg(source).name,
        target=target,
    )


@lru_cache(maxsize=256)
def transformer(source: int, target: int) -> pyproj.Transformer:
    """Return the transformer between two EPSG codes by `pipeline`: x, y (lon, lat) in and out."""
    if source == target:
        return pyproj.Transformer.from_pipeline("proj=noop")
    return pyproj.Transformer.from_pipeline(pipeline(source, target))


@lru_cache(maxsize=64)
def height_plane(srid: int) -> tuple[float, float, float]:
    """Return (a, b, c): VN-2000's ellipsoid lies a + b·easting + c·northing m above WGS 84's.

    For a zone of VN-2000 (EPSG code), within 0.2 m all over Vietnam. The two ellipsoids are up to
    40 m apart, and a position that leaves one at height 0 reaches the other up to 0.4 mm beside
    the one from which the inverse at height 0 leads back. From this height both are the same.
    """
    solid = pipeline(srid, 4326).replace("step proj=push v_3", "").replace("step proj=pop v_3", "")
    east, north = (
        axis.ravel() for axis in np.meshgrid(np.linspace(*EASTINGS, 9), np.linspace(*NORTHINGS, 19))
    )
    lifted = pyproj.Transformer.from_pipeline(solid).transform(east, north, np.zeros_like(east))[2]
    plane = np.linalg.lstsq(np.column_stack([np.ones_like(east), east, north]), lifted)[0]
    # Millimetres, and as many digits as every version of PROJ agrees on.
    return round(float(plane[0]), 3), round(float(plane[1]), 9), round(float(plane[2]), 9)
