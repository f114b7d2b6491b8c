"""Reads an unpacked dataset in a child process; this process never runs GDAL on it.

The child writes blocks of rows to a file and tells of each, so that one is worked on here while
the next is read, and all can be gone through again.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landdata.errors import BadRequest, BadSurvey, LandDataError, from_os_error
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import formats
from landdata.survey.dataset import Dataset

#: In the order in which they are tried: in bulk, and row by row.
ENGINES = ("pyogrio", "fiona")
#: Rows that are read, understood and staged together. More of them save little.
BLOCK = 16_384

_CHILD = Path(__file__).with_name("gdal_process.py")
_MB = 1 << 20
_MAX_ID = 2**31 - 1
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"failed to map segment")
_DISK_FULL = os.strerror(errno.ENOSPC).encode()
_RETRIED = frozenset({"unreadable", "rows-lost"})  # what the second engine may do better


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of a layer that follow one another, as the file has them: nothing is decoded.

    `wkb` is null for a row whose shape is missing or damaged. `columns` hold text as latin-1,
    one character a byte, or, where `Layer.unicode`, as the format's own Unicode. `unread` are
    the rows that the engine could not read: they are there, and empty. `told` are the rows of
    which it was told elsewhere that they have no shape.
    """

    start: int  # rows before it
    ids: NDArray[np.int64]  # (n,) as the engine numbers them
    wkb: pa.Array  # (n,) binary
    columns: dict[str, pa.Array]  # source field → (n,) values
    unread: tuple[int, ...] = ()  # ids
    told: tuple[int, ...] = ()  # ids


@dataclass(slots=True, kw_only=True)
class Layer:
    """What a layer is.

    `expected` is how many rows it should have, where something tells. `stated`, the number that
    it claims where it is another, is known when all is read. `findings` are what making the
    layer told.
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
    points: pa.Table | None = None  # of a text (`landdata.survey.points`)


def _environment(scratch: Path, drivers: str) -> dict[str, str]:
    """Return all that the child knows of its surroundings."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "OGR_SKIP": drivers,
        "GDAL_SKIP": drivers,
        "GDAL_DRIVER_PATH": "disable",
        "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
        "SHAPE_RESTORE_SHX": "NO",
        # GDAL's faster way repeats rows where a GeoPackage's stored count is too high.
        "OGR_GPKG_STREAM_BASE_IMPL": "YES",
        "OGR_SQLITE_PRAGMA": "trusted_schema=OFF",
        "GML_DOWNLOAD_SCHEMA": "NO",
        "GML_SKIP_RESOLVE_ELEMS": "ALL",
        "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "NO",
        # Threads reserve address space, which is limited, and read no faster.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "GDAL_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "ARROW_IO_THREADS": "1",
    }


@lru_cache(maxsize=len(ENGINES))
def _drivers(engine: str) -> frozenset[str]:
    """Name the drivers that an engine's GDAL has."""
    answer = subprocess.run(
        [sys.executable, "-I", str(_CHILD), "names", engine],
        capture_output=True,
        check=False,
        timeout=120,
        env=_environment(Path("/nonexistent"), ""),
    )
    if answer.returncode != 0:
        raise LandDataError(
            f"The reader of survey files ({engine}) does not start.",
            hint="`landdata doctor` tells what is missing.",
            code="no-reader",
        )
    return frozenset(json.loads(answer.stdout))


def examine() -> tuple[list[str], str]:
    """Tell what the reader lacks, and whether its process can be cut off from the network.

    Returns `engine: driver` for each driver that is missing, and 'none' or why there is a
    network. An engine that does not start raises `LandDataError`.
    """
    missing = [
        f"{engine}: {driver}"
        for engine in ENGINES
        for driver in formats.DRIVERS
        if driver not in _drivers(engine)
    ]
    answer = subprocess.run(
        [sys.executable, "-I", str(_CHILD), "confine"],
        capture_output=True,
        check=False,
        timeout=120,
        env=_environment(Path("/nonexistent"), ""),
    )
    if answer.returncode != 0:
        return missing, "not cut off: the process cannot be confined"
    return missing, str(json.loads(answer.stdout))


def _skipped(engine: str, driver: str) -> str:
    """Name the drivers that the child shall not have, as GDAL's settings take them."""
    return ",".join(sorted(_drivers(engine) - {driver}))


