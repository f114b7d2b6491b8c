"""A PostgreSQL server on its data folder: initdb, start, stop, and whether it runs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from landdata import files
from landdata.embedded import server_user
from landdata.embedded.configuration import PORT, configuration
from landdata.embedded.programs import Programs, find_programs
from landdata.embedded.roles import SUPERUSER
from landdata.errors import Unavailable

SOCKET_NAME = f".s.PGSQL.{PORT}"
_WAIT_SECONDS = 60
_LOG_LIMIT = 10 << 20  # bytes


class Server:
    """The server of the data folder `data`, which logs to `log`; `fast` as in `Cluster`."""

    def __init__(self, data: Path, log: Path, *, fast: bool) -> None:
        self.data = data
        self.log = log
        self.fast = fast

    def exists(self) -> bool:
        """Return whether the data folder is there.

        Raises `Unavailable` where it is none of PostgreSQL's or belongs to another user.
        """
        try:
            empty = not any(self.data.iterdir())
        except FileNotFoundError:
            return False
        if not empty and not (self.data / "PG_VERSION").exists():
            raise Unavailable(
                "{data} holds files but is no data folder of PostgreSQL.",
                hint="Move it away, or set LANDDATA_HOME to another folder.",
                code="cluster",
                data=self.data,
            )
        owner, expected = self.data.stat().st_uid, server_user.uid()
        if not empty and owner != expected:
            name = server_user.name_of(owner)
            raise Unavailable(
                "{data} belongs to the user {name}, but PostgreSQL would run as {name_of}.",
                hint="Run landdata as {name} or set LANDDATA_HOME to another folder.",
                code="cluster",
                data=self.data,
                name=name,
                name_of=server_user.name_of(expected),
            )
        return not empty

    def version(self) -> str:
        """Return the major version of the data folder."""
        return (self.data / "PG_VERSION").read_text(encoding="ascii").strip()

    def pid(self) -> int | None:
        """Return the pid of this data folder's postmaster if it is alive.

        The command line decides, because a stale pid may belong to any process by now. Unlike the
        working folder, it can be read of every user's processes.
        """
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit():
            return None
        try:
            words = Path("/proc", lines[0], "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return int(lines[0]) if os.fsencode(self.data) in words else None

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        lines = self._pid_lines()
        return len(lines) > 7 and lines[7].strip() == "ready" and self.pid() is not None

    def initialise(self, password: str) -> None:
        """Run initdb in a folder beside the data folder's place and move the result there.

        The move is atomic: a data folder in its place is complete, and what a crash left beside it
        can be deleted. A new name for each attempt keeps an initdb that outlived its parent from
        writing into ours.
        """
        home = self.data.parent
        programs = self._programs
        for abandoned in home.glob("postgres.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        server_user.require_access(home)
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=home))
        try:
            server_user.hand_over(new, 0o700)
            with _password_file(new.with_name(f"{new.name}.password"), password) as file:
                process = server_user.run(
                    programs.path("initdb"), "-D", str(new), "-U", SUPERUSER, f"--pwfile={file}",
                    "--auth-local=scram-sha-256", "--auth-host=reject", "--data-checksums",
                    "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
                    *(["--no-sync"] if self.fast else []),
                )  # fmt: skip
            if process.returncode:
                raise Unavailable(
                    "PostgreSQL's initdb failed in {home}: {last_line}",
                    hint="Correct the cause (disk full, permissions) and start again.",
                    code="cluster",
                    home=home,
                    last_line=last_line(process.stderr),
                )
            with (new / "postgresql.conf").open("a", encoding="utf-8") as conf:
                conf.write(
                    "\n# Written anew at each start; ALTER SYSTEM and postgresql.auto.conf win.\n"
                    "include 'landdata.conf'\n"
                )
            new.rename(self.data)
            files.sync(home)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def start(self, socket: Path) -> None:
        """Start the server with its socket in the folder `socket`. Raises `Unavailable`."""
        programs = self._programs
        server_user.require_access(self.data.parent)
        conf = self.data / "landdata.conf"
        files.write_private(conf, configuration(socket, fast=self.fast))
        server_user.hand_over(conf, 0o600)
        self._rotate_log()
        pause = 0.05
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            self._remove_stale_locks(socket)
            logged = self.log.stat().st_size
            process = server_user.run(
                programs.path("pg_ctl"), "-D", str(self.data), "-l", str(self.log), "-s", "-w",
                "-t", str(_WAIT_SECONDS), "start",
            )  # fmt: skip
            if not process.returncode or self.is_ready():
                return
            text = _tail(self.log, logged)
            # After a kill -9 of the postmaster its children need a moment to notice.
            busy = "already exists" in text or "still in use" in text
            if not busy or time.monotonic() > end:
                reason = next((line for line in text.splitlines() if "FATAL" in line), "")
                raise Unavailable(
                    "PostgreSQL in {data} did not start: {last_line}",
                    hint="See {log}.",
                    code="cluster",
                    data=self.data,
                    last_line=last_line(reason.partition("FATAL:")[2] or process.stderr),
                    log=self.log,
                )
            time.sleep(pause)
            pause = min(pause * 1.6, 2.0)

    def stop(self) -> None:
        """Stop the server, ending its connections. Raises `Unavailable`."""
        process = server_user.run(
            self._programs.path("pg_ctl"), "-D", str(self.data), "-s", "-m", "fast", "-w",
            "-t", str(_WAIT_SECONDS), "stop",
        )  # fmt: skip
        if process.returncode and self.pid() is not None:
            raise Unavailable(
                "PostgreSQL in {data} did not stop: {last_line}",
                hint="See {log}.",
                code="cluster",
                data=self.data,
                last_line=last_line(process.stderr),
                log=self.log,
            )

    @cached_property
    def _programs(self) -> Programs:
        return find_programs(int(self.version()) if self.exists() else None, self.data)

    def _pid_lines(self) -> list[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return []

    def _remove_stale_locks(self, socket: Path) -> None:
        """Remove the locks of a dead postmaster whose pid another process now has.

        PostgreSQL removes a lock whose pid is free, but takes any living process of the same user
        for a postmaster; in a container, where pids start low, that is the rule. The shared memory
        shows whether children of the dead one still work on the data.
        """
        lines = self._pid_lines()
        if not lines or self.pid() is not None or not Path("/proc", lines[0]).exists():
            return
        shared_memory = lines[6].split() if len(lines) > 6 else []
        if shared_memory and _is_attached(shared_memory[-1]):
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (socket / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _rotate_log(self) -> None:
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT:
                self.log.rename(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        server_user.hand_over(self.log, 0o600)


@contextmanager
def _password_file(file: Path, password: str) -> Iterator[Path]:
    try:
        files.write_private(file, password + "\n")
        server_user.hand_over(file, 0o600)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _is_attached(shared_memory: str) -> bool:
    """Return whether processes are attached to the System V shared memory of this id."""
    with suppress(OSError):
        for line in Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[1] == shared_memory:
                return int(words[6]) > 0
        return False
    return True


def last_line(text: str) -> str:
    """Return the last line of an output that is not empty, as a sentence's end."""
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[-1].strip() if lines else "no reason given").rstrip(".") + "."


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")
