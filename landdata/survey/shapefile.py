"""The bytes of a shapefile, read without a driver.

The headers of .shp, .shx and .dbf are checked against each other and the file sizes before a
driver reads them. Later they show what a driver hides: which numeric values are not numbers, and
which rows have a null shape.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from landdata.errors import BadSurvey
from landdata.settings import Settings
from landdata.survey import formats
from landdata.survey.dataset import Dataset

PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_NEEDED = (".shp", ".shx", ".dbf")
_MAX_TEXT = 16_384  # bytes of a .prj or .cpg; real ones have a few hundred
_NUMERIC = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.eE \0", np.uint8))
_POLYGONS = {5: "Polygon", 15: "Polygon Z", 25: "Polygon M"}
_OTHERS = {
    0: "no shapes", 1: "points", 3: "lines", 8: "points", 11: "points", 13: "lines", 18: "points",
    21: "points", 23: "lines", 28: "points", 31: "multipatches",
}  # fmt: skip


def siblings(path: Path) -> dict[str, Path]:
    """Return suffix → file of the parts of a shapefile, with suffixes in any case."""
    parts: dict[str, Path] = {}
    for other in sorted(path.parent.iterdir()):
        suffix = other.suffix.lower()
        if suffix in PARTS and other.stem == path.stem and other.is_file():
            parts.setdefault(suffix, other)
    return parts | {".shp": path}


def describe(layer: str, layers: tuple[str, ...], folder: Path, settings: Settings) -> Dataset:
    """Return the dataset of a shapefile; raises `BadSurvey` if its parts do not agree."""
    for suffix in _NEEDED:
        if not (folder / f"survey{suffix}").is_file():
            raise BadSurvey(
                "The shapefile {layer} lacks its {suffix} file.",
                hint="Send .shp, .shx, .dbf and .prj together.",
                code=f"missing-{suffix[1:]}",
                layer=layer,
                suffix=suffix,
            )
    with (folder / "survey.shp").open("rb") as shp, (folder / "survey.shx").open("rb") as shx:
        shape = _check_header(shp, layer, ".shp")
        _check_header(shx, layer, ".shx")
        indexed = (shx.seek(0, 2) - 100) // 8
    rows, deleted, numbers = _check_table(folder / "survey.dbf", layer)
    if shape not in _POLYGONS:
        kind = _OTHERS.get(shape)
        if kind is None or (shape == 0 and rows == 0):
            raise _damaged(layer, ".shp") if kind is None else _empty(layer)
        raise BadSurvey(
            "The shapefile {layer} holds {kind}, not polygons.",
            hint="Send the layer of the parcels' polygons.",
            code="not-polygons",
            layer=layer,
            kind=kind,
        )
    if rows - deleted <= 0:
        raise _empty(layer)
    if indexed != rows:
        raise BadSurvey(
            "The shapefile {layer} has {indexed} shapes but {rows} rows in its .dbf.",
            hint="Export it again; its parts are not of the same survey.",
            code="rows-differ",
            layer=layer,
            indexed=indexed,
            rows=rows,
        )
    if rows > settings.max_rows:
        raise BadSurvey(
            "The shapefile {layer} has {rows} rows; {max_rows} are allowed.",
            hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
            code="too-many-rows",
            layer=layer,
            rows=rows,
            max_rows=settings.max_rows,
        )
    return Dataset(
        layer=layer,
        layers=layers,
        folder=folder,
        rows=rows,
        deleted=deleted,
        shape=_POLYGONS[shape],
        prj=_text(folder / "survey.prj", layer),
        cpg=_text(folder / "survey.cpg", layer),
        numbers=numbers,
    )


def _damaged(layer: str, suffix: str) -> BadSurvey:
    return BadSurvey(
        "The {suffix} of {layer} is not part of a shapefile, or is damaged.",
        hint="Export the survey again.",
        code=f"bad-{suffix[1:]}",
        suffix=suffix,
        layer=layer,
    )


def _empty(layer: str) -> BadSurvey:
    return BadSurvey(
        "The shapefile {layer} has no rows.",
        hint="Send the parcels.",
        code="empty-layer",
        layer=layer,
    )


def _check_header(file: IO[bytes], layer: str, suffix: str) -> int:
    """Return the shape type of a .shp or .shx; raises `BadSurvey` if header and size differ."""
    head = file.read(100)
    if len(head) < 100:
        raise _damaged(layer, suffix)
    code, words = struct.unpack(">i20xi", head[:28])
    version, shape = struct.unpack("<2i", head[28:36])
    if code != 9994 or version != 1000:
        raise _damaged(layer, suffix)
    size = file.seek(0, 2)
    if size < words * 2:
        raise BadSurvey(
            "The {suffix} of {layer} is cut off: it says {words} bytes and has {size}.",
            hint="Send it again, whole.",
            code=f"short-{suffix[1:]}",
            suffix=suffix,
            layer=layer,
            words=words * 2,
            size=size,
        )
    if size > words * 2:
        raise BadSurvey(
            "The {suffix} of {layer} is longer than it says: {size} bytes, not {words}.",
            hint="Export the survey again; the program that wrote it did not finish.",
            code=f"long-{suffix[1:]}",
            suffix=suffix,
            layer=layer,
            size=size,
            words=words * 2,
        )
    return int(shape)


def _check_table(path: Path, layer: str) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """Return rows, deleted rows and numeric fields of a .dbf, after checks against its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(32)
        if len(head) < 32 or head[0] & 0x07 not in (3, 4, 5):
            raise _damaged(layer, ".dbf")
        rows, head_size, row_size = struct.unpack("<IHH", head[4:12])
        if head_size < 33 or row_size < 1 or head_size > size:
            raise _damaged(layer, ".dbf")
        columns = file.read(head_size - 32)
    numbers: dict[str, tuple[int, int]] = {}
    total = 1
    for start in range(0, len(columns) - 31, 32):
        if columns[start] == 0x0D:
            break
        name = columns[start : start + 11].split(b"\0")[0].decode("latin-1")
        kind, width = chr(columns[start + 11]), columns[start + 16]
        if kind == "C":
            width += columns[start + 17] << 8
        if kind in "NF":
            numbers[name] = (total, width)
        total += width
    if total > row_size:
        raise _damaged(layer, ".dbf")
    if size < head_size + rows * row_size:
        raise BadSurvey(
            "The .dbf of {layer} is shorter than its header says: {rows} rows need "
            "{head_size} bytes and there are {size}.",
            hint="Send it again, whole.",
            code="short-dbf",
            layer=layer,
            rows=rows,
            head_size=head_size + rows * row_size,
            size=size,
        )
    if rows == 0:
        return 0, 0, numbers
    marks = np.memmap(path, np.uint8, "r", head_size, (rows, row_size))[:, 0]
    return rows, int(np.count_nonzero(marks == ord("*"))), numbers


