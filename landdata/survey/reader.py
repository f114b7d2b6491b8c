"""Reads an unpacked dataset in a child process; this process never runs GDAL on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landdata.errors import BadSurvey, LandDataError
from landdata.settings import Settings
from landdata.survey.archive import Dataset

#: The only drivers that GDAL has in the child.
DRIVERS = ("ESRI Shapefile",)

_CHILD = Path(__file__).with_name("child.py")
_MB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as the file has it: nothing decoded, nothing converted.

    `wkb` is null for a row whose shape is missing or damaged. `columns` hold text as latin-1,
    one character a byte. `network` tells whether the child could be cut off from it.
    """

    rows: NDArray[np.int64]  # (n,) feature ids
    wkb: pa.ChunkedArray  # (n,) binary
    columns: dict[str, pa.ChunkedArray]  # source field → (n,) values
    network: str
    peak_mb: int


def _environment(scratch: Path, drivers: str) -> dict[str, str]:
    """Return all that the child knows of its surroundings."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "OGR_SKIP": drivers,
        "GDAL_DRIVER_PATH": "disable",
        "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
        "SHAPE_RESTORE_SHX": "NO",
        "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "NO",
        # Threads reserve address space, which is limited, and read no faster.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "ARROW_IO_THREADS": "1",
    }


@lru_cache(maxsize=1)
def _skipped() -> str:
    """Name the drivers that GDAL has and that we do not want, as its settings take them."""
    answer = subprocess.run(
        [sys.executable, "-I", str(_CHILD)],
        capture_output=True,
        check=False,
        timeout=120,
        env=_environment(Path("/nonexistent"), ""),
    )
    if answer.returncode != 0:
        raise LandDataError(
            "The reader of survey files does not start.",
            hint="`landdata doctor` tells what is missing.",
            code="no-reader",
        )
    names = sorted(set(json.loads(answer.stdout)) - set(DRIVERS))
    return ",".join(names)


def read(dataset: Dataset, settings: Settings) -> Layer:
    """Read a dataset, in a process that is killed at `settings.read_seconds`.

    Raises `BadSurvey` where it cannot be read, takes too long or takes too much.
    """
    target = dataset.folder / "survey.arrows"
    task = {
        "source": str(dataset.shp),
        "target": str(target),
        "drivers": list(DRIVERS),
        "limits": {
            "seconds": settings.read_seconds,
            # Text grows at most twofold from latin-1 to UTF-8; offsets and WKB add a little.
            "file": settings.max_file_mb * _MB * 4,
            "memory": settings.read_memory_mb * _MB,
        },
    }
    answer = _run(task, dataset, settings)
    # Mapped, not loaded: the file may be unlinked while the arrays are in use.
    with pa.memory_map(str(target)) as source:
        table = pa.ipc.open_stream(source).read_all()
    target.unlink()
    expected = dataset.rows - dataset.deleted
    if table.num_rows != expected:
        raise BadSurvey(
            f"Of the {expected} rows of {dataset.layer} only {table.num_rows} could be read.",
            hint="Export the survey again.",
            code="rows-lost",
        )
    special = (answer["geometry"], answer["fid"])
    return Layer(
        rows=np.asarray(table.column(answer["fid"]).to_numpy(), dtype=np.int64),
        wkb=table.column(answer["geometry"]),
        columns={n: table.column(n) for n in table.column_names if n not in special},
        network=answer["network"],
        peak_mb=answer["peak_mb"],
    )


def _run(task: dict[str, Any], dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Run the child to its end; turn every bad end into one sentence."""
    child = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD), json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=dataset.folder,
        env=_environment(dataset.folder, _skipped()),
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
    if b"MemoryError" in err or b"ArrowMemoryError" in err or b"failed to map segment" in err:
        raise BadSurvey(
            f"Reading {dataset.layer} took more memory than is allowed.",
            hint="Split the survey, or raise LANDDATA_READ_MEMORY_MB.",
            code="too-much-memory",
        )
    raise BadSurvey(
        f"The shapefile {dataset.layer} cannot be read: it is damaged.",
        hint="Export the survey again.",
        code="unreadable",
    )
