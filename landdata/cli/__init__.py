"""The command line: which commands there are, thin over the modules.

What a command needs is imported when it runs, so that each starts fast.
"""

from __future__ import annotations

import datetime as dt
import getpass
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO, TypeVar

import click

from landdata.cli import runner
from landdata.documents.echo import echo, echo_json
from landdata.errors import BadRequest, Conflict
from landdata.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from landdata.batches.validation import ReadOptions
    from landdata.operations.health import Result

FINDINGS = 1  # exit code: done, and there are findings of severity error

P = ParamSpec("P")
R = TypeVar("R")


def main(checks: Sequence[Callable[[Settings], Result]] = ()) -> None:
    """Run the command that the words name, and end with its exit code.

    `checks` are health checks of other packages, for `doctor`.
    """
    runner.run(lambda: cli.main(standalone_mode=False, obj=checks))


# -- shared by the commands ----------------------------------------------------------------


def with_json(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def with_reading(command: Callable[..., R]) -> Callable[..., R]:
    """Add what a surveyor can say of a file; the command gets it as `options`."""

    @click.option("--layer", help="Layer of the file, where it holds several.")
    @click.option("--encoding", help="UTF-8, CP1258, TCVN3 or VNI, where detection is wrong.")
    @click.option("--crs", type=int, help="EPSG code of the coordinates, where the file is wrong.")
    @click.option(
        "--engine",
        type=click.Choice(["pyogrio", "fiona"]),
        help="Read in bulk, or row by row; without it, by row where reading in bulk fails.",
    )
    @click.option("--mend-text", is_flag=True, help="Finish half-made conversions from TCVN3.")
    @click.option(
        "--profile",
        metavar="NAME|FILE|none",
        help="Mapping profile: a name or a YAML file; without it, the one that is remembered.",
    )
    @click.option(
        "--field",
        "fields",
        multiple=True,
        metavar="ATTRIBUTE=FIELD",
        help="Take ATTRIBUTE from FIELD, or from a constant: sheet=SOTO, sheet==12.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        layer: str | None,
        encoding: str | None,
        crs: int | None,
        engine: str | None,
        mend_text: bool,
        profile: str | None,
        fields: tuple[str, ...],
        **kwargs: Any,
    ) -> R:
        from landdata.batches.validation import ReadOptions
        from landdata.survey import profiles

        if profile is None:
            found = profiles.recall(Settings.load().home, _who())
        else:
            found = None if profile == "none" else profiles.load(profile)
        kept = found.as_dict() if found else None
        pairs = dict(_pair(given) for given in fields)
        options = ReadOptions(
            layer=layer,
            encoding=encoding,
            crs=crs,
            engine=engine,
            mend_text=mend_text,
            profile=kept,
            fields=pairs,
        )
        return command(*args, options=options, **kwargs)

    return wrapped


def _pair(given: str) -> tuple[str, str]:
    attribute, equals, source = given.partition("=")
    if not (attribute and equals and source):
        raise BadRequest(
            f"--field {given!r} is not ATTRIBUTE=FIELD.", hint="For example --field sheet=SOTO."
        )
    return attribute, source


def _print(value: Any) -> None:
    echo_json(value)


@contextmanager
def _store() -> Iterator[tuple[Settings, Session]]:
    """Open the store in one transaction."""
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    try:
        with database.session(engine) as session:
            yield settings, session
    finally:
        engine.dispose()


def _report(result: dict[str, Any], *, as_json: bool, language: str) -> int:
    """Print summary and findings; return the exit code that they mean."""
    if as_json:
        _print(result)
    else:
        from landdata.documents.terminal import print_report

        print_report(result, language)
    summary = result["summary"] or {}
    return FINDINGS if summary.get("findings", {}).get("error") else 0


def _day(_: click.Context, __: click.Parameter, given: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(given) if given else None
    except ValueError:
        raise click.BadParameter(f"{given!r} is not a date like 2026-03-30.") from None


NUMBER = click.IntRange(max=2**63 - 1)  # as PostgreSQL counts
number_argument = click.argument("number", type=NUMBER)
file_argument = click.argument("file", type=click.Path(path_type=Path))
corrects_option = click.option(
    "--corrects", type=NUMBER, metavar="N", help="Number of the batch that this file corrects."
)
commune_option = click.option("--commune", metavar="CODE", help="Five digits.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="landdata")
def cli() -> None:
    """Cadastral parcels from survey file to OGC API."""


# -- the embedded cluster ------------------------------------------------------------------


@cli.command()
@with_json
def up(as_json: bool) -> None:
    """Start the embedded PostGIS, made first where it is missing."""
    from landdata.embedded.cluster import Cluster

    settings = Settings.load()
    if settings.database_url:
        raise BadRequest(
            "LANDDATA_DATABASE_URL is set, so there is no embedded PostGIS to start.",
            hint="Unset it to use the embedded one.",
        )
    started = Cluster(settings.home).up()
    if as_json:
        _print({"started": started, **Cluster(settings.home).status().as_dict()})
    else:
        echo("PostGIS started." if started else "PostGIS was running already.")


@cli.command()
def down() -> None:
    """Stop the embedded PostGIS."""
    from landdata.embedded.cluster import Cluster

    stopped = Cluster(Settings.load().home).down()
    echo("PostGIS stopped." if stopped else "PostGIS was not running.")


@cli.command()
@with_json
def status(as_json: bool) -> None:
    """Say how the embedded PostGIS is."""
    from landdata.embedded.cluster import Cluster

    found = Cluster(Settings.load().home).status().as_dict()
    if as_json:
        _print(found)
    else:
        for key, value in found.items():
            echo(f"{key:>8}  {value}")


@cli.command()
@with_json
@click.pass_obj
def doctor(checks: Sequence[Callable[[Settings], Result]] | None, as_json: bool) -> int:
    """Check everything that landdata stands on, and say what to do."""
    from landdata.operations.health import examine

    results = examine(Settings.load(), checks or ())
    if as_json:
        _print([result.as_dict() for result in results])
    else:
        for result in results:
            echo(f"{'ok' if result.ok else 'BAD':>4}  {result.subject}: {result.found}")
            if result.hint:
                echo(f"      {result.hint}")
    return 0 if all(result.ok for result in results) else 70


@cli.command()
def migrate() -> None:
    """Bring the store's schema to the newest revision."""
    from landdata.store import database

    database.migrate(Settings.load())
    echo("The store is at the newest revision.")


# -- survey files --------------------------------------------------------------------------


@cli.command()
@file_argument
@click.option("--commune", metavar="CODE", help="Hold the CRS against this commune of the store.")
@with_reading
@with_json
def inspect(file: Path, commune: str | None, options: ReadOptions, as_json: bool) -> None:
    """Say what FILE holds and how it would be understood; nothing is stored."""
    from landdata import survey
    from landdata.documents.terminal import print_inspection
    from landdata.store import communes
    from landdata.survey import profiles

    ground = None
    if commune:
        with _store() as (_, session):
            boundary = communes.border(session, commune)
            ground = boundary.bounds if boundary else None
    with runner.scratch():
        found = survey.inspect(
            file,
            Settings.load(),
            layer=options.layer,
            encoding=options.encoding,
            crs=options.crs,
            fields=options.fields,
            engine=options.engine,
            mend_text=options.mend_text,
            profile=profiles.parse(options.profile) if options.profile else None,
            commune=ground,
        )
    if as_json:
        _print(found.as_dict())
    else:
        print_inspection(found.as_dict())


@cli.command()
@file_argument
@commune_option
@click.option("--against", type=click.Choice(["store"]), help="Check the seam with the store too.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write the report: .html, .pdf, .gpkg, .geojson, .csv, .xlsx, .json.",
)
@click.option("--propose", is_flag=True, help="Propose mends too; nothing is changed.")
@with_reading
@with_json
def check(
    file: Path,
    commune: str | None,
    against: str | None,
    report: Path | None,
    propose: bool,
    options: ReadOptions,
    as_json: bool,
) -> int:
    """Run the rules on FILE before submitting it; needs no store."""
    from landdata.batches import neighbourhood
    from landdata.batches.validation import check as check_file
    from landdata.documents.report import report_format, write_report
    from landdata.store import communes

    settings = Settings.load()
    if report:
        report_format(report)  # a wrong name is told before the work, not after
    with runner.in_time(settings, as_json=as_json), runner.progress() as progress:
        if against:
            with _store() as (_, session):
                found = check_file(
                    file,
                    settings,
                    options=options,
                    commune=commune,
                    neighbours=neighbourhood.fetcher(session, settings, commune),
                    boundary=communes.border(session, commune),
                    propose=propose,
                    progress=progress,
                )
        else:
            found = check_file(
                file,
                settings,
                options=options,
                commune=commune,
                propose=propose,
                progress=progress,
            )
    if report:
        write_report(report, found.summary, found.survey, found.checked, settings.language)
    return _report(found.as_dict(), as_json=as_json, language=settings.language)


@cli.command("import")
@file_argument
@click.option("--commune", required=True, metavar="CODE", help="Five digits.")
@click.option("--accept", is_flag=True, help="Make the acceptable rows official at once.")
@corrects_option
@with_reading
@with_json
def import_(
    file: Path,
    commune: str,
    accept: bool,
    corrects: int | None,
    options: ReadOptions,
    as_json: bool,
) -> int:
    """Receive FILE as a batch and check it; the same file again is the same batch."""
    from landdata.batches import acceptance, checking, queries
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    by = _who()
    try:
        with runner.progress() as progress:
            # two transactions: a batch that was checked stays so, whatever becomes of it then
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
            if accept:  # of a batch that was rejected it says so, and fails
                with runner.scratch(), database.session(engine) as session:
                    acceptance.accept(
                        session, settings, batch.id, by=by, reviewed=False, progress=progress
                    )
        with database.session(engine) as session:
            result = queries.show(session, batch.id)
    finally:
        engine.dispose()
    return _report(result, as_json=as_json, language=settings.language)


@cli.command()
@file_argument
@click.option("--commune", required=True, metavar="CODE", help="Five digits.")
@corrects_option
@with_reading
@with_json
def submit(
    file: Path, commune: str, corrects: int | None, options: ReadOptions, as_json: bool
) -> None:
    """Put FILE into the queue as a batch, and print the number of the batch."""
    from landdata.jobs import queue

    with _store() as (settings, session):
        given = queue.submit(
            session,
            settings,
            file,
            commune=commune,
            by=_who(),
            options=options,
            corrects=corrects,
        )
    if as_json:
        _print({"batch": {"id": given.id, "state": given.state}})
    else:
        echo(str(given.id))


def _who() -> str:
    """The operator, for the record of who did what; a number where the system has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container that is run under any number
        return f"uid {os.getuid()}"


@cli.group()
def profile() -> None:
    """Mapping profiles: what your files are like."""


@profile.command("remember")
@click.argument("name", metavar="NAME|FILE")
def profile_remember(name: str) -> None:
    """Use a profile for all your files that come without --profile."""
    from landdata.survey import profiles

    found = profiles.load(name)
    profiles.remember(Settings.load().home, _who(), found)
    echo(f"{found.name} {found.version} is used for your files from now on.")


@profile.command("forget")
def profile_forget() -> None:
    """Use no profile for your files unless one is given."""
    from landdata.survey import profiles

    profiles.forget(Settings.load().home, _who())
    echo("No profile is used for your files unless one is given.")


@profile.command("show")
@click.argument("name", metavar="[NAME|FILE]", required=False)
@with_json
def profile_show(name: str | None, as_json: bool) -> None:
    """Print a profile, or the one that is remembered for you."""
    import yaml

    from landdata.survey import profiles

    found = profiles.load(name) if name else profiles.recall(Settings.load().home, _who())
    if as_json:
        _print(found.as_dict() if found else None)
    elif found:
        echo(yaml.safe_dump(found.as_dict(), allow_unicode=True, sort_keys=False), nl=False)
    else:
        echo("No profile is remembered for you.")


# -- batches -------------------------------------------------------------------------------


@cli.command()
@with_json
def batches(as_json: bool) -> None:
    """List the batches, the latest first."""
    from landdata.batches import queries
    from landdata.documents.terminal import print_batches

    with _store() as (_, session):
        found = queries.list_all(session)
    if as_json:
        _print(found)
    else:
        print_batches(found)


@cli.group()
def batch() -> None:
    """Look at a batch, and decide on it."""


@batch.command("show")
@number_argument
@with_json
def batch_show(number: int, as_json: bool) -> None:
    """Print the summary and all findings of batch NUMBER, or how far its check is."""
    from landdata.batches import queries
    from landdata.jobs import queue

    with _store() as (settings, session):
        result = queries.show(session, number)
        result["progress"] = queue.progress(session, number)["progress"]
    _report(result, as_json=as_json, language=settings.language)


@batch.command("points")
@number_argument
@with_json
def batch_points(number: int, as_json: bool) -> None:
    """Print the survey points of batch NUMBER as they were measured, as CSV."""
    from landdata.batches import queries
    from landdata.documents.tables import points_csv

    with _store() as (_, session):
        found = queries.survey_points(session, number)
    if as_json:
        _print(found)
    else:
        echo(points_csv(found), nl=False)


@batch.command("check")
@number_argument
@with_json
def batch_check(number: int, as_json: bool) -> int:
    """Check batch NUMBER again, against what is official now."""
    from landdata.batches import checking, queries

    settings = Settings.load()
    with (
        runner.progress() as progress,
        runner.in_time(settings, as_json=as_json),
        _store() as (settings, session),
    ):
        checking.check(session, settings, number, progress=progress)
        result = queries.show(session, number)
    return _report(result, as_json=as_json, language=settings.language)


@batch.command("propose")
@number_argument
@with_json
def batch_propose(number: int, as_json: bool) -> None:
    """Propose mends for batch NUMBER; nothing is changed."""
    from landdata.batches import checking
    from landdata.documents.terminal import print_proposals

    settings = Settings.load()
    with (
        runner.progress() as progress,
        runner.in_time(settings, as_json=as_json),
        _store() as (settings, session),
    ):
        result = checking.propose(session, settings, number, progress=progress).as_dict()
    if as_json:
        _print({"proposals": result["proposals"]})
    else:
        print_proposals(result["proposals"])


reason_option = click.option("--reason", help="Why, for the record.")


@batch.command("accept")
@number_argument
@reason_option
@with_json
def batch_accept(number: int, reason: str | None, as_json: bool) -> None:
    """Make the acceptable rows of batch NUMBER official."""
    from landdata.batches import acceptance

    with runner.progress() as progress, runner.scratch(), _store() as (settings, session):
        summary = acceptance.accept(
            session, settings, number, by=_who(), reason=reason, progress=progress
        )
    if as_json:
        _print({"summary": summary})
    else:
        echo(
            f"Batch {number} accepted: {summary['read']} read = {summary['accepted']} accepted"
            f" + {summary['rejected']} rejected + {summary['duplicate']} duplicate."
        )


@batch.command("reject")
@number_argument
@reason_option
def batch_reject(number: int, reason: str | None) -> None:
    """Reject batch NUMBER as a whole."""
    from landdata.batches import lifecycle

    with _store() as (_, session):
        lifecycle.reject(session, number, by=_who(), reason=reason)
    echo(f"Batch {number} rejected.")


@batch.command("withdraw")
@number_argument
@reason_option
def batch_withdraw(number: int, reason: str | None) -> None:
    """Take batch NUMBER back, as who sent it; a check of it is stopped."""
    from landdata.batches import lifecycle
    from landdata.jobs import queue
    from landdata.store import database

    engine = database.engine(Settings.load())
    try:
        queue.cancel(engine, number)
        with database.session(engine) as session:
            lifecycle.withdraw(session, number, by=_who(), reason=reason)
    finally:
        engine.dispose()
    echo(f"Batch {number} withdrawn.")


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
            f"Batch {number} neither waits in the queue nor is being checked.",
            hint=f"`landdata batch show {number}` tells how it is.",
            code="not-queued",
        )
    echo(f"Batch {number} is out of the queue.")


@batch.command("watch")
@number_argument
@with_json
def batch_watch(number: int, as_json: bool) -> int:
    """Show how far the check of batch NUMBER is, until it has ended."""
    from landdata.batches import queries
    from landdata.jobs import queue
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    try:
        with runner.progress() as tell:
            while True:
                with database.session(engine) as session:
                    told = queue.progress(session, number)
                now = told["progress"]
                if now is None:
                    break
                left, rows = now["seconds_left"], now["rows"]
                words = [now["stage"], f"{rows} rows" if rows else ""]
                words.append("" if left is None else f"{left:.0f} s left")
                tell(", ".join(filter(None, words)), now["share"])
                time.sleep(0.5)
        with database.session(engine) as session:
            result = queries.show(session, number)
    finally:
        engine.dispose()
    return _report(result, as_json=as_json, language=settings.language)


# -- parcels and communes ------------------------------------------------------------------


@cli.group()
def parcel() -> None:
    """Look at a parcel. KEY: UUID, national identifier or commune/sheet/number."""


as_of_option = click.option("--as-of", metavar="T", help="Date or time, RFC 3339.")


@parcel.command("show")
@click.argument("key")
@as_of_option
@with_json
def parcel_show(key: str, as_of: str | None, as_json: bool) -> None:
    """Print a parcel as it is, or as it was at T."""
    from landdata.documents.terminal import print_parcel
    from landdata.reference import calendar
    from landdata.store import parcels

    with _store() as (settings, session):
        found = parcels.resolve(session, key, calendar.instant(as_of) if as_of else None)
    shown = found.as_dict(publish_address=settings.publish_address)
    if as_json:
        _print(shown)
    else:
        print_parcel(shown)


@parcel.command("history")
@click.argument("key")
@with_json
def parcel_history(key: str, as_json: bool) -> None:
    """Print every state of a parcel, the latest first."""
    from landdata.documents.terminal import print_history
    from landdata.store import parcels

    with _store() as (settings, session):
        found = parcels.history(session, parcels.resolve(session, key).id)
    shown = [state.as_dict(publish_address=settings.publish_address) for state in found]
    if as_json:
        _print(shown)
    else:
        print_history(shown)


@cli.group()
def communes() -> None:
    """Units, boundaries and recodings, dated."""


@communes.command("add")
@click.argument("code")
@click.argument("name")
@click.option("--valid-from", callback=_day, metavar="D", help="First day; today unless given.")
def communes_add(code: str, name: str, valid_from: dt.date | None) -> None:
    """Store commune CODE, called NAME."""
    from landdata.reference import calendar
    from landdata.store import communes as store

    since = valid_from or calendar.day()
    with _store() as (_, session):
        store.add(session, code, name, valid_from=since)
    echo(f"Commune {code} {name} is known from {since}.")


@communes.command("import")
@file_argument
@click.option("--valid-from", callback=_day, metavar="D", help="First day, for all of them.")
def communes_import(file: Path, valid_from: dt.date | None) -> None:
    """Store the communes of FILE with their boundaries, or recodings from a .csv."""
    from landdata.store import communes as store

    with _store() as (settings, session):
        n = store.import_file(session, settings, file, valid_from=valid_from)
    echo(f"{n} {'recodings' if file.suffix.lower() == '.csv' else 'communes'} stored.")


# -- files -----------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(
        ["gpkg", "geojson", "geojsonl", "jsonfg", "fgb", "csv", "parquet", "shp", "gml"]
    ),
    help="Kind of file; shp and gml are zipped.",
)
@click.option("--collection", default="parcels", show_default=True, help="As the OGC API has it.")
@click.option("--bbox", metavar="W,S,E,N", help="What intersects the box, in longitude, latitude.")
@click.option("--filter", "condition", metavar="CQL2", help="What fulfils the condition.")
@as_of_option
@click.option(
    "--crs", type=int, metavar="EPSG", help="The storage CRS unless given; GeoJSON: WGS 84."
)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def export(
    form: str,
    collection: str,
    bbox: str | None,
    condition: str | None,
    as_of: str | None,
    crs: int | None,
    out: Path,
) -> None:
    """Write the parcels, or another collection, to the file OUT; one state of the store."""
    from landdata.features.exports import writers
    from landdata.store import database

    settings = Settings.load()
    system = crs or (None if form in ("geojson", "geojsonl") else settings.srid)
    asked = {
        "bbox": bbox,
        "filter": condition,
        "datetime": as_of,
        "crs": f"EPSG:{system}" if system else None,
    }
    n = writers.export_to_file(
        settings,
        database.reading_url(settings),
        out,
        form,
        collection=collection,
        arguments=[(name, value) for name, value in asked.items() if value is not None],
    )
    echo(f"{n} {collection} written to {out}.")


# -- webhooks ------------------------------------------------------------------------------


@cli.group()
def webhook() -> None:
    """Addresses that a worker tells of every publication."""


@webhook.command("add")
@click.argument("url")
@click.option(
    "--secret-file",
    type=click.File("r", encoding="utf-8"),
    help="The secret that signs, whsec_…; - reads standard input. Made by us where not given.",
)
@with_json
def webhook_add(url: str, secret_file: TextIO | None, as_json: bool) -> None:
    """Tell URL of every publication from now on; the receiver needs the secret."""
    from landdata.jobs import webhooks

    secret = secret_file.read().strip() if secret_file else webhooks.new_secret()
    kept = None
    with _store() as (settings, session):
        number = webhooks.add(session, url, secret).id
        if secret_file is None:
            kept = settings.home / "webhooks" / f"{number}.secret"
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_text(f"{secret}\n", "utf-8")
    if as_json:
        _print({"webhook": number, "secret_file": str(kept) if kept else None})
    else:
        echo(f"Webhook {number} is told from now on, by a worker.")
        if kept:
            echo(f"Its secret is in {kept}; hand it to the receiver.")


@webhook.command("list")
@with_json
def webhook_list(as_json: bool) -> None:
    """List the webhooks and how far each is."""
    from landdata.documents.terminal import print_table
    from landdata.jobs import webhooks

    with _store() as (_, session):
        found = webhooks.list_all(session)
    if as_json:
        _print(found)
    else:
        print_table(found)


@webhook.command("remove")
@number_argument
def webhook_remove(number: int) -> None:
    """Tell webhook NUMBER nothing more."""
    from landdata.jobs import webhooks

    with _store() as (settings, session):
        webhooks.remove(session, number)
    (settings.home / "webhooks" / f"{number}.secret").unlink(missing_ok=True)
    echo(f"Webhook {number} is gone.")


@webhook.command("dead")
@click.argument("number", type=NUMBER, required=False)
@with_json
def webhook_dead(number: int | None, as_json: bool) -> None:
    """List what could not be told, to webhook NUMBER or to any."""
    from landdata.documents.terminal import print_table
    from landdata.jobs import webhooks

    with _store() as (_, session):
        found = webhooks.dead_letters(session, number)
    if as_json:
        _print(found)
    else:
        print_table(found)


@webhook.command("retry")
@number_argument
def webhook_retry(number: int) -> None:
    """Send webhook NUMBER its dead letters again, and at once what waits."""
    from landdata.jobs import webhooks

    with _store() as (_, session):
        n = webhooks.retry(session, number)
    echo(f"Webhook {number}: {n} dead letters are sent again.")


# -- serving -------------------------------------------------------------------------------


@cli.command()
@click.option("--concurrency", default=1, type=click.IntRange(1, 64), help="Checks at a time.")
@click.option(
    "--grace",
    default=30.0,
    type=click.FloatRange(0),
    metavar="S",
    help="Seconds that a running check is given when the worker is told to stop.",
)
def worker(concurrency: int, grace: float) -> None:
    """Check the batches of the queue and tell webhooks, until stopped; run as many as you like."""
    from landdata.jobs.runner import worker as work

    work(Settings.load(), concurrency=concurrency, grace=grace, say=echo)
