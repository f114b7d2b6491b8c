"""The OGC API over a store, for tests: through Flask's client, or on a real port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import flask
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from landdata.settings import Settings
from ogc.api import create_blueprint


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
def server(settings: Settings, engine: sa.Engine) -> Iterator[str]:
    """The address of the landing page, served on a port of this machine."""
    with client(settings, engine) as made:
        listening = make_server("127.0.0.1", 0, made.application, threaded=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/ogc"
        finally:
            listening.shutdown()
            thread.join()
            listening.server_close()
