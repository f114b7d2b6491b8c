"""Parcels made of lines and labels, or of points, in the reader's confined process.

Cutting lines where they meet, and gathering points by parcel, cost more than reading them, and
how much is the sender's choice. So both are done under the limits of the reader's process: this
module is its parent's side and the child's.
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
from landdata.survey import linework, points, reader
from landdata.survey.dataset import Dataset
from landdata.survey.reader import Block, Layer

_WKB = "\0wkb"  # no field of a file is called so


@dataclass(frozen=True, slots=True)
class Made:
    """A layer that was made as a whole, and comes in one block."""

    layer: Layer
    block: Block
    whole: bool = True

    def blocks(self) -> Iterator[Block]:
        """Go through it."""
        yield self.block


def read(
    dataset: Dataset,
    settings: Settings,
    *,
    engine: str | None = None,
    columns: Sequence[str] | None = None,
) -> Made:
    """Read a drawing or a text of points into a layer of parcels.

    `engine` is the reader's, of a drawing; `columns` name those of a text without a header.
    Raises `BadSurvey` for what gives no parcels, or takes too much time or memory.
    """
    elements = None
    if dataset.format.kind == "linework":
        elements, drawn, wkb = reader.read(dataset, settings, engine=engine)
        _write(pa.table({_WKB: wkb, **drawn}), dataset.folder / "elements.arrows")
    target = dataset.folder / "parcels.arrows"
    measured = dataset.folder / "points.arrows"
    answer = reader.confined(
        {
            "engine": "making",
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
    if "refused" in answer:
        raise BadSurvey(answer["message"], hint=answer["hint"], code=answer["refused"])
    table = _read(target)
    if table.num_rows > settings.max_rows:
        raise reader.too_many(dataset, table.num_rows, settings)
    findings = tuple(Finding(rule, row, detail=told) for rule, row, told in answer["findings"])
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
        told=tuple(f.row for f in findings if f.rule == "missing-geometry" and f.row is not None),
    )
    return Made(layer, block)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Do the child's part of `read`; the answer is what its parent takes."""
    try:
        if task["kind"] == "linework":
            elements = _read(Path(task["elements"]))
            made = linework.read(elements[_WKB], _fields(elements), task["name"])
        else:
            made = points.read(
                Path(task["source"]), task["name"], task["points"], columns=task["columns"]
            )
    except BadSurvey as error:
        return {"refused": error.code, "message": error.message, "hint": error.hint}
    _write(pa.table({_WKB: made.wkb, **made.columns}), Path(task["target"]))
    if made.points is not None:
        _write(made.points, Path(task["measured"]))
    return {"findings": [(f.rule, f.row, dict(f.detail)) for f in made.findings]}


def _fields(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names if name != _WKB}


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    """Map a table, not load it: the file may go while the arrays are in use."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    path.unlink()
    return table
