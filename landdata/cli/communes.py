"""`landdata communes`: units, boundaries and recodings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from landdata.cli.options import file_argument, open_store, say


def _day(_: click.Context, __: click.Parameter, text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date like 2026-03-30.") from None


@click.group()
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
    with open_store() as (_, session):
        store.add(session, code, name, valid_from=since)
    say("Commune {number} {name} is valid from {since}.", number=code, name=name, since=since)


@communes.command("import")
@file_argument
@click.option("--valid-from", callback=_day, metavar="D", help="First day, for all of them.")
def communes_import(file: Path, valid_from: dt.date | None) -> None:
    """Store the communes of FILE with their boundaries, or recodings from a .csv."""
    from landdata.store import communes as store

    with open_store() as (settings, session):
        count = store.import_file(session, settings, file, valid_from=valid_from)
    say(
        "Recodings stored: {count}."
        if file.suffix.lower() == ".csv"
        else "Communes stored: {count}.",
        count=count,
    )
