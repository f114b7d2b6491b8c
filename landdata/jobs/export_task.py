"""An export as a job: a child process writes its file. Run as a module, this is the child.

The file is written into a folder `part-…` and moved when it is complete, so a link never leads to
half of one.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from landdata.errors import Conflict, LandDataError, Unavailable
from landdata.jobs import child_process, exports
from landdata.jobs.attempt import Attempt, BrokenOffError
from landdata.settings import Settings
from landdata.translations import sentence

ATTEMPTS: Final = 3
_INTERVAL: Final = 0.5  # seconds between two reports of progress, and two looks at the disk
_FULL: Final = 1 << 20  # bytes; a disk with less is full
_GDAL_DISK_FULL: Final = "disk is full", "No space left", "I/O failure"


class _LimitError(Exception):
    """The file became too large; says so in a sentence for the client."""


def perform(settings: Settings, attempt: Attempt, job: str) -> None:
    """Write the file of an export, or the reason of its failure.

    Raises `BrokenOffError` where it is to be tried again, and `AbortedError`.
    """
    folder = settings.home / "exports" / job
    try:
        tried = exports.begin_attempt(folder)
        if tried is None:
            return
        if tried > ATTEMPTS:
            exports.end(folder, exports.failed(_broke_off()))
            return
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
    except OSError as error:
        exports.end(folder, exports.failed(_reason(error, folder, settings)))
        return
    try:
        result = _run_child(settings, attempt, folder, part)
    except BrokenOffError:
        if tried < ATTEMPTS:
            raise
        result = exports.failed(_broke_off())
    except OSError as error:
        result = exports.failed(_reason(error, folder, settings))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    exports.end(folder, result)


def _run_child(settings: Settings, attempt: Attempt, folder: Path, part: Path) -> dict[str, Any]:
    """Write a file in a child; return the result of the export."""
    checked = 0.0

    def is_aborted() -> bool:
        nonlocal checked
        if time.monotonic() - checked > _INTERVAL:
            checked = time.monotonic()
            _check_room(settings, folder, part)
        return attempt.is_aborted()

    try:
        outcome = child_process.run(
            __name__,
            {
                "settings": settings.model_dump(mode="json"),
                "folder": str(folder),
                "part": str(part),
            },
            seconds=settings.export_seconds,
            is_aborted=is_aborted,
            on_progress=lambda progress: exports.write_progress(folder, progress),
        )
        if outcome["end"] == "successful":
            _check_room(settings, folder, part)
            (part / outcome["file"]).replace(folder / outcome["file"])
    except child_process.TimeLimitError:
        return exports.failed(_too_slow(settings))
    except _LimitError as error:
        return exports.failed(error.args[0])
    return {"status": outcome.pop("end"), **outcome}


def _check_room(settings: Settings, folder: Path, part: Path) -> None:
    """Raise `_LimitError` where the file is too large, or leaves too little room on the disk."""
    size = 0
    with contextlib.suppress(FileNotFoundError):  # GDAL removes its temporary files
        size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    if size > settings.export_gb * 1e9:
        raise _LimitError(
            sentence("The file has more than {size} GB; ask for less.", size=settings.export_gb)
        )
    if shutil.disk_usage(folder).free < settings.export_free_gb * 1e9:
        raise _LimitError(
            sentence(
                "It would leave less than {size} GB on the disk; ask for less, or when the operator"
                " has made room.",
                size=settings.export_free_gb,
            )
        )


def _broke_off() -> str:
    return sentence("It broke off {attempts} times.", attempts=ATTEMPTS)


def _too_slow(settings: Settings) -> str:
    return sentence("It took more than {seconds} s; ask for less.", seconds=settings.export_seconds)


def _reason(error: Exception, folder: Path, settings: Settings) -> str:
    """Return the reason of a failure, in a sentence for the client."""
    number = error.errno if isinstance(error, OSError) else None
    is_full = number in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(folder).free < _FULL
    if isinstance(error, LandDataError) and error.code == "not-written":
        # GDAL has removed the file that filled the disk already
        is_full |= any(words in error.message for words in _GDAL_DISK_FULL)
    if is_full:
        return sentence("The disk is full; ask for less, or when the operator has made room.")
    if number == errno.EFBIG:
        return sentence("The file is larger than the server may write; ask for less.")
    if isinstance(error, Unavailable) and error.code == "timeout":
        return _too_slow(settings)
    if isinstance(error, LandDataError):
        return error.message
    return sentence("It broke off ({error}).", error=type(error).__name__)


# -- the child -----------------------------------------------------------------------------


def _child() -> None:
    payload = child_process.receive()
    settings, folder = Settings(**payload["settings"]), Path(payload["folder"])
    try:
        outcome = {"end": "successful", **_write_file(settings, folder, Path(payload["part"]))}
    except Exception as error:
        result = exports.failed(_reason(error, folder, settings))
        outcome = {"end": result.pop("status"), **result}
    child_process.send(**outcome)


def _write_file(settings: Settings, folder: Path, part: Path) -> dict[str, Any]:
    """Write the file of an export into `part`; return its name, size and rows."""
    # the runner, which only watches, loads none of them
    from landdata.features import custom_collections, parameters  # noqa: PLC0415
    from landdata.features.exports import formats, writers  # noqa: PLC0415
    from landdata.features.exports.reader import ExportReader  # noqa: PLC0415
    from landdata.store import database  # noqa: PLC0415

    job = exports.read_job(folder)
    if job is None:
        raise FileNotFoundError(folder)
    url = database.reading_url(settings)
    collection = custom_collections.find(settings, url, job.collection)
    if [item.column for item in collection.properties] != job.columns:
        raise Conflict("The settings of the worker are not those of the server.")
    query = parameters.read_export_query(collection, job.parameters, settings.srid)
    reader = ExportReader(url, seconds=settings.export_seconds)
    began, matched = time.time(), reader.count(query)
    path = part / formats.filename(query.collection, job.format)
    is_written = threading.Event()

    def report() -> None:
        while not is_written.wait(_INTERVAL):
            child_process.send(rows=reader.rows, matched=matched, began=began)

    reporting = threading.Thread(target=report)
    reporting.start()
    try:
        writers.write(reader, query, job.format, path)
    finally:
        is_written.set()
        reporting.join()
    size = path.stat().st_size
    return {"file": path.name, "size": size, "rows": reader.rows, "matched": matched}


if __name__ == "__main__":
    _child()
