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
            "This file is batch {number} already, which is not later than batch {earlier}.",
            hint="Take it back (`landdata batch withdraw {number}`) and send it again.",
            code="not-later",
            number=number,
            earlier=earlier,
        )
    if batch.corrects is not None:
        raise Conflict(
            "Batch {number} corrects batch {corrects} already.",
            hint="Take it back (`landdata batch withdraw {number}`) and send it again.",
            code="corrects-another",
            number=number,
            corrects=batch.corrects,
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
    counts = {row.change: row.n for row in session.execute(counting, pair)}
    return {
        "batch": batch.corrects,
        **{change: counts.get(change, 0) for change in ("added", "changed", "gone", "same")},
    }


def differences(session: Session, batch: Batch) -> list[dict[str, Any]]:
    """Return the rows that are added, changed (with the changed attributes) or gone.

    A changed shape has `shift`, how far its boundary moves at most, in m, and `area_change` in m².
    """
    listing = sa.text(
        f"SELECT * FROM ({sql('compared').text}) AS rows WHERE change <> 'same'"  # noqa: S608  # ours
        " ORDER BY coalesce(row, earlier_row), row"
    )
    rows = session.execute(listing, {"batch": batch.id, "earlier": batch.corrects})
    return [
        {
            "change": row.change,
            "parcel": row.number and "/".join(filter(None, (batch.commune, row.sheet, row.number))),
            "row": row.row,
            "earlier_row": row.earlier_row,
            "what": list(row.what) if row.change == "changed" else [],
            **_moved(row),
        }
        for row in rows
    ]


def _moved(row: sa.Row[Any]) -> dict[str, float]:
    if row.shift is None:
        return {}
    return {"shift": round(row.shift, 3), "area_change": round(row.area_change, 3)}


def correctable(session: Session, batch: Batch, sheets: list[str]) -> list[int]:
    """Return the numbers of the sender's undecided batches that hold some of these sheets.

    Only the sender knows whether it corrects one of them: two crews may share a sheet.
    """
    if batch.corrects is not None:
        return []
    numbers = session.scalars(
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
    return list(numbers)
