"""A batch's life: received, checked, accepted or not. The only writer of parcels.

    receive   the file is kept for ever under its SHA-256; same file, commune and options:
              same batch
    check     the file is read, judged against the neighbours, and staged
    accept    the verdict is taken again if the neighbours have changed; then, in one
              transaction, new versions in and replaced ones closed
    reject    nothing becomes official; the file and its report stay
    withdraw  as reject, but by the surveyor
    refuse    the file can't be read: the sentence that says why is kept

A batch may correct an earlier one of its commune. When it is checked it is compared with that
one, and supersedes it if that was not decided yet.

Rows of batches are locked from the later to the earlier, then the ground: so none waits in a
circle.

Every function works in the caller's transaction, so a crash leaves the store as before.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg.abc import Buffer
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from landdata.batches import neighbourhood, source_files, staging
from landdata.batches.validation import Progress, ReadOptions, Report, summarise
from landdata.batches.validation import check as check_file
from landdata.errors import BadRequest, Conflict, LandDataError, NotFound
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.store import communes, publications
from landdata.store.database import sql
from landdata.store.tables import Batch, StoredFinding, SurveyPoint
from landdata.survey import Part, Survey
from landdata.survey.archive import bundle, called
from landdata.topology import ACCEPTABLE, DUPLICATE, Neighbours

DECIDED = ("accepted", "rejected", "withdrawn", "superseded")  # states that a batch stays in
_UNCHECKED = ("received", "checking", "refused")

# What of a state is known before it is official, as `accept_states` gives it.
_STATE = (
    "parcel_id", "version", "valid_from", "commune", "sheet", "number", "scale", "area",
    "legal_area", "measured_area", "land_use", "address", "label", "old_sheet", "old_number",
    "national_id", "surveyed_on", "geom", "batch_id", "batch_row", "feature",
)  # fmt: skip
_TOGETHER = 200  # states that are sent at once
_AHEAD = 16  # blocks of them that are there before they are sent: neither session waits for long
_TAKEN_IN = 0.8  # the share of an acceptance that is over when all states are in their table


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
    if corrects is not None and get(session, corrects).commune != commune:
        raise BadRequest(
            f"Batch {corrects} is of commune {get(session, corrects).commune}, not of {commune}.",
            hint="`landdata batches` lists them.",
            code="other-commune",
        )
    with tempfile.TemporaryDirectory() as scratch:
        bundled = bundle(path, Path(scratch))
        source = called(bundled)
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
            return get(session, number), True
        found = session.scalars(same).one()
    if corrects is not None and found.corrects != corrects:
        _correct(session, found.id, corrects)
    return found, False


def take(
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
    if batch.state in _UNCHECKED:
        batch = get(session, batch.id, lock=True)  # a worker may be at it: then it is waited for
    if batch.state not in _UNCHECKED:
        return batch
    try:
        check(session, settings, batch.id, progress=progress)
    except BaseException:
        if new:
            source_files.let_go(session, settings, batch)
        raise
    return batch


def get(session: Session, number: int, *, lock: bool = False) -> Batch:
    """Return a batch; `lock` holds it until the transaction ends. Raises `NotFound`."""
    batch = session.get(Batch, number, with_for_update=lock or None, populate_existing=True)
    if batch is None:
        raise NotFound(
            f"There is no batch {number}.", hint="`landdata batches` lists them.", code="no-batch"
        )
    return batch


def everything(session: Session) -> list[dict[str, Any]]:
    """Return all batches, the latest first, as printed by `landdata batches`."""
    found = session.scalars(sa.select(Batch).order_by(Batch.id.desc()))
    return [_described(batch) for batch in found]


def show(session: Session, number: int) -> dict[str, Any]:
    """Return `{"batch", "summary", "findings"}` of a batch; findings is never capped.

    A batch that corrects another has `compared` too: its rows and those of the other that are
    added, changed (and what of them) or gone; those that are the same are only counted.
    """
    batch = get(session, number)
    findings = session.scalars(
        sa.select(StoredFinding.finding)
        .where(StoredFinding.batch_id == number)
        .order_by(StoredFinding.seq)
    )
    corrected_by = session.scalars(
        sa.select(Batch.id).where(Batch.corrects == number).order_by(Batch.id)
    )
    shown: dict[str, Any] = {
        "batch": {**_described(batch), "corrected_by": list(corrected_by)},
        "summary": _public(_summary(batch)) or None,
        "findings": list(findings),
    }
    if _summary(batch).get("compared"):
        shown["compared"] = _differences(session, batch)
    return shown


def points(session: Session, number: int) -> list[dict[str, Any]]:
    """Return the survey points of a batch: where they were measured, and what they bound.

    `x_north` and `y_east` are as the file has them, in the CRS `srid`; `point` is [x, y] in the
    storage CRS; `rows` and `parcels` are those that the point bounds. Raises `NotFound`.
    """
    get(session, number)
    found = session.execute(sql("survey_points"), {"batch": number})
    return [
        {
            "line": each.line,
            "name": each.name,
            "x_north": each.north,
            "y_east": each.east,
            "srid": each.srid,
            "point": [each.x, each.y],
            "rows": each.rows,
            "parcels": each.parcels,
        }
        for each in found
    ]


def check(
    session: Session,
    settings: Settings,
    number: int,
    *,
    progress: Progress | None = None,
    counted: Callable[[int], None] | None = None,
) -> Report:
    """Read, judge and stage a batch; what an earlier check had staged is replaced.

    `counted` is told how many rows the file has. Raises `Conflict` where the batch is decided
    already, `BadSurvey` where the file can't be read: then the batch stays as it was received.
    """
    batch = get(session, number, lock=True)
    _undecided(batch)
    report = _judge(session, settings, batch, progress, counted)
    _supersede(session, batch)
    return report


def propose(
    session: Session, settings: Settings, number: int, *, progress: Progress | None = None
) -> Report:
    """Check a batch's file and propose mends for what is wrong; nothing is stored or changed.

    Who accepts a proposal sends a corrected file.
    """
    batch = get(session, number)
    return check_file(
        source_files.path_of(settings, batch),
        settings,
        options=_options(batch),
        commune=batch.commune,
        neighbours=neighbourhood.neighbours(session, settings, batch.commune),
        boundary=communes.border(session, batch.commune),
        propose=True,
        progress=progress,
    )


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

    The rules hold against the neighbours of now: the ground is locked first, and if anything
    official has changed there since the check, the check is run again. `reviewed` says that a
    person has seen the verdict: if it then comes out another, `Conflict` is raised and nothing
    is accepted. Returns the summary, with `accepted`.
    """
    batch = get(session, number, lock=True)
    if batch.state == "accepted":
        return _public(_summary(batch))
    _undecided(batch)
    if batch.state != "checked":
        raise Conflict(
            f"Batch {number} has not been checked.",
            hint=f"Run `landdata batch check {number}` and look at its findings.",
            code="not-checked",
        )
    summary = _summary(batch)
    around = summary["around"]
    if progress:
        progress("accept", 0.0)
    neighbourhood.lock(session, batch.commune, around["windows"])
    started = time.monotonic()
    if around["official"] != neighbourhood.fingerprint(session, settings, batch.commune, around):
        _judge(session, settings, batch, progress)
        if reviewed and _summary(batch)["around"]["verdict"] != around.get("verdict"):
            raise Conflict(
                f"What is official around batch {number} has changed since its check,"
                " and with it the verdict on its parcels.",
                hint=f"Run `landdata batch check {number}`, look at it, and accept it then.",
                code="verdict-changed",
            )
        summary = _summary(batch)
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
    _decide(session, batch, "accepted", by, reason, summary)
    return _public(summary)


