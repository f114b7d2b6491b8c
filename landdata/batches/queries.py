"""Queries of batches: the list, one batch with its findings, its survey points."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.batches import corrections, lifecycle
from landdata.store.database import sql
from landdata.store.tables import Batch, StoredFinding


def list_all(session: Session) -> list[dict[str, Any]]:
    """Return all batches, the latest first, as printed by `landdata batches`."""
    batches = session.scalars(sa.select(Batch).order_by(Batch.id.desc()))
    return [describe(batch) for batch in batches]


def show(session: Session, number: int) -> dict[str, Any]:
    """Return `{"batch", "summary", "findings"}` of a batch; findings is never capped.

    A batch that corrects another has `compared` too: the rows that are added, changed (with the
    changed attributes) or gone; equal rows are only counted, in the summary.
    """
    batch = lifecycle.get(session, number)
    findings = session.scalars(
        sa.select(StoredFinding.finding)
        .where(StoredFinding.batch_id == number)
        .order_by(StoredFinding.seq)
    )
    corrected_by = session.scalars(
        sa.select(Batch.id).where(Batch.corrects == number).order_by(Batch.id)
    )
    shown: dict[str, Any] = {
        "batch": {**describe(batch), "corrected_by": list(corrected_by)},
        "summary": lifecycle.public_summary(lifecycle.summary_of(batch)) or None,
        "findings": list(findings),
    }
    if lifecycle.summary_of(batch).get("compared"):
        shown["compared"] = corrections.differences(session, batch)
    return shown


def survey_points(session: Session, number: int) -> list[dict[str, Any]]:
    """Return the survey points of a batch, with the rows and parcels that they bound.

    `x_north` and `y_east` are as in the file, in the CRS `srid`; `point` is [x, y] in the storage
    CRS. Raises `NotFound`.
    """
    lifecycle.get(session, number)
    points = session.execute(sql("survey_points"), {"batch": number})
    return [
        {
            "line": point.line,
            "name": point.name,
            "x_north": point.north,
            "y_east": point.east,
            "srid": point.srid,
            "point": [point.x, point.y],
            "rows": point.rows,
            "parcels": point.parcels,
        }
        for point in points
    ]


def describe(batch: Batch) -> dict[str, Any]:
    """Return a batch itself as JSON values."""
    return {
        "id": batch.id,
        "state": batch.state,
        "source": batch.source,
        "commune": batch.commune,
        "sha256": batch.sha256,
        "received_at": batch.received_at.isoformat(),
        "received_by": batch.received_by,
        "checked_at": batch.checked_at and batch.checked_at.isoformat(),
        "decided_at": batch.decided_at and batch.decided_at.isoformat(),
        "decided_by": batch.decided_by,
        "reason": batch.reason,
        "corrects": batch.corrects,
        "refusal": batch.refusal,
    }
