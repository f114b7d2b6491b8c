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
    """Keep the file and create its batch; return the batch and whether it is new.

    `commune` is a code or a name. `corrects` is the number of the batch that it corrects. Raises
    `BadRequest` for an unknown commune or a batch that this one can't correct, and `BadSurvey` for
    a file that is no survey; then nothing is kept.
    """
    commune = communes.find(session, commune).code
    earlier = None if corrects is None else lifecycle.get(session, corrects)
    if earlier is not None and earlier.commune != commune:
        raise BadRequest(
            "Batch {corrects} is of commune {commune}, not of {commune2}.",
            hint="`landdata batches` lists them.",
            code="other-commune",
            corrects=corrects,
            commune=earlier.commune,
            commune2=commune,
        )
    with tempfile.TemporaryDirectory() as scratch:
        bundled = bundle(path, Path(scratch))
        source = display_name(bundled)
        sha256 = source_files.keep(session, settings, bundled, source)
    stored_options = (options or ReadOptions()).as_dict()
    same = sa.select(Batch).where(
        Batch.sha256 == sha256,
        Batch.commune == commune,
        Batch.options == stored_options,
        Batch.state.not_in(("withdrawn", "superseded")),
    )
    batch = session.scalar(same)
    if batch is None:
        number = session.scalar(
            insert(Batch)
            .values(
                sha256=sha256,
                source=source,
                commune=commune,
                options=stored_options,
                received_by=by,
                corrects=corrects,
            )
            .on_conflict_do_nothing()  # another process may receive the same file now
            .returning(Batch.id)
        )
        if number is not None:
            return lifecycle.get(session, number), True
        batch = session.scalars(same).one()
    if corrects is not None and batch.corrects != corrects:
        corrections.correct(session, batch.id, corrects)
    return batch, False
