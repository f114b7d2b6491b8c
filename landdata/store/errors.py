"""The one translation of database errors into errors for the user.

A message that goes to the network (`Phase.READ`) holds nothing of the server's configuration; the
others quote the first line of what the database reports, since later ones may quote a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import psycopg
import sqlalchemy as sa

from landdata.errors import BadRequest, LandDataError, Unavailable
from landdata.translations import sentence


class Phase(Enum):
    """What the database was doing."""

    CONNECT = auto()
    MIGRATE = auto()
    READ = auto()  # a request's statement, whose parameters are the client's
    WRITE = auto()  # all other work


@dataclass(frozen=True, slots=True)
class _Rule:
    """Errors of the classes `causes` become `error`; `{reason}` is what the database reports."""

    causes: tuple[type[Exception], ...]
    error: type[LandDataError]
    message: str
    hint: str
    code: str | None


_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
_UNREACHABLE = _Rule(
    _LOST,
    Unavailable,
    sentence("The database can't be reached: {reason}."),
    sentence("Start it (`landdata up`), or correct LANDDATA_DATABASE_URL."),
    "database-down",
)
# The first rule that holds is taken: a cancelled statement is an operational error too.
_RULES: dict[Phase, tuple[_Rule, ...]] = {
    Phase.CONNECT: (_UNREACHABLE,),
    Phase.MIGRATE: (
        _Rule(
            (psycopg.errors.InsufficientPrivilege,),
            Unavailable,
            sentence("The database's role lacks a right that a store needs: {reason}."),
            sentence("docs/operating.md lists the rights and how an administrator grants them."),
            "no-rights",
        ),
        _UNREACHABLE,
    ),
    Phase.READ: (
        _Rule(
            (psycopg.errors.QueryCanceled,),
            Unavailable,
            sentence("The query took longer than its time limit."),
            sentence("Ask for less: a smaller bbox, limit or offset, or without count=exact."),
            "timeout",
        ),
        _Rule(
            (psycopg.errors.DataError,),  # our own checks let it pass, but it is the client's value
            BadRequest,
            sentence("A value of the query is out of the range of its property."),
            sentence("The collection's queryables name the types."),
            None,
        ),
        _Rule(
            (psycopg.errors.InsufficientPrivilege,),
            Unavailable,
            sentence("The reader's role may not read a table: {reason}."),
            sentence("Run `landdata migrate`; docs/operating.md lists what a reader needs."),
            "not-readable",
        ),
        _Rule(
            (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn),
            Unavailable,
            sentence("A table or column is missing: {reason}."),
            sentence("Run `landdata migrate`, or correct the file of LANDDATA_COLLECTIONS."),
            "not-readable",
        ),
        _Rule(
            (psycopg.OperationalError, sa.exc.TimeoutError),  # the latter: no free connection
            Unavailable,
            sentence("The database does not answer."),
            sentence("Try again later."),
            "database-down",
        ),
    ),
    Phase.WRITE: (
        _Rule(
            _LOST,
            Unavailable,
            sentence("The connection to the database was lost: {reason}."),
            sentence(
                "Check that it runs (`landdata doctor`) and try again; unfinished work is not"
                " stored."
            ),
            "database-broke-off",
        ),
    ),
}


def as_public_error(error: Exception, phase: Phase = Phase.WRITE) -> Exception:
    """Translate a database error, from psycopg or SQLAlchemy; return bugs unchanged."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    for rule in _RULES[phase]:
        if isinstance(cause, rule.causes):
            return rule.error(
                rule.message, hint=rule.hint, code=rule.code, reason=_first_line(cause)
            )
    return error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [sentence("no reason given")]
    return lines[0].rstrip(".")
