"""Statements that only read, asked on an event loop: no thread waits for an answer.

Threads that take turns at the interpreter cost more than most statements here, and leave it to
chance who is next. So in each process one connection is asked all that is quick, without waiting
for the answer before (libpq's pipeline mode), and answers in the order of asking; what may be long
has connections of its own, one question at a time, and is given up when the client leaves.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from landdata.store.read_connections import (
    RECYCLE_SECONDS,
    STATEMENT_SECONDS,
    Question,
    Steps,
    T,
    connect,
    native,
    stale,
    told,
)

_USES = 3  # of a statement on a line, after which it is prepared
_PREPARED = 100  # statements that a line remembers

#: Ends when the client has gone.
Leaving = Callable[[], Awaitable[Any]]


class Lines:
    """Asks what `Steps` want to know, on connections that the event loop waits for.

    Belongs to the loop in which it is first used. Raises as `ogc.reader.Reader` does.
    """

    def __init__(
        self, url: sa.URL, *, statement_seconds: int = STATEMENT_SECONDS, slow: int = 4
    ) -> None:
        self._url = url
        self._seconds = statement_seconds
        self._quick: _Line | None = None
        self._opening = asyncio.Lock()
        self._places = asyncio.Semaphore(slow)
        self._idle: list[_Line] = []

    async def follow(self, steps: Steps[T], leaving: Leaving) -> T:
        """Answer all questions of `steps`; return what they end with."""
        left: asyncio.Future[Any] | None = None
        try:
            question = next(steps)
            while True:
                if question.has_generic_plan:
                    result = await self._soon(question)
                else:
                    # one for all of them: to be asked again, a web server may say that he has
                    left = left or asyncio.ensure_future(leaving())
                    result = await self._apart(question, left)
                question = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # as `Steps` has it
        except psycopg.Error as error:
            raise told(error) from None
        finally:
            if left is not None:
                left.cancel()

    async def _soon(self, question: Question) -> PGresult:
        """Ask what is quick."""
        line = self._quick
        if line is None or not line.good:
            line = await self._opened()
        try:
            return await line.ask(question)
        except psycopg.Error as error:
            if not stale(error):
                raise
            line.close()
            return await (await self._opened()).ask(question)

    async def _opened(self) -> _Line:
        async with self._opening:
            if self._quick is None or not self._quick.good:
                if self._quick is not None:
                    self._quick.retire()
                self._quick = await self._connected(one_plan=True)
        return self._quick

    async def _apart(self, question: Question, left: asyncio.Future[Any]) -> PGresult:
        """Ask what may be long, until the client has left."""
        try:
            await asyncio.wait_for(self._places.acquire(), self._seconds)
        except TimeoutError:
            raise psycopg.errors.QueryCanceled from None
        try:
            try:
                return await self._alone(question, left)
            except psycopg.Error as error:
                if not stale(error):
                    raise
                self._forget()  # so it was for all of them
                return await self._alone(question, left)
        finally:
            self._places.release()

    async def _alone(self, question: Question, left: asyncio.Future[Any]) -> PGresult:
        line = None
        while self._idle and line is None:
            found = self._idle.pop()
            if found.good:
                line = found
            else:
                found.close()
        if line is None:
            line = await self._connected()
        left.add_done_callback(line.cancel)
        try:
            return await line.ask(question)
        finally:
            late = left.done()  # it is not asked any more: the next one could be given up instead
            left.remove_done_callback(line.cancel)
            if line.good and not (line.waiting or late):
                self._idle.append(line)
            else:
                line.close()

    async def _connected(self, *, one_plan: bool = False) -> _Line:
        loop = asyncio.get_running_loop()
        connected = partial(connect, self._url, self._seconds, one_plan=one_plan)
        made = await loop.run_in_executor(None, connected)
        return _Line(made, loop, self._seconds)

    def _forget(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close all connections; whoever waits for an answer is told so."""
        self._forget()
        if self._quick is not None:
            self._quick.close()


_Key = tuple[bytes, tuple[int, ...]]  # a statement and the types of its parameters


