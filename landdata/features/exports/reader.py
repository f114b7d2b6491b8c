"""Whole queries as bytes: PostGIS writes the rows by COPY, one statement, so one snapshot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, cast

import psycopg
import sqlalchemy as sa

from landdata.errors import Unavailable
from landdata.features import sql
from landdata.features.query import Query
from landdata.store.errors import Phase, as_public_error

CHUNK = 1 << 20  # bytes
_FLUSH_SECONDS = 0.5  # after which less than a chunk is written too
_TIME_LIMIT_SECONDS = 900


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> Any:
        """Write bytes."""


class ExportCancelled(Unavailable):
    """The client has left, or the job was cancelled."""

    def __init__(self) -> None:
        super().__init__("The export was cancelled.")


class ExportReader:
    """Reads whole queries, one at a time, each on a read-only connection of its own."""

    def __init__(self, url: sa.URL, *, seconds: int = _TIME_LIMIT_SECONDS) -> None:
        self.rows = 0  # read so far of the running query
        self._seconds = seconds
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._running: psycopg.Connection[Any] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Cancel the running query, from another thread; later ones raise `ExportCancelled`."""
        self._stopped = True
        running = self._running
        if running is not None:
            with suppress(psycopg.Error):  # else the query ends at its time limit
                running.cancel_safe(timeout=5)

    def count(self, query: Query) -> int:
        """Return how many features match."""
        statement, parameters = sql.count_statement(query)
        with self._open() as connection:
            row = connection.execute(cast("Any", statement), parameters).fetchone()
        return int(row[0]) if row else 0

    def copy(
        self,
        statement: str,
        parameters: dict[str, Any],
        options: str,
        sink: Sink,
        between: bytes = b"",
    ) -> None:
        """Write the CSV of a query's COPY, with `between` after each row but the last.

        The query is cancelled where `sink` raises.
        """
        with self._open() as connection, connection.cursor() as cursor:
            copying = cast("Any", f"COPY ({statement}) TO STDOUT (FORMAT csv, {options})")
            with cursor.copy(copying, parameters) as copy:
                rows: list[bytes] = []
                size = 0
                self.rows = -1 if "HEADER" in options else 0
                due = time.monotonic() + _FLUSH_SECONDS
                for block in copy:  # a row
                    rows.append(bytes(block))
                    self.rows += 1
                    size += len(block)
                    # a slow query must notice, too, that the client has left
                    if size > CHUNK or time.monotonic() > due:
                        sink.write(between.join(rows))
                        rows, size = [b""], 0
                        due = time.monotonic() + _FLUSH_SECONDS
                if size:
                    sink.write(between.join(rows))

    @contextmanager
    def _open(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with psycopg.connect(
                self._url,
                application_name="landdata-export",
                connect_timeout=10,
                options="-c timezone=UTC -c default_transaction_read_only=on"
                f" -c statement_timeout={self._seconds * 1000}",
            ) as connection:
                self._running = connection
                try:
                    if self._stopped:
                        raise ExportCancelled
                    yield connection
                finally:
                    self._running = None
        except psycopg.Error as error:
            raise as_public_error(error, Phase.READ) from None
