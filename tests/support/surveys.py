"""Small survey files, written where a test needs one."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.survey import formats

DRIVERS = {f.suffix: f.driver for f in (formats.SHAPEFILE, *formats.FORMATS) if f.driver}
EAST, NORTH = 548_000.0, 1_281_000.0  # inside Bình Phước in EPSG:9212


def plot(
    column: float, row: float, *, width: float = 20.0, height: float = 20.0
) -> shapely.Polygon:
    """A rectangle on a lattice of 20 m."""
    x, y = EAST + 20 * column, NORTH + 20 * row
    return shapely.box(x, y, x + width, y + height)


def parcel(number: int | str, geometry: BaseGeometry, **values: Any) -> dict[str, Any]:
    """A row of a survey: sheet 1 and the measured area, unless told otherwise."""
    row = {
        "SHBANDO": "1",
        "SHTHUA": str(number),
        "DIENTICH": round(geometry.area, 1),
        "KHLOAIDAT": "CLN",
        "TENCHU": f"Chủ sử dụng {number}",
    }
    return {**row, **values, "geometry": geometry}


def write(path: Path, rows: Sequence[dict[str, Any]], *, srid: int = 9212) -> Path:
    """Write rows as a zipped shapefile; the same rows give another file under another name."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True)
    names = [name for name in rows[0] if name != "geometry"]
    pyogrio.raw.write(
        folder / f"{path.stem}.shp",
        geometry=shapely.to_wkb(np.array([row["geometry"] for row in rows], dtype=object)),
        field_data=[np.array([row[name] for row in rows]) for name in names],
        fields=names,
        geometry_type="Polygon",
        crs=f"EPSG:{srid}",
        encoding="UTF-8",
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(folder.iterdir()):
            archive.write(member, member.name)
    return path


def write_layer(
    path: Path,
    rows: Sequence[dict[str, Any]],
    *,
    srid: int = 9212,
    layer: str | None = None,
    append: bool = False,
    kind: str = "Polygon",
) -> Path:
    """Write rows in the format of the path's suffix."""
    names = [name for name in rows[0] if name != "geometry"]
    options = {"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}  # it would change the order
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array([row["geometry"] for row in rows], dtype=object)),
        field_data=[np.array([row[name] for row in rows]) for name in names],
        fields=names,
        geometry_type=kind,
        crs=f"EPSG:{srid}",
        encoding="UTF-8",
        driver=DRIVERS[path.suffix],
        layer=layer,
        append=append,
        **options,
    )
    path.with_suffix(".xsd").unlink(missing_ok=True)
    return path


#: A CSV of two parcels by the names of their points; `{}` is the heading of the names.
NAMED_POINTS = "sheet;number;{};X;Y\n" + "\n".join(
    f"25;{number};{name};{y};{x}"
    for number, names, shape in (
        ("1", ("M1", "M2", "M3", "M4"), plot(0, 0)),
        ("2", ("M2", "M5", "M6", "M3"), plot(0, 1)),
    )
    for name, (x, y) in zip(names, shape.exterior.coords[:-1], strict=True)
)