@dataclass(slots=True)
class _Waiting:
    """Who waits for an answer, until when, and what has to be prepared before."""

    future: asyncio.Future[PGresult]
    until: float
    preparing: _Key | None


class _Line:
    """A connection in pipeline mode: answers come in the order of the questions."""

    def __init__(
        self, connection: psycopg.Connection[Any], loop: asyncio.AbstractEventLoop, seconds: float
    ) -> None:
        self._connection = connection
        self._raw = connection.pgconn
        self._transformer = Transformer(connection)
        self._loop = loop
        self._seconds = seconds
        self._born = time.monotonic()
        #: Who waits for an answer; each question ends with a mark of its own.
        self.waiting: deque[_Waiting] = deque()
        self._answer: PGresult | None = None
        self._error: psycopg.Error | None = None
        self._watched = self._retired = self._closed = False
        # how often a statement was met, or the name by which it is prepared
        self._known: OrderedDict[_Key, int | bytes] = OrderedDict()
        self._made = 0
        self._raw.nonblocking = 1
        self._raw.enter_pipeline_mode()
        self._descriptor = self._raw.socket
        loop.add_reader(self._descriptor, self._read)

    @property
    def good(self) -> bool:
        """Whether it may be asked more."""
        return self._raw.status == ConnStatus.OK and time.monotonic() - self._born < RECYCLE_SECONDS

    def ask(self, question: Question) -> asyncio.Future[PGresult]:
        """Send a question; its answer comes to the future. Raises what psycopg would."""
        text, names = native(question.statement)
        transformer = self._transformer
        values = transformer.dump_sequence(
            [question.parameters[name] for name in names], [PyFormat.AUTO] * len(names)
        )
        types, formats = transformer.types or (), transformer.formats
        key = text, types
        name, new = self._name(key) if question.has_generic_plan else (None, False)
        if name is None:
            self._raw.send_query_params(text, values, types, formats, question.binary)
        else:
            self._raw.send_query_prepared(name, values, formats, question.binary)
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

    def cancel(self, _: Any = None) -> None:
        """Give up what is being answered."""
        self._loop.run_in_executor(None, self._cancel)

    def _cancel(self) -> None:
        with suppress(psycopg.Error):  # it may have ended meanwhile
            self._connection.cancel_safe()

    def retire(self) -> None:
        """Close it as soon as all are answered."""
        self._retired = True
        if not self.waiting:
            self.close()

    def close(self) -> None:
        """Close it; who waits for an answer is told so."""
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
        """The name of a prepared statement, and whether it is only being prepared.

        None where it is not worth one yet.
        """
        found = self._known.get(key, 0)
        if isinstance(found, bytes):
            self._known.move_to_end(key)
            return found, False
        name: bytes | None = None
        if found + 1 == _USES:
            self._made += 1
            name = b"s%d" % self._made
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
            if result is None:  # the end of one of a question's statements
                continue
            if result.status == ExecStatus.TUPLES_OK:
                self._answer = result
            elif result.status == ExecStatus.FATAL_ERROR:
                self._error = psycopg.errors.error_from_result(result)
            elif result.status == ExecStatus.COMMAND_OK:
                self.waiting[0].preparing = None  # that comes first, and is done
            elif result.status == ExecStatus.PIPELINE_SYNC:
                self._answered()
        if self._raw.status == ConnStatus.BAD or (self._retired and not self.waiting):
            self.close()

    def _answered(self) -> None:
        first = self.waiting.popleft()
        answer, error = self._answer, self._error
        self._answer = self._error = None
        if first.preparing is not None:
            self._known.pop(first.preparing, None)
        if first.future.done():
            return
        if answer is not None and error is None:
            first.future.set_result(answer)
        else:
            first.future.set_exception(error or psycopg.InternalError("there is no answer"))

    def _watch(self) -> None:
        """Have nobody wait longer than a statement may take."""
        now = time.monotonic()
        for each in self.waiting:
            if each.until > now:
                break
            if not each.future.done():
                each.future.set_exception(psycopg.errors.QueryCanceled())
        self._watched = bool(self.waiting)
        if self._watched:
            self._loop.call_later(1, self._watch)
