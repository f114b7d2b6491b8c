"""Make a survey file of very many parcels: `python bench/make_parcels.py 1000000 OUT.zip`.

A jittered lattice in EPSG:9212, vertex-exact on the 1 mm grid: blocks of 10 × 10 parcels with
roads between, sheets of 2 × 2 blocks, 8 to 12 vertices a parcel (10 on average), each of them
shared with the neighbour. Everything is done in whole arrays, so that making the file costs a
fraction of what is measured with it. The same arguments give the same file.
"""

from __future__ import annotations

import argparse
import math
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

BLOCK = 10  # parcels along the side of a block
ROAD = 7_000  # mm
FRONT, DEPTH = 16_000, 28_000  # mm
ORIGIN = (525_000_000, 1_260_000_000)  # mm, E and N in EPSG:9212, inside Bình Phước
CODES = ("ONT", "ONT+CLN", "CLN", "LUC", "HNK", "NTS")
PRJ = (
    'PROJCS["VN-2000_TM-3_106-15",GEOGCS["GCS_VN_2000",DATUM["D_Vietnam_2000",SPHEROID["WGS_1984",'
    '6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",106.25],'
    'PARAMETER["Scale_Factor",0.9999],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]'
)


@dataclass(frozen=True)
class Parcels:
    """n parcels: their rings one after the other, and what a surveyor writes of each.

    `points` (v, 2) are metres in EPSG:9212, every ring closed and clockwise; `start` (n + 1,)
    says where each begins.
    """

    points: NDArray[np.float64]
    start: NDArray[np.int64]
    sheet: NDArray[np.int64]
    number: NDArray[np.int64]
    code: NDArray[np.int64]
    area: NDArray[np.float64]

    def geometry(self) -> NDArray[np.object_]:
        """Return the parcels as shapely polygons."""
        rings = np.arange(len(self.sheet) + 1)
        kind = shapely.GeometryType.POLYGON
        return shapely.from_ragged_array(kind, self.points, (self.start, rings))


