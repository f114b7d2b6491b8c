"""The queue of jobs, which runners on this machine or on others take.

    submit    receives a file and enqueues its check, in one transaction
    progress  state, row counts and progress of a batch: no name of a person or a file
    cancel    takes a batch out of the queue, or stops its check

    enqueue_export, queued_exports    for `exports`

procrastinate keeps the queue, in the database of the batches; a check's progress is a row of
`batch_progress`.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from landdata.batches import lifecycle, receiving
from landdata.batches.validation import ReadOptions
from landdata.settings import Settings
from landdata.store import database
from landdata.store.database import sql
from landdata.store.tables import Batch, BatchProgress

# The names of queues and their tasks
BATCHES: Final = "batches"
CHECK: Final = "landdata.check"
EXPORTS: Final = "exports"
EXPORT: Final = "landdata.export"


def submit(
    session: Session,
    settings: Settings,
    path: Path,
    *,
    commune: str,
    by: str,
    options: ReadOptions | None = None,
    corrects: int | None = None,
) -> Batch:
    """Receive a file and enqueue the check of its batch, in the caller's transaction.

    The same file is the same batch, and is enqueued once. Raises as `batches.receive`.
    """
    batch, _ = receiving.receive(
        session, settings, path, commune=commune, by=by, options=options, corrects=corrects
    )
    if batch.state in ("received", "checking", "refused"):
        _enqueue(session, batch.id)
    return batch


def progress(session: Session, number: int) -> dict[str, Any]:
    """Return the state, row counts and progress of a batch.

    It names no person and no file: anybody may see it. Raises `NotFound`.
    """
    batch = lifecycle.get(session, number)
    summary = batch.summary or {}
    counts = ("read", "acceptable", "accepted", "rejected", "duplicate")
    status: dict[str, Any] = {
        "id": batch.id,
        "state": batch.state,
        "counts": {name: summary[name] for name in counts if name in summary} or None,
        "refused": batch.refusal["code"] if batch.refusal else None,
        "progress": None,
    }
    row = session.get(BatchProgress, number, populate_existing=True)
    if row is not None and row.job_id is not None and batch.state in ("received", "checking"):
        now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
        status["progress"] = {
            "stage": (row.stage if batch.state == "checking" else None) or "waiting",
            "share": round(row.share, 3),
            "rows": row.rows,
            "seconds_left": _seconds_left(row, now),
        }
    return status


def cancel(engine: sa.Engine, number: int) -> bool:
    """Take a batch out of the queue, or stop its check; return whether there was one.

    Waits for the end of the check. The batch is then in state `received`. Raises `NotFound`.
    """
    with database.session(engine) as session:
        lifecycle.get(session, number)
        row = session.get(BatchProgress, number)
        if row is None or row.job_id is None:
            return False
        statement = sa.text("SELECT procrastinate_cancel_job_v1(:job, true, false)")
        session.execute(statement, {"job": row.job_id})
        row.job_id = None
    with database.session(engine) as session:
        batch = lifecycle.get(session, number, lock=True)  # a running check holds the lock
        if batch.state == "checking":
            batch.state = "received"
        return batch.state == "received"


def enqueue_export(session: Session, job: str, *, at_once: int) -> None:
    """Enqueue an export; `at_once` are written at a time in the whole deployment."""
    parameters = {"queue": EXPORTS, "task": EXPORT, "export": job, "slots": at_once}
    session.execute(sql("enqueue_export"), parameters)


def queued_exports(session: Session) -> set[str]:
    """Return the exports that wait or are being written."""
    statement = sa.text(
        "SELECT args->>'export' FROM procrastinate_jobs"
        " WHERE task_name = :task AND status IN ('todo', 'doing')"
    )
    return {*session.scalars(statement, {"task": EXPORT})}


def _enqueue(session: Session, number: int) -> None:
    session.execute(insert(BatchProgress).values(batch_id=number).on_conflict_do_nothing())
    row = session.get_one(BatchProgress, number, with_for_update=True, populate_existing=True)
    is_queued = sa.text(
        "SELECT EXISTS (SELECT FROM procrastinate_jobs"
        " WHERE id = :job AND status IN ('todo', 'doing'))"
    )
    if row.job_id is not None and session.scalar(is_queued, {"job": row.job_id}):
        return
    batch = lifecycle.get(session, number, lock=True)
    batch.state, batch.refusal = "received", None
    row.job_id = session.scalar(
        sql("enqueue"), {"queue": BATCHES, "task": CHECK, "batch": str(number)}
    )
    row.stage, row.share, row.rows, row.began_at, row.told_at = None, 0.0, None, None, None
    session.flush()


def _seconds_left(row: BatchProgress, now: dt.datetime) -> float | None:
    """Estimate the seconds that a check still takes; null in its first 5 %."""
    if row.began_at is None or row.told_at is None or row.share < 0.05:
        return None
    spent = (row.told_at - row.began_at).total_seconds()
    since = (now - row.told_at).total_seconds()
    return round(max(0.0, spent * (1 - row.share) / row.share - since), 1)
