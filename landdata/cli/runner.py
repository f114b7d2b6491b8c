"""A command as a process: how it runs, what it leaves behind, and how it ends.

Exit 0 done, 1 findings of severity error, 2 unreadable or refused input, 3 not found, 4 not
allowed, 70 our fault, 130 ended by a signal.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from landdata.documents.echo import echo, echo_json
from landdata.errors import BadRequest, BadSurvey, LandDataError, from_os_error, where
from landdata.settings import Settings


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end with its exit code.

    An error of ours is one sentence on standard error, with `--json` one object; never a trace.
    """
    as_json = "--json" in sys.argv
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it ignores is no line of ours
    try:
        sys.exit(command() or 0)
    except LandDataError as error:
        _say(error, as_json)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        hint = f"See `{error.ctx.command_path} --help`." if error.ctx else None
        _say(BadRequest(error.format_message(), hint=hint, code="usage"), as_json)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nothing to tell
        sys.exit(0)
    except OSError as error:
        _say(from_os_error(error), as_json)
    except Exception as error:
        _say(_public(error), as_json)


def _public(error: Exception) -> LandDataError:
    if "psycopg" in sys.modules:
        from landdata.store.errors import as_public_error

        error = as_public_error(error)
    if isinstance(error, LandDataError):
        return error
    return LandDataError(
        f"This is our fault: {type(error).__name__}.", hint=f"Please report it: {where(error)}"
    )


def _say(error: LandDataError, as_json: bool) -> NoReturn:
    if as_json:
        echo_json(error.as_dict(), err=True)
    else:
        hint = f" {error.hint}" if error.hint else ""
        echo(f"landdata: {error.message}{hint}", err=True)
    sys.exit(error.exit_code)


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Show on standard error which stage is on, how far it is and how long it takes."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_interactive:  # it would end each command with an empty line
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def report(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=share)

        yield report


@contextmanager
def scratch() -> Iterator[str]:
    """Have all that is unpacked in one folder, which goes however the command ends.

    A survey names people, so SIGTERM and a terminal that closes end a command as Ctrl-C does. Of
    `kill -9` the folder stays.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="landdata-") as folder:
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


@contextmanager
def in_time(settings: Settings, *, as_json: bool) -> Iterator[None]:
    """End the command with its sentence where a check takes longer than one in the queue may.

    By a thread, since a geometry that is being worked on hears no signal. Nothing is left behind
    but what a kill would leave: the store's transaction is undone.
    """
    from landdata.batches.validation import too_slow

    with scratch() as folder:

        def end() -> None:
            with suppress(SystemExit, OSError):  # who would read it may have left
                if sys.stderr.isatty():
                    click.echo("\x1b[?25h", err=True, nl=False)  # the bar has hidden the cursor
                _say(too_slow(settings), as_json)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(BadSurvey.exit_code)

        timer = threading.Timer(settings.job_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
