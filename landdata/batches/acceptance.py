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

# What of a state is known before it is official, as `accept_states` gives it.
_STATE = (
    "parcel_id", "version", "valid_from", "commune", "sheet", "number", "scale", "area",
    "legal_area", "measured_area", "land_use", "address", "label", "old_sheet", "old_number",
    "national_id", "surveyed_on", "geom", "batch_id", "batch_row", "feature",
)  # fmt: skip
_TOGETHER = 200  # states that are sent at once
_AHEAD = 16  # blocks of them that are there before they are sent: neither session waits for long
_TAKEN_IN = 0.8  # the share of an acceptance that is over when all states are in their table


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
    official has changed there since the check, the check is run again. `reviewed` says that a
    person has seen the verdict: if it is then another, `Conflict` is raised and nothing
    is accepted. Returns the summary, with `accepted`.
    """
    batch = lifecycle.get(session, number, lock=True)
    if batch.state == "accepted":
        return lifecycle.public_summary(lifecycle.summary_of(batch))
    lifecycle.require_undecided(batch)
    if batch.state != "checked":
        raise Conflict(
            f"Batch {number} has not been checked.",
            hint=f"Run `landdata batch check {number}` and look at its findings.",
            code="not-checked",
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
                f"What is official around batch {number} has changed since its check,"
                " and with it the verdict on its parcels.",
                hint=f"Run `landdata batch check {number}`, look at it, and accept it then.",
                code="verdict-changed",
            )
        summary = lifecycle.summary_of(batch)
    # the clock after the locks: a version must not begin before the one that it follows
    now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
    before_ours = publications.last_version(session)
    precomputed = _make_official(session, batch, now, summary, progress)
    session.execute(sql("accept_holders"), {"batch": number, "after": before_ours})
    publications.publish(
        session, number, after=before_ours, valid_from=now, precomputed=precomputed
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
    """Put the states that the acceptable rows become in the place of those that they replace.

    A second session makes them, each with the text of its feature, while this one takes them in:
    to make them costs as much as to index them. A third one meanwhile foresees what changes with
    them, which is returned. What is official here none can change meanwhile. Both see what is
    committed only, so of a check of this transaction states are made here first, and nothing is
    precomputed.
    """
    rows = summary["acceptable"]
    values = {"batch": batch.id, "commune": batch.commune, "now": now}
    states = sql("accept_states").bindparams(**values)
    columns = ", ".join(_STATE)
    precomputed = None
    with session.get_bind().engine.connect() as maker:
        checked = sa.select(Batch.checked_at).where(Batch.id == batch.id)
        if maker.scalar(checked) == batch.checked_at:
            session.execute(sql("accept_close"), values)
            # one process is kept busy by this session already
            maker.execute(sa.text("SET LOCAL max_parallel_workers_per_gather = 0"))
            query = states.compile(dialect=maker.dialect)
            source, target = (each.connection.cursor() for each in (maker, session.connection()))
            with (
                ThreadPoolExecutor(1) as aside,
                source.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", query.params) as made,
                target.copy(f"COPY parcel_versions ({columns}) FROM STDIN (FORMAT binary)") as into,
                closing(_ahead(_together(made))) as blocks,
            ):
                changes = aside.submit(
                    _precompute, maker.engine, batch.id, batch.commune, summary["around"]["sheets"]
                )
                done = 0
                for block in blocks:
                    into.write(block)
                    done += _TOGETHER
                    if progress and done % 10_000 == 0:
                        progress("accept", min(done / max(rows, 1), 1.0) * _TAKEN_IN)
            count, precomputed = target.rowcount, changes.result()
        else:
            table = f"CREATE TEMPORARY TABLE official ON COMMIT DROP AS {states.text}"
            session.execute(sa.text(table), values)
            session.execute(sql("accept_close"), values)
            insert_all = f"INSERT INTO parcel_versions ({columns}) SELECT {columns} FROM official"  # noqa: S608  # ours
            count = session.connection().execute(sa.text(insert_all)).rowcount
            session.execute(sa.text("DROP TABLE official"))
    if count != rows:
        raise LandDataError(
            f"Of batch {batch.id} {count} rows became official, not {rows}.",
            hint="Nothing is accepted. Please report it.",
        )
    if rows >= staging.BLOCK:
        # no plan for an empty store now; and none that waits for another batch's end
        columns = "id, parcel_id, version, batch_id, commune, sheet, number, valid_to"
        session.execute(sa.text(f"ANALYZE (SKIP_LOCKED) parcel_versions ({columns})"))
    return precomputed


def _precompute(
    engine: sa.Engine, number: int, commune: str, sheets: list[str]
) -> publications.PrecomputedPublication:
    with engine.connect() as connection:
        return publications.precompute(connection, number, commune=commune, sheets=sheets)


def _together(rows: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield rows as blocks of many: a call for each would cost more than the row."""
    each = iter(rows)
    while block := b"".join(islice(each, _TOGETHER)):
        yield block


def _ahead(blocks: Iterator[bytes]) -> Generator[bytes]:
    """Yield blocks while a thread gets the next ones: so who makes them need not wait either."""
    with ThreadPoolExecutor(1) as getter:
        coming = deque(getter.submit(next, blocks, b"") for _ in range(_AHEAD))
        while block := coming.popleft().result():
            coming.append(getter.submit(next, blocks, b""))
            yield block