class Reading:
    """A dataset that is read by `engine`, one of `ENGINES`; null: in bulk, else row by row.

    What the `layer` is, is told with its first block.
    """

    def __init__(self, dataset: Dataset, settings: Settings, engine: str | None = None) -> None:
        if engine is not None and engine not in ENGINES:
            raise BadRequest(
                f"{engine!r} is no engine.",
                hint=f"Say {' or '.join(ENGINES)}.",
                code="unknown-engine",
            )
        self.layer = Layer()
        self.whole = False
        self._dataset, self._settings = dataset, settings
        self._engines = ENGINES if engine is None else (engine,)
        self._head: dict[str, Any] = {}
        self._ends: list[tuple[int, tuple[int, ...]]] = []  # of the blocks: rows, unread ids

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks as the child hands them on; once it is `whole`, from where they are.

        A block that starts at row 0 takes back all that came before it: another engine begins.
        The child is killed at `settings.read_seconds`. Every row of the file comes, or else
        `BadSurvey` is raised, as it is where the file cannot be read, takes too long or takes
        too much.
        """
        if self.whole:
            yield from self._again()
            return
        for engine in self._engines:
            try:
                yield from self._first(engine)
            except BadSurvey as error:
                if engine == self._engines[-1] or error.code not in _RETRIED:
                    raise
            else:
                self.whole = True
                return

    def _first(self, engine: str) -> Iterator[Block]:
        dataset, source = self._dataset, None
        unicode = dataset.format is not formats.SHAPEFILE
        self.layer, self._head, self._ends = Layer(engine=engine, unicode=unicode), {}, []
        answer: dict[str, Any] = {}
        try:
            for answer in told(self._task(), dataset, self._settings):
                if "geometry" in answer:
                    self._begin(answer)
                elif "rows" in answer:
                    if answer["rows"] > self._settings.max_rows:  # before they go anywhere
                        rows = max(answer["rows"], self.layer.expected or 0)
                        raise too_many(dataset, rows, self._settings)
                    source = source or self._source()
                    self._ends.append((answer["rows"], tuple(answer.get("unread", ()))))
                    yield self._block(source.read_next_batch(), len(self._ends) - 1)
        except BadSurvey as error:
            raise _at_row(error, dataset, self._progress) from None
        if "refused" in answer:
            raise _refusal(answer, dataset)
        rows = self._ends[-1][0] if self._ends else 0
        _account(answer, rows, dataset)
        stated = answer["stated"]
        self.layer.stated = stated if stated != rows else None

    def _again(self) -> Iterator[Block]:
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

    def _begin(self, answer: dict[str, Any]) -> None:
        self._head, layer = answer, self.layer
        layer.layer, layer.layers = answer["layer"], tuple(answer["layers"])
        layer.shape, layer.crs = answer["shape"], answer["crs"]
        layer.expected = answer["expected"]

    def _block(self, batch: pa.RecordBatch, nth: int) -> Block:
        names = _distinct(batch.schema.names, self._head)
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
    """Read a dataset as a whole: what the layer is, its columns, its shapes as WKB.

    Raises as `Reading.blocks`.
    """
    reading = Reading(dataset, settings, engine)
    blocks: list[Block] = []
    for block in reading.blocks():
        if block.start == 0:
            blocks.clear()
        blocks.append(block)
    columns = {n: pa.chunked_array([b.columns[n] for b in blocks]) for n in blocks[0].columns}
    return reading.layer, columns, pa.chunked_array([block.wkb for block in blocks])


def _distinct(names: list[str], answer: dict[str, Any]) -> list[str]:
    """Number the fields that bear the name of another, or that of the ids or shapes."""
    made: list[str] = []
    ours = {names.index(answer["fid"]), len(names) - 1 - names[::-1].index(answer["geometry"])}
    taken = {answer["fid"], answer["geometry"]}
    for place, name in enumerate(names):
        new, nth = name, 2
        while place not in ours and new in taken:
            new, nth = f"{name}_{nth}", nth + 1
        taken.add(new)
        made.append(new)
    return made


def _account(answer: dict[str, Any], rows: int, dataset: Dataset) -> None:
    """Hold the rows that were read against those that the file has."""
    expected = answer["expected"]
    if answer.get("lost") is not None:
        raise BadSurvey(
            f"{dataset.layer} can be read up to row {answer['lost']} only; what follows is damaged"
            + (f" ({expected} rows in all)." if expected is not None else "."),
            hint="Export the survey again.",
            code="unreadable",
        )
    if expected is not None and rows != expected:
        raise BadSurvey(
            f"{dataset.layer} has {expected} rows, but {rows} were read.",
            hint="Export the survey again.",
            code="rows-lost",
        )
    if rows == 0:
        raise BadSurvey(
            f"{dataset.layer} has no rows.", hint="Send the parcels.", code="empty-layer"
        )


def too_many(dataset: Dataset, rows: int, settings: Settings) -> BadSurvey:
    """Say that a file has more rows than are allowed: `rows`, as far as they are counted."""
    return BadSurvey(
        f"{dataset.layer} has {rows} rows; {settings.max_rows} are allowed.",
        hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
        code="too-many-rows",
    )


def _at_row(error: BadSurvey, dataset: Dataset, progress: Path) -> BadSurvey:
    """Name the row at which the engine that goes by rows broke down."""
    if error.code != "unreadable" or not progress.is_file() or progress.stat().st_size != 8:
        return error
    (row,) = struct.unpack("<q", progress.read_bytes())
    return BadSurvey(
        f"{dataset.layer} cannot be read beyond row {row}: the file is damaged there.",
        hint="Export the survey again.",
        code="unreadable",
    )


def _refusal(answer: dict[str, Any], dataset: Dataset) -> BadSurvey:
    """Say why a sound file is not read as asked."""
    code, name = answer["refused"], dataset.layer
    layers = ", ".join(answer.get("layers", ()))
    sentences = {
        "unknown-layer": (
            f"{name} has no layer {dataset.inner!r}; it has {layers}.",
            "Give one of them with --layer.",
        ),
        "several-layers": (f"{name} has several layers: {layers}.", "Say which with --layer."),
        "not-polygons": (
            f"{name} holds {', '.join(answer.get('kinds', ()))}, not polygons.",
            "Send the layer of the parcels' polygons.",
        ),
        "no-layer": (f"{name} holds no layer with shapes.", "Send the parcels."),
        "not-a-table": (
            f"The layer {answer.get('layer')} of {name} is a view, not a table.",
            "Export the layer to a file of its own.",
        ),
        "unsafe-xml": (
            f"{name} defines entities or a document type, which no GML needs.",
            "Export it again as plain GML.",
        ),
    }
    message, hint = sentences[code]
    return BadSurvey(message, hint=hint, code=code)


def confined(task: dict[str, Any], dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Run the child to its end; return what it told last."""
    *_, answer = told(task, dataset, settings)
    return answer


