"""Writes small shapefiles byte by byte, sound ones and damaged ones."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyproj

Ring = Sequence[tuple[float, float]]

#: A corner of Bình Phước in EPSG:9212.
ORIGIN = (550_000.0, 1_280_000.0)


def square(column: int = 0, row: int = 0, size: float = 20.0) -> list[tuple[float, float]]:
    """A closed square ring, clockwise, on a lattice."""
    x, y = ORIGIN[0] + column * size, ORIGIN[1] + row * size
    return [(x, y), (x, y + size), (x + size, y + size), (x + size, y), (x, y)]


def wkt(epsg: int) -> str:
    """The .prj of an EPSG code, as ESRI writes it."""
    return pyproj.CRS.from_epsg(epsg).to_wkt("WKT1_ESRI")


def polygon(rings: Sequence[Ring], shape: int = 5, points: int | None = None) -> bytes:
    """The content of a polygon record; `points` lies about how many there are."""
    vertices = [p for ring in rings for p in ring]
    xs, ys = [p[0] for p in vertices], [p[1] for p in vertices]
    starts, at = [], 0
    for ring in rings:
        starts.append(at)
        at += len(ring)
    return (
        struct.pack("<i4d", shape, min(xs), min(ys), max(xs), max(ys))
        + struct.pack("<2i", len(rings), len(vertices) if points is None else points)
        + struct.pack(f"<{len(starts)}i", *starts)
        + b"".join(struct.pack("<2d", *p) for p in vertices)
    )


NULL = struct.pack("<i", 0)


def point(x: float, y: float) -> bytes:
    """The content of a point record."""
    return struct.pack("<i2d", 1, x, y)


def _head(size: int, shape: int) -> bytes:
    x, y = ORIGIN
    bounds = struct.pack("<8d", x, y, x + 1000, y + 1000, 0, 0, 0, 0)
    return struct.pack(">i20xi", 9994, size // 2) + struct.pack("<2i", 1000, shape) + bounds


def parts(
    records: Sequence[bytes],
    columns: Mapping[str, Sequence[str | bytes]],
    *,
    shape: int = 5,
    prj: str | None = None,
    cpg: str | None = None,
    encoding: str = "utf-8",
    width: int = 40,
    deleted: Sequence[int] = (),
    numeric: Sequence[str] = (),
) -> dict[str, bytes]:
    """The parts of a shapefile, suffix → bytes; all columns are text of one width."""
    shp, shx = b"", b""
    for index, record in enumerate(records):
        shx += struct.pack(">2i", (100 + len(shp)) // 2, len(record) // 2)
        shp += struct.pack(">2i", index + 1, len(record) // 2) + record
    rows = max((len(values) for values in columns.values()), default=0)
    fields = b"".join(
        name.encode(encoding).ljust(11, b"\0")
        + (b"N" if name in numeric else b"C")
        + bytes(4)
        + bytes([width, 0])
        + bytes(14)
        for name in columns
    )
    size = 1 + width * len(columns)
    dbf = struct.pack("<4BIHH20x", 3, 126, 1, 1, rows, 33 + len(fields), size) + fields + b"\r"
    for row in range(rows):
        dbf += b"*" if row in deleted else b" "
        for values in columns.values():
            value = values[row]
            raw = value if isinstance(value, bytes) else value.encode(encoding)
            dbf += raw[:width].ljust(width)
    files = {
        ".shp": _head(100 + len(shp), shape) + shp,
        ".shx": _head(100 + len(shx), shape) + shx,
        ".dbf": dbf + b"\x1a",
    }
    if prj is not None:
        files[".prj"] = prj.encode()
    if cpg is not None:
        files[".cpg"] = cpg.encode()
    return files


def sound(count: int = 3, epsg: int = 9212, **more: Sequence[str | bytes]) -> dict[str, bytes]:
    """A sound survey of `count` squares in a row, on sheet 25."""
    columns: dict[str, Sequence[str | bytes]] = {
        "SHBANDO": ["25"] * count,
        "SHTHUA": [str(i + 1) for i in range(count)],
        **more,
    }
    return parts([polygon([square(i)]) for i in range(count)], columns, prj=wkt(epsg))


def zipped(path: Path, files: dict[str, bytes], stem: str = "thua") -> Path:
    """Write the parts into a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, data in files.items():
            archive.writestr(stem + suffix, data)
    return path


def plain(folder: Path, files: dict[str, bytes], stem: str = "thua") -> Path:
    """Write the parts into a folder; return the .shp."""
    for suffix, data in files.items():
        (folder / (stem + suffix)).write_bytes(data)
    return next(p for p in folder.iterdir() if p.name.lower() == f"{stem}.shp".lower())
