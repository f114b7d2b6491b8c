"""A batch's file is read, validated against its neighbours, and staged."""

from __future__ import annotations

import datetime as dt
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from landdata.batches import corrections, lifecycle, neighbourhood, source_files, staging
from landdata.batches.receiving import receive
from landdata.batches.validation import Progress, ReadOptions, Report, summarise
from landdata.batches.validation import check as check_file
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.store import communes
from landdata.store.database import sql
from landdata.store.tables import Batch, StoredFinding, SurveyPoint
from landdata.survey import Part, Survey
from landdata.topology import ACCEPTABLE, DUPLICATE, Neighbours


def receive_and_check(
    session: Session,
    settings: Settings,
    path: Path,
    *,
    commune: str,
    by: str,
    options: ReadOptions | None = None,
    corrects: int | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Receive a file and check it, in one: of a file that can't be read nothing is stored.

    A batch that is there already is returned as it is. Raises as `receive` and `check`.
    """
    batch, new = receive(
        session, settings, path, commune=commune, by=by, options=options, corrects=corrects
    )
    if batch.state in lifecycle.UNCHECKED:
        batch = lifecycle.get(
            session, batch.id, lock=True
        )  # a worker may be at it: then it is waited for
    if batch.state not in lifecycle.UNCHECKED:
        return batch
    try:
        check(session, settings, batch.id, progress=progress)
    except BaseException:
        if new:
            source_files.delete_if_unused(session, settings, batch)
        raise
    return batch


def check(
    session: Session,
    settings: Settings,
    number: int,
    *,
    progress: Progress | None = None,
    counted: Callable[[int], None] | None = None,
) -> Report:
    """Read, validate and stage a batch; what an earlier check had staged is replaced.

    `counted` is called with the number of rows of the file. Raises `Conflict` where the batch is
    decided already, `BadSurvey` where the file can't be read: then the batch stays as it was.
    """
    batch = lifecycle.get(session, number, lock=True)
    lifecycle.require_undecided(batch)
    report = validate_and_stage(session, settings, batch, progress, counted)
    corrections.supersede(session, batch)
    return report


def propose(
    session: Session, settings: Settings, number: int, *, progress: Progress | None = None
) -> Report:
    """Check a batch's file and propose mends for what is wrong; nothing is stored or changed.

    Who accepts a proposal sends a corrected file.
    """
    batch = lifecycle.get(session, number)
    return check_file(
        source_files.path_of(settings, batch),
        settings,
        options=_options(batch),
        commune=batch.commune,
        neighbours=neighbourhood.fetcher(session, settings, batch.commune),
        boundary=communes.border(session, batch.commune),
        propose=True,
        progress=progress,
    )


def validate_and_stage(
    session: Session,
    settings: Settings,
    batch: Batch,
    progress: Progress | None,
    counted: Callable[[int], None] | None = None,
) -> Report:
    """Check a batch's file while its rows are staged: parts as they are read, the rest while the
    rules run, which leave the server idle.
    """
    fetched: list[neighbourhood.Fetched] = []
    boundary = communes.border(session, batch.commune)
    read: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
    failed = threading.Event()
    turn = threading.Lock()  # the connection is one for both

    def parts() -> Iterator[Part]:
        while (part := read.get()) is not None and not failed.is_set():
            yield part

    def hand_on(part: Part) -> None:
        if staging_rows.done():  # it failed, so there is no use in reading on
            staging_rows.result()
        read.put(part)

    def surveyed(survey: Survey) -> Neighbours:
        read.put(None)
        if counted:
            counted(len(survey))
        with turn:
            fetched.append(neighbourhood.fetch(session, settings, batch.commune, survey))
        return fetched[0].parcels

    with session.begin_nested(), ThreadPoolExecutor(1) as aside:
        cursor = session.connection().connection.cursor()
        staging_rows = aside.submit(
            staging.stage, cursor, batch.id, parts(), status=ACCEPTABLE, turn=turn
        )
        try:
            report = check_file(
                source_files.path_of(settings, batch),
                settings,
                options=_options(batch),
                commune=batch.commune,
                neighbours=surveyed,
                boundary=boundary,
                each=hand_on,
                progress=progress,
            )
        except BaseException as error:
            failed.set()
            read.put(None)
            if isinstance(error, sa.exc.DBAPIError) and (cause := staging_rows.exception()):
                raise cause from None  # the transaction was broken by it
            raise
        started = time.monotonic()
        if progress:
            progress("stage", 0.0)
        if staging_rows.result() >= staging.BLOCK:
            # no plan for a small batch now; and none that waits for another batch's end
            cursor.execute(
                "ANALYZE (SKIP_LOCKED) staged_parcels (batch_id, row, status, sheet, number)"
            )
        report = _stage(session, batch, report)
    if progress:
        progress("stage", 1.0)
    area = fetched[0].neighbourhood
    seconds = {"stage": round(time.monotonic() - started, 3)}
    summary = {
        **report.summary,
        "source": batch.source,
        "seconds": report.summary["seconds"] | seconds,
        "may_correct": corrections.correctable(session, batch, area.sheets),
        "compared": corrections.compare(session, batch),
    }
    area = replace(area, verdict=_verdict(report, fetched[0].version_ids))
    batch.summary = summary | {"around": area.as_dict()}
    batch.state, batch.refusal = "checked", None
    batch.checked_at = dt.datetime.now(dt.UTC)
    session.flush()
    return replace(report, summary=summary)


def _stage(session: Session, batch: Batch, report: Report) -> Report:
    """Put the verdicts and findings of a report into the store; returns the report as it ends."""
    survey, status = report.survey, report.checked.status
    session.execute(sa.delete(StoredFinding).where(StoredFinding.batch_id == batch.id))
    rejected = np.flatnonzero(status != ACCEPTABLE)
    verdicts = {"rows": survey.rows[rejected].tolist(), "verdicts": status[rejected].tolist()}
    session.execute(sql("stage_verdicts"), {"batch": batch.id, **verdicts})
    unchanged = session.scalars(
        sql("mark_unchanged"), {"batch": batch.id, "commune": batch.commune}
    ).all()
    if unchanged:
        report = _as_duplicates(report, np.array(sorted(unchanged)))
    cursor = session.connection().connection.cursor()
    session.execute(sa.delete(SurveyPoint).where(SurveyPoint.batch_id == batch.id))
    with cursor.copy(staging.COPY_POINTS) as copy:
        for block in staging.points(batch.id, survey):
            copy.write(block)
    statement = "COPY findings (batch_id, seq, rule, severity, row, other_row, finding) FROM STDIN"
    with cursor.copy(statement) as copy:
        copy.set_types(["int8", "int4", "text", "text", "int8", "int8", "jsonb"])
        for seq, finding in enumerate(report.checked.findings):
            copy.write_row(
                (batch.id, seq, finding.rule, finding.severity, finding.row, finding.other_row,
                 Jsonb(finding.as_dict()))
            )  # fmt: skip
    return report


def _verdict(report: Report, version_ids: list[int]) -> str:
    """Return as one value what becomes of each row, and which official version it replaces.

    `version_ids` are the neighbours'. A row that is acceptable before and after is another matter
    where a parcel has got its number meanwhile, which it would replace unseen.
    """
    status, replaces = report.checked.status, report.checked.replaces
    replaced = np.array([*version_ids, 0])[np.where(status == ACCEPTABLE, replaces, -1)]
    verdicts = np.column_stack([report.survey.rows, status, replaced])
    return hashlib.sha256(verdicts.astype(np.int64).tobytes()).hexdigest()


def _as_duplicates(report: Report, rows: NDArray[np.int64]) -> Report:
    """Count rows that repeat their official version as duplicates, each with its finding."""
    survey, checked = report.survey, report.checked
    index = np.flatnonzero(np.isin(survey.rows, rows))
    status = checked.status.copy()
    status[index] = DUPLICATE
    repeats = [
        Finding("already-official", row=int(survey.rows[i]), parcel=checked.parcels[i])
        for i in index
    ]
    repeated = {finding.row for finding in repeats}
    findings = [
        finding
        for finding in checked.findings
        if not (finding.rule == "replaces-official" and finding.row in repeated)
    ]
    checked = replace(checked, status=status, findings=[*findings, *repeats])
    return replace(report, checked=checked, summary=summarise(survey, checked))


def _options(batch: Batch) -> ReadOptions:
    return ReadOptions(**batch.options)
