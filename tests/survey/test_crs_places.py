"""Where a survey's parcels are stored, in millimetres, by EPSG's operations one after the other."""

from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from support import surveys

from landdata import survey
from landdata.errors import BadSurvey
from landdata.settings import Settings

SETTINGS = Settings(srid=9212)
#: EPSG's operation of each datum to WGS 84, by the code of the datum in degrees.
OPERATIONS = {4756: 6960, 4147: 1544, 4326: None}


def datum_of(epsg: int) -> int:
    """Return the CRS in degrees below a CRS."""
    geodetic = pyproj.CRS(epsg).geodetic_crs
    assert geodetic is not None
    return int(geodetic.to_epsg() or 0)


def converted(points: np.ndarray, source: int, target: int) -> np.ndarray:
    """Return points of one CRS in another: degrees, WGS 84, degrees of the other datum."""
    datums = [datum_of(source), datum_of(target)]
    lon, lat = pyproj.Transformer.from_crs(source, datums[0], always_xy=True).transform(*points.T)
    for datum, direction in zip(datums, ("FORWARD", "INVERSE"), strict=True):
        if datums[0] != datums[1] and (operation := OPERATIONS[datum]) is not None:
            pinned = f"urn:ogc:def:coordinateOperation:EPSG::{operation}"
            lat, lon = pyproj.Transformer.from_pipeline(pinned).transform(
                lat, lon, direction=direction
            )
    to_target = pyproj.Transformer.from_crs(datums[1], target, always_xy=True)
    return np.column_stack(to_target.transform(lon, lat))


@pytest.mark.parametrize("epsg", [9212, 5897, 5899, 3405, 4756, 4326, 32648, 3857, 2044, 4147])
@pytest.mark.parametrize("srid", [9212, 5899])
def test_parcels_are_stored_where_the_operation_of_their_datum_puts_them(
    tmp_path: Path, epsg: int, srid: int
) -> None:
    drawn = [
        shapely.transform(surveys.plot(column, 0), lambda xy: converted(xy, 9212, epsg))
        for column in range(3)
    ]
    rows = [surveys.parcel(number, shape, DIENTICH=400.0) for number, shape in enumerate(drawn, 1)]
    file = surveys.write(tmp_path / "thua.zip", rows, srid=epsg)
    asked = epsg in (32648, 2044, 4147)
    if asked:
        with pytest.raises(BadSurvey):
            survey.read(file, Settings(srid=srid))
    read = survey.read(file, Settings(srid=srid), crs=epsg if asked else None)
    assert read.crs.epsg == epsg
    for stored, shape in zip(read.geometry, drawn, strict=True):
        expected = shapely.transform(shape, lambda xy: converted(xy, epsg, srid))
        apart = shapely.hausdorff_distance(stored, expected)
        assert apart < 1.5e-3  # the grid of a millimetre, and the shapefile's numbers
