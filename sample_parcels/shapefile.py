"""Shapefiles and zips written byte by byte, so that no library's version shows in them.

The layouts are those of the ESRI Shapefile Technical Description (July 1998) and of dBASE III.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Sequence

Ring = Sequence[tuple[float, float]]  # closed, clockwise; holes counter-clockwise
Field = tuple[str, str, int, int]  # name, type C or N, width, decimals

POLYGON = 5


def shp(shapes: Sequence[Sequence[Ring] | None]) -> tuple[bytes, bytes]:
    """Return the `.shp` and the `.shx` of polygons; None is a null shape."""
    body, index = io.BytesIO(), io.BytesIO()
    for number, rings in enumerate(shapes, 1):
        content = _polygon(rings) if rings else struct.pack("<i", 0)
        index.write(struct.pack(">2i", (100 + body.tell()) // 2, len(content) // 2))
        body.write(struct.pack(">2i", number, len(content) // 2) + content)
    points = [p for rings in shapes if rings for ring in rings for p in ring]
    box = _box(points)
    return tuple(  # type: ignore[return-value]
        struct.pack(">7i", 9994, 0, 0, 0, 0, 0, (100 + len(part)) // 2)
        + struct.pack("<2i8d", 1000, POLYGON, *box, 0, 0, 0, 0)
        + part
        for part in (body.getvalue(), index.getvalue())
    )


def _polygon(rings: Sequence[Ring]) -> bytes:
    points = [p for ring in rings for p in ring]
    starts, count = [], 0
    for ring in rings:
        starts.append(count)
        count += len(ring)
    return (
        struct.pack("<i4d2i", POLYGON, *_box(points), len(rings), len(points))
        + struct.pack(f"<{len(starts)}i", *starts)
        + b"".join(struct.pack("<2d", *p) for p in points)
    )


def _box(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*(p for p in points if math.isfinite(p[0] + p[1])), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def dbf(fields: Sequence[Field], rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return a `.dbf`; a value is its bytes, text to the left and numbers to the right.

    Raises `ValueError` for a value wider than its field.
    """
    width = 1 + sum(field[2] for field in fields)
    head = struct.pack("<4B I 2H 20x", 3, 126, 1, 15, len(rows), 33 + 32 * len(fields), width)
    columns = b"".join(
        struct.pack("<11s c 4x 2B 14x", name.encode("ascii"), kind.encode(), size, decimals)
        for name, kind, size, decimals in fields
    )
    lines = []
    for row in rows:
        line = b" "
        for (name, kind, size, _), value in zip(fields, row, strict=True):
            if len(value) > size:
                raise ValueError(f"{value!r} is wider than field {name}")
            line += value.rjust(size) if kind == "N" else value.ljust(size)
        lines.append(line)
    return head + columns + b"\r" + b"".join(lines) + b"\x1a"


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip of the members, stored and undated.

    Stored, because what deflate makes of the same bytes depends on the zlib at hand.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2026, 1, 15, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
    return out.getvalue()
