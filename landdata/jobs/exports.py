"""Large exports as jobs: a link at once, then progress, then the file.

A job is a folder of `LANDDATA_HOME/exports` and an entry of the queue. A web process enqueues and
reads; a runner writes the file (`export_task`): a worker, or one that the web process starts for
its first job and that ends with it. A job that is neither done nor in the queue, as after a restore
of the database, is enqueued again when its client asks for it. Servers that share the folder share
the jobs, and each of them removes expired ones.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from landdata.errors import LandDataError, NotFound, Unavailable
from landdata.jobs import queue
from landdata.settings import Settings
from landdata.store import database
from landdata.translations import sentence, translate

if TYPE_CHECKING:
    from landdata.features.collections import Collection

_MAX_UNFINISHED: Final = 10  # jobs that wait or are being written
_SWEEP_INTERVAL: Final = 300.0  # seconds between two removals of expired files
_ABANDONED: Final = 3600.0  # seconds after which a job that is neither done nor queued is removed
_RUNNER: Final = "landdata.jobs.runner"

_RETRIED: Final = sentence("It broke off and is made again.")

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ExportJob:
    """What a job is to write; the file `job.json` of its folder."""

    key: str  # the same for the same request
    collection: str
    columns: list[str]  # as public as the server has them
    format: str
    parameters: list[tuple[str, str]]
    created: float  # Unix time
    attempts: int = 0


class Jobs:
    """The export jobs of a deployment, as a web process sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.home / "exports"
        self._engine: sa.Engine | None = None
        self._runner: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._keep_swept, daemon=True).start()

    def close(self) -> None:
        """Stop the runner, which puts back what it has not done, and the removal of old files."""
        self._closed.set()
        if self._runner is not None:
            try:
                self._runner.communicate(timeout=20)  # ends its standard input
            except subprocess.TimeoutExpired:
                self._runner.kill()
                self._runner.wait()
        if self._engine is not None:
            self._engine.dispose()

    def ask(
        self, collection: Collection, name: str, parameters: Pairs, publication: int | None
    ) -> str:
        """Return the id of a job that writes format `name`: a new one, or one of the same request.

        A file is current while `publication`, the store's last one, is the same; null is never.
        Columns count too, since addresses may be public no longer. Raises `Unavailable`.
        """
        columns = [item.column for item in collection.properties]
        pairs = sorted(pair for pair in parameters if pair[0] not in ("f", "lang"))
        request = [collection.id, name, publication, collection.table, *columns, *pairs]
        key = hashlib.blake2b(json.dumps(request).encode(), digest_size=12).hexdigest()
        with self._locked():
            self._sweep()
            for folder in self._folders():
                job, result = read_job(folder), _read(folder / "result.json")
                is_current = result.get("status") == "successful" and publication is not None
                if job is not None and job.key == key and (not result or is_current):
                    return folder.name
            if len(self._queued()) >= _MAX_UNFINISHED:
                raise Unavailable(
                    "Too many exports wait here already.", hint="Try again later.", code="busy"
                )
            folder = self._folder / secrets.token_urlsafe(12)
            job = ExportJob(key, collection.id, columns, name, [*parameters], time.time())
            try:
                with _disk_errors():
                    folder.mkdir()
                    _write(folder / "job.json", asdict(job))
                self._start_runner()
                self._enqueue(folder)
            except LandDataError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder.name

    def status(self, number: str, language: str = "en") -> dict[str, Any]:
        """Return the status of a job, with its message in `language`. Raises `NotFound`.

        A job that the queue has lost is enqueued.
        """
        with self._locked():
            self._sweep()
            folder = self._folder / number
            job = read_job(folder) if re.fullmatch(r"[A-Za-z0-9_-]{16}", number) else None
            if job is None:
                raise NotFound(
                    "There is no export {number!r} (any more).",
                    hint="They are kept for a while only; ask for it again.",
                    number=number[:50],
                )
            result = _read(folder / "result.json")
            if not result:
                with contextlib.suppress(Unavailable):  # what is known is on the disk
                    self._start_runner()
                    if number not in self._queued():
                        self._enqueue(folder)
        progress = {**_read(folder / "progress.json"), **result}
        message = result.get("message_vi" if language == "vi" else "message")
        if job.attempts > 1 and not result:
            message = translate(_RETRIED, language)
        finished = result.get("finished")
        rows, matched, began = (
            progress.get("rows", 0),
            progress.get("matched"),
            progress.get("began"),
        )
        share = 1.0 if result.get("status") == "successful" else min(0.99, rows / (matched or 1e99))
        spent = time.time() - began if began else 0.0
        return {
            "jobID": number,
            "status": progress.get("status", "accepted"),
            "progress": int(100 * share),
            "numberMatched": matched,
            "numberWritten": rows,
            "secondsLeft": round(spent * (1 - share) / share, 1)
            if share > 0.05 and not result
            else None,
            "message": message,
            "created": _timestamp(job.created),
            "finished": _timestamp(finished),
            "expires": _timestamp(finished + 3600 * self._settings.export_hours)
            if finished
            else None,
            "collection": job.collection,
            "format": job.format,
            "file": result.get("file"),
            "size": result.get("size"),
        }

    def file(self, number: str, name: str) -> Path:
        """Return the path of a finished job's file. Raises `NotFound`."""
        status = self.status(number)
        if status["file"] != name or status["status"] != "successful":
            raise NotFound(
                "The export has no file {name!r}.",
                hint="Its status links the file it has.",
                name=name[:50],
            )
        return self._folder / number / name

    def _enqueue(self, folder: Path) -> None:
        with self._session() as session:
            queue.enqueue_export(session, folder.name, at_once=self._settings.export_jobs)

    def _start_runner(self) -> None:
        """Start this process's own runner, unless it runs: there may be no worker."""
        if self._runner is not None and self._runner.poll() is None:
            return
        with _disk_errors():
            self._runner = subprocess.Popen(
                [sys.executable, "-m", _RUNNER], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._runner.stdin is not None
        self._runner.stdin.write(self._settings.model_dump_json().encode() + b"\n")
        self._runner.stdin.flush()  # it ends when the pipe does, hence with this process

    def _queued(self) -> set[str]:
        with self._session() as session:
            return queue.queued_exports(session)

    @contextlib.contextmanager
    def _session(self) -> Iterator[sa.orm.Session]:
        """Open a session on the database of the queue. Raises `Unavailable`."""
        if self._engine is None:
            self._engine = database.bare_engine(self._settings)
        try:
            with database.session(self._engine) as session:
                yield session
        except sa.exc.OperationalError:
            raise Unavailable(
                "The queue is out of reach.", hint="Try again later.", code="database-down"
            ) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder against other servers and threads."""
        with _disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / ".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _folders(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.is_dir()]

    def _keep_swept(self) -> None:
        while True:
            if self._folder.is_dir():
                with contextlib.suppress(OSError, LandDataError), self._locked():
                    self._sweep()
            if self._closed.wait(_SWEEP_INTERVAL):
                return

    def _sweep(self) -> None:
        """Remove the files that have expired, and the oldest ones beyond the room for all."""
        finished, abandoned = [], []
        for folder in self._folders():
            result = _read(folder / "result.json")
            if result:
                finished.append((result["finished"], result.get("size") or 0, folder))
            elif time.time() - folder.stat().st_mtime > _ABANDONED:
                abandoned.append(folder)
        finished.sort(reverse=True)
        room = self._settings.export_gb * 1e9
        for ended, size, folder in finished:
            room -= size
            if room < 0 or time.time() - ended > 3600 * self._settings.export_hours:
                shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(Unavailable):
            queued = self._queued() if abandoned else set()
            for folder in abandoned:
                if folder.name not in queued:
                    shutil.rmtree(folder, ignore_errors=True)


# -- the folder of a job -------------------------------------------------------------------


def read_job(folder: Path) -> ExportJob | None:
    """Return what a job is to write; null where it is gone, or a crash has left it unreadable."""
    try:
        job = ExportJob(**_read(folder / "job.json"))
    except TypeError:
        return None
    return replace(job, parameters=[(name, value) for name, value in job.parameters])


def begin_attempt(folder: Path) -> int | None:
    """Count an attempt, and remove what the one before left; null where there is nothing to do.

    Raises `OSError`.
    """
    job = read_job(folder)
    if job is None or _read(folder / "result.json"):
        return None
    _write(folder / "job.json", asdict(replace(job, attempts=job.attempts + 1)))
    for part in folder.glob("part-*"):
        shutil.rmtree(part, ignore_errors=True)
    return job.attempts + 1


def write_progress(folder: Path, progress: dict[str, Any]) -> None:
    """Write `rows`, `matched` and `began`, where the disk has room for them."""
    with contextlib.suppress(OSError):
        _write(folder / "progress.json", {"status": "running", **progress})


def failed(message: str) -> dict[str, Any]:
    """Return the result of an export that has failed."""
    return {"status": "failed", "message": message, "message_vi": translate(message, "vi")}


def end(folder: Path, result: dict[str, Any]) -> None:
    """Write the result of a job, if it has none and still exists. Raises `OSError`."""
    if folder.is_dir() and not _read(folder / "result.json"):
        _write(folder / "result.json", {**result, "finished": time.time()})


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Translate an `OSError` into `Unavailable`."""
    try:
        yield
    except OSError as error:
        raise Unavailable(
            "No export can be kept here: {strerror}.",
            hint="The operator must make room or grant the right in LANDDATA_HOME/exports.",
            code="no-room",
            strerror=error.strerror,
        ) from None


def _read(path: Path) -> dict[str, Any]:
    """Read a small file; empty where it is missing, or where a crash has cut it short."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file, so that readers see the old or the new one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value), "utf-8")
    new.replace(path)


def _timestamp(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
