"""The acceptable rows of a batch become official, in one transaction.

The verdict is taken again if the neighbours have changed since the check; then new versions go in
and the ones that they replace are closed.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import sqlalchemy as sa
from psycopg.abc import Buffer
from sqlalchemy.orm import Session

from landdata.batches import checking, lifecycle, neighbourhood, staging
from landdata.batches.neighbourhood import Neighbourhood
from landdata.batches.validation import Progress
from landdata.errors import Conflict, LandDataError
from landdata.settings import Settings
from landdata.store import publications
from landdata.store.database import sql
from landdata.store.tables import Batch

# The columns of a version that `accept_versions` returns.
_COLUMNS = (
    "parcel_id, version, valid_from, commune, sheet, number, scale, area, legal_area,"
    " measured_area, land_use, address, label, old_sheet, old_number, national_id, surveyed_on,"
    " geom, batch_id, batch_row, feature"
)
_BLOCK = 200  # versions that are sent at once
_AHEAD = 16  # blocks that are read before they are sent: neither session waits for long
_SHARE_OF_COPY = 0.8  # of an acceptance, when all versions are in their table


def accept(
    session: Session,
    settings: Settings,
    number: int,
    *,
    by: str,
    reason: str | None = None,
    reviewed: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the acceptable rows of a batch official, all in this transaction.

    The rules hold against the neighbours of now: the neighbourhood is locked first, and if anything
    official has changed there since the check, the check is run again. `reviewed`: a person has
    seen the verdict; if the new one differs, `Conflict` is raised and nothing is accepted. Returns
    the summary, with `accepted`.
    """
    batch = lifecycle.get(session, number, lock=True)
    if batch.state == "accepted":
        return lifecycle.public_summary(lifecycle.summary_of(batch))
    lifecycle.require_undecided(batch)
    if batch.state != "checked":
        raise Conflict(
            "Batch {number} has not been checked.",
            hint="Run `landdata batch check {number}` and look at its findings.",
            code="not-checked",
            number=number,
        )
    summary = lifecycle.summary_of(batch)
    checked = Neighbourhood.from_dict(summary["around"])
    if progress:
        progress("accept", 0.0)
    neighbourhood.lock(session, batch.commune, checked.windows)
    started = time.monotonic()
    if checked.fingerprint != neighbourhood.fingerprint(session, settings, batch.commune, checked):
        checking.validate_and_stage(session, settings, batch, progress)
        if reviewed and lifecycle.summary_of(batch)["around"]["verdict"] != checked.verdict:
            raise Conflict(
                "What is official around batch {number} has changed since its check, and "
                "with it the verdict on its parcels.",
                hint="Run `landdata batch check {number}`, look at it, and accept it then.",
                code="verdict-changed",
                number=number,
            )
        summary = lifecycle.summary_of(batch)
    # the clock after the locks: a version must not begin before the one that it follows
    now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
    last_before = publications.last_version(session)
    precomputed = _make_official(session, batch, now, summary, progress)
    session.execute(sql("accept_holders"), {"batch": number, "after": last_before})
    publications.publish(
        session, number, after=last_before, valid_from=now, precomputed=precomputed
    )
    summary["accepted"] = summary.pop("acceptable")
    summary["seconds"]["accept"] = round(time.monotonic() - started, 3)
    if progress:
        progress("accept", 1.0)
    lifecycle.decide(session, batch, "accepted", by, reason, summary)
    return lifecycle.public_summary(summary)


def _make_official(
    session: Session,
    batch: Batch,
    now: dt.datetime,
    summary: dict[str, Any],
    progress: Progress | None,
) -> publications.PrecomputedPublication | None:
    """Insert the versions that the acceptable rows become and close those that they replace.

    A second session computes the versions, but sees only what is committed: where this transaction
    has run the check itself, it computes the versions itself too, and returns null.
    """
    rows = summary["acceptable"]
    values = {"batch": batch.id, "commune": batch.commune, "now": now}
    precomputed = None
    with session.get_bind().engine.connect() as second:
        checked = sa.select(Batch.checked_at).where(Batch.id == batch.id)
        if second.scalar(checked) == batch.checked_at:
            session.execute(sql("accept_close"), values)
            count, precomputed = _copy_versions(session, second, values, summary, progress)
        else:
            versions = sql("accept_versions").text
            table = f"CREATE TEMPORARY TABLE official ON COMMIT DROP AS {versions}"
            session.execute(sa.text(table), values)
            session.execute(sql("accept_close"), values)
            insert_all = f"INSERT INTO parcel_versions ({_COLUMNS}) SELECT {_COLUMNS} FROM official"  # noqa: S608  # ours
            count = session.connection().execute(sa.text(insert_all)).rowcount
            session.execute(sa.text("DROP TABLE official"))
    if count != rows:
        raise LandDataError(
            "Of batch {id} {count} rows became official, not {rows}.",
            hint="Nothing is accepted. Please report it.",
            id=batch.id,
            count=count,
            rows=rows,
        )
    if rows >= staging.BLOCK:
        # so that no statement is planned for an empty table; does not wait for another batch
        columns = "id, parcel_id, version, batch_id, commune, sheet, number, valid_to"
        session.execute(sa.text(f"ANALYZE (SKIP_LOCKED) parcel_versions ({columns})"))
    return precomputed


def _copy_versions(
    session: Session,
    second: sa.Connection,
    values: dict[str, Any],
    summary: dict[str, Any],
    progress: Progress | None,
) -> tuple[int, publications.PrecomputedPublication]:
    """Insert the new versions; return how many they are, and the publication, precomputed.

    Computing the versions, with the GeoJSON of their features, costs as much as indexing them: the
    `second` session computes them while this one inserts them, and a third one precomputes the
    publication. The locks keep what is official here unchanged meanwhile.
    """
    # this session keeps one processor busy already
    second.execute(sa.text("SET LOCAL max_parallel_workers_per_gather = 0"))
    query = sql("accept_versions").bindparams(**values).compile(dialect=second.dialect)
    source, target = second.connection.cursor(), session.connection().connection.cursor()
    rows, done = max(summary["acceptable"], 1), 0
    with (
        ThreadPoolExecutor(1) as aside,
        source.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", query.params) as computed,
        target.copy(f"COPY parcel_versions ({_COLUMNS}) FROM STDIN (FORMAT binary)") as copy,
        closing(_read_ahead(_in_blocks(computed))) as blocks,
    ):
        publication = aside.submit(
            _precompute, second.engine, values["batch"], values["commune"],
            summary["around"]["sheets"],
        )  # fmt: skip
        for block in blocks:
            copy.write(block)
            done += _BLOCK
            if progress and done % 10_000 == 0:
                progress("accept", min(done / rows, 1.0) * _SHARE_OF_COPY)
    return target.rowcount, publication.result()


def _precompute(
    engine: sa.Engine, number: int, commune: str, sheets: list[str]
) -> publications.PrecomputedPublication:
    with engine.connect() as connection:
        return publications.precompute(connection, number, commune=commune, sheets=sheets)


def _in_blocks(rows: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield rows as blocks of `_BLOCK`: a call for each would cost more than the row."""
    remaining = iter(rows)
    while block := b"".join(islice(remaining, _BLOCK)):
        yield block


def _read_ahead(blocks: Iterator[bytes]) -> Generator[bytes]:
    """Yield blocks while a thread reads the next ones, so that their source need not wait."""
    with ThreadPoolExecutor(1) as reader:
        pending = deque(reader.submit(next, blocks, b"") for _ in range(_AHEAD))
        while block := pending.popleft().result():
            pending.append(reader.submit(next, blocks, b""))
            yield block
