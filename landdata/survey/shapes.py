"""The polygons of a block, as surveyed and in the storage CRS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.reference import vn2000
from landdata.survey import extent, formats, shapefile
from landdata.survey.dataset import Dataset
from landdata.survey.reader import Block

_POLYGONAL = (int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON))
#: Stored coordinates are on a grid of 1 mm.
DIGITS = 3

_WHY = {
    "null": ("dòng không có hình", "the row has none"),
    "none": ("dòng không có hình, hoặc hình bị hỏng", "the row has none, or a damaged one"),
    "damaged": (
        "bản ghi hình bị hỏng, hoặc vòng hở hay ít hơn bốn đỉnh",
        "its record is damaged, or a ring is open or has fewer than four vertices",
    ),
    "nan": (
        "có tọa độ không phải là số hữu hạn",
        "it has a coordinate that is no finite number",
    ),
    "vertices": ("có quá nhiều đỉnh", "it has more vertices than are allowed"),
    "type": ("hình không phải là vùng", "its shape is no polygon"),
    "outside": ("có tọa độ ngoài phạm vi của hệ tọa độ", "it has a coordinate beyond the CRS"),
}


@dataclass(slots=True, kw_only=True)
class Shapes:
    """n polygons as surveyed, in the source's CRS, and their coordinates as one array."""

    geometry: NDArray[np.object_]  # (n,) Polygon, MultiPolygon or None
    coordinates: NDArray[np.float64]  # (vertices, 2), of all polygons in order
    lost: list[tuple[int, str]]  # places without a usable shape, and the key of the reason

    def findings(self, rows: NDArray[np.int64]) -> list[Finding]:
        """Return the findings on the `rows` without a usable shape."""
        return [
            Finding(
                "missing-geometry",
                row=int(rows[place]),
                detail={"why": _WHY[why][0], "why_en": _WHY[why][1]},
            )
            for place, why in self.lost
        ]

    def _lose(self, lost: NDArray[np.bool_], why: str) -> None:
        self.lost += [(place, why) for place in np.flatnonzero(lost).tolist()]
        self.geometry[lost] = None

    def to_storage(
        self, source: int, target: int
    ) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Return the polygons in CRS `target` on its grid, and their areas in `source`, m² (n,).

        A polygon with a coordinate beyond the CRS is lost.
        """
        if source == target:
            moved = np.round(self.coordinates, DIGITS)
        else:
            transformer = vn2000.transformer(source, target)
            x, y = transformer.transform(self.coordinates[:, 0], self.coordinates[:, 1])
            moved = np.round(np.column_stack([x, y]), DIGITS)
        valid = extent.on_globe(moved) & extent.on_globe(self.coordinates)
        if not valid.all():
            counts = shapely.get_num_coordinates(self.geometry)
            owner = np.repeat(np.arange(len(self.geometry)), counts)
            lost = np.zeros(len(self.geometry), np.bool_)
            lost[owner[~valid]] = True
            self._lose(lost, "outside")
            moved = moved[~lost[owner]]
            self.coordinates = self.coordinates[~lost[owner]]
        unit = vn2000.metres_per_unit(source)
        measured = None if unit is None else _areas(self.geometry) * unit**2
        geometry = self.geometry
        if not np.array_equal(moved, self.coordinates):  # equal if in the storage CRS, on the grid
            geometry = shapely.set_coordinates(geometry, moved)
        return geometry, _areas(geometry) if measured is None else measured


def build(block: Block, dataset: Dataset, max_vertices: int) -> Shapes:
    """Return the polygons of a block; a row without a usable one is lost, not an error."""
    wkb = block.wkb.to_numpy(zero_copy_only=False) if len(block.wkb) else np.empty(0, object)
    with np.errstate(invalid="ignore"):  # a NaN in the file becomes a finding, below
        geometry = shapely.from_wkb(wkb, on_invalid="ignore")
    if dataset.shape not in ("Polygon", "MultiPolygon"):  # drop heights and measures
        geometry = shapely.force_2d(geometry)
    shapes = Shapes(geometry=geometry, coordinates=np.empty((0, 2)), lost=[])
    absent = block.wkb.is_null().to_numpy(zero_copy_only=False)
    empty = shapely.is_missing(geometry) | shapely.is_empty(geometry)
    null, damaged = np.zeros_like(absent), np.zeros_like(absent)
    if absent.any():
        declared = shapefile.null_shapes(dataset, block.ids[absent])
        null[absent] = declared
        damaged[absent] = ~declared
        # These have a finding already.
        null &= ~np.isin(block.ids, [*block.unread, *block.reported])
    not_finite = np.zeros_like(absent)
    unread = empty & ~absent
    not_finite[unread] = [_has_nan(wkb[index]) for index in np.flatnonzero(unread)]
    kinds = shapely.get_type_id(geometry)
    other = ~empty & ~np.isin(kinds, _POLYGONAL)
    geometry[other] = None
    counts = shapely.get_num_coordinates(geometry)
    coordinates = shapely.get_coordinates(geometry)
    finite = np.isfinite(coordinates)
    if not finite.all():
        owner = np.repeat(np.arange(len(geometry)), counts)
        not_finite[owner[~finite.all(axis=1)]] = True
    unsure = dataset.format is formats.GEOPACKAGE  # its driver does not distinguish the two
    shapes._lose(null, "none" if unsure else "null")
    shapes._lose(other, "type")
    shapes._lose(damaged | (unread & ~not_finite), "damaged")
    shapes._lose(not_finite, "nan")
    shapes._lose(counts > max_vertices, "vertices")
    shapes.coordinates = shapely.get_coordinates(geometry) if shapes.lost else coordinates
    return shapes


def _has_nan(wkb: bytes) -> bool:
    """Tell whether a WKB that GEOS cannot read holds a number that is not finite."""
    # The alignment of doubles depends on the rings before them: try all.
    for offset in range(8):
        numbers = np.frombuffer(wkb[offset : offset + (len(wkb) - offset) // 8 * 8], "<f8")
        if not np.isfinite(numbers).all():
            return True
    return False


def _areas(geometry: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return the areas of polygons, m²; NaN for null, and for holes that exceed their shell."""
    areas: NDArray[np.float64] = shapely.area(geometry)
    return np.where(areas < 0, np.nan, areas)
