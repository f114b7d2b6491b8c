"""Every advisory lock of a store; each is held until the transaction ends.

Whoever takes several takes them in the order of `Kind`, and those of one kind in the order of
their keys, so no two transactions wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

#: The key of all that a kind of lock protects; that of a part is never negative.
ALL = -1


class Kind(IntEnum):
    """What is locked, as the first of the two numbers of PostgreSQL's advisory locks."""

    COMMUNE = 1  # the parcel numbers of a commune; key: its code
    CELL = 2  # what lies in a cell of 10 km; key: `neighbourhood` numbers the cells
    PUBLICATION = 3  # the order of publications
    SURVEY_FILE = 4  # a stored survey file; key: the first bytes of its SHA-256


def lock(session: Session, kind: Kind, keys: Iterable[int] = (0,)) -> None:
    """Wait for the locks of these keys and hold them alone."""
    for key in keys:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(kind, key)))


def share(session: Session, kind: Kind, key: int) -> None:
    """Wait until nobody holds the lock alone, and hold it together with others."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(kind, key)))


def try_lock(session: Session, kind: Kind, key: int) -> bool:
    """Hold the lock alone if nobody else has it; return whether it is held."""
    return bool(session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(kind, key))))


def lock_schema(connection: sa.Connection) -> None:
    """Wait until no other process migrates the store.

    The key is a number of its own and not of `Kind`: processes of earlier releases take it too.
    """
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('migrate'))"))
