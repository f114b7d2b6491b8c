"""Reads an unpacked dataset in a child process; this process never runs GDAL on it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landdata.errors import BadRequest, BadSurvey, LandDataError
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import formats
from landdata.survey.archive import Dataset

#: In the order in which they are tried: in bulk, and row by row.
ENGINES = ("pyogrio", "fiona")

_CHILD = Path(__file__).with_name("child.py")
_MB = 1 << 20
_MAX_ID = 2**31 - 1
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"failed to map segment")
_RETRIED = frozenset({"unreadable", "rows-lost"})  # what the second engine may do better


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as the file has it: nothing decoded, nothing converted.

    `wkb` is null for a row whose shape is missing or damaged. `columns` hold text as latin-1,
    one character a byte, or, where `unicode`, as the format's own Unicode. `unread` are the
    rows that the engine could not read: they are there, and empty. `stated` is the number of
    rows that the file claims where it is another. `findings` are what making the layer told,
    of rows without a shape too. `points` are those of a text (`landdata.survey.points`).
    `network` tells whether the child could be cut off from it.
    """

    rows: NDArray[np.int64]  # (n,) feature ids
    wkb: pa.ChunkedArray  # (n,) binary
    columns: dict[str, pa.ChunkedArray]  # source field → (n,) values
    unicode: bool = False
    layer: str | None = None
    layers: tuple[str, ...] = ()
    shape: str = ""
    crs: str | None = None
    engine: str = ENGINES[0]
    unread: tuple[int, ...] = ()
    stated: int | None = None
    findings: tuple[Finding, ...] = ()
    points: pa.Table | None = None
    network: str = "none"
    peak_mb: int = 0


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


def read(dataset: Dataset, settings: Settings, *, engine: str | None = None) -> Layer:
    """Read a dataset, in a process that is killed at `settings.read_seconds`.

    `engine` is one of `ENGINES`; null: in bulk, and row by row where that fails. Every row of
    the file is in the layer, or else `BadSurvey` is raised, as it is where the file cannot be
    read, takes too long or takes too much.
    """
    if engine is not None and engine not in ENGINES:
        raise BadRequest(
            f"{engine!r} is no engine.", hint=f"Say {' or '.join(ENGINES)}.", code="unknown-engine"
        )
    if engine is not None:
        return _read(dataset, settings, engine)
    try:
        return _read(dataset, settings, ENGINES[0])
    except BadSurvey as error:
        if error.code not in _RETRIED:
            raise
        return _read(dataset, settings, ENGINES[1])


def _read(dataset: Dataset, settings: Settings, engine: str) -> Layer:
    """Read a dataset with one engine."""
    target = dataset.folder / "survey.arrows"
    progress = dataset.folder / "survey.row"
    raw = dataset.format is formats.SHAPEFILE
    task = {
        "engine": engine,
        "driver": dataset.format.driver,
        "options": dict(dataset.format.options),
        "source": str(dataset.file),
        "target": str(target),
        "progress": str(progress),
        "encoding": "ISO-8859-1" if raw else None,
        "choose": dataset.format.kind == "polygons" and not raw,
        "layer": dataset.inner,
        "rows": None if dataset.rows is None else dataset.rows - dataset.deleted,
    }
    try:
        answer = confined(task, dataset, settings)
    except BadSurvey as error:
        raise _at_row(error, dataset, progress) from None
    if "refused" in answer:
        raise _refusal(answer, dataset)
    # Mapped, not loaded: the file may be unlinked while the arrays are in use.
    with pa.memory_map(str(target)) as source:
        table = pa.ipc.open_stream(source).read_all()
    target.unlink()
    progress.unlink(missing_ok=True)
    _account(answer, table.num_rows, dataset, settings)
    table = table.rename_columns(_distinct(table.column_names, answer))
    rows = np.asarray(table.column(answer["fid"]).to_numpy(), dtype=np.int64)
    unread = np.isin(rows, answer.get("unread", ()))
    unique = bool((np.diff(rows) > 0).all()) or len(np.unique(rows)) == len(rows)
    if not unique or np.abs(rows).max() > _MAX_ID:
        rows = np.arange(len(rows), dtype=np.int64)  # ids of the sender's own, of no use as such
    special = (answer["geometry"], answer["fid"])
    stated = answer.get("stated")
    return Layer(
        rows=rows,
        wkb=table.column(answer["geometry"]),
        columns={n: table.column(n) for n in table.column_names if n not in special},
        unicode=not raw,
        layer=answer["layer"],
        layers=tuple(answer["layers"]),
        shape=answer["shape"],
        crs=answer["crs"],
        engine=engine,
        unread=tuple(rows[unread].tolist()),
        stated=stated if stated is not None and stated != table.num_rows else None,
        network=answer["network"],
        peak_mb=answer["peak_mb"],
    )


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


def _account(answer: dict[str, Any], rows: int, dataset: Dataset, settings: Settings) -> None:
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
    if rows > settings.max_rows:
        raise too_many(dataset, rows, settings)


def too_many(dataset: Dataset, rows: int, settings: Settings) -> BadSurvey:
    """Say that a file has more rows than are allowed."""
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
    """Run the child to its end; turn every bad end into one sentence."""
    limits = {
        "seconds": settings.read_seconds,
        # Text grows at most twofold from latin-1 to UTF-8; offsets and WKB add a little.
        "file": settings.max_file_mb * _MB * 4,
        "memory": settings.read_memory_mb * _MB,
    }
    driver = task.get("driver")
    skipped = _skipped(task["engine"], driver) if driver else ""
    child = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD), json.dumps({**task, "limits": limits})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=dataset.folder,
        env=_environment(dataset.folder, skipped),
        start_new_session=True,
    )
    with child:
        try:
            out, err = child.communicate(timeout=settings.read_seconds)
        except subprocess.TimeoutExpired:
            raise BadSurvey(
                f"Reading {dataset.layer} took over {settings.read_seconds} s.",
                hint="Split the survey, or raise LANDDATA_READ_SECONDS.",
                code="too-slow",
            ) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode == 0:
        answer: dict[str, Any] = json.loads(out)
        return answer
    if child.returncode == 3:
        raise LandDataError(
            f"GDAL has drivers that it should not have ({err.decode(errors='replace')[-200:]}).",
            hint="`landdata doctor` tells more; no survey is read meanwhile.",
            code="drivers",
        )
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise BadSurvey(
            f"Reading {dataset.layer} took more time or memory than is allowed.",
            hint="Split the survey, or raise LANDDATA_READ_SECONDS or LANDDATA_READ_MEMORY_MB.",
            code="too-slow",
        )
    if any(word in err for word in _OUT_OF_MEMORY):
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
