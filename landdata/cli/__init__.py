"""The command line, thin over the modules: a file for each noun.

A command imports what it needs when it runs, so that each starts fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from landdata.cli import batches, cluster, communes, parcels, profiles, runner, survey, webhooks
from landdata.cli.help import localize
from landdata.settings import Settings
from landdata.translations import LANGUAGES

if TYPE_CHECKING:
    from landdata.operations.health import Result


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="landdata")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    expose_value=False,
    help="Language of messages; default: LANDDATA_LANGUAGE.",
)
def cli() -> None:
    """Cadastral parcels from survey file to OGC API."""


for command in (
    cluster.up,
    cluster.down,
    cluster.status,
    cluster.doctor,
    cluster.migrate,
    cluster.worker,
    survey.inspect,
    survey.check,
    survey.import_,
    survey.submit,
    profiles.profile,
    batches.batches,
    batches.batch,
    parcels.parcel,
    parcels.export,
    communes.communes,
    webhooks.webhook,
):
    cli.add_command(command)


def main(checks: Sequence[Callable[[Settings], Result]] = ()) -> None:
    """Run the command that the arguments name, and end with its exit code.

    `checks` are health checks of other packages, for `doctor`.
    """
    runner.run(lambda: localize(cli, runner.language()).main(standalone_mode=False, obj=checks))
