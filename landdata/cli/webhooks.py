"""`landdata webhook`: addresses that are notified of every publication."""

from __future__ import annotations

from typing import TextIO

import click

from landdata.cli.options import NUMBER, number_argument, open_store, print_json, say, with_json


@click.group()
def webhook() -> None:
    """Addresses that a worker notifies of every publication."""


@webhook.command("add")
@click.argument("url")
@click.option(
    "--secret-file",
    type=click.File("r", encoding="utf-8"),
    help="The secret that signs, whsec_…; - reads standard input. Default: a new one.",
)
@with_json
def webhook_add(url: str, secret_file: TextIO | None, as_json: bool) -> None:
    """Notify URL of every publication from now on; the receiver needs the secret."""
    from landdata.jobs import webhooks

    secret = secret_file.read().strip() if secret_file else webhooks.new_secret()
    stored = None
    with open_store() as (settings, session):
        number = webhooks.add(session, url, secret).id
        if secret_file is None:
            stored = settings.home / "webhooks" / f"{number}.secret"
            stored.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stored.touch(mode=0o600)
            stored.write_text(f"{secret}\n", "utf-8")
    if as_json:
        print_json({"webhook": number, "secret_file": str(stored) if stored else None})
    else:
        say("A worker notifies webhook {number} from now on.", number=number)
        if stored:
            say("Its secret is in {stored}; hand it to the receiver.", stored=stored)


@webhook.command("list")
@with_json
def webhook_list(as_json: bool) -> None:
    """List the webhooks with the last publication sent to each."""
    from landdata.documents.terminal import print_table
    from landdata.jobs import webhooks

    with open_store() as (_, session):
        rows = webhooks.list_all(session)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@webhook.command("remove")
@number_argument
def webhook_remove(number: int) -> None:
    """Notify webhook NUMBER no more."""
    from landdata.jobs import webhooks

    with open_store() as (settings, session):
        webhooks.remove(session, number)
    (settings.home / "webhooks" / f"{number}.secret").unlink(missing_ok=True)
    say("Webhook {number} is removed.", number=number)


@webhook.command("dead")
@click.argument("number", type=NUMBER, required=False)
@with_json
def webhook_dead(number: int | None, as_json: bool) -> None:
    """List the undeliverable notifications of webhook NUMBER, or of all."""
    from landdata.documents.terminal import print_table
    from landdata.jobs import webhooks

    with open_store() as (_, session):
        rows = webhooks.dead_letters(session, number)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@webhook.command("retry")
@number_argument
def webhook_retry(number: int) -> None:
    """Send webhook NUMBER its dead letters again, and what is waiting at once."""
    from landdata.jobs import webhooks

    with open_store() as (_, session):
        count = webhooks.retry(session, number)
    say("Webhook {number}: {count} dead letters are sent again.", number=number, count=count)
