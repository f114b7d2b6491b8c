"""The queue: batches are checked by workers, on this machine or on others.

    submit    the file is kept, the batch and its job entered, in one transaction
    worker    takes jobs until it is told to stop; each check runs in a child process
    progress  how far a batch is, for all who may know it: no name of a person or a file
    stop      takes a batch out of the queue, or stops its check

The child works in one transaction, so that it may be killed at any moment: by its time limit,
by `stop`, by the kernel, or together with its worker. What a worker leaves undone is taken up
by another (`retry_stalled`), or by itself when it comes back. procrastinate keeps the queue, in
the same database as the batches; how far a check is stands in a row of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime as dt
import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from landdata.batches import checking, lifecycle, receiving
from landdata.batches.validation import ReadOptions, too_slow
from landdata.errors import BadSurvey, LandDataError, Unavailable, where
from landdata.jobs import webhooks
from landdata.settings import Settings
from landdata.store import database
from landdata.store.database import sql
from landdata.store.tables import Batch, BatchProgress

if TYPE_CHECKING:
    import procrastinate

_QUEUE: Final = "batches"
_TASK: Final = "landdata.check"
_ATTEMPTS: Final = 5  # of a check that ends by itself, or that takes its worker with it
_HEARTBEAT: Final = 10.0  # seconds; after three without one a worker counts as gone
_TELL: Final = 0.5  # seconds between two writes of how far a check is

# Where a stage lies in the whole; every stage that is not named is one of reading the file.
_SPANS: Final = {
    "record": (0.35, 0.4), "shape": (0.4, 0.45), "coverage": (0.45, 0.75), "stage": (0.75, 1.0),
}  # fmt: skip
_READING: Final = (0.0, 0.35)

Say = Callable[[str], None]


class _AgainError(Exception):
    """The job is to be done again; not its file's fault."""


# -- for whoever has a file ----------------------------------------------------------------


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
    """Receive a file and put its batch into the queue, in the caller's transaction.

    The same file is the same batch, and is queued once. Raises as `batches.receive`.
    """
    batch, _ = receiving.receive(
        session, settings, path, commune=commune, by=by, options=options, corrects=corrects
    )
    if batch.state in ("received", "checking", "refused"):
        _enqueue(session, batch.id)
    return batch


def progress(session: Session, number: int) -> dict[str, Any]:
    """Return the state of a batch, its row counts and how far its check is.

    Nothing in it names a person or a file: it may be shown to everybody. Raises `NotFound`.
    """
    batch = lifecycle.get(session, number)
    summary = batch.summary or {}
    counts = ("read", "acceptable", "accepted", "rejected", "duplicate")
    told: dict[str, Any] = {
        "id": batch.id,
        "state": batch.state,
        "counts": {name: summary[name] for name in counts if name in summary} or None,
        "refused": batch.refusal["code"] if batch.refusal else None,
        "progress": None,
    }
    row = session.get(BatchProgress, number, populate_existing=True)
    if row is not None and row.job_id is not None and batch.state in ("received", "checking"):
        now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
        told["progress"] = {
            "stage": (row.stage if batch.state == "checking" else None) or "waiting",
            "share": round(row.share, 3),
            "rows": row.rows,
            "seconds_left": _left(row, now),
        }
    return told


def stop(engine: sa.Engine, number: int) -> bool:
    """Take a batch out of the queue, or stop its check; return whether there was one to stop.

    The batch is then as it was received. Returns when the check has ended.
    """
    with database.session(engine) as session:
        lifecycle.get(session, number)
        row = session.get(BatchProgress, number)
        if row is None or row.job_id is None:
            return False
        cancel = sa.text("SELECT procrastinate_cancel_job_v1(:job, true, false)")
        session.execute(cancel, {"job": row.job_id})
        row.job_id = None
    with database.session(engine) as session:
        batch = lifecycle.get(session, number, lock=True)  # its check has it locked until it ends
        if batch.state == "checking":
            batch.state = "received"
        return batch.state == "received"


def _enqueue(session: Session, number: int) -> None:
    session.execute(insert(BatchProgress).values(batch_id=number).on_conflict_do_nothing())
    row = session.get_one(BatchProgress, number, with_for_update=True, populate_existing=True)
    waiting = sa.text(
        "SELECT EXISTS (SELECT FROM procrastinate_jobs"
        " WHERE id = :job AND status IN ('todo', 'doing'))"
    )
    if row.job_id is not None and session.scalar(waiting, {"job": row.job_id}):
        return
    batch = lifecycle.get(session, number, lock=True)
    batch.state, batch.refusal = "received", None
    row.job_id = session.scalar(
        sql("enqueue"), {"queue": _QUEUE, "task": _TASK, "batch": str(number)}
    )
    row.stage, row.share, row.rows, row.began_at, row.told_at = None, 0.0, None, None, None
    session.flush()


def _left(row: BatchProgress, now: dt.datetime) -> float | None:
    """Estimate the seconds that a check still takes; null where it has only begun."""
    if row.began_at is None or row.told_at is None or row.share < 0.05:
        return None
    spent = (row.told_at - row.began_at).total_seconds()
    since = (now - row.told_at).total_seconds()
    return round(max(0.0, spent * (1 - row.share) / row.share - since), 1)


