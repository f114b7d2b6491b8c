"""Statements that only read: the pool of connections, and what their failures are called."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.string import TextLoader

from landdata.errors import BadRequest, Unavailable

_RECYCLE_SECONDS = 1800.0
_USES = 3  # of a statement on a connection, after which it is prepared
_PREPARED = 100  # statements that a connection remembers
_TURN_SECONDS = 0.02  # how long a quick statement waits for another

_MARK = re.compile(r"%(?:%|\(([a-z0-9_]+)\)s)")


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
        self._places = _Places(pool)
        # Quick statements go one after the other, in the order of coming: all at once they take
        # no less time together, and some of them ten times as long as most.
        self._turn = _Places(1)
        # the one used last is taken first: it is the warmest, and the others may be given up
        self._idle: list[_Connection] = []

    def rows(
        self, statement: str, parameters: Mapping[str, Any], *, prepare: bool = True
    ) -> list[tuple[Any, ...]]:
        """Return all rows. Raises `Unavailable` where the database is not there or too slow.

        What is quick by nature is prepared; without `prepare` a statement is planned for these
        very values, and others do not wait for it.
        """
        connection, result = self._asked(statement, parameters, prepare)
        transformer = Transformer(connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def texts(
        self, statement: str, parameters: Mapping[str, Any], *, prepare: bool = True
    ) -> PGresult:
        """Return all rows as the database wrote them: `ntuples`, and `get_value(row, column)`.

        As `rows` in all else.
        """
        return self._asked(statement, parameters, prepare)[1]

    def _asked(
        self, statement: str, parameters: Mapping[str, Any], prepare: bool
    ) -> tuple[psycopg.Connection[Any], PGresult]:
        try:
            if not self._places.take(self._seconds):
                raise psycopg.errors.QueryCanceled
            try:
                return self._tried(statement, parameters, prepare)
            finally:
                self._places.leave()
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

    def _tried(
        self, statement: str, parameters: Mapping[str, Any], prepare: bool
    ) -> tuple[psycopg.Connection[Any], PGresult]:
        for attempt in (1, 2):
            connection = self._taken()
            try:
                result = connection.ask(statement, parameters, self._turn if prepare else None)
                return connection.connection, result
            except _STALE as error:
                if isinstance(error, psycopg.errors.QueryCanceled) or attempt == 2:
                    raise
                # the database was started anew, or a table changed, since this connection was
                # made: so it was for all of them
                self.close()
                connection.connection.close()
            finally:
                if connection.idle:
                    self._idle.append(connection)
                else:
                    connection.connection.close()
        raise AssertionError

    def _taken(self) -> _Connection:
        while self._idle:
            try:
                found = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if time.monotonic() - found.born < _RECYCLE_SECONDS:
                return found
            found.connection.close()
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
        return _Connection(made)

    def close(self) -> None:
        """Close the connections that nobody uses; the next question opens new ones."""
        while self._idle:
            try:
                found = self._idle.pop()
            except IndexError:
                return
            found.connection.close()


#: A statement may do on a new connection what it could not on an old one.
_STALE = psycopg.OperationalError, psycopg.errors.FeatureNotSupported


class _Places:
    """So many at once; who waits is let in in the order of coming."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def take(self, seconds: float) -> bool:
        """Take a place; False where none was free for so long."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=seconds):
            return True
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return False
        return True  # it was given at the last moment

    def leave(self) -> None:
        """Give the place to who has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class _Connection:
    """A connection, asked by libpq itself: psycopg's cursors cost more than most answers here."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.born = time.monotonic()
        self._raw: PGconn = connection.pgconn
        # how often a statement was met, or the name by which it is prepared
        self._known: OrderedDict[tuple[bytes, tuple[int, ...]], int | bytes] = OrderedDict()
        self._made = 0

    @property
    def idle(self) -> bool:
        """Whether it can be used again."""
        return self._raw.transaction_status == TransactionStatus.IDLE

    def ask(self, statement: str, parameters: Mapping[str, Any], turn: _Places | None) -> PGresult:
        """Return the result of a statement. Raises what psycopg would.

        With a `turn` it is one of the quick ones, which are prepared and wait for each other.
        """
        text, names = _native(statement)
        transformer = Transformer(self.connection)
        values = transformer.dump_sequence(
            [parameters[name] for name in names], [PyFormat.AUTO] * len(names)
        )
        types, formats = transformer.types or (), transformer.formats
        if turn is None:
            return self._checked(self._raw.exec_params(text, values, types, formats))
        mine = turn.take(_TURN_SECONDS)  # if it comes too late, what goes on is not so quick
        try:
            name = self._name(text, types)
            if name is None:
                return self._checked(self._raw.exec_params(text, values, types, formats))
            return self._checked(self._raw.exec_prepared(name, cast("Any", values), formats))
        finally:
            if mine:
                turn.leave()

    def _name(self, text: bytes, types: tuple[int, ...]) -> bytes | None:
        """The name of a prepared statement; None where it is not worth one yet."""
        key = text, types
        found = self._known.get(key, 0)
        if isinstance(found, bytes):
            self._known.move_to_end(key)
            return found
        if found + 1 < _USES:
            self._keep(key, found + 1)
            return None
        self._made += 1
        name = b"s%d" % self._made
        self._checked(self._raw.prepare(name, text, types))
        self._keep(key, name)
        return name

    def _keep(self, key: tuple[bytes, tuple[int, ...]], what: int | bytes) -> None:
        self._known[key] = what
        self._known.move_to_end(key)
        if len(self._known) > _PREPARED:
            _, oldest = self._known.popitem(last=False)
            if isinstance(oldest, bytes):
                self._checked(self._raw.exec_(b"DEALLOCATE " + oldest))

    def _checked(self, result: PGresult) -> PGresult:
        if self._raw.status == ConnStatus.BAD:
            raise psycopg.OperationalError("the connection is lost")
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
        return result


@lru_cache(1000)
def _native(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """A statement with `%(name)s` as PostgreSQL takes it, and the names in order."""
    names: dict[str, int] = {}

    def number(mark: re.Match[str]) -> str:
        name = mark[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    return _MARK.sub(number, statement).encode(), tuple(names)
