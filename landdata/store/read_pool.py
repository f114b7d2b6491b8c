"""Read-only statements on an event loop: no thread waits for a response of the database.

Threads that take turns at the interpreter cost more than most statements here, and leave it to
chance which is next. So each process sends all statements that have a generic plan on one
connection, without waiting for the response before (libpq's pipeline mode); a statement that may be
long runs alone on a connection of its own, and is cancelled with the task that waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from landdata.store.errors import Phase, as_public_error
from landdata.store.read_connections import (
    STATEMENT_SECONDS,
    Statement,
    connect,
    is_stale,
    native,
)

RECYCLE_SECONDS = 1800.0
_USES = 3  # of a statement on the shared connection, after which it is prepared
_PREPARED = 100  # prepared statements that a connection keeps


class ReadPool:
    """Connections that only read: one that is shared, and up to `own` for one statement each.

    It belongs to the event loop in which it is first used.
    """

    def __init__(
        self, url: sa.URL, *, statement_seconds: int = STATEMENT_SECONDS, own: int = 4
    ) -> None:
        self._url = url
        self._seconds = statement_seconds
        self._shared: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._places = asyncio.Semaphore(own)
        self._idle: list[_Connection] = []
        self._is_closed = False

    async def fetch(self, statement: Statement) -> PGresult:
        """Return the rows of a statement, which is cancelled with the task that awaits them.

        Raises `Unavailable` where the database is not there or too slow, `BadRequest` for a value
        out of the range of its type.
        """
        try:
            if statement.has_generic_plan:
                return await self._pipelined(statement)
            return await self._alone(statement)
        except psycopg.Error as error:
            raise as_public_error(error, Phase.READ) from None

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that has no generic plan, as Python values."""
        result = await self.fetch(Statement(sql, parameters, has_generic_plan=False))
        transformer = Transformer()
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    async def _pipelined(self, statement: Statement) -> PGresult:
        connection = self._shared
        if connection is None or not connection.is_good:
            connection = await self._reconnected()
        try:
            return await connection.send(statement)
        except psycopg.Error as error:
            if not is_stale(error):
                raise
            connection.close()
            return await (await self._reconnected()).send(statement)

    async def _reconnected(self) -> _Connection:
        async with self._connecting:
            if self._shared is None or not self._shared.is_good:
                if self._shared is not None:
                    self._shared.retire()
                self._shared = await self._connected(one_plan=True)
        return self._shared

    async def _alone(self, statement: Statement) -> PGresult:
        try:
            await asyncio.wait_for(self._places.acquire(), self._seconds)
        except TimeoutError:
            raise psycopg.errors.QueryCanceled from None
        try:
            try:
                return await self._on_own_connection(statement)
            except psycopg.Error as error:
                if not is_stale(error):
                    raise
                self._close_idle()  # the others are stale for the same reason
                return await self._on_own_connection(statement)
        finally:
            self._places.release()

    async def _on_own_connection(self, statement: Statement) -> PGresult:
        connection = None
        while self._idle and connection is None:
            found = self._idle.pop()
            if found.is_good:
                connection = found
            else:
                found.close()
        if connection is None:
            connection = await self._connected()
        is_cancelled = False
        try:
            return await connection.send(statement)
        except asyncio.CancelledError:
            is_cancelled = True  # too late for this statement, it could hit the next one
            await connection.cancel()
            raise
        finally:
            if connection.is_good and not (connection.waiting or is_cancelled):
                self._idle.append(connection)
            else:
                connection.close()

    async def _connected(self, *, one_plan: bool = False) -> _Connection:
        loop = asyncio.get_running_loop()
        connected = partial(connect, self._url, self._seconds, one_plan=one_plan)
        opening = loop.run_in_executor(None, connected)
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        if self._is_closed:
            connection.close()
            raise psycopg.OperationalError("the pool is closed")
        return _Connection(connection, loop, self._seconds)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close all connections; statements that wait for a response fail."""
        self._is_closed = True
        self._close_idle()
        if self._shared is not None:
            self._shared.close()


def _close_opened(opening: asyncio.Future[psycopg.Connection[Any]]) -> None:
    """Close a connection that was opened for a task that has been cancelled meanwhile."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


_Key = tuple[bytes, tuple[int, ...]]  # a statement and the types of its parameters


@dataclass(slots=True)
class _Waiting:
    """A statement that waits for its response, until when, and what is prepared before it."""

    future: asyncio.Future[PGresult]
    until: float
    preparing: _Key | None


