"""A checked survey on its way into the store: blocks of CSV for COPY, made column by column.

No row costs Python, and no more than two blocks are in memory at once. Knows no database.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import shapely
from numpy.typing import NDArray

if TYPE_CHECKING:
    from landdata.survey import Survey

BLOCK = 20_000  # rows
_CSV = pa.csv.WriteOptions(include_header=False, quoting_style="all_valid")

_ATTRIBUTES = (
    "sheet", "number", "scale", "area", "legal_area", "land_use", "address", "owner",
    "owner_type", "old_sheet", "old_number", "national_id", "surveyed_on",
)  # fmt: skip
_COLUMNS = ("batch_id", "row", "status", "id", *_ATTRIBUTES, "measured_area", "label", "geom")
#: What takes the blocks.
COPY = f"COPY staged_parcels ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT csv)"


def blocks(batch: int, survey: Survey, *, status: int) -> Iterator[bytes]:
    """Yield the rows as CSV, all of one status; while one is sent, the next is made."""
    made = _rows(batch, survey, status)
    with ThreadPoolExecutor(1) as maker:
        following = maker.submit(next, made, None)
        while (block := following.result()) is not None:
            following = maker.submit(next, made, None)
            yield block


def _rows(batch: int, survey: Survey, status: int) -> Iterator[bytes]:
    """Yield the rows as CSV: made by arrow, so no row costs Python."""
    stamp = time.time_ns() // 1_000_000
    for start in range(0, len(survey), BLOCK):
        part = slice(start, start + BLOCK)
        n = len(survey.rows[part])
        attributes = survey.attributes.slice(start, n)
        measured = pa.array(survey.measured_area[part], from_pandas=True)
        table = pa.table(
            [
                pa.array(np.full(n, batch)),
                pa.array(survey.rows[part]),
                pa.array(np.full(n, status)),
                pa.array(_uuids(start, n, stamp)),
                *(attributes[name] for name in _ATTRIBUTES),
                measured,
                _label(attributes, measured),
                _wkb(survey.geometry[part]),
            ],
            names=list(_COLUMNS),
        )
        sink = io.BytesIO()
        pa.csv.write_csv(table, sink, _CSV)
        yield sink.getvalue()


_POINT_COLUMNS = ("batch_id", "line", "name", "north", "east", "srid", "rows", "geom")
COPY_POINTS = f"COPY survey_points ({', '.join(_POINT_COLUMNS)}) FROM STDIN (FORMAT csv)"


def points(batch: int, survey: Survey) -> Iterator[bytes]:
    """Yield the CSV of the survey points; none where the survey is of something else."""
    found = survey.points
    for start in range(0, 0 if found is None else len(found), BLOCK):
        assert found is not None
        part = slice(start, start + BLOCK)
        places: Any = shapely.points(found.stored[part])
        used = found.parcels[part].cast(pa.list_(pa.string()))
        table = pa.table(
            [
                pa.array(np.full(len(used), batch)),
                pa.array(found.lines[part]),
                found.names[part],
                pa.array(found.measured[part, 1]),
                pa.array(found.measured[part, 0]),
                pa.array(np.full(len(used), survey.crs.epsg)),
                pc.binary_join_element_wise("{", pc.binary_join(used, ","), "}", ""),
                _wkb(places),
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
    codes = pc.replace_substring_regex(
        pc.replace_substring_regex(
            attributes["land_use"].combine_chunks(), r'[^"]*"code": ?"([^"]*)"[^{\]]*', r"\1+"
        ),
        r"\+?\]$",
        "",
    )
    label = pc.binary_join_element_wise(attributes["number"].combine_chunks(), tenths, "/")
    return pc.coalesce(pc.binary_join_element_wise(label, codes, " "), label)


def _wkb(geometry: NDArray[np.object_]) -> pa.Array:
    """Return the shapes as hexadecimal WKB; the column they go to knows their CRS.

    Writing the hexadecimal digits of all shapes at once takes a tenth of GEOS's own time.
    """
    binary = pa.array(shapely.to_wkb(geometry), pa.large_binary())
    valid, offsets, data = binary.buffers()
    digits = data.to_pybytes().hex().encode() if data else b""
    doubled = np.frombuffer(offsets, np.int64)[: len(binary) + 1] * 2
    return pa.Array.from_buffers(
        pa.large_string(), len(binary), [valid, pa.py_buffer(doubled), pa.py_buffer(digits)]
    )


def _uuids(start: int, n: int, stamp: int) -> list[str]:
    """Return n version-7 UUIDs (RFC 9562) that sort in the order of the rows from `start`.

    `stamp` is in milliseconds. Pages are cut by key; keys in the order of the rows keep a page
    together on disk. 24 bits behind the stamp count the rows, 54 are random.
    """
    raw = np.frombuffer(secrets.token_bytes(16 * n), np.uint8).reshape(n, 16).copy()
    raw[:, :6] = np.frombuffer(stamp.to_bytes(6, "big"), np.uint8)
    count = np.arange(start, start + n, dtype=">u4").view(np.uint8).reshape(n, 4)[:, 1:]
    raw[:, 6] = 0x70 | count[:, 0] >> 4
    raw[:, 7] = count[:, 0] << 4 | count[:, 1] >> 4
    raw[:, 8] = 0x80 | (count[:, 1] & 0x0F) << 2 | count[:, 2] >> 6
    raw[:, 9] = (count[:, 2] & 0x3F) << 2 | raw[:, 9] & 0x03
    text = raw.tobytes().hex()
    return [text[i : i + 32] for i in range(0, 32 * n, 32)]
