"""The check of a batch as a job, in a child process.

The child works in one transaction, so that it may be killed at any moment. Run as a module, this
is the child.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from landdata.batches import checking, lifecycle
from landdata.batches.validation import too_slow
from landdata.errors import BadSurvey, LandDataError, Unavailable, where
from landdata.jobs import child_process
from landdata.jobs.attempt import Attempt, BrokenOffError, Say
from landdata.settings import Settings
from landdata.store import database
from landdata.store.tables import BatchProgress

ATTEMPTS: Final = 5  # of a check that breaks off, or that takes its worker with it

# The share of the whole check that each stage takes; all other stages read the file.
_SPANS: Final = {
    "record": (0.35, 0.4), "shape": (0.4, 0.45), "coverage": (0.45, 0.75), "stage": (0.75, 1.0),
}  # fmt: skip
_READING: Final = (0.0, 0.35)


def perform(
    settings: Settings, engine: sa.Engine, attempt: Attempt, *, number: int, say: Say
) -> None:
    """Check batch `number`, unless it was cancelled, decided or checked meanwhile.

    Raises `BrokenOffError` where it is to be checked again, and `AbortedError`.
    """
    if not _begin(engine, number, attempt.job_id):
        return
    if attempt.number > ATTEMPTS:
        _refuse(engine, number, _broke_off(number), say)
        return
    try:
        outcome = _run_child(settings, engine, number, attempt)
    except BrokenOffError:
        if attempt.number < ATTEMPTS:
            say(f"Batch {number}: its check broke off; it is done again.")
            raise
        outcome = _broke_off(number)
    if isinstance(outcome, LandDataError):
        _refuse(engine, number, outcome, say)
        return
    _end(engine, number)
    say(f"Batch {number}: {outcome}.")


def _begin(engine: sa.Engine, number: int, job: int) -> bool:
    """Set a batch to `checking`; return whether this job still has to check it."""
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


def _broke_off(number: int) -> LandDataError:
    return LandDataError(
        "The check of batch {number} broke off {attempts} times.",
        hint="The worker's log names the place. Send the file again once that is fixed.",
        code="check-broke-off",
        number=number,
        attempts=ATTEMPTS,
    )


def _run_child(
    settings: Settings, engine: sa.Engine, number: int, attempt: Attempt
) -> str | LandDataError:
    """Run a check in a child; return its outcome, or the error for which the batch is refused."""

    def write_progress(progress: dict[str, Any]) -> None:
        values = {name: progress[name] for name in ("stage", "share", "rows") if name in progress}
        with contextlib.suppress(sa.exc.OperationalError), database.session(engine) as session:
            session.execute(
                sa.update(BatchProgress)
                .where(BatchProgress.batch_id == number)
                .values(**values, told_at=sa.func.clock_timestamp())
            )

    try:
        outcome = child_process.run(
            __name__,
            {"settings": settings.model_dump(mode="json"), "number": number},
            seconds=settings.job_seconds,
            is_aborted=attempt.is_aborted,
            on_progress=write_progress,
        )
    except child_process.TimeLimitError:
        return too_slow(settings)
    finally:
        shutil.rmtree(_scratch(settings, number), ignore_errors=True)
    if outcome["end"] == "refused":
        return BadSurvey(**outcome["error"])
    return str(outcome["end"])


def _scratch(settings: Settings, number: int) -> Path:
    """Return where a check unpacks its file; the next check removes what a crash has left."""
    return settings.home / "scratch" / str(number)


# -- the child -----------------------------------------------------------------------------


def _child() -> None:
    payload = child_process.receive()
    settings = Settings(**payload["settings"])
    number: int = payload["number"]
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
        child_process.send(stage=stage, share=reached)

    try:
        engine = database.engine(settings)
        with database.session(engine) as session:
            # another worker may have checked it, if this one was taken for dead
            if lifecycle.get(session, number, lock=True).state == "checking":
                checking.check(
                    session,
                    settings,
                    number,
                    progress=report,
                    counted=lambda rows: child_process.send(rows=rows),
                )
        child_process.send(end="checked")
    except (Unavailable, sa.exc.OperationalError, OSError) as error:
        _log(error)
        child_process.send(end="again")
    except LandDataError as error:
        child_process.send(end="refused", error=error.as_record())
    except Exception as error:
        _log(error)
        sys.exit(1)


def _log(error: Exception) -> None:
    sys.stderr.write(f"landdata: {where(error)}\n")


if __name__ == "__main__":
    _child()
