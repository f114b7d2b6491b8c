"""Large exports as jobs: a link at once, progress while it is made, and then the file.

A job is a folder of `LANDDATA_HOME/exports`, and a child process of the server that makes it. No
worker is needed, and nothing is written into the database. The child holds a lock as long as it
is there: where a job is not done and nobody holds its lock, whoever asks for it starts it again.
The file gets its name when it is whole, and only then is it linked. Servers that share the folder
share the jobs, and each removes now and then what is kept no longer.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from landdata.errors import LandDataError, NotFound, Unavailable
from landdata.settings import Settings

if TYPE_CHECKING:
    # a child that only waits for its turn loads none of it
    import sqlalchemy as sa

    from landdata.features.collections import Collection
    from landdata.features.query import Query

_UNFINISHED: Final = 10  # jobs at most that wait or are made
_ATTEMPTS: Final = 3
_TELL: Final = 0.5  # seconds between two notes of how far it is
_SWEEP: Final = 300.0  # seconds between two looks for what is kept no longer
_FULL: Final = 1 << 20  # bytes; a disk with less is full
_FULL_OF_GDAL: Final = "disk is full", "No space left", "I/O failure"

_AGAIN: Final = "It broke off and is made again."

Pairs = Sequence[tuple[str, str]]


class Jobs:
    """The export jobs of a deployment."""

    def __init__(self, settings: Settings, url: sa.URL) -> None:
        self._settings = settings
        self._url = url.render_as_string(hide_password=False)
        self._folder = settings.home / "exports"
        self._closed = threading.Event()
        threading.Thread(target=self._keep_swept, daemon=True).start()

    def close(self) -> None:
        """Look no longer for what is kept too long; the jobs go on as long as the server."""
        self._closed.set()

    def ask(self, of: Collection, name: str, asked: Pairs, state: int | None) -> str:
        """Return the id of a job that writes what is asked for as `name`; one that is there, if so.

        A file is as good as new while `state` of the store is the same, which null never is when
        it is done, and while the columns are, since an address may be public no longer. Raises
        `Unavailable`.
        """
        columns = [each.column for each in of.properties]
        pairs = sorted(pair for pair in asked if pair[0] not in ("f", "lang"))
        wanted = [of.id, name, state, of.table, *columns, *pairs]
        key = hashlib.blake2b(json.dumps(wanted).encode(), digest_size=12).hexdigest()
        with self._held():
            self._sweep()
            unfinished = 0
            for folder in self._all():
                job, told = _read(folder / "job.json"), _read(folder / "told.json")
                unfinished += not told and _is_held(folder)
                fresh = told.get("status") == "successful" and state is not None
                if job.get("key") == key and (not told or fresh):
                    return folder.name
            if unfinished >= _UNFINISHED:
                raise Unavailable(
                    "Too many exports wait here already.", hint="Try again later.", code="busy"
                )
            folder = self._folder / secrets.token_urlsafe(12)
            with _room():
                folder.mkdir()
                job = {
                    "key": key, "collection": of.id, "format": name,
                    "asked": [*asked], "created": time.time(), "attempts": 0,
                }  # fmt: skip
                _write(folder / "job.json", job)
                self._start(folder)
        return folder.name

    def told(self, number: str) -> dict[str, Any]:
        """Return how a job is. One that broke off is started again. Raises `NotFound`."""
        with self._held():
            self._sweep()
            folder = self._folder / number
            known = re.fullmatch(r"[A-Za-z0-9_-]{16}", number) and _read(folder / "job.json")
            if not known:
                raise NotFound(
                    f"There is no export {number[:50]!r} (any more).",
                    hint="They are kept for a while only; ask for it again.",
                )
            told = _read(folder / "told.json")
            if not told and not _is_held(folder):
                self._start(folder)
            job = _read(folder / "job.json")
            told = _read(folder / "told.json")
        made = {**_read(folder / "progress.json"), **told}
        created, finished = job["created"], told.get("finished")
        rows, matched, began = made.get("rows", 0), made.get("matched"), made.get("began")
        share = 1.0 if told.get("status") == "successful" else min(0.99, rows / (matched or 1e99))
        spent = time.time() - began if began else 0.0
        return {
            "jobID": number,
            "status": made.get("status", "accepted"),
            "progress": int(100 * share),
            "numberMatched": matched,
            "numberWritten": rows,
            "secondsLeft": round(spent * (1 - share) / share, 1)
            if share > 0.05 and not told
            else None,
            "message": told.get("message", _AGAIN if job["attempts"] > 1 and not told else None),
            "created": _time(created),
            "finished": _time(finished),
            "expires": _time(finished + 3600 * self._settings.export_hours) if finished else None,
            "collection": job["collection"],
            "format": job["format"],
            "file": told.get("file"),
            "size": told.get("size"),
        }

    def file(self, number: str, name: str) -> Path:
        """Return the file of a job that is done. Raises `NotFound`."""
        told = self.told(number)
        if told["file"] != name or told["status"] != "successful":
            raise NotFound(
                f"The export has no file {name[:50]!r}.", hint="Its status links the file it has."
            )
        return self._folder / number / name

    def _start(self, folder: Path) -> None:
        """Start the child that makes it, which from its first moment holds the job's lock."""
        job = _read(folder / "job.json")
        with _room():
            if job["attempts"] >= _ATTEMPTS:
                told = {"status": "failed", "message": f"It broke off {_ATTEMPTS} times."}
                _write(folder / "told.json", {**told, "finished": time.time()})
                return
            _write(folder / "job.json", {**job, "attempts": job["attempts"] + 1})
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                child = subprocess.Popen(
                    [sys.executable, "-m", "landdata.jobs.exports"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,  # it ends together with the process that writes files
                )
        given = {
            "settings": self._settings.model_dump(mode="json"),
            "url": self._url,
            "folder": os.fspath(folder),
        }
        assert child.stdin is not None
        child.stdin.write(json.dumps(given).encode() + b"\n")
        child.stdin.flush()
        # it reads until we are gone; a thread waits for it, so that it leaves no zombie
        threading.Thread(target=_reap, args=(child,), daemon=True).start()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder against other servers and threads."""
        with _room():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / ".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _all(self) -> list[Path]:
        return [each for each in self._folder.iterdir() if each.is_dir()]

    def _keep_swept(self) -> None:
        while True:
            if self._folder.is_dir():
                with contextlib.suppress(OSError, LandDataError), self._held():
                    self._sweep()
            if self._closed.wait(_SWEEP):
                return

    def _sweep(self) -> None:
        """Remove what is too old, and the oldest of what is too much."""
        finished = []
        for folder in self._all():
            told = _read(folder / "told.json")
            if told:
                finished.append((told["finished"], told.get("size") or 0, folder))
            elif time.time() - folder.stat().st_mtime > 3600 and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)  # broke off, and nobody came back
        finished.sort(reverse=True)
        room = self._settings.export_gb * 1e9
        for ended, size, folder in finished:
            room -= size
            if room < 0 or time.time() - ended > 3600 * self._settings.export_hours:
                shutil.rmtree(folder, ignore_errors=True)


def _reap(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Say in one sentence that nothing can be written."""
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"No export can be kept here: {error.strerror}.",
            hint="The operator must make room or grant the right in LANDDATA_HOME/exports.",
            code="no-room",
        ) from None


