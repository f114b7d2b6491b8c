"""Statements that only read: the pool of connections, and what their failures are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg
import sqlalchemy as sa

from landdata.errors import BadRequest, Unavailable


class Reader:
    """Runs statements that only read, each its own snapshot, on connections of its own.

    Its connections are read-only and give up after `statement_seconds`: no URL changes anything,
    and no request runs for ever.
    """

    def __init__(self, url: sa.URL, *, statement_seconds: int = 30, pool: int = 8) -> None:
        self._engine = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=pool,
            max_overflow=0,
            pool_timeout=statement_seconds,
            pool_recycle=1800,
            connect_args={
                "application_name": "landdata-ogc",
                "connect_timeout": 10,
                # compiling a statement takes longer than any that is meant here
                "options": "-c timezone=UTC -c jit=off -c default_transaction_read_only=on"
                f" -c statement_timeout={statement_seconds * 1000}",
            },
        )

    def rows(
        self, statement: str, parameters: Mapping[str, Any], *, prepare: bool | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows. Raises `Unavailable` where the database is not there or too slow."""
        try:
            return self._rows(statement, parameters, prepare)
        except (psycopg.errors.QueryCanceled, sa.exc.TimeoutError):
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
        except (psycopg.OperationalError, sa.exc.OperationalError):
            raise Unavailable(
                "The database does not answer.", hint="Try again later.", code="database-down"
            ) from None

    def _rows(
        self, statement: str, parameters: Mapping[str, Any], prepare: bool | None
    ) -> list[tuple[Any, ...]]:
        for attempt in (1, 2):
            pooled = self._engine.raw_connection()
            try:
                connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
                with connection.cursor() as cursor:
                    cursor.execute(cast("Any", statement), parameters, prepare=prepare)
                    return cursor.fetchall()
            except psycopg.OperationalError as error:
                if isinstance(error, psycopg.errors.QueryCanceled) or attempt == 2:
                    raise
                # the database was started anew since this connection was made: so were they all
                pooled.invalidate()
                self._engine.dispose()
            finally:
                pooled.close()
        raise AssertionError

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._engine.dispose()
