"""The embedded PostGIS: a private PostgreSQL cluster, created, started and stopped by landdata.

All of it is in the data folder (`Settings.home`):

    postgres/        the data folder of PostgreSQL (checksums, UTF-8, locale C.UTF-8)
    postgres.log     its log; statements, values and failing rows are never written to it
    cluster.json     passwords and the socket's folder; mode 0600
    cluster.lock     held by a process that starts or stops the cluster
    socket/          the unix socket; a short folder elsewhere where this path is too long

It listens on a unix socket only, and every login needs a password (`peer` fails where the users of
database and operating system differ).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from landdata.embedded import roles, server_user
from landdata.embedded.connection import ConnectionRecord
from landdata.embedded.server import SOCKET_NAME, Server, last_line
from landdata.errors import Unavailable

# sockaddr_un holds 108 bytes, the last of which ends the string.
_SOCKET_LIMIT = 107
_LOCK_SECONDS = 120


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster's status: `size` in bytes, `version` the major version of its data folder."""

    running: bool
    pid: int | None
    version: str | None
    size: int
    home: Path
    socket: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "running": self.running,
            "pid": self.pid,
            "version": self.version,
            "size": self.size,
            "home": str(self.home),
            "socket": str(self.socket) if self.socket else None,
        }


class Cluster:
    """The private cluster in `home`.

    `fast` trades safety against a crash for speed (no fsync): only for tests. Every failure is an
    `Unavailable` with a hint. Safe to use from many processes.
    """

    def __init__(self, home: Path | str, *, fast: bool = False) -> None:
        # Resolved, so that all processes find the same postmaster by its command line.
        self.home = Path(home).resolve()
        self.data = self.home / "postgres"
        self.log = self.home / "postgres.log"
        self._record_file = self.home / "cluster.json"
        self._server = Server(self.data, self.log, fast=fast)

    def up(self) -> bool:
        """Create the cluster if it is missing, start it, create database, roles and extensions.

        Returns whether this call started it. Does nothing where it is up already.
        """
        with self._public_errors(), self._locked():
            if self._server.is_ready() and self._record().furnished == roles.REVISION:
                return False
            if not self._server.exists():
                self._create()
            started = self._server.pid() is None
            if started:
                self._server.start(self._make_socket_folder())
            record = self._record()
            roles.create_missing(record.connect, record.passwords)
            replace(record, furnished=roles.REVISION).save(self._record_file)
            return started

    def down(self) -> bool:
        """Stop the cluster, ending its connections. Returns whether it was running."""
        if not self.home.is_dir():
            return False
        with self._public_errors(), self._locked():
            if self._server.pid() is None:
                return False
            self._server.stop()
            return True

    def status(self) -> ClusterStatus:
        """Return the cluster's status, changing nothing."""
        with self._public_errors():
            pid = self._server.pid()
            exists = self._server.exists()
            socket = self._record().socket if exists else None
            return ClusterStatus(
                running=pid is not None,
                pid=pid,
                version=self._server.version() if exists else None,
                size=_size(self.data) if exists else 0,
                home=self.home,
                socket=Path(socket) if socket else None,
            )

    def url(self, database: str = roles.DATABASE, *, role: str = roles.OWNER) -> URL:
        """Return the SQLAlchemy URL of a database for a role; `str(url)` hides the password.

        Raises `Unavailable` where the cluster was never started.
        """
        with self._public_errors():
            record = self._record() if self._record_file.exists() else None
            if record is None or record.socket is None:
                raise Unavailable(
                    "There is no database in {home}.",
                    hint="Start it with: landdata up.",
                    code="no-cluster",
                    home=self.home,
                )
            return record.url(database, role)

    def _create(self) -> None:
        record = ConnectionRecord.create()
        record.save(self._record_file)
        self._server.initialise(record.passwords[roles.SUPERUSER])

    def _record(self) -> ConnectionRecord:
        return ConnectionRecord.load(self._record_file)

    def _make_socket_folder(self) -> Path:
        """Create and record the socket's folder, mode 0700 and owned by the server's user.

        A path may be too long for a socket, and a comma would make two hosts of it.
        """
        record = self._record()
        socket = self.home / "socket"
        path = os.fsencode(socket / SOCKET_NAME)
        if len(path) <= _SOCKET_LIMIT and b"," not in path:
            socket.mkdir(exist_ok=True)
        else:
            if record.socket and server_user.owns_alone(Path(record.socket)):
                return Path(record.socket)
            socket = Path(tempfile.mkdtemp(prefix="landdata-", dir="/tmp"))
        server_user.hand_over(socket, 0o700)
        replace(record, socket=str(socket)).save(self._record_file)
        return socket

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the home, waiting for another process that starts or stops it."""
        if not self.home.is_dir():
            self.home.mkdir(parents=True, exist_ok=True)
            # Nobody else lists its content; root's `postgres` must be able to pass through.
            self.home.chmod(0o700 if os.geteuid() else 0o711)
        with (self.home / "cluster.lock").open("a", encoding="utf-8") as file:
            end = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Unavailable(
                            "Another process has been starting or stopping the cluster in "
                            "{home} for {lock_seconds} s.",
                            hint="Look for a hanging landdata process, end it and try again.",
                            code="cluster",
                            home=self.home,
                            lock_seconds=_LOCK_SECONDS,
                        ) from None
                    time.sleep(0.05)
            yield

    @contextmanager
    def _public_errors(self) -> Iterator[None]:
        """Translate the errors of the system and of the database."""
        try:
            yield
        except OSError as error:
            raise Unavailable(
                "The database's folder is not usable: {filename}: {strerror}.",
                hint="Correct its permissions or disk, or set LANDDATA_HOME to another folder.",
                code="cluster",
                filename=error.filename or self.home,
                strerror=error.strerror or error,
            ) from error
        except psycopg.Error as error:
            reason = last_line(str(error))
            raise Unavailable(
                "The cluster in {home} runs but refuses the connection: {reason}",
                hint="See {log}.",
                code="cluster",
                home=self.home,
                reason=reason,
                log=self.log,
            ) from error


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # Files come and go while the server works.
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