def invalid_numbers(dataset: Dataset, name: str, rows: NDArray[np.int64]) -> dict[int, str]:
    """Return the values of a numeric field that are not numbers: place in `rows` → text.

    A driver silently reads `12,5` as 12, letters as 0, and asterisks, which stand for a number
    too wide for its field, as null.
    """
    if name not in dataset.numbers:
        return {}
    offset, width = dataset.numbers[name]
    path = dataset.folder / "survey.dbf"
    with path.open("rb") as file:
        _, head_size, row_size = struct.unpack("<IHH", file.read(12)[4:])
    table = np.memmap(path, np.uint8, "r", head_size, (dataset.rows or 0, row_size))
    cells = table[rows, offset : offset + width]
    invalid = {}
    for place in np.flatnonzero(~_NUMERIC[cells].all(axis=1)).tolist():
        invalid[place] = cells[place].tobytes().decode("latin-1").strip(" \0")
    return invalid


def null_shapes(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for `rows` (n,) that were read without a shape whether the file has a null shape."""
    if dataset.format is not formats.SHAPEFILE:
        return np.ones(len(rows), np.bool_)
    index = np.memmap(dataset.folder / "survey.shx", ">i4", "r", 100, (dataset.rows or 0, 2))
    result = np.zeros(len(rows), np.bool_)
    size = dataset.file.stat().st_size
    with dataset.file.open("rb") as file:
        for place, row in enumerate(rows.tolist()):
            start = int(index[row, 0]) * 2 + 8
            if 100 <= start <= size - 4:
                file.seek(start)
                result[place] = file.read(4) == b"\0\0\0\0"
    return result


def _text(path: Path, layer: str) -> str | None:
    """Return the text of a .prj or .cpg; null if there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_TEXT:
        raise BadSurvey(
            "The {suffix} of {layer} has {st_size} bytes, too many for one.",
            hint="Export the survey again.",
            code=f"bad-{path.suffix[1:]}",
            suffix=path.suffix,
            layer=layer,
            st_size=path.stat().st_size,
        )
    return path.read_bytes().decode("utf-8", "replace").strip("\ufeff\0 \r\n\t") or None