# -- the worker ----------------------------------------------------------------------------


def worker(
    settings: Settings,
    *,
    concurrency: int = 1,
    grace: float = 30.0,
    heartbeat: float = _HEARTBEAT,
    say: Say = lambda _: None,
) -> None:
    """Check batches of the queue until SIGTERM or SIGINT, `concurrency` at a time; tell webhooks.

    Then no new one is begun; what is not done after `grace` seconds is put back into the queue.
    A database that goes away is waited for. Raises `Unavailable` where it is not there at first.
    """
    engine = database.engine(settings)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
            say(text)

    enough = threading.Event()
    # beside the queue: neither a long check nor a receiver that hangs must hold up the other
    telling = threading.Thread(target=webhooks.run, args=(engine, enough), kwargs={"say": tell})
    telling.start()
    try:
        asyncio.run(_work(settings, engine, concurrency, grace, heartbeat, tell))
    finally:
        enough.set()
        telling.join()
        engine.dispose()


async def _work(
    settings: Settings,
    engine: sa.Engine,
    concurrency: int,
    grace: float,
    heartbeat: float,
    say: Say,
) -> None:
    # What matters is said here, in a sentence; theirs are traces, and may quote a statement.
    for theirs in ("procrastinate", "psycopg.pool"):
        logging.getLogger(theirs).setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(concurrency + 4))  # a thread watches each child
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    say(f"Waiting for batches, {concurrency} at a time; Ctrl-C or SIGTERM ends it.")
    while not told_to_stop.is_set():
        try:
            app = _app(settings, engine, heartbeat, say)
            async with app.open_async():
                running = asyncio.create_task(
                    app.run_worker_async(
                        concurrency=concurrency,
                        install_signal_handlers=False,
                        shutdown_graceful_timeout=grace,
                        delete_jobs="successful",
                        fetch_job_polling_interval=min(5.0, heartbeat),
                        abort_job_polling_interval=min(5.0, heartbeat),
                        update_heartbeat_interval=heartbeat,
                        stalled_worker_timeout=3 * heartbeat,
                    )
                )
                stopping = asyncio.create_task(told_to_stop.wait())
                await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                running.cancel()
                stopping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
        except Exception as error:  # whatever the connection broke off in
            say(f"The queue is out of reach ({type(error).__name__}); trying again.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told_to_stop.wait(), 1.0)
    say("Stopped.")


def _app(settings: Settings, engine: sa.Engine, heartbeat: float, say: Say) -> procrastinate.App:
    """Return procrastinate's application with our two tasks."""
    import procrastinate  # noqa: PLC0415  # a web server that reads progress needs none of it
    from procrastinate.exceptions import JobAborted  # noqa: PLC0415  # likewise
    from procrastinate.job_context import AbortReason  # noqa: PLC0415  # likewise
    from procrastinate.retry import RetryStrategy  # noqa: PLC0415  # likewise

    url = database.url(settings).set(drivername="postgresql")
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=url.render_as_string(hide_password=False),
            kwargs={"application_name": "landdata worker"},
            min_size=1,
            max_size=4,
        )
    )

    @app.task(
        name=_TASK,
        queue=_QUEUE,
        pass_context=True,
        # whatever went wrong but was not the file's fault, such as a database that went away
        retry=RetryStrategy(wait=1, max_attempts=_ATTEMPTS),
    )
    def check(context: procrastinate.JobContext, number: int) -> None:
        try:
            attempt(context, number)
        except (JobAborted, _AgainError):
            raise
        except Exception as error:
            _trace(error)
            raise

    def attempt(context: procrastinate.JobContext, number: int) -> None:
        job = context.job
        if job.id is None or not _begin(engine, number, job.id):
            return  # withdrawn, decided or checked meanwhile
        if job.attempts >= _ATTEMPTS:
            _refuse(engine, number, _spent(number), say)
            return
        try:
            ended = _watch(settings, engine, number, context.should_abort)
        except _AgainError:
            if job.attempts + 1 < _ATTEMPTS:
                say(f"Batch {number}: its check broke off; it is done again.")
                raise
            _refuse(engine, number, _spent(number), say)
            return
        if ended is None:
            if context.abort_reason() == AbortReason.SHUTDOWN:
                say(f"Batch {number}: back into the queue.")
                raise _AgainError
            say(f"Batch {number}: stopped.")
            raise JobAborted
        if isinstance(ended, LandDataError):
            _refuse(engine, number, ended, say)
            return
        _end(engine, number)
        say(f"Batch {number}: {ended}.")

    @app.periodic(cron=f"* * * * * */{max(1, round(2 * heartbeat))}")
    @app.task(name="landdata.retry_stalled", queue=_QUEUE, queueing_lock="retry_stalled")
    async def retry_stalled(timestamp: int) -> None:
        """Put back what a worker that is gone has left undone."""
        manager = app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=3 * heartbeat):
            if job.task_name == _TASK:
                say(f"Job {job.id}: its worker is gone; it is done again.")
                await manager.retry_job(job)

    return app


