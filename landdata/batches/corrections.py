"""A corrected file names the batch that it corrects; both are compared row by row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from landdata.batches import lifecycle
from landdata.errors import BadRequest, Conflict
from landdata.store.database import sql
from landdata.store.tables import Batch


def correct(session: Session, number: int, earlier: int) -> None:
    """Note that a batch that was received before corrects an earlier one."""
    batch = lifecycle.get(session, number, lock=True)
    lifecycle.require_undecided(batch)
    if earlier >= number:
        raise BadRequest(
            f"This file is batch {number} already, which is not later than batch {earlier}.",
            hint=f"Take it back (`landdata batch withdraw {number}`) and send it again.",
            code="not-later",
        )
    if batch.corrects is not None:
        raise Conflict(
            f"Batch {number} corrects batch {batch.corrects} already.",
            hint=f"Take it back (`landdata batch withdraw {number}`) and send it again.",
            code="corrects-another",
        )
    batch.corrects = earlier
    if batch.state == "checked":
        batch.summary = {
            **lifecycle.summary_of(batch),
            "may_correct": [],
            "compared": compare(session, batch),
        }
        supersede(session, batch)
    session.flush()


def supersede(session: Session, batch: Batch) -> None:
    """Set aside the batch that this one corrects, if nobody has decided on it."""
    if batch.corrects is None:
        return
    earlier = lifecycle.get(session, batch.corrects, lock=True)
    if earlier.state not in lifecycle.DECIDED:
        reason = f"corrected by batch {batch.id}"
        lifecycle.decide(session, earlier, "superseded", batch.received_by, reason, earlier.summary)


def compare(session: Session, batch: Batch) -> dict[str, Any] | None:
    """Count how a batch differs from the one that it corrects, where that one was checked."""
    if batch.corrects is None or lifecycle.get(session, batch.corrects).summary is None:
        return None
    counting = sa.text(
        f"SELECT change, count(*) AS n FROM ({sql('compared').text}) AS rows GROUP BY change"  # noqa: S608  # ours
    )
    pair = {"batch": batch.id, "earlier": batch.corrects}
    counts = {each.change: each.n for each in session.execute(counting, pair)}
    return {
        "batch": batch.corrects,
        **{change: counts.get(change, 0) for change in ("added", "changed", "gone", "same")},
    }


def differences(session: Session, batch: Batch) -> list[dict[str, Any]]:
    """Return the rows that were added, changed (and in what) or are gone."""
    listing = sa.text(
        f"SELECT * FROM ({sql('compared').text}) AS rows WHERE change <> 'same'"  # noqa: S608  # ours
        " ORDER BY coalesce(row, earlier_row), row"
    )
    found = session.execute(listing, {"batch": batch.id, "earlier": batch.corrects})
    return [
        {
            "change": each.change,
            "parcel": each.number
            and "/".join(filter(None, (batch.commune, each.sheet, each.number))),
            "row": each.row,
            "earlier_row": each.earlier_row,
            "what": list(each.what) if each.change == "changed" else [],
        }
        for each in found
    ]


def correctable(session: Session, batch: Batch, sheets: list[str]) -> list[int]:
    """Number the undecided batches of the same sender that hold the same sheets.

    Whether it corrects one of them is for the sender to say: two crews may share a sheet.
    """
    if batch.corrects is not None:
        return []
    found = session.scalars(
        sa.select(Batch.id)
        .where(
            Batch.commune == batch.commune,
            Batch.received_by == batch.received_by,
            Batch.state == "checked",
            Batch.id < batch.id,
            Batch.summary["around"]["sheets"].has_any(sa.cast(sheets, ARRAY(sa.Text))),
        )
        .order_by(Batch.id)
    )
    return list(found)