def reject(session: Session, number: int, *, by: str, reason: str | None = None) -> None:
    """Reject a batch as a whole. Raises `Conflict` where it is decided already."""
    _turn_down(session, number, "rejected", by, reason)


def withdraw(session: Session, number: int, *, by: str, reason: str | None = None) -> None:
    """Take a batch back, as who sent it. Raises `Conflict` where it is decided already.

    The same file may be sent again, as a batch of its own.
    """
    _turn_down(session, number, "withdrawn", by, reason)


def refuse(session: Session, number: int, error: LandDataError) -> None:
    """Keep the sentence for which a batch's file could not be read."""
    batch = get(session, number, lock=True)
    _undecided(batch)
    batch.state, batch.refusal = "refused", error.as_dict()["error"]
    session.flush()


# -- corrections ---------------------------------------------------------------------------


def _correct(session: Session, number: int, earlier: int) -> None:
    """Note that a batch that was received before corrects an earlier one."""
    batch = get(session, number, lock=True)
    _undecided(batch)
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
        batch.summary = {**_summary(batch), "may_correct": [], "compared": _compare(session, batch)}
        _supersede(session, batch)
    session.flush()


def _supersede(session: Session, batch: Batch) -> None:
    """Set aside the batch that this one corrects, if nobody has decided on it."""
    if batch.corrects is None:
        return
    earlier = get(session, batch.corrects, lock=True)
    if earlier.state not in DECIDED:
        reason = f"corrected by batch {batch.id}"
        _decide(session, earlier, "superseded", batch.received_by, reason, earlier.summary)


def _compare(session: Session, batch: Batch) -> dict[str, Any] | None:
    """Count how a batch differs from the one that it corrects, where that one was checked."""
    if batch.corrects is None or get(session, batch.corrects).summary is None:
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


def _differences(session: Session, batch: Batch) -> list[dict[str, Any]]:
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


def _may_correct(session: Session, batch: Batch, sheets: list[str]) -> list[int]:
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


# -- checking ------------------------------------------------------------------------------


