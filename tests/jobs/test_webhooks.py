"""Webhooks with real receivers: signed, in order, until they are taken, and never without cause."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import logging
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.orm import Session
from support import served, stored
from support.surveys import parcel, plot, write
from support.workers import worker

from landdata.batches import acceptance, checking
from landdata.cli import cli
from landdata.errors import BadRequest, NotFound
from landdata.jobs import webhooks
from landdata.settings import Settings
from landdata.store import communes, database, publications

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # that of the standard's example


class Receiver(ThreadingHTTPServer):
    """A receiver on a port of this machine; `answer` decides what it says to each message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[int], int | None] = lambda _: 204
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/told?by=landdata"

    @property
    def told(self) -> list[int]:
        """The publications, as they came."""
        return [json.loads(body)["data"]["publication"] for _, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
        status = self.server.answer(len(self.server.requests))
        if status is None:
            return  # hangs up without a word
        if status == 0:  # a byte now and then, for ever
            with self.connection:
                while not self.server.released.wait(0.1):
                    try:
                        self.connection.sendall(b"H")
                    except OSError:
                        return
            return
        self.send_response(status)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def batch(engine: sa.Engine) -> int:
    return stored.batch(engine, "a")


def add(engine: sa.Engine, url: str) -> int:
    with database.session(engine) as session:
        return webhooks.add(session, url, SECRET).id


def publish(engine: sa.Engine, batch: int, number: int) -> None:
    """One more parcel, and its publication."""
    with database.session(engine) as session:
        after = publications.last_version(session)
    stored.parcel(engine, batch, stored.square(number, 0), number=str(number))
    with database.session(engine) as session:
        publications.publish(session, batch, after=after, valid_from=stored.FIRST)


def state(engine: sa.Engine) -> dict[str, Any]:
    with database.session(engine) as session:
        (found,) = webhooks.list_all(session)
    return found


def wait_is_over(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE webhooks SET next_at = clock_timestamp()"))


def verify(headers: dict[str, str], body: bytes) -> None:
    """As a receiver does it."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(headers["webhook-signature"], f"v1,{expected}")
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60


def test_the_signature_is_that_of_the_standard() -> None:
    body = b'{"test": 2432232314}'
    made = webhooks.signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made != webhooks.signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265331, body)
    assert webhooks.new_secret() != webhooks.new_secret()


def test_a_notification_links_to_the_changes(
    engine: sa.Engine, settings: Settings, receiver: Receiver, tmp_path: Any
) -> None:
    with database.session(engine) as session:
        communes.add(session, "99901", "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
    number = add(engine, receiver.url)
    assert not webhooks.deliver(engine, number)
    first = [parcel(n, plot(n, 0)) for n in range(1, 6)]
    second = [parcel(2, plot(2, 0, height=25)), parcel(9, plot(9, 0))]
    for name, rows in (("a", first), ("b", second)):
        with database.session(engine) as session:
            path = write(tmp_path / f"{name}.zip", rows)
            made = checking.receive_and_check(
                session, settings, path, commune="99901", by="surveyor"
            )
        with database.session(engine) as session:
            acceptance.accept(session, settings, made.id, by="officer")
    with database.session(engine) as session:
        after = publications.last_version(session)
        ended = sa.text(
            "UPDATE parcel_versions SET valid_to = clock_timestamp()"
            " WHERE number = '4' RETURNING id"
        )
        publications.publish(
            session, 1, after=after, valid_from=stored.SECOND, retired=session.scalars(ended).all()
        )
    assert [webhooks.deliver(engine, number) for _ in range(4)] == [True, True, True, False]
    counts = []
    with served.client(settings, engine) as client:
        for headers, body in receiver.requests:
            verify(headers, body)
            assert headers["content-type"] == "application/json"
            told = json.loads(body)
            assert told["type"] == "parcels.published"
            data = told["data"]
            assert headers["webhook-id"] == f"publication-{data['publication']}"
            counts.append((data["created"], data["changed"], data["retired"]))
            changes = client.get(f"{data['changes']}&limit=100").json["changes"]
            here = changes[: sum(counts[-1])]
            assert {each["published"] for each in here} == {told["timestamp"]}
            assert "surveyor" not in body.decode()
    assert counts == [(5, 0, 0), (1, 1, 0), (0, 0, 1)]
    found = state(engine)
    assert (found["delivered"], found["waiting"], found["dead"]) == (3, 0, 0)
    assert found["last"]


def test_only_changes_after_the_subscription_are_sent(
    engine: sa.Engine, receiver: Receiver, batch: int
) -> None:
    publish(engine, batch, 1)
    number = add(engine, receiver.url)
    with Session(engine) as session:
        after = publications.last_version(session)
        session.execute(sa.text("UPDATE parcel_versions SET valid_to = now()"))
        publications.publish(session, batch, after=after, valid_from=stored.SECOND, retired=[1])
        assert not webhooks.deliver(engine, number)  # not before it is committed
        session.rollback()
    assert not webhooks.deliver(engine, number)
    publish(engine, batch, 2)
    assert webhooks.deliver(engine, number)
    assert receiver.told == [2]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (500, "status 500"),
        (404, "status 404"),
        (302, "status 302; redirects are not followed"),
        (None, "no HTTP response"),
        (0, "no response in 0.5 s"),
    ],
)
def test_a_refused_notification_is_sent_again_later_and_in_order(
    engine: sa.Engine, receiver: Receiver, batch: int, answer: int | None, why: str
) -> None:
    number = add(engine, receiver.url)
    for n in (1, 2, 3):
        publish(engine, batch, n)
    receiver.answer = lambda n: 200 if n in (1, 4, 5) else answer
    assert webhooks.deliver(engine, number, seconds=0.5)
    for failures, wait in ((1, 10), (2, 20)):
        before = dt.datetime.now(dt.UTC)
        assert not webhooks.deliver(engine, number, seconds=0.5)
        found = state(engine)
        assert (found["attempts"], found["failure"], found["delivered"]) == (failures, why, 1)
        later = dt.datetime.fromisoformat(found["next"]) - before
        assert wait <= later.total_seconds() < wait + 5
        assert not webhooks.deliver(engine, number)  # not yet
        wait_is_over(engine)
    assert webhooks.deliver(engine, number)
    assert webhooks.deliver(engine, number)
    assert receiver.told == [1, 2, 2, 2, 3]
    assert [h["webhook-id"] for h, _ in receiver.requests[1:4]] == ["publication-2"] * 3
    found = state(engine)
    assert (found["attempts"], found["failure"], found["waiting"]) == (0, None, 0)


def test_an_unreachable_subscriber_is_tried_again(engine: sa.Engine, batch: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    add(engine, f"http://127.0.0.1:{port}")
    publish(engine, batch, 1)
    assert not webhooks.deliver(engine, 1)
    assert state(engine)["failure"] == "no response: Connection refused"


def test_a_receiver_must_speak_tls_where_the_address_says_so(
    engine: sa.Engine, receiver: Receiver, batch: int
) -> None:
    add(engine, receiver.url.replace("http:", "https:"))
    publish(engine, batch, 1)
    assert not webhooks.deliver(engine, 1)
    assert state(engine)["failure"].startswith("TLS: ")
    assert not receiver.requests


def test_after_so_many_tries_it_is_a_dead_letter_and_the_next_goes_on(
    engine: sa.Engine, receiver: Receiver, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TRIES", 3)
    number = add(engine, receiver.url)
    for n in (1, 2, 3):
        publish(engine, batch, n)
    receiver.answer = lambda n: 500 if n <= 6 else 200
    for _ in range(6):
        assert not webhooks.deliver(engine, number)
        wait_is_over(engine)
    assert webhooks.deliver(engine, number)
    assert receiver.told == [1, 1, 1, 2, 2, 2, 3]
    with database.session(engine) as session:
        dead = webhooks.dead_letters(session, number)
        assert [(d["publication"], d["failure"]) for d in dead] == [
            (1, "status 500"),
            (2, "status 500"),
        ]
    publish(engine, batch, 4)
    with database.session(engine) as session:
        assert webhooks.retry(session, number) == 2
    receiver.answer = lambda n: 500 if n <= 10 else 200  # once more in vain, then taken
    for _ in range(3):
        assert not webhooks.deliver(engine, number)
        wait_is_over(engine)
    assert [webhooks.deliver(engine, number) for _ in range(3)] == [True, True, False]
    assert receiver.told[7:] == [1, 1, 1, 2, 4]  # the dead ones first
    assert state(engine)["dead"] == 1
    with database.session(engine) as session:
        webhooks.retry(session, number)
    assert webhooks.deliver(engine, number)
    assert receiver.told[-1] == 1
    assert state(engine)["dead"] == 0
    with database.session(engine) as session:
        webhooks.remove(session, number)
        with pytest.raises(NotFound):
            webhooks.retry(session, number)


def test_two_workers_do_not_tell_one_receiver_at_once(
    engine: sa.Engine, receiver: Receiver, batch: int
) -> None:
    number = add(engine, receiver.url)
    publish(engine, batch, 1)
    inside, go = threading.Event(), threading.Event()

    def answer(_: int) -> int:
        inside.set()
        assert go.wait(20)
        return 200

    receiver.answer = answer
    one = threading.Thread(target=webhooks.deliver, args=(engine, number))
    one.start()
    assert inside.wait(20)
    assert not webhooks.deliver(engine, number)
    go.set()
    one.join()
    assert receiver.told == [1]


@pytest.mark.slow
def test_a_subscriber_that_hangs_delays_no_other(
    engine: sa.Engine, settings: Settings, receiver: Receiver, batch: int
) -> None:
    with Receiver() as hanging:
        thread = threading.Thread(target=hanging.serve_forever)
        thread.start()
        hanging.answer = lambda _: 0
        add(engine, hanging.url)
        add(engine, receiver.url)
        with worker(settings) as process:
            for n in range(1, 6):
                publish(engine, batch, n)
            until(lambda: receiver.told == [1, 2, 3, 4, 5])
            until(lambda: bool(hanging.requests))
            hanging.released.set()
            process.terminate()
            assert process.wait(20) == 0
            said = process.communicate()[0]
        assert receiver.url not in said
        assert SECRET not in said
        hanging.shutdown()
        thread.join()
    for headers, body in receiver.requests:
        verify(headers, body)


@pytest.mark.slow
def test_the_next_worker_sends_what_a_killed_worker_was_sending(
    engine: sa.Engine, settings: Settings, receiver: Receiver, batch: int
) -> None:
    add(engine, receiver.url)
    publish(engine, batch, 1)
    publish(engine, batch, 2)
    receiver.answer = lambda n: 0 if n == 2 else 200
    with worker(settings) as process:
        until(lambda: len(receiver.requests) == 2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert state(engine)["delivered"] == 1
    with worker(settings):
        until(lambda: state(engine)["waiting"] == 0)
    assert receiver.told == [1, 2, 2]
    assert len({h["webhook-id"] for h, _ in receiver.requests}) == 2


def until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "example.org",
        "http://",
        "http://user:word@example.org/",
        "https://example.org/a b",
        "https://example.org/\r\nX: y",
        "https://example.org:99999/",
        "https://exämple.org/",
        "https://example.org/#x",
    ],
)
def test_an_address_that_is_not_asked_is_refused(engine: sa.Engine, url: str) -> None:
    with pytest.raises(BadRequest), database.session(engine) as session:
        webhooks.add(session, url, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(engine: sa.Engine, secret: str) -> None:
    with pytest.raises(BadRequest) as caught, database.session(engine) as session:
        webhooks.add(session, "https://example.org/", secret)
    if len(secret) > 6:
        assert secret not in caught.value.message + (caught.value.hint or "")


@contextmanager
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LANDDATA_HOME", str(settings.home))
    monkeypatch.setenv("LANDDATA_DATABASE_URL", settings.database_url or "")
    yield


def test_the_command_never_shows_a_secret(
    engine: sa.Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("COLUMNS", "200")
    said = ""

    def run(*arguments: str, given: str | None = None) -> Any:
        nonlocal said
        done = CliRunner().invoke(cli, ["webhook", *arguments], input=given, catch_exceptions=False)
        said += done.output
        return json.loads(done.output) if "--json" in arguments else done.output

    with environment(settings, monkeypatch):
        given = run("add", "https://example.org/1", "--secret-file", "-", "--json", given=SECRET)
        assert given == {"webhook": 1, "secret_file": None}
        made = run("add", "https://example.org/2", "--json")
        path = settings.home / "webhooks" / "2.secret"
        assert made == {"webhook": 2, "secret_file": str(path)}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [w["url"] for w in run("list", "--json")] == [
            "https://example.org/1",
            "https://example.org/2",
        ]
        assert "https://example.org/2" in run("list")
        assert run("dead", "--json") == []
        assert "0 dead letters" in run("retry", "2")
        secret = path.read_text().strip()
        run("remove", "2")
        assert not path.exists()
        assert len(run("list", "--json")) == 1
    for each in (secret, SECRET):
        assert each not in said
        assert each not in caplog.text


def test_the_reader_sees_no_webhook(cluster: Any, engine: sa.Engine, settings: Settings) -> None:
    name = sa.make_url(settings.database_url or "").database or ""
    reader = sa.create_engine(cluster.url(name, role="landdata_reader"))
    with reader.connect() as connection, pytest.raises(sa.exc.ProgrammingError, match="denied"):
        connection.execute(sa.text("SELECT secret FROM webhooks"))
    reader.dispose()
