"""Options, arguments and output that several commands share."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from landdata.cli import runner
from landdata.documents.echo import echo, echo_json
from landdata.errors import BadRequest, LandDataError
from landdata.reference import parcel_keys
from landdata.settings import Settings
from landdata.translations import sentence, translate

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

FINDINGS = 1  # exit code: done, and there are findings of severity error

P = ParamSpec("P")
R = TypeVar("R")


def with_json(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def with_reading(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of reading a survey file; the command gets them as `options`."""

    @click.option("--layer", help="Layer of the file, where it holds several.")
    @click.option("--encoding", help="UTF-8, CP1258, TCVN3 or VNI, where detection is wrong.")
    @click.option("--crs", type=int, help="EPSG code of the coordinates, where the file is wrong.")
    @click.option(
        "--engine",
        type=click.Choice(["pyogrio", "fiona"]),
        help="Read in bulk, or row by row; default: by row where reading in bulk fails.",
    )
    @click.option("--mend-text", is_flag=True, help="Finish half-made conversions from TCVN3.")
    @click.option(
        "--profile",
        metavar="NAME|FILE|none",
        help="Mapping profile: a name or a YAML file; default: the remembered one.",
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
            chosen = profiles.recall(Settings.load().home, operator())
        else:
            chosen = None if profile == "none" else profiles.load(profile)
        options = ReadOptions(
            layer=layer,
            encoding=encoding,
            crs=crs,
            engine=engine,
            mend_text=mend_text,
            profile=chosen.as_dict() if chosen else None,
            fields=dict(map(_pair, fields)),
        )
        return command(*args, options=options, **kwargs)

    return wrapped


def _pair(text: str) -> tuple[str, str]:
    attribute, equals, source = text.partition("=")
    if not (attribute and equals and source):
        raise BadRequest(
            "--field {text!r} is not ATTRIBUTE=FIELD.",
            hint="For example --field sheet=SOTO.",
            text=text,
        )
    return attribute, source


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    echo_json(value)


def say(template: str, **values: Any) -> None:
    """Print a sentence in the language of the command."""
    echo(translate(sentence(template, **values), runner.language()))


@contextmanager
def open_store() -> Iterator[tuple[Settings, Session]]:
    """Open the store in one transaction."""
    from landdata.store import database

    settings = Settings.load()
    engine = database.engine(settings)
    try:
        with database.session(engine) as session:
            yield settings, session
    finally:
        engine.dispose()


all_option = click.option(
    "--all", "show_all", is_flag=True, help="Show all findings, not the first few of each rule."
)


def report_result(result: dict[str, Any], *, as_json: bool, show_all: bool = False) -> int:
    """Print summary and findings; return the exit code for them."""
    if as_json:
        print_json(result)
    else:
        from landdata.documents.terminal import print_report

        print_report(result, runner.language(), show_all=show_all)
    summary = result["summary"] or {}
    return FINDINGS if summary.get("findings", {}).get("error") else 0


NUMBER = click.IntRange(max=2**63 - 1)  # as PostgreSQL counts
number_argument = click.argument("number", type=NUMBER)
file_argument = click.argument("file", type=click.Path(path_type=Path))
corrects_option = click.option(
    "--corrects", type=NUMBER, metavar="N", help="Number of the batch that this file corrects."
)


def _commune(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Return the code of a commune from its code or its name, which is looked up in the store."""
    code = parcel_keys.commune_code(text or "")
    if text is None or code is not None:
        return code
    from landdata.store import communes

    try:
        with open_store() as (_, session):
            return communes.find(session, text).code
    except BadRequest:
        raise
    except LandDataError as error:
        raise BadRequest(
            "{name!r} is no commune code, and names cannot be looked up: {why}",
            hint="Give the code of five digits.",
            code="unknown-commune",
            name=text,
            why=error.message,
        ) from None


def commune_option(
    *, required: bool = False, purpose: str = ""
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add `--commune`, a code or a name; the command gets the code."""
    return click.option(
        "--commune",
        required=required,
        callback=_commune,
        metavar="CODE|NAME",
        help=f"{purpose}Five digits, or the name of a commune of the store.",
    )


def operator() -> str:
    """Return the name of the operator, for the record; a number where the system has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container under an arbitrary uid
        return f"uid {os.getuid()}"