def _judge(
    session: Session,
    settings: Settings,
    batch: Batch,
    progress: Progress | None,
    counted: Callable[[int], None] | None = None,
) -> Report:
    """Check a batch's file, and stage its rows meanwhile: parts as they are read, and what is
    left then beside the rules, which leave the server idle.
    """
    around: dict[str, Any] = {}
    fetch = neighbourhood.neighbours(session, settings, batch.commune, around)
    boundary = communes.border(session, batch.commune)
    read: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
    in_vain = threading.Event()
    turn = threading.Lock()  # the connection is one for both

    def coming() -> Iterator[Part]:
        while (part := read.get()) is not None and not in_vain.is_set():
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
            return fetch(survey)

    with session.begin_nested(), ThreadPoolExecutor(1) as aside:
        cursor = session.connection().connection.cursor()
        staging_rows = aside.submit(
            staging.stage, cursor, batch.id, coming(), status=ACCEPTABLE, turn=turn
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
            in_vain.set()
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
    seconds = {"stage": round(time.monotonic() - started, 3)}
    summary = {
        **report.summary,
        "source": batch.source,
        "seconds": report.summary["seconds"] | seconds,
        "may_correct": _may_correct(session, batch, around["sheets"]),
        "compared": _compare(session, batch),
    }
    around["verdict"] = _verdict(report, around.pop("states"))
    batch.summary = summary | {"around": around}
    batch.state, batch.refusal = "checked", None
    batch.checked_at = dt.datetime.now(dt.UTC)
    session.flush()
    return replace(report, summary=summary)


def _stage(session: Session, batch: Batch, report: Report) -> Report:
    """Put the verdicts and findings of a report into the store; returns the report as it ends."""
    survey, status = report.survey, report.checked.status
    session.execute(sa.delete(StoredFinding).where(StoredFinding.batch_id == batch.id))
    other = np.flatnonzero(status != ACCEPTABLE)
    verdicts = {"rows": survey.rows[other].tolist(), "verdicts": status[other].tolist()}
    session.execute(sql("stage_verdicts"), {"batch": batch.id, **verdicts})
    unchanged = session.scalars(
        sql("mark_unchanged"), {"batch": batch.id, "commune": batch.commune}
    ).all()
    if unchanged:
        report = _as_duplicates(report, np.array(sorted(unchanged)))
    cursor = session.connection().connection.cursor()
    session.execute(sa.delete(SurveyPoint).where(SurveyPoint.batch_id == batch.id))
    with cursor.copy(staging.COPY_POINTS) as copy:
        for made in staging.points(batch.id, survey):
            copy.write(made)
    statement = "COPY findings (batch_id, seq, rule, severity, row, other_row, finding) FROM STDIN"
    with cursor.copy(statement) as copy:
        copy.set_types(["int8", "int4", "text", "text", "int8", "int8", "jsonb"])
        for seq, finding in enumerate(report.checked.findings):
            copy.write_row(
                (batch.id, seq, finding.rule, finding.severity, finding.row, finding.other_row,
                 Jsonb(finding.as_dict()))
            )  # fmt: skip
    return report


def _verdict(report: Report, states: list[int]) -> str:
    """Return as one value what becomes of each row, and which official state it replaces.

    `states` number the neighbours' states. A row that is acceptable before and after is another
    matter where a parcel has got its number meanwhile, which it would replace unseen.
    """
    status, replaces = report.checked.status, report.checked.replaces
    replaced = np.array([*states, 0])[np.where(status == ACCEPTABLE, replaces, -1)]
    told = np.column_stack([report.survey.rows, status, replaced])
    return hashlib.sha256(told.astype(np.int64).tobytes()).hexdigest()


def _as_duplicates(report: Report, rows: NDArray[np.int64]) -> Report:
    """Count rows that repeat their official state as duplicates, each with its finding."""
    survey, checked = report.survey, report.checked
    index = np.flatnonzero(np.isin(survey.rows, rows))
    status = checked.status.copy()
    status[index] = DUPLICATE
    said = [
        Finding("already-official", row=int(survey.rows[i]), parcel=checked.parcels[i])
        for i in index
    ]
    repeated = {finding.row for finding in said}
    findings = [
        finding
        for finding in checked.findings
        if not (finding.rule == "replaces-official" and finding.row in repeated)
    ]
    checked = replace(checked, status=status, findings=[*findings, *said])
    return replace(report, checked=checked, summary=summarise(survey, checked))


# -- accepting -----------------------------------------------------------------------------


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


# -- small things --------------------------------------------------------------------------


def _options(batch: Batch) -> ReadOptions:
    return ReadOptions(**batch.options)


def _turn_down(session: Session, number: int, state: str, by: str, reason: str | None) -> None:
    batch = get(session, number, lock=True)
    if batch.state != state:
        _undecided(batch)
        _decide(session, batch, state, by, reason, batch.summary)


def _undecided(batch: Batch) -> None:
    if batch.state in DECIDED:
        raise Conflict(
            f"Batch {batch.id} is {batch.state} already, by {batch.decided_by}.",
            hint="Send a corrected file as a batch of its own.",
            code="decided",
        )


def _decide(
    session: Session,
    batch: Batch,
    state: str,
    by: str,
    reason: str | None,
    summary: dict[str, Any] | None,
) -> None:
    batch.state, batch.decided_by, batch.reason, batch.summary = state, by, reason, summary
    batch.decided_at = dt.datetime.now(dt.UTC)
    session.flush()


def _summary(batch: Batch) -> dict[str, Any]:
    return dict(batch.summary or {})


def _public(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "around"}


def _described(batch: Batch) -> dict[str, Any]:
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
