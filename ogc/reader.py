"""Statements that only read: the pool of connections, and what their failures are called."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader

from landdata.errors import BadRequest, Unavailable

_RECYCLE_SECONDS = 1800.0


class _AsBytes(TextLoader):
    """Text that is only passed on is not decoded."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


class Reader:
    """Runs statements that only read, each its own snapshot, on connections of its own.

    Its connections are read-only and give up after `statement_seconds`: no URL changes anything,
    and no request runs for ever. What a statement gives as `varchar` comes as bytes.
    """

    def __init__(self, url: sa.URL, *, statement_seconds: int = 30, pool: int = 8) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._seconds = statement_seconds
        self._places = threading.BoundedSemaphore(pool)
        # the one used last is taken first: it is the warmest, and the others may be given up
        self._idle: list[tuple[psycopg.Connection[Any], float]] = []

    def rows(
        self, statement: str, parameters: Mapping[str, Any], *, prepare: bool | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows. Raises `Unavailable` where the database is not there or too slow."""
        try:
            if not self._places.acquire(timeout=self._seconds):
                raise psycopg.errors.QueryCanceled
            try:
                return self._rows(statement, parameters, prepare)
            finally:
                self._places.release()
        except psycopg.errors.QueryCanceled:
            raise Unavailable(
                "The question took too long to answer.",
                hint="Ask for less: a smaller bbox, limit or offset, or without count=exact.",
                code="timeout",
            ) from None
        except psycopg.errors.DataError:
            # whatever slipped through our own checks was still the client's value
            raise BadRequest(
                "A value of the query is out of the range of its property.",
                hint="The collection's queryables name the types.",
            ) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unavailable(
                f"The role that reads may not read this: {error.diag.message_primary}.",
                hint="Run `landdata migrate`; docs/operating.md tells what a reader needs.",
                code="not-readable",
            ) from None
        except psycopg.OperationalError:
            raise Unavailable(
                "The database does not answer.", hint="Try again later.", code="database-down"
            ) from None

    def _rows(
        self, statement: str, parameters: Mapping[str, Any], prepare: bool | None
    ) -> list[tuple[Any, ...]]:
        for attempt in (1, 2):
            connection, born = self._taken()
            try:
                cursor = connection.execute(cast("Any", statement), parameters, prepare=prepare)
                return cursor.fetchall()
            except psycopg.OperationalError as error:
                if isinstance(error, psycopg.errors.QueryCanceled) or attempt == 2:
                    raise
                # the database was started anew since this connection was made: so were they all
                self.close()
            finally:
                if connection.pgconn.transaction_status == TransactionStatus.IDLE:
                    self._idle.append((connection, born))
                else:
                    connection.close()
        raise AssertionError

    def _taken(self) -> tuple[psycopg.Connection[Any], float]:
        while self._idle:
            try:
                connection, born = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - born < _RECYCLE_SECONDS:
                return connection, born
            connection.close()
        made = psycopg.connect(
            self._url,
            autocommit=True,
            application_name="landdata-ogc",
            connect_timeout=10,
            # compiling a statement takes longer than any that is meant here
            options="-c timezone=UTC -c jit=off -c default_transaction_read_only=on"
            f" -c statement_timeout={self._seconds * 1000}",
        )
        made.adapters.register_loader("varchar", _AsBytes)
        return made, time.monotonic()

    def close(self) -> None:
        """Close the connections that nobody uses; the next question opens new ones."""
        while self._idle:
            try:
                connection, _ = self._idle.pop()
            except IndexError:
                return
            connection.close()
