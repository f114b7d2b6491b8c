"""The states of a batch and the decisions that lead from one to another.

    received → checking → checked → accepted | rejected | withdrawn | superseded
    refused    the file can't be read; the sentence that says why is kept

Rows of batches are locked from the later to the earlier, then the neighbourhood, so no two
transactions wait for each other. Every function works in the caller's transaction, so a crash
leaves the store as before.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session

from landdata.errors import Conflict, LandDataError, NotFound
from landdata.store.tables import Batch

DECIDED = ("accepted", "rejected", "withdrawn", "superseded")  # states that a batch stays in
UNCHECKED = ("received", "checking", "refused")


def get(session: Session, number: int, *, lock: bool = False) -> Batch:
    """Return a batch; `lock` holds it until the transaction ends. Raises `NotFound`."""
    batch = session.get(Batch, number, with_for_update=lock or None, populate_existing=True)
    if batch is None:
        raise NotFound(
            "There is no batch {number}.",
            hint="`landdata batches` lists them.",
            code="no-batch",
            number=number,
        )
    return batch


def reject(session: Session, number: int, *, by: str, reason: str | None = None) -> None:
    """Reject a whole batch. Raises `Conflict` where it is decided already."""
    _turn_down(session, number, "rejected", by, reason)


def withdraw(session: Session, number: int, *, by: str, reason: str | None = None) -> None:
    """Withdraw a batch for its surveyor. Raises `Conflict` where it is decided already.

    The same file may be sent again, as a batch of its own.
    """
    _turn_down(session, number, "withdrawn", by, reason)


def refuse(session: Session, number: int, error: LandDataError) -> None:
    """Store why a batch's file could not be read."""
    batch = get(session, number, lock=True)
    require_undecided(batch)
    batch.state = "refused"
    batch.refusal = {**error.as_dict("en")["error"], "vi": error.as_dict("vi")["error"]}
    session.flush()


def _turn_down(session: Session, number: int, state: str, by: str, reason: str | None) -> None:
    batch = get(session, number, lock=True)
    if batch.state != state:
        require_undecided(batch)
        decide(session, batch, state, by, reason, batch.summary)


def require_undecided(batch: Batch) -> None:
    """Raise `Conflict` for a batch that is decided."""
    if batch.state in DECIDED:
        raise Conflict(
            "Batch {id} is {state} already, by {decided_by}.",
            hint="Send a corrected file as a batch of its own.",
            code="decided",
            id=batch.id,
            state=batch.state,
            decided_by=batch.decided_by,
        )


def decide(
    session: Session,
    batch: Batch,
    state: str,
    by: str,
    reason: str | None,
    summary: dict[str, Any] | None,
) -> None:
    """Store the decision on a batch: by whom, when and why."""
    batch.state, batch.decided_by, batch.reason, batch.summary = state, by, reason, summary
    batch.decided_at = dt.datetime.now(dt.UTC)
    session.flush()


def summary_of(batch: Batch) -> dict[str, Any]:
    """Return a copy of the summary of a batch's check, empty before it."""
    return dict(batch.summary or {})


def public_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary without the neighbourhood, which is internal."""
    return {key: value for key, value in summary.items() if key != "around"}
