"""The runner of all jobs: takes them from procrastinate's queue until it is stopped.

    worker    the runner of `landdata worker`: checks, exports, webhooks
    main      the runner of a web process, for exports alone: `python -m landdata.jobs.runner`

A job that a runner leaves undone is taken up by another, or by itself once the database is back:
a runner that stops puts it back into the queue, and one without a heartbeat counts as gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import procrastinate
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.retry import RetryStrategy

from landdata.errors import where
from landdata.jobs import export_task, queue
from landdata.jobs.attempt import AbortedError, Attempt, BrokenOffError, Say
from landdata.settings import Settings
from landdata.store import database

_HEARTBEAT: Final = 10.0  # seconds; after three without one a runner counts as gone


@dataclass(frozen=True)
class _Task:
    """A kind of job; `label` and the job's only argument name one in the log."""

    name: str
    queue: str
    label: str
    attempts: int
    concurrency: int
    perform: Callable[[Attempt, Any, Say], None]


def worker(
    settings: Settings,
    *,
    concurrency: int = 1,
    grace: float = 30.0,
    heartbeat: float = _HEARTBEAT,
    say: Say = lambda _: None,
) -> None:
    """Check batches, `concurrency` at a time, write exports and deliver webhooks.

    On SIGTERM or SIGINT it begins no more jobs, and puts back what is not done after `grace`
    seconds. It waits for a database that goes away. Raises `Unavailable` where there is none at
    the start.
    """
    # the runner of a web process needs none of them
    from landdata.jobs import checks, webhooks  # noqa: PLC0415

    engine = database.engine(settings)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal is no reason to stop
            say(text)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        tell(f"Waiting for batches, {concurrency} at a time; Ctrl-C or SIGTERM ends it.")
        await _run_all(tasks, settings, stop, grace, heartbeat, tell)
        tell("Stopped.")

    def check(attempt: Attempt, number: int, say: Say) -> None:
        checks.perform(settings, engine, attempt, number=number, say=say)

    tasks = (
        _Task(queue.CHECK, queue.BATCHES, "Batch", checks.ATTEMPTS, concurrency, check),
        _export_task(settings),
    )
    stopped = threading.Event()
    # in a thread: neither a long check nor a receiver that hangs may hold up the other
    delivering = threading.Thread(target=webhooks.run, args=(engine, stopped), kwargs={"say": tell})
    delivering.start()
    try:
        asyncio.run(run())
    finally:
        stopped.set()
        delivering.join()
        engine.dispose()


def main() -> None:
    """Write exports until standard input ends, which is when the web process does.

    Its first line holds the settings. Exports that are not done are put back into the queue.
    """
    settings = Settings(**json.loads(sys.stdin.buffer.readline()))

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait, daemon=True).start()
        task = _export_task(settings)
        await _run_all((task,), settings, stop, 0.0, _HEARTBEAT, lambda _: None)

    asyncio.run(run())


def _export_task(settings: Settings) -> _Task:
    def export(attempt: Attempt, job: str, _: Say) -> None:
        export_task.perform(settings, attempt, job)

    return _Task(
        queue.EXPORT, queue.EXPORTS, "Export", export_task.ATTEMPTS, settings.export_jobs, export
    )


async def _run_all(
    tasks: Sequence[_Task],
    settings: Settings,
    stop: asyncio.Event,
    grace: float,
    heartbeat: float,
    say: Say,
) -> None:
    """Take jobs, a queue beside the other, until `stop` is set."""
    # We log what matters in a sentence; theirs are traces, and may quote a statement.
    for name in ("procrastinate", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threads = sum(task.concurrency for task in tasks) + 4  # one watches each child
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    await asyncio.gather(*(_run(task, settings, stop, grace, heartbeat, say) for task in tasks))


async def _run(
    task: _Task,
    settings: Settings,
    stop: asyncio.Event,
    grace: float,
    heartbeat: float,
    say: Say,
) -> None:
    while not stop.is_set():
        try:
            app = _app(task, settings, heartbeat, say)
            async with app.open_async():
                running = asyncio.create_task(
                    app.run_worker_async(
                        queues=[task.queue],
                        concurrency=task.concurrency,
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


def _app(task: _Task, settings: Settings, heartbeat: float, say: Say) -> procrastinate.App:
    """Return procrastinate's application with a task, and one that puts back its stalled jobs."""
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
        name=task.name,
        queue=task.queue,
        pass_context=True,
        # after any failure but the input's, such as a lost connection
        retry=RetryStrategy(wait=1, max_attempts=task.attempts),
    )
    def attempt(context: procrastinate.JobContext, /, **arguments: Any) -> None:
        (key,) = arguments.values()
        _attempt(task, context, key, say)

    @app.periodic(cron=f"* * * * * */{max(1, round(2 * heartbeat))}", periodic_id=task.queue)
    @app.task(
        name="landdata.retry_stalled",
        queue=task.queue,
        queueing_lock=f"retry_stalled {task.queue}",
    )
    async def retry_stalled(timestamp: int) -> None:
        """Put the jobs of runners that are gone back into the queue."""
        manager = app.job_manager
        for job in await manager.get_stalled_jobs(
            queue=task.queue, task_name=task.name, seconds_since_heartbeat=3 * heartbeat
        ):
            say(f"Job {job.id}: its worker is gone; it is done again.")
            await manager.retry_job(job)

    return app


def _attempt(task: _Task, context: procrastinate.JobContext, key: Any, say: Say) -> None:
    """Attempt a job; raises what makes procrastinate run it again or note that it was aborted."""
    job = context.job
    assert job.id is not None
    try:
        attempt = Attempt(job.id, job.attempts + 1, context.should_abort)
        task.perform(attempt, key, say)
    except AbortedError:
        if context.abort_reason() == AbortReason.SHUTDOWN:
            say(f"{task.label} {key}: back into the queue.")
            raise
        say(f"{task.label} {key}: stopped.")
        raise JobAborted from None
    except BrokenOffError:
        raise
    except Exception as error:
        sys.stderr.write(f"landdata: {where(error)}\n")
        raise


if __name__ == "__main__":
    main()