def make(count: int, *, seed: int = 1) -> Parcels:
    """Make `count` parcels, of the smallest square of whole sheets that holds as many."""
    chance = np.random.default_rng(seed)
    side = 2 * math.ceil(math.sqrt(count / (4 * BLOCK * BLOCK)))  # blocks
    cells = side * BLOCK
    lines = side * (BLOCK + 1)  # lattice lines: the blocks on both sides of a road have own ones

    # Corners, by line from west to east and from south to north.
    at = np.arange(lines)
    east = at % (BLOCK + 1) * FRONT + at // (BLOCK + 1) * (BLOCK * FRONT + ROAD)
    north = at % (BLOCK + 1) * DEPTH + at // (BLOCK + 1) * (BLOCK * DEPTH + ROAD)
    corner = np.empty((lines, lines, 2))
    corner[..., 0], corner[..., 1] = east[:, None], north[None, :]
    corner += chance.uniform(-1500, 1500, corner.shape)

    def between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return two vertices for each edge; where there is to be one only, both are the same."""
        part = np.stack([np.full(a.shape[:2], 0.33), np.full(a.shape[:2], 0.67)], -1)[..., None]
        middle: NDArray[np.float64] = a[:, :, None] * (1 - part) + b[:, :, None] * part
        middle += chance.uniform(-600, 600, middle.shape)
        single = chance.random(a.shape[:2]) < 0.5
        middle[single, 1] = middle[single, 0]
        return middle

    level = between(corner[:-1], corner[1:])  # on the edges from west to east
    upright = between(corner[:, :-1], corner[:, 1:])  # on the edges from south to north

    # Parcels in reading order: sheets from the north-west, in each its rows from the north.
    sheets = side // 2
    order = np.arange(cells * cells).reshape(sheets, sheets, 2 * BLOCK, 2 * BLOCK)
    sheet_row, sheet_column, row, column = np.indices(order.shape, sparse=True)
    x = (sheet_column * 2 * BLOCK + column + 0 * order).ravel()[:count]
    y = (cells - 1 - (sheet_row * 2 * BLOCK + row) + 0 * order).ravel()[:count]
    sheet = (sheet_row * sheets + sheet_column + 1 + 0 * order).ravel()[:count]
    number = (row * 2 * BLOCK + column + 1 + 0 * order).ravel()[:count]
    i, j = x + x // BLOCK, y + y // BLOCK

    ring = np.empty((count, 13, 2))
    ring[:, 0] = corner[i, j]
    ring[:, 1:3] = upright[i, j]
    ring[:, 3] = corner[i, j + 1]
    ring[:, 4:6] = level[i, j + 1]
    ring[:, 6] = corner[i + 1, j + 1]
    ring[:, 7:9] = upright[i + 1, j][:, ::-1]
    ring[:, 9] = corner[i + 1, j]
    ring[:, 10:12] = level[i, j][:, ::-1]
    ring[:, 12] = ring[:, 0]
    kept = np.ones((count, 13), np.bool_)
    for first in (1, 4, 7, 10):
        kept[:, first + 1] = (ring[:, first] != ring[:, first + 1]).any(-1)
    np.rint(ring, out=ring)
    cross = ring[:, :-1, 0] * ring[:, 1:, 1] - ring[:, 1:, 0] * ring[:, :-1, 1]
    area = -cross.sum(-1) / 2e6
    ring += ORIGIN
    ring /= 1000
    return Parcels(
        points=ring[kept],
        start=np.concatenate([[0], np.cumsum(kept.sum(-1))]),
        sheet=sheet,
        number=number,
        code=chance.integers(0, len(CODES), count),
        area=area,
    )


def shp(parcels: Parcels) -> tuple[bytes, bytes]:
    """Return the `.shp` and `.shx` of the parcels (ESRI, July 1998)."""
    count = np.diff(parcels.start)
    n = len(count)
    size = 2 + 12 + 4 * count  # 32-bit words: record header, polygon header, points
    begin = np.concatenate([[0], np.cumsum(size)])
    words = np.empty(begin[-1], "<i4")
    content = 2 * (size - 2)  # in 16-bit words
    at = begin[:-1]
    words[at] = np.arange(1, n + 1, dtype=">i4").view("<i4")
    words[at + 1] = content.astype(">i4").view("<i4")
    words[at + 2] = 5
    low = np.minimum.reduceat(parcels.points, parcels.start[:-1])
    high = np.maximum.reduceat(parcels.points, parcels.start[:-1])
    box = np.ascontiguousarray(np.hstack([low, high]), "<f8").view("<i4")
    for k in range(8):
        words[at + 3 + k] = box[:, k]
    words[at + 11], words[at + 12], words[at + 13] = 1, count, 0
    # What is not header is points, in order.
    is_point = np.ones(begin[-1], np.bool_)
    for k in range(14):
        is_point[at + k] = False
    words[is_point] = np.ascontiguousarray(parcels.points, "<f8").view("<i4").ravel()
    index = np.stack([50 + 2 * at, content], -1).astype(">i4")

    def header(length: int) -> bytes:
        head = np.array([9994, 0, 0, 0, 0, 0, 50 + length // 2], ">i4").tobytes()
        head += np.array([1000, 5], "<i4").tobytes()
        extent = [*parcels.points.min(0), *parcels.points.max(0), 0, 0, 0, 0]
        return head + np.array(extent, "<f8").tobytes()

    return header(words.nbytes) + words.tobytes(), header(index.nbytes) + index.tobytes()


def dbf(parcels: Parcels, commune: str, *, owners: bool = False) -> bytes:
    """Return the `.dbf` of the parcels, with the field names of older survey files."""
    n = len(parcels.sheet)
    codes = np.array([code.encode() for code in CODES], "S7")
    columns = (
        ("SHBANDO", "N", 6, 0, np.char.rjust(parcels.sheet.astype("S6"), 6)),
        ("SHTHUA", "N", 5, 0, np.char.rjust(parcels.number.astype("S5"), 5)),
        ("DIENTICH", "N", 10, 1, np.char.rjust(parcels.area.round(1).astype("S10"), 10)),
        ("KHLOAIDAT", "C", 7, 0, np.char.ljust(codes, 7)[parcels.code]),
        ("DIACHI", "C", 26, 0, np.full(n, "Thôn 1, xã Suối Mẫu ".encode(), "S26")),
        ("XAID", "C", 5, 0, np.full(n, commune.encode("ascii"), "S5")),
        *([("TENCHU", "C", 24, 0, _owners(n))] if owners else []),
    )
    record = np.zeros(n, [("mark", "S1"), *((name, f"S{size}") for name, _, size, _, _ in columns)])
    record["mark"] = b" "
    for name, _, _, _, values in columns:
        record[name] = values
    head = np.array([(3, 126, 1, 15)], "4u1").tobytes() + np.array([n], "<u4").tobytes()
    sizes = np.array([33 + 32 * len(columns), record.itemsize], "<u2").tobytes()
    fields = b"".join(
        name.encode().ljust(11, b"\0") + kind.encode() + bytes([0, 0, 0, 0, size, decimals])
        + bytes(14)
        for name, kind, size, decimals, _ in columns
    )  # fmt: skip
    return head + sizes + bytes(20) + fields + b"\r" + record.tobytes() + b"\x1a"


def _owners(n: int) -> NDArray[np.bytes_]:
    """Return a made-up owner for each parcel: one holds four, side by side."""
    name = "Chủ sử dụng ".encode()
    return np.char.ljust(np.char.add(name, (np.arange(n) // 4 + 1).astype("S7")), 24)


def write(parcels: Parcels, out: Path, commune: str, *, owners: bool = False) -> None:
    """Write a shapefile, or a zip of one where `out` ends in `.zip`."""
    main, index = shp(parcels)
    parts = {
        ".shp": main,
        ".shx": index,
        ".dbf": dbf(parcels, commune, owners=owners),
        ".prj": PRJ.encode("ascii"),
        ".cpg": b"UTF-8",
    }
    if out.suffix != ".zip":
        for suffix, content in parts.items():
            out.with_suffix(suffix).write_bytes(content)
        return
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for suffix, content in parts.items():
            archive.writestr(zipfile.ZipInfo(out.stem + suffix, (2026, 1, 15, 0, 0, 0)), content,
                             zipfile.ZIP_DEFLATED, 1)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path, help="a .shp or a .zip")
    parser.add_argument("--commune", default="99901")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--owners", action="store_true", help="name a made-up owner of each")
    given = parser.parse_args()
    began = time.perf_counter()
    parcels = make(given.count, seed=given.seed)
    made = time.perf_counter()
    write(parcels, given.out, given.commune, owners=given.owners)
    written = time.perf_counter()
    mean = (parcels.start[-1] / given.count) - 1
    print(f"{given.count} parcels, {mean:.1f} vertices on average")
    print(f"made in {made - began:.1f} s, written in {written - made:.1f} s")


if __name__ == "__main__":
    main()
