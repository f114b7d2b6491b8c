"""A survey file becomes a batch: kept for ever under its SHA-256; same file, same batch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from landdata.batches import corrections, lifecycle, source_files
from landdata.batches.validation import ReadOptions
from landdata.errors import BadRequest
from landdata.settings import Settings
from landdata.store import communes
from landdata.store.tables import Batch
from landdata.survey.archive import bundle, display_name


def receive(
    session: Session,
    settings: Settings,
    path: Path,
    *,
    commune: str,
    by: str,
    options: ReadOptions | None = None,
    corrects: int | None = None,
) -> tuple[Batch, bool]:
    """Keep the file and enter its batch; returns the batch and whether it is new.

    `corrects` numbers the batch that it corrects. Raises `BadRequest` for an unknown commune
    or a batch that can't be corrected by this one, and `BadSurvey` for what is no survey file
    at all; then nothing is kept.
    """
    communes.find(session, commune)
    earlier = None if corrects is None else lifecycle.get(session, corrects)
    if earlier is not None and earlier.commune != commune:
        raise BadRequest(
            f"Batch {corrects} is of commune {earlier.commune}, not of {commune}.",
            hint="`landdata batches` lists them.",
            code="other-commune",
        )
    with tempfile.TemporaryDirectory() as scratch:
        bundled = bundle(path, Path(scratch))
        source = display_name(bundled)
        sha256 = source_files.keep(session, settings, bundled, source)
    given = (options or ReadOptions()).as_dict()
    same = sa.select(Batch).where(
        Batch.sha256 == sha256,
        Batch.commune == commune,
        Batch.options == given,
        Batch.state.not_in(("withdrawn", "superseded")),
    )
    found = session.scalar(same)
    if found is None:
        number = session.scalar(
            insert(Batch)
            .values(
                sha256=sha256,
                source=source,
                commune=commune,
                options=given,
                received_by=by,
                corrects=corrects,
            )
            .on_conflict_do_nothing()  # somebody else may send it at this moment
            .returning(Batch.id)
        )
        if number is not None:
            return lifecycle.get(session, number), True
        found = session.scalars(same).one()
    if corrects is not None and found.corrects != corrects:
        corrections.correct(session, found.id, corrects)
    return found, False
