"""`landdata batches` and `landdata batch`: from a checked file to a decision."""

from __future__ import annotations

import time

import click

from landdata.cli import runner
from landdata.cli.options import (
    all_option,
    number_argument,
    open_store,
    operator,
    print_json,
    report_result,
    say,
    with_json,
)
from landdata.documents.echo import echo
from landdata.errors import Conflict
from landdata.settings import Settings


@click.command()
@with_json
def batches(as_json: bool) -> None:
    """List the batches, the latest first."""
    from landdata.batches import queries
    from landdata.documents.terminal import print_batches

    with open_store() as (_, session):
        rows = queries.list_all(session)
    if as_json:
        print_json(rows)
    else:
        print_batches(rows, runner.language())


@click.group()
def batch() -> None:
    """Look at a batch, and decide on it."""


@batch.command("show")
@number_argument
@all_option
@with_json
def batch_show(number: int, show_all: bool, as_json: bool) -> None:
    """Print the summary and all findings of batch NUMBER, or the progress of its check."""
    from landdata.batches import queries
    from landdata.jobs import queue

    with open_store() as (_, session):
        result = queries.show(session, number)
        result["progress"] = queue.progress(session, number)["progress"]
    report_result(result, as_json=as_json, show_all=show_all)


@batch.command("points")
@number_argument
@with_json
def batch_points(number: int, as_json: bool) -> None:
    """Print the survey points of batch NUMBER as they were measured, as CSV."""
    from landdata.batches import queries
    from landdata.documents.tables import points_csv

    with open_store() as (_, session):
        points = queries.survey_points(session, number)
    if as_json:
        print_json(points)
    else:
        echo(points_csv(points), nl=False)


@batch.command("check")
@number_argument
@all_option
@with_json
def batch_check(number: int, show_all: bool, as_json: bool) -> int:
    """Check batch NUMBER again, against the official parcels of now."""
    from landdata.batches import checking, queries

    settings = Settings.load()
    with (
        runner.progress() as progress,
        runner.in_time(settings, as_json=as_json),
        open_store() as (settings, session),
    ):
        checking.check(session, settings, number, progress=progress)
        result = queries.show(session, number)
    return report_result(result, as_json=as_json, show_all=show_all)


@batch.command("propose")
@number_argument
@with_json
def batch_propose(number: int, as_json: bool) -> None:
    """Propose corrections for batch NUMBER; nothing is changed."""
    from landdata.batches import checking
    from landdata.documents.terminal import print_proposals

    settings = Settings.load()
    with (
        runner.progress() as progress,
        runner.in_time(settings, as_json=as_json),
        open_store() as (settings, session),
    ):
        result = checking.propose(session, settings, number, progress=progress).as_dict()
    if as_json:
        print_json({"proposals": result["proposals"]})
    else:
        print_proposals(result["proposals"], runner.language())


reason_option = click.option("--reason", help="Why, for the record.")


@batch.command("accept")
@number_argument
@reason_option
@with_json
def batch_accept(number: int, reason: str | None, as_json: bool) -> None:
    """Make the acceptable rows of batch NUMBER official."""
    from landdata.batches import acceptance

    with runner.progress() as progress, runner.scratch(), open_store() as (settings, session):
        summary = acceptance.accept(
            session, settings, number, by=operator(), reason=reason, progress=progress
        )
    if as_json:
        print_json({"summary": summary})
    else:
        say(
            "Batch {number} accepted: {read} read = {accepted} accepted + {rejected} rejected"
            " + {duplicate} duplicate.",
            number=number,
            read=summary["read"],
            accepted=summary["accepted"],
            rejected=summary["rejected"],
            duplicate=summary["duplicate"],
        )


@batch.command("reject")
@number_argument
@reason_option
def batch_reject(number: int, reason: str | None) -> None:
    """Reject batch NUMBER as a whole."""
    from landdata.batches import lifecycle

    with open_store() as (_, session):
        lifecycle.reject(session, number, by=operator(), reason=reason)
    say("Batch {number} rejected.", number=number)


@batch.command("withdraw")
@number_argument
@reason_option
def batch_withdraw(number: int, reason: str | None) -> None:
    """Take your batch NUMBER back; a check of it is stopped."""
    from landdata.batches import lifecycle
    from landdata.jobs import queue
    from landdata.store import database

    engine = database.engine(Settings.load())
    try:
        queue.cancel(engine, number)
        with database.session(engine) as session:
            lifecycle.withdraw(session, number, by=operator(), reason=reason)
    finally:
        engine.dispose()
    say("Batch {number} withdrawn.", number=number)


@batch.command("cancel")
@number_argument
def batch_cancel(number: int) -> None:
    """Take batch NUMBER out of the queue, or stop its check; it stays received."""
    from landdata.jobs import queue
    from landdata.store import database

    engine = database.engine(Settings.load())
    try:
        stopped = queue.cancel(engine, number)
    finally:
        engine.dispose()
    if not stopped:
        raise Conflict(
            "Batch {number} neither waits in the queue nor is being checked.",
            hint="`landdata batch show {number}` shows its state.",
            code="not-queued",
            number=number,
        )
    say("Batch {number} is out of the queue.", number=number)


@batch.command("watch")
@number_argument
@all_option
@with_json
def batch_watch(number: int, show_all: bool, as_json: bool) -> int:
    """Show the progress of the check of batch NUMBER until it ends."""
    from landdata.batches import queries
    from landdata.jobs import queue
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    try:
        with runner.progress() as show:
            while True:
                with database.session(engine) as session:
                    progress = queue.progress(session, number)["progress"]
                if progress is None:
                    break
                left, rows = progress["seconds_left"], progress["rows"]
                words = [progress["stage"], f"{rows} rows" if rows else ""]
                words.append("" if left is None else f"{left:.0f} s left")
                show(", ".join(filter(None, words)), progress["share"])
                time.sleep(0.5)
        with database.session(engine) as session:
            result = queries.show(session, number)
    finally:
        engine.dispose()
    return report_result(result, as_json=as_json, show_all=show_all)
