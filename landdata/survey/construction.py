"""Parcels constructed from lines and labels, or from points, in the confined child process.

Noding lines and grouping points by parcel cost more than reading them, and a file decides how
much. So both run under the limits of the child process; this module is both sides, parent's and
child's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from landdata.errors import BadSurvey
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import gdal_runner, linework, points, reader
from landdata.survey.dataset import Dataset
from landdata.survey.reader import Block, Layer

_WKB = "\0wkb"  # no field of a file has this name


@dataclass(frozen=True, slots=True)
class ConstructedLayer:
    """A layer that was constructed as a whole, in one block."""

    layer: Layer
    block: Block
    whole: bool = True

    def blocks(self) -> Iterator[Block]:
        """Yield the one block."""
        yield self.block


def read(
    dataset: Dataset,
    settings: Settings,
    *,
    engine: str | None = None,
    columns: Sequence[str] | None = None,
) -> ConstructedLayer:
    """Read a drawing or a text of points into a layer of parcels.

    `engine` reads a drawing; `columns` are the names for a text without a header. Raises
    `BadSurvey` for a file without parcels, or one that exceeds the limits of time or memory.
    """
    elements = None
    if dataset.format.kind == "linework":
        elements, drawn, wkb = reader.read(dataset, settings, engine=engine)
        _write(pa.table({_WKB: wkb, **drawn}), dataset.folder / "elements.arrows")
    target = dataset.folder / "parcels.arrows"
    measured = dataset.folder / "points.arrows"
    result = gdal_runner.run(
        {
            "engine": "construction",
            "kind": dataset.format.kind,
            "name": dataset.layer,
            "source": str(dataset.file),
            "elements": str(dataset.folder / "elements.arrows"),
            "target": str(target),
            "measured": str(measured),
            "columns": columns,
            "points": settings.max_rows * points.PER_PARCEL,
        },
        dataset,
        settings,
    )
    if "refused" in result:
        raise BadSurvey(**result["refused"])
    table = _read(target)
    if table.num_rows > settings.max_rows:
        raise reader.too_many(dataset, table.num_rows, settings)
    findings = tuple(Finding(rule, row, detail=detail) for rule, row, detail in result["findings"])
    layer = Layer(
        unicode=elements is not None,
        layer=dataset.layer,
        layers=(dataset.layer,),
        shape="Polygon",
        crs=elements.crs if elements else None,
        engine=elements.engine if elements else "text",
        expected=table.num_rows,
        findings=findings,
        points=_read(measured) if measured.exists() else None,
    )
    whole = table.combine_chunks()
    block = Block(
        start=0,
        ids=np.arange(table.num_rows, dtype=np.int64),
        wkb=_array(whole[_WKB]),
        columns={name: _array(column) for name, column in _fields(whole).items()},
        reported=tuple(
            f.row for f in findings if f.rule == "missing-geometry" and f.row is not None
        ),
    )
    return ConstructedLayer(layer, block)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run the child's part of `read`; return its message to the parent."""
    try:
        if task["kind"] == "linework":
            elements = _read(Path(task["elements"]))
            parcels = linework.read(elements[_WKB], _fields(elements), task["name"])
        else:
            parcels = points.read(
                Path(task["source"]), task["name"], task["points"], columns=task["columns"]
            )
    except BadSurvey as error:
        return {"refused": error.as_record()}
    _write(pa.table({_WKB: parcels.wkb, **parcels.columns}), Path(task["target"]))
    if parcels.points is not None:
        _write(parcels.points, Path(task["measured"]))
    return {"findings": [(f.rule, f.row, dict(f.detail)) for f in parcels.findings]}


def _fields(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names if name != _WKB}


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    """Return a memory-mapped table; its file is removed, which the mapping survives."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    path.unlink()
    return table