def _begin(engine: sa.Engine, number: int, job: int) -> bool:
    """Note that a batch is being checked; return whether it still is to be."""
    with database.session(engine) as session:
        batch = lifecycle.get(session, number, lock=True)
        row = session.get_one(BatchProgress, number, with_for_update=True, populate_existing=True)
        if row.job_id != job:
            return False
        if batch.state not in ("received", "checking"):
            row.job_id = None
            return False
        batch.state = "checking"
        row.stage, row.share, row.rows = None, 0.0, None
        row.began_at = row.told_at = session.scalar(sa.select(sa.func.clock_timestamp()))
        return True


def _end(engine: sa.Engine, number: int) -> None:
    with database.session(engine) as session:
        session.execute(
            sa.update(BatchProgress).where(BatchProgress.batch_id == number).values(job_id=None)
        )


def _refuse(engine: sa.Engine, number: int, error: LandDataError, say: Say) -> None:
    with database.session(engine) as session:
        if lifecycle.get(session, number, lock=True).state in ("received", "checking"):
            lifecycle.refuse(session, number, error)
    _end(engine, number)
    say(f"Batch {number}: refused ({error.code}).")


def _spent(number: int) -> LandDataError:
    return LandDataError(
        f"The check of batch {number} broke off {_ATTEMPTS} times.",
        hint="The worker's log tells where. Send the file again when that is mended.",
        code="check-broke-off",
    )


def _watch(
    settings: Settings, engine: sa.Engine, number: int, aborted: Callable[[], bool]
) -> str | LandDataError | None:
    """Run a check in a child; return its outcome, the error that refuses it, or null: aborted.

    Raises `_AgainError` where the child died or the database went away.
    """
    scratch = _scratch(settings, number)
    child = subprocess.Popen(
        [sys.executable, "-m", "landdata.jobs.queue"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C on the worker's terminal is the worker's to answer
    )
    end: dict[str, Any] | None = None
    last = time.monotonic()
    deadline = last + settings.job_seconds
    told: dict[str, Any] = {}
    try:
        given = {"settings": settings.model_dump(mode="json"), "number": number, "pid": os.getpid()}
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(given).encode())
        for line in _lines(child):
            if line is not None:
                said = json.loads(line)
                end = said if "end" in said else end
                told |= said
            now = time.monotonic()
            if told and end is None and now - last > _TELL:
                _tell(engine, number, told)
                told, last = {}, now
            if aborted():
                return None
            if now > deadline:
                return too_slow(settings)
        child.wait()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if end is None or end["end"] == "again":
        raise _AgainError
    if end["end"] == "refused":
        return BadSurvey(end["message"], hint=end["hint"], code=end["code"])
    return str(end["end"])


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Yield the lines that a child prints, and null every now and then."""
    assert child.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=0.2):
                yield None
                continue
            block = os.read(child.stdout.fileno(), 1 << 16)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if not block:
                return


def _tell(engine: sa.Engine, number: int, told: dict[str, Any]) -> None:
    values = {name: told[name] for name in ("stage", "share", "rows") if name in told}
    with contextlib.suppress(sa.exc.OperationalError), database.session(engine) as session:
        session.execute(
            sa.update(BatchProgress)
            .where(BatchProgress.batch_id == number)
            .values(**values, told_at=sa.func.clock_timestamp())
        )


def _scratch(settings: Settings, number: int) -> Path:
    """Return where a check unpacks its file: what a crash leaves there, the next one removes."""
    return settings.home / "scratch" / str(number)


# -- the child -----------------------------------------------------------------------------


def _child() -> None:
    """Check the batch that standard input names; print how far it is, and how it ended."""
    given = json.load(sys.stdin)
    _die_with(given["pid"])
    settings = Settings(**given["settings"])
    number: int = given["number"]
    scratch = _scratch(settings, number)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    scratch.parent.chmod(0o700)  # survey files name people
    tempfile.tempdir = str(scratch)
    reached = 0.0

    def report(stage: str, share: float) -> None:
        nonlocal reached
        low, high = _SPANS.get(stage, _READING)
        reached = max(reached, low + (high - low) * share)
        _print(stage=stage, share=reached)

    try:
        engine = database.engine(settings)
        with database.session(engine) as session:
            # a worker that came back to life may be behind us: then there is nothing to do
            if lifecycle.get(session, number, lock=True).state == "checking":
                checking.check(
                    session,
                    settings,
                    number,
                    progress=report,
                    counted=lambda rows: _print(rows=rows),
                )
        _print(end="checked")
    except (Unavailable, sa.exc.OperationalError, OSError) as error:
        _trace(error)
        _print(end="again")
    except LandDataError as error:
        _print(end="refused", **error.as_dict()["error"])
    except Exception as error:
        _trace(error)
        sys.exit(1)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its worker ends, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(1)


def _print(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _trace(error: Exception) -> None:
    sys.stderr.write(f"landdata: {where(error)}\n")


if __name__ == "__main__":
    _child()
