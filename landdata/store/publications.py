"""What became official, in the order of the commits: the last step of every writer of parcels.

A publication records which versions began and ended, which cells of the map and which sheets
changed, and how many parcels there are. Its number is taken under one lock that is held until the
commit, so numbers are in the order of the commits and without gaps: a reader that has seen one has
seen all before it. (Row numbers are not: a transaction that takes its numbers first may commit
last.)

Its stamp is a whole second of its own, at or after the clock and after every earlier stamp: two
states of the store never have the same one, however quickly one follows the other and however long
a commit takes. HTTP's `Last-Modified` needs this, since it has no fractions of a second.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.store import locks
from landdata.store.database import composed, sql

_BOXES = "commune text, sheet text, x0 integer, x1 integer, y0 integer, y1 integer"
_SHEETS = "commune text, sheet text, parcels integer, hull geometry"

RETIRED, BEGUN = 0, 1  # within a publication, what ends is listed before what begins


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the order of changes: after this publication, kind and version."""

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
    """The cells that change and the new sheets: rows of `_BOXES` and `_SHEETS` as binary COPY."""

    boxes: bytes
    sheets: bytes


BEGINNING = Place(0, BEGUN, 0)


def before(publication: int) -> Place:
    """Return the position just before a publication."""
    return Place(publication, RETIRED, 0)


def last_version(session: Session) -> int:
    """Return the highest row number that any transaction has taken for a parcel's version."""
    number = session.scalar(
        sa.text(
            "SELECT pg_sequence_last_value("
            "pg_get_serial_sequence('parcel_versions', 'id')::regclass)"
        )
    )
    return int(number or 0)


def precompute(
    connection: sa.Connection, batch: int, *, commune: str, sheets: Sequence[str]
) -> PrecomputedPublication:
    """Return what will change when a batch, which holds these `sheets`, is accepted.

    Runs in a second session while the first one, which holds the locks, accepts the batch.
    """
    values = {"batch": batch, "commune": commune, "sheets": list(sheets)}
    # the other sessions keep the remaining processors busy
    connection.execute(sa.text("SET LOCAL max_parallel_workers_per_gather = 0"))
    cursor = connection.connection.cursor()

    def rows(rule: str, versions: str) -> bytes:
        query = composed(rule, versions=versions).compile(dialect=connection.dialect)
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", values) as copy:
            return b"".join(copy)

    return PrecomputedPublication(
        boxes=rows("publish_boxes", "changed_staged"),
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
    """Publish the versions that `batch` brought since `last_version` was `after`, and `retired`.

    They hold from `valid_from` on. `retired` numbers the versions that ended then without a
    successor. What is `precomputed` is not computed again. The transaction should end soon
    after: others that publish wait.
    """
    values: dict[str, Any] = {"first": after + 1, "last": last_version(session), "batch": batch}
    ended = sa.bindparam("retired", list(retired), sa.ARRAY(sa.BigInteger))
    for table, columns in (("published_boxes", _BOXES), ("published_sheets", _SHEETS)):
        session.execute(sa.text(f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP"))
    if precomputed:
        cursor = session.connection().connection.cursor()
        for table, rows in (
            ("published_boxes", precomputed.boxes), ("published_sheets", precomputed.sheets)
        ):  # fmt: skip
            with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as into:
                into.write(rows)
    else:
        boxes = composed("publish_boxes", versions="changed_published")
        sheets = composed("publish_hulls", versions="current_published")
        session.execute(sa.text(f"INSERT INTO published_boxes {boxes}").bindparams(ended), values)
        session.execute(sa.text(f"INSERT INTO published_sheets {sheets}"))
    if session.scalar(sa.text("SELECT EXISTS (SELECT FROM published_boxes)")):
        more = session.scalar(sql("publish_sheets"))
        locks.lock(session, locks.Kind.PUBLICATION)
        values |= {"more": more, "valid_from": valid_from}
        stamp = session.scalar(sql("publish").bindparams(ended), values)
        session.execute(sql("publish_cells"), {"stamp": stamp})
    session.execute(sa.text("DROP TABLE published_boxes, published_sheets"))
