"""Reads the layer of an unpacked dataset in blocks of rows, through the child `gdal_process`.

The child writes blocks to a file and sends a message for each, so that this process works on one
while the next is read, and can read all of them again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landdata.errors import BadRequest, BadSurvey
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import declared_crs, formats, gdal_runner
from landdata.survey.dataset import Dataset
from landdata.survey.gdal_runner import ENGINES
from landdata.translations import sentence

#: Rows that are read, interpreted and staged together; more save little.
BLOCK = 16_384

_RETRIED = frozenset({"unreadable", "rows-lost"})  # errors that the second engine may avoid


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive rows of a layer as in the file: nothing is decoded.

    `wkb` is null for a row whose shape is missing or damaged. `columns` hold text as latin-1,
    one character per byte, or as Unicode if `Layer.unicode`. `unread` are rows that the engine
    could not read; they are included, and empty. `reported` are rows without a shape that have a
    finding already.
    """

    start: int  # rows before it
    ids: NDArray[np.int64]  # (n,) as the engine numbers them
    wkb: pa.Array  # (n,) binary
    columns: dict[str, pa.Array]  # source field → (n,) values
    unread: tuple[int, ...] = ()  # ids
    reported: tuple[int, ...] = ()  # ids


@dataclass(slots=True, kw_only=True)
class Layer:
    """The description of a layer.

    `expected` is the number of rows by an independent count, null if there is none. `stated` is
    the number that the file states, if that differs; set when all rows are read. `findings` come
    from the construction of the layer.
    """

    unicode: bool = False
    layer: str | None = None
    layers: tuple[str, ...] = ()
    shape: str = ""
    crs: str | None = None
    engine: str = ENGINES[0]
    expected: int | None = None
    stated: int | None = None
    findings: tuple[Finding, ...] = ()
    points: pa.Table | None = None  # of a text of survey points (`landdata.survey.points`)


