"""Runs `gdal_process` on a dataset: confined, with one driver, within limits of time and memory.

This process never runs GDAL on a survey file.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from landdata.errors import BadSurvey, LandDataError, from_os_error
from landdata.settings import Settings
from landdata.survey import formats
from landdata.survey.dataset import Dataset

#: The engines in order of preference: in bulk, and row by row.
ENGINES = ("pyogrio", "fiona")

_CHILD = Path(__file__).with_name("gdal_process.py")
_MB = 1 << 20
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"failed to map segment")
_DISK_FULL = os.strerror(errno.ENOSPC).encode()


def _environment(scratch: Path, drivers: str) -> dict[str, str]:
    """Return the whole environment of the child process."""
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
        # GDAL's faster way repeats rows if a GeoPackage's stored count is too high.
        "OGR_GPKG_STREAM_BASE_IMPL": "YES",
        "OGR_SQLITE_PRAGMA": "trusted_schema=OFF",
        "GML_DOWNLOAD_SCHEMA": "NO",
        "GML_SKIP_RESOLVE_ELEMS": "ALL",
        "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "NO",
        # Threads reserve address space, which is limited, and do not read faster.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "GDAL_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "ARROW_IO_THREADS": "1",
    }


@lru_cache(maxsize=len(ENGINES))
def _drivers(engine: str) -> frozenset[str]:
    """Return the names of the drivers in an engine's GDAL."""
    result = subprocess.run(
        [sys.executable, "-I", str(_CHILD), "names", engine],
        capture_output=True,
        check=False,
        timeout=120,
        env=_environment(Path("/nonexistent"), ""),
    )
    if result.returncode != 0:
        raise LandDataError(
            "The reader of survey files ({engine}) does not start.",
            hint="Run `landdata doctor` to see what is missing.",
            code="no-reader",
            engine=engine,
        )
    return frozenset(json.loads(result.stdout))


def examine() -> tuple[list[str], str]:
    """Return the missing drivers, as `engine: driver`, and the network of the child process.

    The network is 'none', or the reason why it is not cut off. Raises `LandDataError` for an
    engine that does not start.
    """
    missing = [
        f"{engine}: {driver}"
        for engine in ENGINES
        for driver in formats.DRIVERS
        if driver not in _drivers(engine)
    ]
    result = subprocess.run(
        [sys.executable, "-I", str(_CHILD), "confine"],
        capture_output=True,
        check=False,
        timeout=120,
        env=_environment(Path("/nonexistent"), ""),
    )
    if result.returncode != 0:
        return missing, "not cut off: the process cannot be confined"
    return missing, str(json.loads(result.stdout))


def _skipped(engine: str, driver: str) -> str:
    """Return the drivers that the child must not load, in the form of GDAL's settings."""
    return ",".join(sorted(_drivers(engine) - {driver}))


def run(task: dict[str, Any], dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Run the child to its end and return its last message; raises as `messages`."""
    *_, result = messages(task, dataset, settings)
    return result


def messages(
    task: dict[str, Any], dataset: Dataset, settings: Settings
) -> Iterator[dict[str, Any]]:
    """Run the child on a task of `gdal_process` and yield its messages.

    Raises `BadSurvey` if it fails or exceeds its limits, `LandDataError` for faults of our own.
    """
    limits = {
        "seconds": settings.read_seconds,
        # Text grows at most twofold from latin-1 to UTF-8; offsets and WKB add a little.
        "file": settings.max_file_mb * _MB * 4,
        "memory": settings.read_memory_mb * _MB,
    }
    driver = task.get("driver")
    skipped = _skipped(task["engine"], driver) if driver else ""
    # A file, as a pipe that nobody reads would fill up.
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
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            _kill(child)

        timer = threading.Timer(settings.read_seconds, end)
        timer.start()
        with child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    if line.endswith(b"\n"):  # else it was killed while writing
                        yield json.loads(line)
                child.wait()
            finally:
                timer.cancel()
                _kill(child)
        errors.seek(0)
        _raise_for_exit(child.returncode, timed_out.is_set(), errors.read(), dataset, settings)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def _raise_for_exit(
    code: int, timed_out: bool, stderr: bytes, dataset: Dataset, settings: Settings
) -> None:
    """Raise the error that an exit code and the error output of the child stand for."""
    if code == 0:
        return
    if timed_out:
        raise BadSurvey(
            "Reading {layer} took over {read_seconds} s.",
            hint="Split the survey, or raise LANDDATA_READ_SECONDS.",
            code="too-slow",
            layer=dataset.layer,
            read_seconds=settings.read_seconds,
        )
    if code == 3:
        raise LandDataError(
            "GDAL has loaded drivers that it must not have ({decode}).",
            hint="Run `landdata doctor`; no survey can be read until then.",
            code="drivers",
            decode=stderr.decode(errors="replace")[-200:],
        )
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise BadSurvey(
            "Reading {layer} took more time or memory than allowed.",
            hint="Split the survey, or raise LANDDATA_READ_SECONDS or LANDDATA_READ_MEMORY_MB.",
            code="too-slow",
            layer=dataset.layer,
        )
    if _DISK_FULL in stderr:
        raise from_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    if any(word in stderr for word in _OUT_OF_MEMORY):
        raise BadSurvey(
            "Reading {layer} took more memory than allowed.",
            hint="Split the survey, or raise LANDDATA_READ_MEMORY_MB.",
            code="too-much-memory",
            layer=dataset.layer,
        )
    raise BadSurvey(
        "The {name} {layer} cannot be read: it is damaged.",
        hint="Export the survey again.",
        code="unreadable",
        name=dataset.format.name,
        layer=dataset.layer,
    )
