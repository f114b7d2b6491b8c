"""Webhooks: POST every publication to other systems, in order and signed, until it is accepted.

    add, remove, list_all     the receivers
    dead_letters, retry       publications that a receiver did not accept, and another attempt
    run                       delivers until stopped, in a thread of the runner

The publications themselves are the messages, and the row of a webhook holds the number of the
last one delivered: what was committed is delivered, what was rolled back never is. One transaction
is one delivery. It locks the webhook's row, so that workers never send to one receiver at once,
and a worker that dies leaves its delivery to the next.

The format is Standard Webhooks (https://www.standardwebhooks.com), which receivers have libraries
for. The operator names the addresses; they are used as they are, without redirects, proxies and
cookies, within a total time limit; only the status of the response is read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import hmac
import json
import os
import re
import secrets
import ssl
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.errors import BadRequest, NotFound
from landdata.jobs.attempt import Say
from landdata.store import database, publications
from landdata.store.database import sql
from landdata.store.tables import DeadLetter, Publication, Webhook

TRIES: Final = 30  # of one publication, over 21 hours
_FIRST_WAIT: Final = 10.0  # seconds before the second try; doubled for every further one
_LONGEST_WAIT: Final = 3600.0
_TIME_LIMIT: Final = 10.0  # seconds for one delivery
_POLL_INTERVAL: Final = 1.0
_CONCURRENCY: Final = 8  # receivers; one that hangs must not hold up the others
_CHANGES: Final = "/ogc/collections/parcels/changes"
_PREFIX: Final = "whsec_"


class _DeliveryError(Exception):
    """The receiver did not accept a message; says why in a few words."""


# -- for the operator ------------------------------------------------------------------------


def new_secret() -> str:
    """Return a new secret, in the form that the receiver needs."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def add(session: Session, url: str, secret: str) -> Webhook:
    """Deliver every publication from now on to `url`. Raises `BadRequest`."""
    _validate_url(url)
    _key(secret)
    latest = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Publication.number), 0)))
    webhook = Webhook(url=url, secret=secret, delivered=latest)
    session.add(webhook)
    session.flush()
    return webhook


def remove(session: Session, number: int) -> None:
    """Delete a webhook and its dead letters, after a running delivery. Raises `NotFound`."""
    session.delete(_get(session, number))


def list_all(session: Session) -> list[dict[str, Any]]:
    """Return the webhooks and the progress of their deliveries; no secret."""
    return [
        {
            "id": row.id,
            "url": row.url,
            "added": row.added_at.isoformat(),
            "delivered": row.delivered,
            "waiting": row.waiting,
            "last": row.delivered_at.isoformat() if row.delivered_at else None,
            "attempts": row.attempts,
            "failure": row.failure,
            "next": row.next_at.isoformat() if row.next_at else None,
            "dead": row.dead,
        }
        for row in session.execute(sql("webhooks"))
    ]


def dead_letters(session: Session, number: int | None = None) -> list[dict[str, Any]]:
    """Return the undeliverable publications, of one webhook or of all. Raises `NotFound`."""
    query = sa.select(DeadLetter).order_by(DeadLetter.webhook_id, DeadLetter.publication)
    if number is not None:
        _get(session, number)
        query = query.where(DeadLetter.webhook_id == number)
    return [
        {
            "webhook": row.webhook_id,
            "publication": row.publication,
            "failure": row.failure,
            "died": row.died_at.isoformat(),
            "again": row.again,
        }
        for row in session.scalars(query)
    ]


def retry(session: Session, number: int) -> int:
    """Schedule a webhook's dead letters again, the oldest first, and end its wait for a retry.

    Returns the number of dead letters. Raises `NotFound`.
    """
    webhook = _get(session, number)
    webhook.attempts, webhook.next_at = 0, None
    update = sa.update(DeadLetter).where(DeadLetter.webhook_id == number).values(again=True)
    return session.execute(update).rowcount  # type: ignore[attr-defined, no-any-return]


def _get(session: Session, number: int) -> Webhook:
    webhook = session.get(Webhook, number, with_for_update=True)
    if webhook is None:
        raise NotFound(
            "There is no webhook {number}.",
            hint="`landdata webhook list` lists the webhooks.",
            number=number,
        )
    return webhook


def _validate_url(url: str) -> None:
    """Raise `BadRequest` for an address that webhooks may not have."""
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"[!-~]+", url)
    except ValueError:
        is_valid = False
    if not is_valid or parts.scheme not in ("http", "https") or parts.fragment:
        raise BadRequest(
            "The address of a webhook must be http:// or https://, in ASCII, without a fragment.",
            hint="For example https://example.org/landdata.",
        )
    if parts.username is not None or parts.password is not None:
        raise BadRequest(
            "The address of a webhook must not hold a name or password.",
            hint="The signature authenticates the sender.",
        )


def _key(secret: str) -> bytes:
    """Decode the key of a secret. Raises `BadRequest`, without the secret."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        if not 24 <= len(key) <= 64:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadRequest(
            "The secret must be {prefix} and 24 to 64 random bytes in base64.",
            hint="Generate one: echo {prefix}$(openssl rand -base64 32)",
            prefix=_PREFIX,
        ) from None
    return key


# -- the message -----------------------------------------------------------------------------


def signature(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """Return a message's signature: HMAC-SHA256 over its id, its Unix time and its body."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _message(publication: int, counts: sa.Row[Any]) -> bytes:
    """Return the body: the address of a publication's changes, and their numbers."""
    token = publications.before(publication).token()
    published: dt.datetime = counts.published_at.astimezone(dt.UTC)
    message = {
        "type": "parcels.published",
        "timestamp": published.isoformat().replace("+00:00", "Z"),
        "data": {
            "publication": publication,
            "created": counts.created,
            "changed": counts.changed,
            "retired": counts.retired,
            "since": token,
            "changes": f"{_CHANGES}?since={token}",
        },
    }
    return json.dumps(message, separators=(",", ":")).encode()


