"""A batch's file is read, validated against its neighbours, and staged."""

from __future__ import annotations

import datetime as dt
import hashlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from landdata.batches import corrections, lifecycle, location, neighbourhood, source_files, staging
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
    """Receive a file and check it in one step; nothing is stored of a file that can't be read.

    A batch that was checked before is returned as it is. Raises as `receive` and `check`.
    """
    batch, new = receive(
        session, settings, path, commune=commune, by=by, options=options, corrects=corrects
    )
    if batch.state in lifecycle.UNCHECKED:
        batch = lifecycle.get(session, batch.id, lock=True)  # waits for a worker that checks it
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
    """Read, validate and stage a batch, replacing what an earlier check has staged.

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
    """Check a batch's file and propose repairs for its errors; nothing is stored or changed.

    The surveyor adopts a proposal by sending a corrected file.
    """
    batch = lifecycle.get(session, number)
    return check_file(
        source_files.path_of(settings, batch),
        settings,
        options=_options(batch),
        commune=batch.commune,
        neighbours=neighbourhood.fetcher(session, settings, batch.commune),
        boundary=communes.border(session, batch.commune),
        locate=partial(location.check, session),
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
    """Check a batch's file, stage its rows with their verdicts, and store the summary."""
    with session.begin_nested(), ThreadPoolExecutor(1) as aside:
        report, official, staged = _check_while_staging(
            session, settings, batch, aside, progress, counted
        )
        started = time.monotonic()
        if progress:
            progress("stage", 0.0)
        if staged.result() >= staging.BLOCK:
            # so that no statement is planned for an empty table; does not wait for another batch
            columns = "batch_id, row, status, sheet, number"
            session.execute(sa.text(f"ANALYZE (SKIP_LOCKED) staged_parcels ({columns})"))
        report = _stage_verdicts(session, batch, report)
    if progress:
        progress("stage", 1.0)
    area = official.neighbourhood
    seconds = {"stage": round(time.monotonic() - started, 3)}
    summary = {
        **report.summary,
        "source": batch.source,
        "seconds": report.summary["seconds"] | seconds,
        "may_correct": corrections.correctable(session, batch, area.sheets),
        "compared": corrections.compare(session, batch),
    }
    area = replace(area, verdict=_verdict(report, official.version_ids))
    batch.summary = summary | {"around": area.as_dict()}
    batch.state, batch.refusal = "checked", None
    batch.checked_at = dt.datetime.now(dt.UTC)
    session.flush()
    return replace(report, summary=summary)


def _check_while_staging(
    session: Session,
    settings: Settings,
    batch: Batch,
    aside: Executor,
    progress: Progress | None,
    counted: Callable[[int], None] | None,
) -> tuple[Report, neighbourhood.Fetched, Future[int]]:
    """Check a batch's file while `aside` stages its rows; return also how many it stages.

    Parts are staged as they are read, the rest while the rules run and leave the server idle.
    """
    fetched: list[neighbourhood.Fetched] = []
    read: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
    failed = threading.Event()
    lock = threading.Lock()  # both threads use one connection

    def parts() -> Iterator[Part]:
        while (part := read.get()) is not None and not failed.is_set():
            yield part

    def stage_part(part: Part) -> None:
        if staged.done():  # it has failed: raise its error
            staged.result()
        read.put(part)

    def fetch_neighbours(survey: Survey) -> Neighbours:
        read.put(None)
        if counted:
            counted(len(survey))
        with lock:
            fetched.append(neighbourhood.fetch(session, settings, batch.commune, survey))
        return fetched[0].parcels

    def locate(survey: Survey) -> list[Finding]:
        with lock:
            return location.check(session, survey)

    boundary = communes.border(session, batch.commune)
    cursor = session.connection().connection.cursor()
    staged = aside.submit(
        staging.stage, cursor, batch.id, parts(), status=ACCEPTABLE, connection_lock=lock
    )
    try:
        report = check_file(
            source_files.path_of(settings, batch),
            settings,
            options=_options(batch),
            commune=batch.commune,
            neighbours=fetch_neighbours,
            boundary=boundary,
            locate=locate,
            on_part=stage_part,
            progress=progress,
        )
    except BaseException as error:
        failed.set()
        read.put(None)
        if isinstance(error, sa.exc.DBAPIError) and (cause := staged.exception()):
            raise cause from None  # it has aborted the transaction
        raise
    return report, fetched[0], staged


