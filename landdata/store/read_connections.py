"""Statements that only read: what is asked, connections to ask on, and what failures are called.

What tells of features says which statements it needs (`Steps`), and not how they are asked: in a
thread by the `Reader` here, or on an event loop by `ogc.lines`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.string import TextLoader

from landdata.store.errors import Phase, as_public_error

#: How long a statement may take; no request runs for ever.
STATEMENT_SECONDS = 30
RECYCLE_SECONDS = 1800.0

_MARK = re.compile(r"%(?:%|\((\w+)\)s)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """A statement, with `%(name)s` for each parameter; its rows come as PostgreSQL writes them.

    Those of a `binary` one, all of them texts and bytes, come as they are.

    One that `has_generic_plan` is prepared with one plan for all values, and may wait for others
    that have one. What may be long is planned for these very values, and nobody waits for it.
    """

    statement: str
    parameters: Mapping[str, Any]
    has_generic_plan: bool = True
    binary: bool = False


#: What asks its questions one after the other, and ends with what it was for.
Steps = Generator[Question, PGresult, T]


told = partial(as_public_error, phase=Phase.READ)


def stale(error: psycopg.Error) -> bool:
    """Whether a statement may do on a new connection what it could not on an old one.

    The database was started anew, or a table has changed, since the connection was made.
    """
    return isinstance(
        error, psycopg.OperationalError | psycopg.errors.FeatureNotSupported
    ) and not isinstance(error, psycopg.errors.QueryCanceled)


def connect(
    url: sa.URL, seconds: int = STATEMENT_SECONDS, *, one_plan: bool = False
) -> psycopg.Connection[Any]:
    """Return a connection that only reads, and gives up a statement after `seconds`.

    With `one_plan` what is prepared is planned once. Left to itself, PostgreSQL plans a box anew
    each time, which takes longer than to find what is in it.
    """
    return psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False),
        autocommit=True,
        prepare_threshold=None,
        application_name="landdata-ogc",
        connect_timeout=10,
        # to compile a statement, or to start processes that share it, takes longer than most that
        # are meant here; and what one client asks is the work of one process, whoever else waits
        options="-c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0"
        " -c default_transaction_read_only=on"
        f" -c statement_timeout={seconds * 1000}"
        + (" -c plan_cache_mode=force_generic_plan" if one_plan else ""),
    )


@lru_cache(1000)
def native(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement as PostgreSQL takes it, and the names of its parameters in order."""
    names: dict[str, int] = {}

    def number(mark: re.Match[str]) -> str:
        name = mark[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    return _MARK.sub(number, statement).encode(), tuple(names)


class _AsBytes(TextLoader):
    """Text that is only passed on is not decoded."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


class Reader:
    """Asks in threads, each statement its own snapshot, at most `pool` at once.

    No URL changes anything: its connections are read-only.
    """

    def __init__(
        self, url: sa.URL, *, statement_seconds: int = STATEMENT_SECONDS, pool: int = 8
    ) -> None:
        self._url = url
        self._seconds = statement_seconds
        self._places = threading.BoundedSemaphore(pool)
        # the one used last is taken first: it is the warmest, and the others may be given up
        self._idle: list[tuple[float, psycopg.Connection[Any]]] = []
        self._open = True

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows; what a statement gives as `varchar` comes as bytes.

        Raises `Unavailable` where the database is not there or too slow.
        """
        return self._asked(Question(statement, parameters)).fetchall()

    def follow(self, steps: Steps[T]) -> T:
        """Answer all questions of `steps`; return what they end with. Raises as `rows`."""
        try:
            question = next(steps)
            while True:
                result = self._asked(question).pgresult
                assert result is not None
                question = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # as `Steps` has it

    def _asked(self, question: Question) -> psycopg.Cursor[Any]:
        if not self._places.acquire(timeout=self._seconds):
            raise told(psycopg.errors.QueryCanceled())
        try:
            try:
                return self._tried(question)
            except psycopg.Error as error:
                if not stale(error):
                    raise
                self._forget()  # so it was for all of them
                return self._tried(question)
        except psycopg.Error as error:
            raise told(error) from None
        finally:
            self._places.release()

    def _tried(self, question: Question) -> psycopg.Cursor[Any]:
        born, connection = self._taken()
        try:
            return connection.execute(
                question.statement, question.parameters, binary=question.binary
            )
        finally:
            if connection.info.transaction_status == TransactionStatus.IDLE and self._open:
                self._idle.append((born, connection))
            else:
                connection.close()

    def _taken(self) -> tuple[float, psycopg.Connection[Any]]:
        while (found := self._popped()) is not None:
            if time.monotonic() - found[0] < RECYCLE_SECONDS:
                return found
            found[1].close()
        made = connect(self._url, self._seconds)
        made.adapters.register_loader("varchar", _AsBytes)
        return time.monotonic(), made

    def _popped(self) -> tuple[float, psycopg.Connection[Any]] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def close(self) -> None:
        """Close the connections, those in use when their questions are answered."""
        self._open = False
        self._forget()

    def _forget(self) -> None:
        while (found := self._popped()) is not None:
            found[1].close()
