"""Webhooks: other systems are told of every publication, in order, signed, until they have it.

    add, remove, everything     who is told
    dead_letters, retry         what could not be told, and once more
    run                         what a worker does about it

What is to be told stands in the publications themselves, and how far a webhook is in its own row.
So nothing is put into a queue that could be lost: what was committed is told, what was rolled back
never. One transaction is one delivery; it holds the webhook's row, so that workers never send to
one receiver at once, and the one that dies in the middle leaves it to the next.

The form is that of Standard Webhooks (https://www.standardwebhooks.com), for which receivers have
libraries. An operator names the addresses. They are asked as they are: by HTTP or HTTPS, without
redirects, proxies and cookies, in limited time; of the answer the status is read and no more.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import json
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.errors import BadRequest, NotFound
from landdata.store import database, publications
from landdata.store.database import sql
from landdata.store.tables import DeadLetter, Publication, Webhook

TRIES: Final = 30  # of one publication: 21 hours
LONGEST: Final = 3600.0  # seconds between two tries; the first wait is
_FIRST: Final = 10.0
_SECONDS: Final = 10.0  # for one delivery
_POLL: Final = 1.0
_AT_ONCE: Final = 8  # receivers; one that hangs must not hold up the others
_CHANGES: Final = "/ogc/collections/parcels/changes"
_PREFIX: Final = "whsec_"

Say = Callable[[str], None]


class _NotTakenError(Exception):
    """The receiver did not take it; says why in a few words."""


# -- for the operator ------------------------------------------------------------------------


def new_secret() -> str:
    """Return a secret as the receiver must know it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def add(session: Session, url: str, secret: str) -> Webhook:
    """Tell `url` of every publication from now on. Raises `BadRequest`."""
    _split(url)
    _key(secret)
    latest = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Publication.number), 0)))
    made = Webhook(url=url, secret=secret, delivered=latest)
    session.add(made)
    session.flush()
    return made


def remove(session: Session, number: int) -> None:
    """Forget a webhook and its dead letters; waits for what is being sent. Raises `NotFound`."""
    session.delete(_get(session, number))


def everything(session: Session) -> list[dict[str, Any]]:
    """Return the webhooks with how far each is; no secret."""
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
    """Return what could not be told, of one webhook or of all. Raises `NotFound`."""
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
    """Have a webhook's dead letters sent again, the oldest first, and what waits at once.

    Returns how many dead letters that are. Raises `NotFound`.
    """
    webhook = _get(session, number)
    webhook.attempts, webhook.next_at = 0, None
    dead = sa.update(DeadLetter).where(DeadLetter.webhook_id == number).values(again=True)
    return session.execute(dead).rowcount  # type: ignore[attr-defined, no-any-return]


def _get(session: Session, number: int) -> Webhook:
    found = session.get(Webhook, number, with_for_update=True)
    if found is None:
        raise NotFound(
            f"There is no webhook {number}.", hint="`landdata webhook list` tells those there are."
        )
    return found


def _split(url: str) -> SplitResult:
    """Take an address apart. Raises `BadRequest` for one that is not asked."""
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"[!-~]+", url)
    except ValueError:
        fine = False
    if not fine or parts.scheme not in ("http", "https") or parts.fragment:
        raise BadRequest(
            "The address of a webhook must be http:// or https://, in ASCII, without a fragment.",
            hint="For example https://example.org/landdata.",
        )
    if parts.username is not None or parts.password is not None:
        raise BadRequest(
            "The address of a webhook must not hold a name or password.",
            hint="The signature tells the receiver who sends.",
        )
    return parts