class LayerReader:
    """Reads a dataset by `engine`, one of `ENGINES`; null: in bulk, and if that fails by row.

    `layer` is complete with the first block. Raises `BadRequest` for an unknown engine.
    """

    def __init__(self, dataset: Dataset, settings: Settings, engine: str | None = None) -> None:
        if engine is not None and engine not in ENGINES:
            raise BadRequest(
                "{engine!r} is not an engine.",
                hint="Give {engines}.",
                code="unknown-engine",
                engine=engine,
                engines=" or ".join(ENGINES),
            )
        self.layer = Layer()
        self.whole = False
        self._dataset, self._settings = dataset, settings
        self._engines = ENGINES if engine is None else (engine,)
        self._head: dict[str, Any] = {}
        self._ends: list[tuple[int, tuple[int, ...]]] = []  # of blocks: rows so far, unread ids

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks as the child sends them; once `whole`, from the file that it wrote.

        A block that starts at row 0 replaces all before it: the second engine begins. The child
        is killed after `settings.read_seconds`. Raises `BadSurvey` unless every row of the file
        is read within the limits.
        """
        if self.whole:
            yield from self._reread()
            return
        for engine in self._engines:
            try:
                yield from self._read(engine)
            except BadSurvey as error:
                if engine == self._engines[-1] or error.code not in _RETRIED:
                    raise
            else:
                self.whole = True
                return

    def _read(self, engine: str) -> Iterator[Block]:
        dataset, source = self._dataset, None
        unicode = dataset.format is not formats.SHAPEFILE
        self.layer, self._head, self._ends = Layer(engine=engine, unicode=unicode), {}, []
        message: dict[str, Any] = {}
        try:
            for message in gdal_runner.messages(self._task(), dataset, self._settings):
                if "geometry" in message:
                    self._begin(message)
                elif "rows" in message:
                    if message["rows"] > self._settings.max_rows:
                        rows = max(message["rows"], self.layer.expected or 0)
                        raise too_many(dataset, rows, self._settings)
                    source = source or self._source()
                    self._ends.append((message["rows"], tuple(message.get("unread", ()))))
                    yield self._block(source.read_next_batch(), len(self._ends) - 1)
        except BadSurvey as error:
            raise _at_row(error, dataset, self._progress) from None
        if "refused" in message:
            raise _refusal(message, dataset)
        rows = self._ends[-1][0] if self._ends else 0
        _check_count(message, rows, dataset)
        stated = message["stated"]
        self.layer.stated = stated if stated != rows else None

    def _reread(self) -> Iterator[Block]:
        source = self._source()
        for nth in range(len(self._ends)):
            yield self._block(source.read_next_batch(), nth)

    def _source(self) -> pa.RecordBatchReader:
        return pa.ipc.open_stream(pa.OSFile(str(self._target)))

    @property
    def _target(self) -> Path:
        return self._dataset.folder / f"survey.{self.layer.engine}"

    @property
    def _progress(self) -> Path:
        return self._dataset.folder / "survey.row"

    def _task(self) -> dict[str, Any]:
        dataset = self._dataset
        raw = dataset.format is formats.SHAPEFILE
        return {
            "engine": self.layer.engine,
            "driver": dataset.format.driver,
            "options": dict(dataset.format.options),
            "source": str(dataset.file),
            "target": str(self._target),
            "progress": str(self._progress),
            "block": BLOCK,
            "encoding": "ISO-8859-1" if raw else None,
            "choose": dataset.format.kind == "polygons" and not raw,
            "layer": dataset.inner,
            "rows": None if dataset.rows is None else dataset.rows - dataset.deleted,
        }

    def _begin(self, message: dict[str, Any]) -> None:
        self._head, layer = message, self.layer
        layer.layer, layer.layers = message["layer"], tuple(message["layers"])
        layer.shape = message["shape"]
        layer.crs = declared_crs.contradicted(message["crs"], message.get("declared"))
        layer.expected = message["expected"]

    def _block(self, batch: pa.RecordBatch, nth: int) -> Block:
        names = _unique_names(batch.schema.names, self._head)
        columns = dict(zip(names, batch.columns, strict=True))
        return Block(
            start=self._ends[nth - 1][0] if nth else 0,
            wkb=columns.pop(self._head["geometry"]),
            ids=np.asarray(columns.pop(self._head["fid"]), dtype=np.int64),
            columns=columns,
            unread=self._ends[nth][1],
        )


def read(
    dataset: Dataset, settings: Settings, *, engine: str | None = None
) -> tuple[Layer, dict[str, pa.ChunkedArray], pa.ChunkedArray]:
    """Return the whole layer of a dataset: its description, columns and shapes as WKB.

    Raises as `LayerReader.blocks`.
    """
    reader = LayerReader(dataset, settings, engine)
    blocks: list[Block] = []
    for block in reader.blocks():
        if block.start == 0:
            blocks.clear()
        blocks.append(block)
    columns = {n: pa.chunked_array([b.columns[n] for b in blocks]) for n in blocks[0].columns}
    return reader.layer, columns, pa.chunked_array([block.wkb for block in blocks])


def _unique_names(names: list[str], head: dict[str, Any]) -> list[str]:
    """Return the names of fields, numbered if already taken or that of the ids or shapes."""
    unique: list[str] = []
    ours = {names.index(head["fid"]), len(names) - 1 - names[::-1].index(head["geometry"])}
    taken = {head["fid"], head["geometry"]}
    for place, name in enumerate(names):
        new, nth = name, 2
        while place not in ours and new in taken:
            new, nth = f"{name}_{nth}", nth + 1
        taken.add(new)
        unique.append(new)
    return unique


def _check_count(message: dict[str, Any], rows: int, dataset: Dataset) -> None:
    """Raise `BadSurvey` unless the number of rows read is that of the file."""
    expected = message["expected"]
    if message.get("lost") is not None:
        raise BadSurvey(
            "{layer} can be read up to row {row} only; what follows is damaged."
            if expected is None
            else "{layer} can be read up to row {row} of {expected} only; what follows is damaged.",
            hint="Export the survey again.",
            code="unreadable",
            layer=dataset.layer,
            row=message["lost"],
            expected=expected,
        )
    if expected is not None and rows != expected:
        raise BadSurvey(
            "{layer} has {expected} rows, but {rows} were read.",
            hint="Export the survey again.",
            code="rows-lost",
            layer=dataset.layer,
            expected=expected,
            rows=rows,
        )
    if rows == 0:
        raise BadSurvey(
            "{layer} has no rows.",
            hint="Send the parcels.",
            code="empty-layer",
            layer=dataset.layer,
        )


def too_many(dataset: Dataset, rows: int, settings: Settings) -> BadSurvey:
    """Return the error for a file with more rows than allowed; `rows` is the count so far."""
    return BadSurvey(
        "{layer} has {rows} rows; {max_rows} are allowed.",
        hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
        code="too-many-rows",
        layer=dataset.layer,
        rows=rows,
        max_rows=settings.max_rows,
    )


def _at_row(error: BadSurvey, dataset: Dataset, progress: Path) -> BadSurvey:
    """Return the error with the row at which the row-by-row engine failed."""
    if error.code != "unreadable" or not progress.is_file() or progress.stat().st_size != 8:
        return error
    (row,) = struct.unpack("<q", progress.read_bytes())
    return BadSurvey(
        "{layer} cannot be read beyond row {row}: the file is damaged there.",
        hint="Export the survey again.",
        code="unreadable",
        layer=dataset.layer,
        row=row,
    )


def _refusal(message: dict[str, Any], dataset: Dataset) -> BadSurvey:
    """Return the error for a refusal of the child."""
    code = message["refused"]
    text, hint = _REFUSALS[code]
    return BadSurvey(
        text,
        hint=hint,
        code=code,
        name=dataset.layer,
        inner=dataset.inner,
        layer=message.get("layer"),
        layers=", ".join(message.get("layers", ())),
        kinds=", ".join(message.get("kinds", ())),
    )


#: Message and hint for a refusal of the child, by its code.
_REFUSALS = {
    "unknown-layer": (
        sentence("{name} has no layer {inner!r}; it has {layers}."),
        sentence("Give one of them with --layer."),
    ),
    "several-layers": (
        sentence("{name} has several layers: {layers}."),
        sentence("Say which with --layer."),
    ),
    "not-polygons": (
        sentence("{name} holds {kinds}, not polygons."),
        sentence("Send the layer of the parcels' polygons."),
    ),
    "no-layer": (sentence("{name} holds no layer with shapes."), sentence("Send the parcels.")),
    "not-a-table": (
        sentence("The layer {layer} of {name} is a view, not a table."),
        sentence("Export the layer to a file of its own."),
    ),
    "unsafe-xml": (
        sentence("{name} defines entities or a document type, which no GML needs."),
        sentence("Export it again as plain GML."),
    ),
}