def _stage_verdicts(session: Session, batch: Batch, report: Report) -> Report:
    """Store the verdicts and findings of a report; return it with repeated rows as duplicates."""
    survey, status = report.survey, report.checked.status
    session.execute(sa.delete(StoredFinding).where(StoredFinding.batch_id == batch.id))
    rejected = np.flatnonzero(status != ACCEPTABLE)
    verdicts = {"rows": survey.rows[rejected].tolist(), "verdicts": status[rejected].tolist()}
    session.execute(sql("stage_verdicts"), {"batch": batch.id, **verdicts})
    owners = report.checked.owners
    joined = {"rows": list(owners), "owners": list(owners.values())}
    session.execute(sql("stage_owners"), {"batch": batch.id, **joined})
    apart = {int(survey.rows[k]): shape.wkb for k, shape in report.checked.taken_apart.items()}
    shapes = {"rows": list(apart), "shapes": list(apart.values())}
    session.execute(sql("stage_shapes"), {"batch": batch.id, **shapes})
    unchanged = session.scalars(
        sql("mark_unchanged"), {"batch": batch.id, "commune": batch.commune}
    ).all()
    if unchanged:
        report = _as_duplicates(report, np.array(sorted(unchanged)))
    report = _with_changes(session, batch, report)
    cursor = session.connection().connection.cursor()
    session.execute(sa.delete(SurveyPoint).where(SurveyPoint.batch_id == batch.id))
    with cursor.copy(staging.COPY_POINTS) as copy:
        for block in staging.points_csv(batch.id, survey):
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
    """Return a hash of the status of each row and the official version that it replaces.

    `version_ids` are the neighbours'. The versions matter: a parcel may have received the number of
    an acceptable row meanwhile, and the row would replace it unseen.
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


def _with_changes(session: Session, batch: Batch, report: Report) -> Report:
    """Add to a report how its rows change what is official, and count them under `official`."""
    pair = {"batch": batch.id, "commune": batch.commune}
    changes = {}
    if (report.checked.replaces >= 0).any():
        changes = {row.row: row.what for row in session.execute(sql("official_changes"), pair)}
    findings = []
    reshaped: Counter[str] = Counter()
    for finding in report.checked.findings:
        if finding.rule in _CHANGES and finding.row in changes:
            reshaped[finding.rule] += 1
            named = _attributes(changes.pop(finding.row))
            finding = replace(finding, detail={**finding.detail, **named})  # noqa: PLW2901
        findings.append(finding)
    index = {int(row): k for k, row in enumerate(report.survey.rows)} if changes else {}
    for row, what in sorted(changes.items()):  # their shapes stay
        key = report.checked.parcels[index[row]]
        detail = {"area": "0", "shift": "0", **_attributes(what)}
        finding = Finding("replaces-official", row=row, parcel=key, other_parcel=key, measured=0.0)
        if finding.rule not in report.checked.idle:
            findings.append(replace(finding, detail=detail))
    checked = replace(report.checked, findings=findings)
    summary = summarise(report.survey, checked)
    replaced = reshaped["replaces-official"], reshaped["moved-within-accuracy"], len(changes)
    official = {
        "new": summary["acceptable"] - sum(replaced),
        "reshaped": replaced[0],
        "moved_within_accuracy": replaced[1],
        "attributes_only": replaced[2],
        "same": sum(finding.rule == "already-official" for finding in findings),
    }
    return replace(report, checked=checked, summary={**summary, "official": official})


_CHANGES = ("replaces-official", "moved-within-accuracy")
#: Attribute → its name in a sentence, in Vietnamese and English.
_NAMES = {
    "scale": ("tỷ lệ", "scale"),
    "area": ("diện tích ghi", "stated area"),
    "legal_area": ("diện tích pháp lý", "legal area"),
    "land_use": ("loại đất", "land use"),
    "address": ("địa chỉ", "address"),
    "owner": ("chủ sử dụng", "owner"),
    "old_number": ("số cũ", "former number"),
    "national_id": ("mã định danh", "national identifier"),
    "surveyed_on": ("ngày đo", "day of survey"),
}


def _attributes(what: list[str]) -> dict[str, str]:
    """Return the changed attributes as the end of a sentence, in both languages."""
    if not what:
        return {}
    vi, en = (", ".join(_NAMES[name][k] for name in what) for k in (0, 1))
    return {"what": f"; thay đổi: {vi}", "what_en": f"; changed: {en}"}


def _options(batch: Batch) -> ReadOptions:
    return ReadOptions(**batch.options)
