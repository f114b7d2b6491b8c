"""Staging: a survey is sent to the store block by block, as binary COPY built column by column.

No row is handled in Python, and only a few parts are in memory at once.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import shapely
from numpy.typing import NDArray

if TYPE_CHECKING:
    from landdata.survey import Part, Survey

BLOCK = 20_000  # rows
_CSV = pa.csv.WriteOptions(include_header=False, quoting_style="all_valid")

_TEXT = (
    "sheet", "number", "address", "owner", "owner_type", "old_sheet", "old_number", "national_id",
)  # fmt: skip
_NUMERIC = {"scale": ">i4", "area": ">f8", "legal_area": ">f8"}
_COLUMNS = (
    "batch_id", "row", "status", "id", *_TEXT, *_NUMERIC, "surveyed_on", "measured_area",
    "land_use", "label", "geom",
)  # fmt: skip
_COPY = f"COPY staged_parcels ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT binary)"
# PostgreSQL's binary format: a header, rows of fields with their lengths before them, a trailer.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROW_START = np.dtype(
    [
        ("fields", ">i2"), ("l1", ">i4"), ("batch_id", ">i8"), ("l2", ">i4"), ("row", ">i8"),
        ("l3", ">i4"), ("status", ">i2"), ("l4", ">i4"), ("id", "V16"),
    ]
)  # fmt: skip
_RING = 4  # points of a ring, at least
_EPOCH = 10_957  # days from 1970 to 2000, the beginning of PostgreSQL's dates


def stage(
    cursor: Any,
    batch: int,
    parts: Iterable[Part],
    *,
    status: int,
    connection_lock: AbstractContextManager[Any] | None = None,
) -> int:
    """Stage the parts of a survey as they are read, all with one status; return the number of rows.

    Rows that the batch had staged before are deleted. While one block is sent, the next is encoded.
    `connection_lock` is a lock, held while the cursor's connection is used.
    """
    rows = 0
    with ThreadPoolExecutor(1) as encoder:
        blocks = _blocks(batch, parts, status)
        following = encoder.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = encoder.submit(next, blocks, None)
            start, count, data = block
            with connection_lock or nullcontext():
                if start == 0:
                    cursor.execute("DELETE FROM staged_parcels WHERE batch_id = %s", (batch,))
                with cursor.copy(_COPY) as copy:
                    copy.write(data)
            rows = start + count
    return rows


def _blocks(batch: int, parts: Iterable[Part], status: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield blocks of rows: the number of rows before, the number of rows, and the COPY data."""
    stamp = time.time_ns() // 1_000_000
    for part in parts:
        for first in range(0, len(part), BLOCK):
            start, n = part.start + first, min(BLOCK, len(part) - first)
            yield start, n, _HEADER + _rows(batch, part, first, n, status, stamp) + _TRAILER


def _rows(batch: int, part: Part, first: int, n: int, status: int, stamp: int) -> bytes:
    """Return n rows of a part as COPY data."""
    attributes = part.attributes.slice(first, n)
    start = np.zeros(n, _ROW_START)
    start["fields"] = len(_COLUMNS)
    start["l1"], start["batch_id"] = 8, batch
    start["l2"], start["row"] = 8, part.rows[first : first + n]
    start["l3"], start["status"] = 2, status
    start["l4"], start["id"] = 16, _uuids(part.start + first, n, stamp)
    measured = pa.array(part.measured_area[first : first + n], from_pandas=True)
    days = attributes["surveyed_on"].combine_chunks().cast(pa.int32())
    shapes = shapely.to_wkb(storable(part.geometry[first : first + n]))
    uses = attributes["land_use"].combine_chunks().cast(pa.binary())
    fields = [
        _fixed(start.view(np.uint8).reshape(n, -1)),
        *(part for name in _TEXT for part in _sized(attributes[name].combine_chunks())),
        *(_number(attributes[name].combine_chunks(), kind) for name, kind in _NUMERIC.items()),
        _number(pc.subtract(days, _EPOCH), ">i4"),
        _number(measured, ">f8"),
        *_sized(pc.binary_join_element_wise(pa.scalar(b"\1"), uses, b"")),  # the version of jsonb
        *_sized(_label(attributes, measured)),
        *_sized(pa.array(shapes, pa.binary())),
    ]
    joined = pc.binary_join_element_wise(
        *fields, b"", null_handling="replace", null_replacement=b""
    )
    return bytes(joined.buffers()[2])


