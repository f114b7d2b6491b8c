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
from landdata.translations import LANGUAGES, Language, sentence


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end with its exit code.

    An error of ours is one sentence on standard error, with `--json` one object; never a trace.
    """
    as_json = "--json" in sys.argv
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it logs errors that it ignores
    try:
        sys.exit(command() or 0)
    except LandDataError as error:
        _exit(error, as_json)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        _exit(_usage_error(error), as_json)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads the output any more
        sys.exit(0)
    except OSError as error:
        _exit(from_os_error(error), as_json)
    except Exception as error:
        _exit(_public(error), as_json)


def language() -> Language:
    """Return the language of the command: `--language`, or the deployment's."""
    words = iter(sys.argv)
    for word in words:
        name, _, value = word.partition("=")
        chosen = value or next(words, "") if name == "--language" else None
        for offered in LANGUAGES:
            if chosen == offered:
                return offered
    try:
        return Settings.load().language
    except LandDataError:
        return "en"


def _usage_error(error: click.UsageError) -> BadRequest:
    path = error.ctx.command_path if error.ctx else "landdata"
    hint = sentence("See `{path} --help`.", path=path)
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        message = sentence("There is no option {name}.", name=error.option_name)
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        name = error.param.get_error_hint(error.ctx)
        message = sentence("{name} is missing.", name=name.replace("'", ""))
    return BadRequest(message, hint=hint, code="usage")


def _public(error: Exception) -> LandDataError:
    if "psycopg" in sys.modules:
        from landdata.store.errors import as_public_error

        error = as_public_error(error)
    if isinstance(error, LandDataError):
        return error
    return LandDataError(
        "This is our fault: {name}.",
        hint="Please report it: {where}",
        name=type(error).__name__,
        where=where(error),
    )


def _exit(error: LandDataError, as_json: bool) -> NoReturn:
    document = error.as_dict(language())
    if as_json:
        echo_json(document, err=True)
    else:
        texts = document["error"]["message"], document["error"]["hint"]
        echo(f"landdata: {' '.join(filter(None, texts))}", err=True)
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
                _exit(too_slow(settings), as_json)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(BadSurvey.exit_code)

        timer = threading.Timer(settings.job_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
