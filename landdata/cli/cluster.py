"""Commands for the installation: the embedded PostGIS, the schema, health, a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from landdata.cli import runner
from landdata.cli.options import print_json, say, with_json
from landdata.documents.echo import echo
from landdata.errors import BadRequest
from landdata.settings import Settings

if TYPE_CHECKING:
    from landdata.operations.health import Result


@click.command()
@with_json
def up(as_json: bool) -> None:
    """Start the embedded PostGIS; create it first where it is missing."""
    from landdata.embedded.cluster import Cluster

    settings = Settings.load()
    if settings.database_url:
        raise BadRequest(
            "LANDDATA_DATABASE_URL is set, so there is no embedded PostGIS to start.",
            hint="Unset it to use the embedded one.",
        )
    started = Cluster(settings.home).up()
    if as_json:
        print_json({"started": started, **Cluster(settings.home).status().as_dict()})
    else:
        say("PostGIS started." if started else "PostGIS was running already.")


@click.command()
def down() -> None:
    """Stop the embedded PostGIS."""
    from landdata.embedded.cluster import Cluster

    stopped = Cluster(Settings.load().home).down()
    say("PostGIS stopped." if stopped else "PostGIS was not running.")


@click.command()
@with_json
def status(as_json: bool) -> None:
    """Show the state of the embedded PostGIS."""
    from landdata.embedded.cluster import Cluster

    properties = Cluster(Settings.load().home).status().as_dict()
    if as_json:
        print_json(properties)
    else:
        for key, value in properties.items():
            echo(f"{key:>8}  {value}")


@click.command()
@with_json
@click.pass_obj
def doctor(checks: Sequence[Callable[[Settings], Result]] | None, as_json: bool) -> int:
    """Check the installation, and say what to do."""
    from landdata.operations.health import examine

    results = examine(Settings.load(), checks or ())
    if as_json:
        print_json([result.as_dict() for result in results])
    else:
        for shown in (result.as_dict(runner.language()) for result in results):
            echo(f"{'ok' if shown['ok'] else 'BAD':>4}  {shown['subject']}: {shown['found']}")
            if shown["hint"]:
                echo(f"      {shown['hint']}")
    return 0 if all(result.ok for result in results) else 70


@click.command()
def migrate() -> None:
    """Bring the store's schema to the newest revision."""
    from landdata.store import database

    database.migrate(Settings.load())
    say("The store is at the newest revision.")


@click.command()
@click.option("--concurrency", default=1, type=click.IntRange(1, 64), help="Checks at a time.")
@click.option(
    "--grace",
    default=30.0,
    type=click.FloatRange(0),
    metavar="S",
    help="Seconds for a running check to finish when the worker is stopped.",
)
def worker(concurrency: int, grace: float) -> None:
    """Check queued batches and notify webhooks, until stopped; run as many as you like."""
    from landdata.jobs.runner import worker as work

    work(Settings.load(), concurrency=concurrency, grace=grace, say=echo)