def told(task: dict[str, Any], dataset: Dataset, settings: Settings) -> Iterator[dict[str, Any]]:
    """Run the child and yield what it tells; turn every bad end into one sentence."""
    limits = {
        "seconds": settings.read_seconds,
        # Text grows at most twofold from latin-1 to UTF-8; offsets and WKB add a little.
        "file": settings.max_file_mb * _MB * 4,
        "memory": settings.read_memory_mb * _MB,
    }
    driver = task.get("driver")
    skipped = _skipped(task["engine"], driver) if driver else ""
    # a file and no pipe, which would fill up while nobody reads it
    with tempfile.TemporaryFile(dir=dataset.folder) as errors:
        child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), json.dumps({**task, "limits": limits})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=dataset.folder,
            env=_environment(dataset.folder, skipped),
            start_new_session=True,
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(child)

        timer = threading.Timer(settings.read_seconds, end)
        timer.start()
        with child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    if line.endswith(b"\n"):  # else it was killed while it wrote
                        yield json.loads(line)
                child.wait()
            finally:
                timer.cancel()
                _kill(child)
        errors.seek(0)
        _judge_end(child.returncode, late.is_set(), errors.read(), dataset, settings)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def _judge_end(code: int, late: bool, said: bytes, dataset: Dataset, settings: Settings) -> None:
    """Raise what a bad end of the child means."""
    if code == 0:
        return
    if late:
        raise BadSurvey(
            f"Reading {dataset.layer} took over {settings.read_seconds} s.",
            hint="Split the survey, or raise LANDDATA_READ_SECONDS.",
            code="too-slow",
        )
    if code == 3:
        raise LandDataError(
            f"GDAL has drivers that it should not have ({said.decode(errors='replace')[-200:]}).",
            hint="`landdata doctor` tells more; no survey is read meanwhile.",
            code="drivers",
        )
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise BadSurvey(
            f"Reading {dataset.layer} took more time or memory than is allowed.",
            hint="Split the survey, or raise LANDDATA_READ_SECONDS or LANDDATA_READ_MEMORY_MB.",
            code="too-slow",
        )
    if _DISK_FULL in said:
        raise from_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if any(word in said for word in _OUT_OF_MEMORY):
        raise BadSurvey(
            f"Reading {dataset.layer} took more memory than is allowed.",
            hint="Split the survey, or raise LANDDATA_READ_MEMORY_MB.",
            code="too-much-memory",
        )
    raise BadSurvey(
        f"The {dataset.format.name} {dataset.layer} cannot be read: it is damaged.",
        hint="Export the survey again.",
        code="unreadable",
    )