def _is_held(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _read(path: Path) -> dict[str, Any]:
    """Read a small file; one that is not there, or that a crash cut short, says nothing."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file: who reads meanwhile has the old or the new one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value), "utf-8")
    new.replace(path)


def _time(moment: float | None) -> str | None:
    if moment is None:
        return None
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")


# -- the child -----------------------------------------------------------------------------


def _child() -> None:
    """Make the export that standard input names, when it is its turn."""
    given = json.loads(sys.stdin.buffer.readline())
    settings, folder = Settings(**given["settings"]), Path(given["folder"])
    threading.Thread(target=_end_with_server, daemon=True).start()
    with _turn(folder.parent, settings.export_jobs):
        for left in folder.glob("part-*"):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            part = Path(tempfile.mkdtemp(prefix="part-", dir=folder))
            told = _make(settings, given["url"], folder, part)
        except Exception as error:
            told = {"status": "failed", "message": _why(error, folder, settings)}
        _tell(folder, told)


def _tell(folder: Path, told: dict[str, Any]) -> None:
    """Write how it ended, and before it, because the disk may be full, remove what is no file."""
    for part in folder.glob("part-*"):
        shutil.rmtree(part, ignore_errors=True)
    _write(folder / "told.json", {**told, "finished": time.time()})


def _give_up(folder: Path, why: str) -> NoReturn:
    """End unfinished, also where that can't be noted."""
    try:
        _tell(folder, {"status": "failed", "message": why})
    finally:
        _end()


def _why(error: Exception, folder: Path, settings: Settings) -> str:
    """Say for what an export failed, in one sentence for who asked for it."""
    number = error.errno if isinstance(error, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(folder).free < _FULL
    if isinstance(error, LandDataError) and error.code == "not-written":
        # GDAL has removed the file that filled the disk already
        full |= any(each in error.message for each in _FULL_OF_GDAL)
    if full:
        return "The disk is full; ask for less, or when the operator has made room."
    if number == errno.EFBIG:
        return "The file is larger than the server may write; ask for less."
    if isinstance(error, Unavailable) and error.code == "timeout":
        return f"It took more than {settings.export_seconds} s; ask for less."
    if isinstance(error, LandDataError):
        return error.message
    return f"It broke off ({type(error).__name__})."


def _make(settings: Settings, url: str, folder: Path, part: Path) -> dict[str, Any]:
    from sqlalchemy import make_url  # noqa: PLC0415

    from landdata.features import custom_collections  # noqa: PLC0415
    from landdata.features.exports import formats  # noqa: PLC0415

    job = _read(folder / "job.json")
    address = make_url(url)
    of = custom_collections.find(settings, address, job["collection"])
    asked = [(name, value) for name, value in job["asked"]]
    query: Query = formats.read_query(of, asked, settings.srid)
    source = formats.ExportReader(address, seconds=settings.export_seconds)
    began, matched = time.time(), source.count(query)
    name = job["format"]
    made = part / formats.filename(query.collection, name)

    def watch() -> None:
        """Tell how far it is; stop what takes too long or too much."""
        over, size = False, 0
        while not over:
            over = ended.wait(_TELL)  # looked at once more when it is written
            progress = {"status": "running", "rows": source.rows, "matched": matched}
            with contextlib.suppress(OSError):
                _write(folder / "progress.json", {**progress, "began": began})
            with contextlib.suppress(FileNotFoundError):  # a passing file of GDAL's
                size = sum(each.stat().st_size for each in part.rglob("*") if each.is_file())
            why = None
            if size > settings.export_gb * 1e9:
                why = f"The file has more than {settings.export_gb:g} GB; ask for less."
            elif shutil.disk_usage(folder).free < settings.export_free_gb * 1e9:
                why = (
                    f"It would leave less than {settings.export_free_gb:g} GB on the disk; ask for"
                    " less, or when the operator has made room."
                )
            elif time.time() - began > settings.export_seconds and not over:
                why = f"It took more than {settings.export_seconds} s; ask for less."
            if why:
                _give_up(folder, why)

    ended = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        formats.write(source, query, name, made)
    finally:
        ended.set()
        watching.join()
    size = made.stat().st_size
    made.replace(folder / made.name)
    return {
        "status": "successful", "file": made.name, "size": size,
        "rows": source.rows, "matched": matched,
    }  # fmt: skip


@contextlib.contextmanager
def _turn(folder: Path, places: int) -> Iterator[None]:
    """Wait for one of so many places."""
    with contextlib.ExitStack() as opened:
        locks: list[IO[str]] = [
            opened.enter_context((folder / f".place-{n}").open("w")) for n in range(places)
        ]
        while True:
            for lock in locks:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield
                    return
            time.sleep(0.2)


def _end_with_server() -> None:
    """The server holds the other end: when it is gone, nobody would know of us."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    _end()


def _end() -> NoReturn:
    """End at once, together with the process that writes files."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    _child()