def storable(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return polygons (n,) as PostGIS accepts them: their short rings repeat the last point.

    GEOS reads a ring of three points (there and back), PostGIS raises for fewer than four.
    """
    # A ring alone shows its length; other polygons may hide a short one among long ones.
    several = shapely.get_num_interior_rings(shapes) > 0
    several |= shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON
    suspects = np.flatnonzero(several | (shapely.get_num_coordinates(shapes) < _RING))
    parts, part_of = shapely.get_parts(shapes[suspects], return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    is_short = shapely.get_num_coordinates(rings) < _RING
    short = np.unique(suspects[part_of[ring_of[is_short]]])
    if not len(short):
        return shapes
    result = shapes.copy()
    result[short] = [_padded(shape) for shape in shapes[short]]
    return result


def _padded(shape: shapely.Geometry) -> shapely.Geometry:
    """Return a polygon whose rings have four points or more; empty parts are left out."""
    parts = []
    for part in shapely.get_parts(shape):
        points = [list(ring.coords) for ring in shapely.get_rings(part)]
        rings = [xy + xy[-1:] * (_RING - len(xy)) for xy in points if xy]
        if rings:
            parts.append(shapely.Polygon(rings[0], rings[1:]))
    is_single = shapely.get_type_id(shape) == shapely.GeometryType.POLYGON
    return parts[0] if is_single else shapely.MultiPolygon(parts)


def _fixed(cells: NDArray[np.uint8]) -> pa.Array:
    """Return bytes, shape (n, width), as an array of n binary values."""
    n, width = cells.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(cells))]
    return pa.Array.from_buffers(pa.binary(), n, buffers)


def _sized(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the lengths of values (-1 for null) and the values."""
    lengths = pc.fill_null(pc.binary_length(column), -1).to_numpy(zero_copy_only=False)
    return _fixed(lengths.astype(">i4").view(np.uint8).reshape(-1, 4)), column.cast(pa.binary())


def _number(column: pa.Array, kind: str) -> pa.Array:
    """Return numbers of a type, with their lengths before them; a null is the length -1 alone."""
    cells = np.zeros(len(column), [("length", ">i4"), ("value", kind)])
    cells["length"] = cells["value"].itemsize
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    cells["value"] = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    cells["length"][~valid] = -1
    raw = cells.view(np.uint8).reshape(len(cells), -1)
    if valid.all():
        return _fixed(raw)
    kept = np.ones(raw.shape, np.bool_)
    kept[~valid, 4:] = False
    ends = np.cumsum(np.where(valid, raw.shape[1], 4), dtype=np.int32)
    buffers = [None, pa.py_buffer(np.insert(ends, 0, 0)), pa.py_buffer(raw[kept])]
    return pa.Array.from_buffers(pa.binary(), len(raw), buffers)


_POINT_COLUMNS = ("batch_id", "line", "name", "north", "east", "srid", "rows", "geom")
COPY_POINTS = f"COPY survey_points ({', '.join(_POINT_COLUMNS)}) FROM STDIN (FORMAT csv)"


def points_csv(batch: int, survey: Survey) -> Iterator[bytes]:
    """Yield the survey points as CSV; nothing where the survey has none."""
    points = survey.points
    for start in range(0, 0 if points is None else len(points), BLOCK):
        assert points is not None
        part = slice(start, start + BLOCK)
        geometry: Any = shapely.points(points.stored[part])
        rows = points.parcels[part].cast(pa.list_(pa.string()))
        table = pa.table(
            [
                pa.array(np.full(len(rows), batch)),
                pa.array(points.lines[part]),
                points.names[part],
                pa.array(points.measured[part, 1]),
                pa.array(points.measured[part, 0]),
                pa.array(np.full(len(rows), survey.crs.epsg)),
                pc.binary_join_element_wise("{", pc.binary_join(rows, ","), "}", ""),
                pa.array(shapely.to_wkb(geometry, hex=True)),
            ],
            names=list(_POINT_COLUMNS),
        )
        sink = io.BytesIO()
        pa.csv.write_csv(table, sink, _CSV)
        yield sink.getvalue()


def _label(attributes: pa.Table, measured: pa.Array) -> pa.Array:
    """Return the label on the map: number over area (1 decimal, m²) and land-use codes."""
    area = pc.coalesce(attributes["area"].combine_chunks(), measured)
    tenths = pc.cast(pc.cast(pc.round(area, ndigits=1), pa.decimal128(18, 1)), pa.string())
    uses = attributes["land_use"].combine_chunks().dictionary_encode()
    joined = pc.replace_substring_regex(uses.dictionary, r'[^"]*"code": ?"([^"]*)"[^{\]]*', r"\1+")
    codes = pc.replace_substring_regex(joined, r"\+?\]$", "").take(uses.indices)
    label = pc.binary_join_element_wise(attributes["number"].combine_chunks(), tenths, "/")
    return pc.coalesce(pc.binary_join_element_wise(label, codes, " "), label)


def _uuids(start: int, n: int, stamp: int) -> NDArray[np.void]:
    """Return n version-7 UUIDs (RFC 9562) that sort in the order of the rows from `start`.

    `stamp` is in milliseconds. Responses are paged by key; keys in the order of the rows keep the
    rows of a page together on disk. The 24 bits after the stamp count the rows, 54 are random.
    """
    raw = np.frombuffer(secrets.token_bytes(16 * n), np.uint8).reshape(n, 16).copy()
    raw[:, :6] = np.frombuffer(stamp.to_bytes(6, "big"), np.uint8)
    count = np.arange(start, start + n, dtype=">u4").view(np.uint8).reshape(n, 4)[:, 1:]
    raw[:, 6] = 0x70 | count[:, 0] >> 4
    raw[:, 7] = count[:, 0] << 4 | count[:, 1] >> 4
    raw[:, 8] = 0x80 | (count[:, 1] & 0x0F) << 2 | count[:, 2] >> 6
    raw[:, 9] = (count[:, 2] & 0x3F) << 2 | raw[:, 9] & 0x03
    return raw.view("V16").ravel()
