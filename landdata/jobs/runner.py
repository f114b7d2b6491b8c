"""The runner of all jobs: takes them from procrastinate's queue until it is stopped.

A job that a runner leaves undone is taken up by another, or by itself once the database is back:
a runner that stops puts it back into the queue, and one without a heartbeat counts as gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import procrastinate
import sqlalchemy as sa
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.retry import RetryStrategy

from landdata.errors import where
from landdata.jobs import checks, queue, webhooks
from landdata.jobs.attempt import AbortedError, Attempt, BrokenOffError, Say
from landdata.settings import Settings
from landdata.store import database

_HEARTBEAT: Final = 10.0  # seconds; after three without one a runner counts as gone


def worker(
    settings: Settings,
    *,
    concurrency: int = 1,
    grace: float = 30.0,
    heartbeat: float = _HEARTBEAT,
    say: Say = lambda _: None,
) -> None:
    """Check batches, `concurrency` at a time, and deliver webhooks until SIGTERM or SIGINT.

    Then it begins no job, and puts back what is not done after `grace` seconds. It waits for a
    database that goes away. Raises `Unavailable` where the database is not there at first.
    """
    engine = database.engine(settings)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal is no reason to stop
            say(text)

    stopped = threading.Event()
    # in a thread: neither a long check nor a receiver that hangs may hold up the other
    delivering = threading.Thread(target=webhooks.run, args=(engine, stopped), kwargs={"say": tell})
    delivering.start()
    try:
        asyncio.run(_run(settings, engine, concurrency, grace, heartbeat, tell))
    finally:
        stopped.set()
        delivering.join()
        engine.dispose()


async def _run(
    settings: Settings,
    engine: sa.Engine,
    concurrency: int,
    grace: float,
    heartbeat: float,
    say: Say,
) -> None:
    # We log what matters in a sentence; theirs are traces, and may quote a statement.
    for name in ("procrastinate", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(concurrency + 4))  # a thread watches each child
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    say(f"Waiting for batches, {concurrency} at a time; Ctrl-C or SIGTERM ends it.")
    while not stop.is_set():
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
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                running.cancel()
                stopping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
        except Exception as error:  # whatever the connection broke off in
            say(f"The queue is out of reach ({type(error).__name__}); trying again.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    say("Stopped.")


def _app(settings: Settings, engine: sa.Engine, heartbeat: float, say: Say) -> procrastinate.App:
    """Return procrastinate's application with our tasks."""
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
        name=queue.CHECK,
        queue=queue.BATCHES,
        pass_context=True,
        # after any failure but the file's, such as a lost connection
        retry=RetryStrategy(wait=1, max_attempts=checks.ATTEMPTS),
    )
    def check(context: procrastinate.JobContext, number: int) -> None:
        perform = partial(checks.perform, settings, engine, number=number, say=say)
        _attempt(context, checks.ATTEMPTS, perform, f"Batch {number}", say)

    @app.periodic(cron=f"* * * * * */{max(1, round(2 * heartbeat))}")
    @app.task(name="landdata.retry_stalled", queue=queue.BATCHES, queueing_lock="retry_stalled")
    async def retry_stalled(timestamp: int) -> None:
        """Put the jobs of runners that are gone back into the queue."""
        manager = app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=3 * heartbeat):
            if job.task_name == queue.CHECK:
                say(f"Job {job.id}: its worker is gone; it is done again.")
                await manager.retry_job(job)

    return app


def _attempt(
    context: procrastinate.JobContext,
    limit: int,
    perform: Callable[[Attempt], None],
    label: str,
    say: Say,
) -> None:
    """Attempt a job; raises what makes procrastinate run it again or note that it was aborted."""
    job = context.job
    assert job.id is not None
    try:
        perform(Attempt(job.id, job.attempts + 1, limit, context.should_abort))
    except AbortedError:
        if context.abort_reason() == AbortReason.SHUTDOWN:
            say(f"{label}: back into the queue.")
            raise
        say(f"{label}: stopped.")
        raise JobAborted from None
    except BrokenOffError:
        raise
    except Exception as error:
        sys.stderr.write(f"landdata: {where(error)}\n")
        raise
