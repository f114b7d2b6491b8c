"""Read-only statements: what one is, a connection for it, and what its failures are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
import sqlalchemy as sa

from landdata.store.errors import Phase, as_public_error

#: How long a statement may take; no request runs for ever.
STATEMENT_SECONDS = 30

_MARK = re.compile(r"%(?:%|\((\w+)\)s)")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `%(name)s` for each parameter; values come as PostgreSQL writes them.

    Those of a `binary` one, all of them texts and bytes, come as they are.

    One that has a generic plan is quick whatever its values are: it is prepared once, and shares
    a connection. What may be long is planned for its values, and runs alone on a connection.
    """

    sql: str
    parameters: Mapping[str, Any]
    has_generic_plan: bool = True
    binary: bool = False


def is_stale(error: psycopg.Error) -> bool:
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
        # a statement ends soon after its connection, also where a request to cancel it is lost
        " -c client_connection_check_interval=1s"
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


def fetch_rows(url: sa.URL, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one statement, on a connection that is closed then. Raises `Unavailable`.

    For what is read seldom; requests read through `store.read_pool`.
    """
    try:
        with connect(url) as connection:
            return connection.execute(sql, parameters).fetchall()
    except psycopg.Error as error:
        raise as_public_error(error, Phase.READ) from None
