"""The OGC API over a store, for tests: through Flask's client, or on a real port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import flask
import sqlalchemy as sa
from flask.testing import FlaskClient
from support import stored

from landdata.settings import Settings
from landdata.store import database
from landdata.store.read_connections import Question
from ogc.app import create_blueprint


@contextmanager
def client(settings: Settings, engine: sa.Engine) -> Iterator[FlaskClient]:
    """Flask's client of an application that holds the blueprint alone."""
    app = flask.Flask("served")
    blueprint = create_blueprint(settings)
    app.register_blueprint(blueprint)
    try:
        yield app.test_client()
    finally:
        blueprint.service.close()


@contextmanager
def lattice(settings: Settings) -> Iterator[FlaskClient]:
    """Flask's client of a store that holds the lattice."""
    engine = database.engine(settings)
    try:
        stored.lattice(engine)
        with client(settings, engine) as opened:
            yield opened
    finally:
        engine.dispose()


def questions(client: FlaskClient) -> list[Question]:
    """All that goes to the database from now on."""
    reader = client.application.blueprints["ogc"].service.reader  # type: ignore[attr-defined]
    asked: list[Question] = []
    answered = reader._asked
    reader._asked = lambda question: (asked.append(question), answered(question))[1]
    return asked


@contextmanager
def server(settings: Settings) -> Iterator[str]:
    """The address of the landing page of `landdata serve`, on a port of this machine."""
    port = _free()
    process = subprocess.Popen(_SERVE, env=_environment(settings, port), stdout=subprocess.DEVNULL)
    try:
        _answered(process, f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}/ogc"
    finally:
        process.terminate()
        process.wait(20)


def refused(settings: Settings) -> subprocess.CompletedProcess[str]:
    """How `landdata serve` ends that does not begin."""
    return subprocess.run(
        _SERVE,
        env=_environment(settings, _free()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_SERVE = [Path(sys.executable).parent / "landdata", "serve"]


def _environment(settings: Settings, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "LANDDATA_HOME": str(settings.home),
        "LANDDATA_DATABASE_URL": str(settings.database_url),
        "LANDDATA_PORT": str(port),
        "LANDDATA_LANGUAGE": settings.language,
        **({"LANDDATA_URL": settings.url} if settings.url else {}),
        **({"LANDDATA_COLLECTIONS": str(settings.collections)} if settings.collections else {}),
    }


def _answered(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            urllib.request.urlopen(url, timeout=30).read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")
