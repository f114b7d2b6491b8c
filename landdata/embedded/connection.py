"""How to connect to the embedded cluster: the passwords and the socket, kept in cluster.json."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from landdata import files
from landdata.embedded.configuration import PORT
from landdata.embedded.roles import OWNER, READER, SUPERUSER
from landdata.errors import Unavailable

_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRecord:
    """The content of cluster.json.

    `passwords` are keyed by role, `socket` is the folder of the unix socket, `furnished` the
    `roles.REVISION` of the last `roles.create_missing`; both are null until they are known.
    """

    passwords: dict[str, str]
    socket: str | None = None
    furnished: int | None = None

    @classmethod
    def create(cls) -> ConnectionRecord:
        """Return a record with a new password for each role."""
        return cls(
            passwords={role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, READER)}
        )

    @classmethod
    def load(cls, file: Path) -> ConnectionRecord:
        """Read the file. Raises `Unavailable` where it is missing or damaged."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            raise Unavailable(
                "{file}, which holds the passwords of the cluster, is missing or damaged.",
                hint="Restore it from a backup of the data folder.",
                code="cluster",
                file=file,
            ) from None

    def save(self, file: Path) -> None:
        """Write the file atomically; only its owner can read it."""
        content = {
            "passwords": self.passwords,
            "socket": self.socket,
            "furnished": self.furnished,
        }
        present = {name: value for name, value in content.items() if value is not None}
        files.write_private(file, json.dumps(present, indent=2) + "\n")

    def url(self, database: str, role: str) -> URL:
        """Return the SQLAlchemy URL of a database for a role; `str(url)` hides the password."""
        return URL.create(
            "postgresql+psycopg",
            username=role,
            password=self.passwords[role],
            database=database,
            # The port names the socket's file; given here so that PGPORT can't change it.
            query={"host": str(self.socket), "port": str(PORT)},
        )

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as superuser, waiting while the server recovers from a crash."""
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                return psycopg.connect(
                    host=self.socket,
                    port=PORT,
                    dbname=database,
                    user=SUPERUSER,
                    password=self.passwords[SUPERUSER],
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                if "starting up" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.1)