def _key(secret: str) -> bytes:
    """Return the key that a secret stands for. Raises `BadRequest`, without the secret."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        if not 24 <= len(key) <= 64:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadRequest(
            f"The secret must be {_PREFIX} and 24 to 64 random bytes in base64.",
            hint=f"Make one: echo {_PREFIX}$(openssl rand -base64 32)",
        ) from None
    return key


# -- what is told ----------------------------------------------------------------------------


def signature(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 over its id, its time (Unix) and its body."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _message(publication: int, counts: sa.Row[Any]) -> bytes:
    """Return what is told of a publication: where to read it, and how much it is."""
    token = publications.before(publication).token()
    published: dt.datetime = counts.published_at.astimezone(dt.UTC)
    told = {
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
    return json.dumps(told, separators=(",", ":")).encode()


# -- what a worker does ----------------------------------------------------------------------


def run(
    engine: sa.Engine,
    stop: threading.Event,
    *,
    seconds: float = _SECONDS,
    say: Say = lambda _: None,
) -> None:
    """Tell every webhook what it has not been told yet, until `stop` is set."""
    running: dict[int, Future[None]] = {}
    troubled = ""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
        while not stop.wait(_POLL):
            running = {number: each for number, each in running.items() if not each.done()}
            try:
                with database.session(engine) as session:
                    due = session.scalars(sql("webhooks_due")).all()
                troubled = ""
            except sa.exc.SQLAlchemyError as error:  # it may come back
                if troubled != type(error).__name__:
                    troubled = type(error).__name__
                    say(f"Webhooks are out of reach ({troubled}); trying again.")
                continue
            for number in due:
                if number not in running:
                    running[number] = pool.submit(_catch_up, engine, number, stop, seconds, say)


def _catch_up(
    engine: sa.Engine, number: int, stop: threading.Event, seconds: float, say: Say
) -> None:
    """Tell one webhook all it has not been told, or as far as its receiver takes it."""
    with contextlib.suppress(sa.exc.SQLAlchemyError):  # then `run` meets it too
        while not stop.is_set() and deliver(engine, number, seconds=seconds, say=say):
            pass


def deliver(
    engine: sa.Engine, number: int, *, seconds: float = _SECONDS, say: Say = lambda _: None
) -> bool:
    """Tell a webhook of the next publication; return whether it was taken.

    It is not where there is none, where it is not yet time to try again, and where another worker
    is just telling it. A publication that was tried `TRIES` times becomes a dead letter.
    """
    with database.session(engine) as session:
        found = session.execute(sql("webhook_next"), {"webhook": number}).one_or_none()
        if found is None:
            return False
        webhook = session.get_one(Webhook, number)
        publication: int = found.publication
        try:
            _post(webhook, publication, _message(publication, found), seconds)
        except _NotTakenError as failure:
            _not_taken(session, webhook, publication, found.dead, str(failure), say)
            return False
        webhook.attempts, webhook.failure, webhook.next_at = 0, None, None
        webhook.delivered_at = session.scalar(sa.select(sa.func.clock_timestamp()))
        if found.dead:
            session.delete(session.get_one(DeadLetter, (number, publication)))
        else:
            webhook.delivered = publication
        return True


def _not_taken(
    session: Session, webhook: Webhook, publication: int, dead: bool, failure: str, say: Say
) -> None:
    webhook.attempts += 1
    webhook.failure = failure
    what = f"Webhook {webhook.id}: publication {publication} was not taken ({failure})"
    if webhook.attempts < TRIES:
        wait = min(_FIRST * 2 ** (webhook.attempts - 1), LONGEST)
        now = session.scalars(sa.select(sa.func.clock_timestamp())).one()
        webhook.next_at = now + dt.timedelta(seconds=wait)
        say(f"{what}; again in {wait:.0f} s.")
        return
    letter = DeadLetter(
        webhook_id=webhook.id, publication=publication, failure=failure, again=False
    )
    session.merge(letter)
    webhook.attempts, webhook.next_at = 0, None
    if not dead:
        webhook.delivered = publication
    say(f"{what}; it is a dead letter now.")


def _post(webhook: Webhook, publication: int, body: bytes, seconds: float) -> None:
    """Send a message. Raises `_NotTakenError`."""
    message, now = f"publication-{publication}", int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"landdata/{version('landdata')}",
        "webhook-id": message,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(webhook.secret, message, now, body),
    }
    try:
        status = _status(webhook.url, headers, body, seconds)
    except TimeoutError:
        raise _NotTakenError(f"no answer in {seconds:g} s") from None
    except ssl.SSLError as error:
        raise _NotTakenError(f"TLS: {error.reason or type(error).__name__}") from None
    except (OSError, http.client.HTTPException, BadRequest, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise _NotTakenError(f"no answer: {why}"[:200]) from None
    if 300 <= status < 400:
        raise _NotTakenError(f"status {status}; redirects are not followed")
    if not 200 <= status < 300:
        raise _NotTakenError(f"status {status}")


def _status(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
    """POST, and return the status of the answer. Raises `TimeoutError` and what sockets raise."""
    parts = _split(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    late = threading.Event()

    def end() -> None:
        """The time limit of a socket begins anew with each byte; this one does not."""
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        connection.close()
