"""Commands on a survey file: inspect, check, import, submit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landdata.cli import runner
from landdata.cli.options import (
    all_option,
    commune_option,
    corrects_option,
    file_argument,
    open_store,
    operator,
    print_json,
    report_result,
    with_json,
    with_reading,
)
from landdata.documents.echo import echo
from landdata.settings import Settings

if TYPE_CHECKING:
    from landdata.batches.validation import ReadOptions


@click.command()
@file_argument
@commune_option(purpose="Compare the CRS with this commune of the store. ")
@with_reading
@with_json
def inspect(file: Path, commune: str | None, options: ReadOptions, as_json: bool) -> None:
    """Show what FILE holds and how it would be interpreted; nothing is stored."""
    from landdata import survey
    from landdata.documents.terminal import print_inspection
    from landdata.store import communes
    from landdata.survey import profiles

    bounds = None
    if commune:
        with open_store() as (_, session):
            boundary = communes.border(session, commune)
            bounds = boundary.bounds if boundary else None
    with runner.scratch():
        inspection = survey.inspect(
            file,
            Settings.load(),
            layer=options.layer,
            encoding=options.encoding,
            crs=options.crs,
            fields=options.fields,
            engine=options.engine,
            mend_text=options.mend_text,
            profile=profiles.parse(options.profile) if options.profile else None,
            commune=bounds,
        )
    if as_json:
        print_json(inspection.as_dict())
    else:
        print_inspection(inspection.as_dict(), runner.language())


@click.command()
@file_argument
@commune_option()
@click.option("--against", type=click.Choice(["store"]), help="Check against the store too.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write the report: .html, .pdf, .gpkg, .geojson, .csv, .xlsx, .json.",
)
@click.option("--propose", is_flag=True, help="Propose corrections too; nothing is changed.")
@with_reading
@all_option
@with_json
def check(
    file: Path,
    commune: str | None,
    against: str | None,
    report: Path | None,
    propose: bool,
    options: ReadOptions,
    show_all: bool,
    as_json: bool,
) -> int:
    """Run the rules on FILE before submitting it; needs no store."""
    from landdata.batches import location, neighbourhood
    from landdata.batches.validation import check as check_file
    from landdata.documents.report import report_format, write_report
    from landdata.store import communes

    settings = Settings.load()
    if report:
        report_format(report)  # refuse a wrong name before the work, not after
    with runner.in_time(settings, as_json=as_json), runner.progress() as progress:
        if against:
            with open_store() as (_, session):
                checked = check_file(
                    file,
                    settings,
                    options=options,
                    commune=commune,
                    neighbours=neighbourhood.fetcher(session, settings, commune),
                    boundary=communes.border(session, commune),
                    locate=partial(location.check, session),
                    propose=propose,
                    progress=progress,
                )
        else:
            checked = check_file(
                file,
                settings,
                options=options,
                commune=commune,
                propose=propose,
                progress=progress,
            )
    if report:
        write_report(report, checked.summary, checked.survey, checked.checked, runner.language())
    return report_result(checked.as_dict(), as_json=as_json, show_all=show_all)


@click.command("import")
@file_argument
@commune_option(required=True)
@click.option("--accept", is_flag=True, help="Make the acceptable rows official at once.")
@corrects_option
@with_reading
@all_option
@with_json
def import_(
    file: Path,
    commune: str,
    accept: bool,
    corrects: int | None,
    options: ReadOptions,
    show_all: bool,
    as_json: bool,
) -> int:
    """Receive FILE as a batch and check it; the same file again is the same batch."""
    from landdata.batches import acceptance, checking, queries
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    by = operator()
    try:
        with runner.progress() as progress:
            # two transactions: a checked batch stays checked if accepting it fails
            with runner.in_time(settings, as_json=as_json), database.session(engine) as session:
                batch = checking.receive_and_check(
                    session,
                    settings,
                    file,
                    commune=commune,
                    by=by,
                    options=options,
                    corrects=corrects,
                    progress=progress,
                )
            if accept:
                with runner.scratch(), database.session(engine) as session:
                    acceptance.accept(
                        session, settings, batch.id, by=by, reviewed=False, progress=progress
                    )
        with database.session(engine) as session:
            result = queries.show(session, batch.id)
    finally:
        engine.dispose()
    return report_result(result, as_json=as_json, show_all=show_all)


@click.command()
@file_argument
@commune_option(required=True)
@corrects_option
@with_reading
@with_json
def submit(
    file: Path, commune: str, corrects: int | None, options: ReadOptions, as_json: bool
) -> None:
    """Put FILE into the queue as a batch, and print the number of the batch."""
    from landdata.jobs import queue

    with open_store() as (settings, session):
        batch = queue.submit(
            session,
            settings,
            file,
            commune=commune,
            by=operator(),
            options=options,
            corrects=corrects,
        )
    if as_json:
        print_json({"batch": {"id": batch.id, "state": batch.state}})
    else:
        echo(str(batch.id))
