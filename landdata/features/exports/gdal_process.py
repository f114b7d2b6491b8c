"""The child process that writes files, so that no worker of the server loads GDAL.

Run by its path with one argument, the task as JSON (`writers._task`); it imports nothing of
landdata. Rows arrive as CSV on standard input, geometry as hexadecimal WKB, and are written block
by block, so a province takes no more memory than a commune.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

# A row must fit into a block: a parcel of a million vertices is 32 MB of hexadecimal digits.
_BLOCK = 48 << 20
_TYPES = {
    "string": pa.string(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "boolean": pa.bool_(),
    "number": pa.float64(),
    "date": pa.date32(),
    "time": pa.timestamp("us", "UTC"),
    "geometry": pa.large_string(),
}


def main() -> int:
    """Write the file of the task; return the exit code."""
    task = json.loads(sys.argv[1])
    target = Path(task["target"])
    reader = pa.RecordBatchReader.from_batches(_schema(task), _batches(task))
    if task["format"] == "parquet":
        _parquet(reader, target, task)
    elif task["zipped"]:
        folder = target.with_suffix("")
        folder.mkdir()
        _gdal(reader, folder / f"{task['layer']}.{task['extension']}", task)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for member in sorted(folder.iterdir()):
                archive.write(member, member.name)
                member.unlink()
    else:
        _gdal(reader, target, task)
    return 0


def _schema(task: dict[str, Any]) -> pa.Schema:
    """Return the columns as they are written."""
    return pa.schema(
        [
            pa.field(name, pa.large_binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
            if kind == "geometry"
            else pa.field(name, _TYPES[kind])
            for name, kind in task["columns"]
        ]
    )


def _batches(task: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    names = [name for name, _ in task["columns"]]
    schema = _schema(task)
    try:
        reader = pyarrow.csv.open_csv(
            sys.stdin.buffer,
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types={name: _TYPES[kind] for name, kind in task["columns"]},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return  # a file without features
        raise
    for batch in reader:
        columns = [
            _binary(column) if kind == "geometry" else column
            for column, (_, kind) in zip(batch.columns, task["columns"], strict=True)
        ]
        whole = pa.RecordBatch.from_arrays(columns, schema=schema)
        for start in range(0, whole.num_rows, 20_000):
            yield whole.slice(start, 20_000)


def _binary(column: pa.Array) -> pa.Array:
    """Return a column of hexadecimal digits as bytes: half the digits, half the offsets."""
    validity, offsets, data = column.buffers()
    plain = bytes.fromhex(data.to_pybytes().decode("ascii")) if data else b""
    ends = pa.Array.from_buffers(pa.int64(), len(column) + 1, [None, offsets])
    halves = pc.shift_right(ends, 1)
    return pa.Array.from_buffers(
        pa.large_binary(), len(column), [validity, halves.buffers()[1], pa.py_buffer(plain)]
    )


def _gdal(reader: pa.RecordBatchReader, target: Path, task: dict[str, Any]) -> None:
    from pyogrio.raw import write_arrow  # noqa: PLC0415

    geometry = [name for name, kind in task["columns"] if kind == "geometry"]
    write_arrow(
        reader,
        target,
        driver=task["driver"],
        layer=task["layer"],
        encoding="UTF-8" if task["format"] == "shp" else None,
        geometry_name=geometry[0],
        geometry_type=task["geometry_type"],
        crs=task["crs"],
        dataset_options=task["dataset_options"],
        layer_options=task["layer_options"],
    )


def _parquet(reader: pa.RecordBatchReader, target: Path, task: dict[str, Any]) -> None:
    """Write GeoParquet 1.1."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = [] if task["geometry_type"] == "Unknown" else [task["geometry_type"]]
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": types,
                "crs": task["projjson"],
                "orientation": "counterclockwise",
            }
        },
    }
    fields = [
        pa.field(field.name, pa.binary() if field.name == "geometry" else field.type)
        for field in reader.schema
    ]
    schema = pa.schema(fields, metadata={"geo": json.dumps(geo)})
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=20_000)


if __name__ == "__main__":
    try:
        code = main()
    except Exception as problem:
        sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
        code = 1
    sys.stderr.flush()
    # Arrow's reading thread may still run, and the interpreter would abort on it at exit.
    os._exit(code)