# -- delivery --------------------------------------------------------------------------------


def run(
    engine: sa.Engine,
    stop: threading.Event,
    *,
    seconds: float = _TIME_LIMIT,
    say: Say = lambda _: None,
) -> None:
    """Deliver to every webhook what it has not received yet, until `stop` is set."""
    running: dict[int, Future[None]] = {}
    last_error = ""
    with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="webhook") as pool:
        while not stop.wait(_POLL_INTERVAL):
            running = {number: future for number, future in running.items() if not future.done()}
            try:
                with database.session(engine) as session:
                    due = session.scalars(sql("webhooks_due")).all()
                last_error = ""
            except sa.exc.SQLAlchemyError as error:  # the database may come back
                if last_error != type(error).__name__:
                    last_error = type(error).__name__
                    say(f"Cannot read the webhooks ({last_error}); trying again.")
                continue
            for number in due:
                if number not in running:
                    running[number] = pool.submit(_catch_up, engine, number, stop, seconds, say)


def _catch_up(
    engine: sa.Engine, number: int, stop: threading.Event, seconds: float, say: Say
) -> None:
    """Deliver all outstanding publications to one webhook, up to the first failure."""
    with contextlib.suppress(sa.exc.SQLAlchemyError):  # `run` reports it
        while not stop.is_set() and deliver(engine, number, seconds=seconds, say=say):
            pass


def deliver(
    engine: sa.Engine, number: int, *, seconds: float = _TIME_LIMIT, say: Say = lambda _: None
) -> bool:
    """Deliver the next publication to a webhook; return whether the receiver accepted it.

    False also where there is none, before the time of the next try, and while another worker
    delivers. A publication becomes a dead letter after `TRIES` tries.
    """
    with database.session(engine) as session:
        row = session.execute(sql("webhook_next"), {"webhook": number}).one_or_none()
        if row is None:
            return False
        webhook = session.get_one(Webhook, number)
        publication: int = row.publication
        try:
            _post(webhook, publication, _message(publication, row), seconds)
        except _DeliveryError as failure:
            _schedule_retry(session, webhook, publication, row.dead, str(failure), say)
            return False
        webhook.attempts, webhook.failure, webhook.next_at = 0, None, None
        webhook.delivered_at = session.scalar(sa.select(sa.func.clock_timestamp()))
        if row.dead:
            session.delete(session.get_one(DeadLetter, (number, publication)))
        else:
            webhook.delivered = publication
        return True


def _schedule_retry(
    session: Session, webhook: Webhook, publication: int, is_dead: bool, failure: str, say: Say
) -> None:
    """Set the time of the next try, or make the publication a dead letter after the last."""
    webhook.attempts += 1
    webhook.failure = failure
    sentence = f"Webhook {webhook.id}: publication {publication} was not delivered ({failure})"
    if webhook.attempts < TRIES:
        wait = min(_FIRST_WAIT * 2 ** (webhook.attempts - 1), _LONGEST_WAIT)
        now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
        webhook.next_at = now + dt.timedelta(seconds=wait)
        say(f"{sentence}; next try in {wait:.0f} s.")
        return
    letter = DeadLetter(
        webhook_id=webhook.id, publication=publication, failure=failure, again=False
    )
    session.merge(letter)
    webhook.attempts, webhook.next_at = 0, None
    if not is_dead:
        webhook.delivered = publication
    say(f"{sentence}; it is a dead letter now.")


def _post(webhook: Webhook, publication: int, body: bytes, seconds: float) -> None:
    """Send a message. Raises `_DeliveryError`."""
    message, now = f"publication-{publication}", int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"landdata/{version('landdata')}",
        "webhook-id": message,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(webhook.secret, message, now, body),
    }
    try:
        status = asyncio.run(_status(webhook.url, headers, body, seconds))
    except (TimeoutError, httpx.TimeoutException):
        raise _DeliveryError(f"no response in {seconds:g} s") from None
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise _DeliveryError(_reason(error)[:200]) from None
    if 300 <= status < 400:
        raise _DeliveryError(f"status {status}; redirects are not followed")
    if not 200 <= status < 300:
        raise _DeliveryError(f"status {status}")


async def _status(url: str, headers: dict[str, str], body: bytes, seconds: float) -> int:
    """POST, and return the status of the response. Raises `TimeoutError` and httpx's errors."""
    client = httpx.AsyncClient(verify=_tls(), trust_env=False, timeout=seconds)
    async with (
        asyncio.timeout(seconds),  # httpx's time limits start again with every byte
        client,
        client.stream("POST", url, headers=headers, content=body) as response,
    ):
        return response.status_code


@cache
def _tls() -> ssl.SSLContext:
    """Return the system's certificates, to which the operator may have added his; not certifi's."""
    return ssl.create_default_context()


def _reason(error: BaseException) -> str:
    """Return the operating system's reason for a failed request, or the name of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            cause = cause.exceptions[0]
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or type(cause).__name__}"
        if isinstance(cause, OSError) and cause.errno:
            # `strerror` is asyncio's, with the address in it; a resolver's numbers are negative
            reason = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror
            return f"no response: {reason}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.RemoteProtocolError):
        return "no HTTP response"  # the message may quote the receiver's bytes
    return f"no response: {type(error).__name__}"
