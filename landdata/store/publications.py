"""What became official, in the order of the commits: the last step of whoever writes parcels.

A publication says which states began and ended, where the ground changed, what the map sheets are
now, and how many parcels there are. Its number is given under one lock that is held until the
commit, so numbers are in the order of the commits and without a hole: whoever has seen one has
seen all before it. (Numbers of rows are not: a transaction that takes its numbers first may commit
last.)

Its stamp is a whole second of its own, not before the clock and after every stamp before it: so
two states of the store never bear the same one, however quickly one follows the other and however
long a commit takes. That is what HTTP's `Last-Modified` needs, which knows no part of a second.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.store import locks
from landdata.store.database import composed, sql

_GROUND = "commune text, sheet text, x0 integer, x1 integer, y0 integer, y1 integer"
_SHEETS = "commune text, sheet text, parcels integer, hull geometry"

RETIRED, BEGUN = 0, 1  # within a publication what ends is told before what begins


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of changes: after this publication, kind and number of a state."""

    publication: int
    kind: int
    version: int

    def token(self) -> str:
        """Return it as the opaque text that a reader keeps."""
        plain = json.dumps([self.publication, self.kind, self.version], separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Place:
        """Return the place that a token names. Raises `ValueError` for any other text."""
        try:
            plain = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            publication, kind, version = json.loads(plain)
        except (TypeError, RecursionError):
            raise ValueError(token) from None
        numbers = (publication, kind, version)
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or kind > BEGUN:
            raise ValueError(token)
        return cls(publication, kind, version)


@dataclass(frozen=True, slots=True)
class PrecomputedPublication:
    """The ground that changes, and the sheets as they are then: rows of `_GROUND`, `_SHEETS`.

    As PostgreSQL's binary COPY has them.
    """

    ground: bytes
    sheets: bytes


BEGINNING = Place(0, BEGUN, 0)


def before(publication: int) -> Place:
    """Return the place of who has all that became official before a publication."""
    return Place(publication, RETIRED, 0)


def last_version(session: Session) -> int:
    """Return the highest number that a state of a parcel has had so far, by whomever."""
    found = session.scalar(
        sa.text(
            "SELECT pg_sequence_last_value("
            "pg_get_serial_sequence('parcel_versions', 'id')::regclass)"
        )
    )
    return int(found or 0)


def precompute(
    connection: sa.Connection, batch: int, *, commune: str, sheets: Sequence[str]
) -> PrecomputedPublication:
    """Tell what will change when a batch, which holds these `sheets`, is accepted.

    For a session beside the one that accepts it, which has locked its ground: so both work.
    """
    values = {"batch": batch, "commune": commune, "sheets": list(sheets)}
    # the sessions beside it keep the other processors busy
    connection.execute(sa.text("SET LOCAL max_parallel_workers_per_gather = 0"))
    cursor = connection.connection.cursor()

    def rows(rule: str, states: str) -> bytes:
        query = composed(rule, states=states).compile(dialect=connection.dialect)
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", values) as found:
            return b"".join(found)

    return PrecomputedPublication(
        ground=rows("publish_ground", "changed_staged"),
        sheets=rows("publish_hulls", "current_staged"),
    )


def publish(
    session: Session,
    batch: int,
    *,
    after: int,
    valid_from: dt.datetime,
    retired: Sequence[int] = (),
    precomputed: PrecomputedPublication | None = None,
) -> None:
    """Publish the states that `batch` brought since `last_version` was `after`, and `retired`.

    What they bring holds from `valid_from` on. `retired` numbers the states that ended then
    without one that follows. What was `precomputed` of all that is not computed again. The
    transaction should end soon after: others that publish wait.
    """
    values = {"first": after + 1, "last": last_version(session), "batch": batch}
    ended = sa.bindparam("retired", list(retired), sa.ARRAY(sa.BigInteger))
    for table, columns in (("published_ground", _GROUND), ("published_sheets", _SHEETS)):
        session.execute(sa.text(f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP"))
    if precomputed:
        cursor = session.connection().connection.cursor()
        for table, rows in (
            ("published_ground", precomputed.ground), ("published_sheets", precomputed.sheets)
        ):  # fmt: skip
            with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as into:
                into.write(rows)
    else:
        ground = composed("publish_ground", states="changed_published")
        sheets = composed("publish_hulls", states="current_published")
        session.execute(sa.text(f"INSERT INTO published_ground {ground}").bindparams(ended), values)
        session.execute(sa.text(f"INSERT INTO published_sheets {sheets}"))
    if session.scalar(sa.text("SELECT EXISTS (SELECT FROM published_ground)")):
        more = session.scalar(sql("publish_sheets"))
        locks.lock(session, locks.Kind.PUBLICATION)
        told = values | {"more": more, "valid_from": valid_from}
        stamp = session.scalar(sql("publish").bindparams(ended), told)
        session.execute(sql("publish_cells"), {"stamp": stamp})
    session.execute(sa.text("DROP TABLE published_ground, published_sheets"))