class _Connection:
    """A connection in pipeline mode: responses come in the order of the statements."""

    def __init__(
        self, connection: psycopg.Connection[Any], loop: asyncio.AbstractEventLoop, seconds: float
    ) -> None:
        self._connection = connection
        self._raw = connection.pgconn
        self._transformer = Transformer(connection)
        self._loop = loop
        self._seconds = seconds
        self._born = time.monotonic()
        #: Statements without a response yet; a sync message ends each.
        self.waiting: deque[_Waiting] = deque()
        self._result: PGresult | None = None
        self._error: psycopg.Error | None = None
        self._watched = self._retired = self._closed = False
        # how often a statement was met, or the name under which it is prepared
        self._known: OrderedDict[_Key, int | bytes] = OrderedDict()
        self._last_name = 0
        self._raw.nonblocking = 1
        self._raw.enter_pipeline_mode()
        self._descriptor = self._raw.socket
        loop.add_reader(self._descriptor, self._read)

    @property
    def is_good(self) -> bool:
        """Whether more statements may be sent on it."""
        return self._raw.status == ConnStatus.OK and time.monotonic() - self._born < RECYCLE_SECONDS

    def send(self, statement: Statement) -> asyncio.Future[PGresult]:
        """Send a statement; the future is its response. Raises what psycopg would."""
        text, names = native(statement.sql)
        transformer = self._transformer
        values = transformer.dump_sequence(
            [statement.parameters[name] for name in names], [PyFormat.AUTO] * len(names)
        )
        types, formats = transformer.types or (), transformer.formats
        key = text, types
        name, new = self._name(key) if statement.has_generic_plan else (None, False)
        if name is None:
            self._raw.send_query_params(text, values, types, formats, statement.binary)
        else:
            self._raw.send_query_prepared(name, values, formats, statement.binary)
        self._raw.pipeline_sync()
        if self._raw.flush():
            self._loop.add_writer(self._descriptor, self._write)
        future: asyncio.Future[PGresult] = self._loop.create_future()
        until = time.monotonic() + self._seconds
        self.waiting.append(_Waiting(future, until, key if new else None))
        if not self._watched:
            self._watched = True
            self._loop.call_later(1, self._watch)
        return future

    async def cancel(self) -> None:
        """Cancel the statement that runs."""
        await self._loop.run_in_executor(None, self._cancel)

    def _cancel(self) -> None:
        with suppress(psycopg.Error):  # the statement may have ended meanwhile
            self._connection.cancel_safe()

    def retire(self) -> None:
        """Close it after the last response."""
        self._retired = True
        if not self.waiting:
            self.close()

    def close(self) -> None:
        """Close it; statements that wait for a response fail."""
        if not self._closed:
            self._closed = True
            # libpq may have closed the socket itself: another may bear its number before long
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._connection.close()
        while self.waiting:
            future = self.waiting.popleft().future
            if not future.done():
                future.set_exception(psycopg.OperationalError("the connection is lost"))

    def _name(self, key: _Key) -> tuple[bytes | None, bool]:
        """The name of a prepared statement, and whether it is prepared only now.

        None for a statement that was met too seldom.
        """
        found = self._known.get(key, 0)
        if isinstance(found, bytes):
            self._known.move_to_end(key)
            return found, False
        name: bytes | None = None
        if found + 1 == _USES:
            self._last_name += 1
            name = b"s%d" % self._last_name
            self._raw.send_prepare(name, *key)
        self._known[key] = found + 1 if name is None else name
        self._known.move_to_end(key)
        if len(self._known) > _PREPARED:
            _, oldest = self._known.popitem(last=False)
            if isinstance(oldest, bytes):
                self._raw.send_query_params(b"DEALLOCATE " + oldest, None)
        return name, name is not None

    def _write(self) -> None:
        try:
            if not self._raw.flush():
                self._loop.remove_writer(self._descriptor)
        except psycopg.OperationalError:
            self.close()

    def _read(self) -> None:
        try:
            self._raw.consume_input()
        except psycopg.OperationalError:
            self.close()
            return
        while self.waiting and self._raw.status == ConnStatus.OK and not self._raw.is_busy():
            result = self._raw.get_result()
            if result is None:  # the end of a PREPARE, or of the statement itself
                continue
            if result.status == ExecStatus.TUPLES_OK:
                self._result = result
            elif result.status == ExecStatus.FATAL_ERROR:
                self._error = psycopg.errors.error_from_result(result)
            elif result.status == ExecStatus.COMMAND_OK:
                self.waiting[0].preparing = None  # that comes first, and is done
            elif result.status == ExecStatus.PIPELINE_SYNC:
                self._respond()
        if self._raw.status == ConnStatus.BAD or (self._retired and not self.waiting):
            self.close()

    def _respond(self) -> None:
        first = self.waiting.popleft()
        result, error = self._result, self._error
        self._result = self._error = None
        if first.preparing is not None:
            self._known.pop(first.preparing, None)
        if first.future.done():
            return
        if result is not None and error is None:
            first.future.set_result(result)
        else:
            first.future.set_exception(error or psycopg.InternalError("there is no result"))

    def _watch(self) -> None:
        """Fail the statements that have waited longer than one may take."""
        now = time.monotonic()
        for waiting in self.waiting:
            if waiting.until > now:
                break
            if not waiting.future.done():
                waiting.future.set_exception(psycopg.errors.QueryCanceled())
        self._watched = bool(self.waiting)
        if self._watched:
            self._loop.call_later(1, self._watch)
