"""`landdata profile`: mapping profiles."""

from __future__ import annotations

import click

from landdata.cli.options import operator, print_json, say, with_json
from landdata.documents.echo import echo
from landdata.settings import Settings


@click.group()
def profile() -> None:
    """Mapping profiles: the layout of your files."""


@profile.command("remember")
@click.argument("name", metavar="NAME|FILE")
def profile_remember(name: str) -> None:
    """Use a profile for all your files where --profile is missing."""
    from landdata.survey import profiles

    chosen = profiles.load(name)
    profiles.remember(Settings.load().home, operator(), chosen)
    say(
        "{name} {version} is used for your files from now on.",
        name=chosen.name,
        version=chosen.version,
    )


@profile.command("forget")
def profile_forget() -> None:
    """Use a profile for your files only where --profile names one."""
    from landdata.survey import profiles

    profiles.forget(Settings.load().home, operator())
    say("A profile is used for your files only where --profile names one.")


@profile.command("show")
@click.argument("name", metavar="[NAME|FILE]", required=False)
@with_json
def profile_show(name: str | None, as_json: bool) -> None:
    """Print a profile, or the one that is remembered for you."""
    import yaml

    from landdata.survey import profiles

    shown = profiles.load(name) if name else profiles.recall(Settings.load().home, operator())
    if as_json:
        print_json(shown.as_dict() if shown else None)
    elif shown:
        echo(yaml.safe_dump(shown.as_dict(), allow_unicode=True, sort_keys=False), nl=False)
    else:
        say("No profile is remembered for you.")
