"""The OGC API over a store, for tests: in this process, or on a real port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal
from support import stored

import ogc.app
import portal.asgi
from landdata.features.collections import Collection
from landdata.settings import Settings
from landdata.store import database
from landdata.store.read_connections import Statement
from ogc.service import Service

T = TypeVar("T")


class Response:
    """A response as it was sent, still compressed, with the names that the tests read."""

    def __init__(self, response: httpx.Response, body: bytes) -> None:
        self.status_code = response.status_code
        self.headers = response.headers
        self.url = response.url
        self.data = body
        self.mimetype = response.headers.get("content-type", "").partition(";")[0]

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open: it was read whole."""

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Client:
    """A client of an ASGI application on an event loop of its own; it follows no redirect."""

    def __init__(self, application: Any, service: Service) -> None:
        self.application = application
        self.service = service
        self._opened = ExitStack()
        self._loop = self._opened.enter_context(start_blocking_portal())
        transport = httpx.ASGITransport(application)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        del self._http.headers["accept-encoding"]

    def open(
        self,
        path: str,
        *,
        method: str = "GET",
        query_string: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        base_url: str = "",
        **more: Any,
    ) -> Response:
        if query_string:
            path += ("&" if "?" in path else "?") + urlencode(query_string)
        request = self._http.build_request(method, base_url + path, headers=headers, **more)
        return self._loop.call(self._send, request)

    async def _send(self, request: httpx.Request) -> Response:
        response = await self._http.send(request, stream=True)
        return Response(response, b"".join([part async for part in response.aiter_raw()]))

    def __getattr__(self, method: str) -> Callable[..., Response]:
        return partial(self.open, method=method.upper())

    def collections(self) -> dict[str, Collection]:
        """The collections that are served."""
        return self.call(self.service.collections)

    def call(self, what: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """What a coroutine returns on the event loop of the application."""
        return self._loop.call(what, *arguments)

    def close(self) -> None:
        with self._opened:
            self._loop.call(self.service.close)


@contextmanager
def client(settings: Settings, engine: sa.Engine | None = None) -> Iterator[Client]:
    """A client of the OGC API alone."""
    application = ogc.app.Application(settings)
    with closing(Client(application, application.service)) as opened:
        yield opened


@contextmanager
def whole(settings: Settings, engine: sa.Engine | None = None, **more: bool) -> Iterator[Client]:
    """A client of the whole application."""
    application = portal.asgi.Application(settings, engine, **more)
    with closing(Client(application, application.ogc.service)) as opened:
        yield opened


@contextmanager
def lattice(settings: Settings) -> Iterator[Client]:
    """A client of a store that holds the lattice."""
    engine = database.engine(settings)
    try:
        stored.lattice(engine)
        with client(settings, engine) as opened:
            yield opened
    finally:
        engine.dispose()


def statements(client: Client) -> list[Statement]:
    """All that goes to the database from now on."""
    pool = client.service.pool
    sent: list[Statement] = []
    fetch = pool.fetch

    async def recorded(statement: Statement) -> Any:
        sent.append(statement)
        return await fetch(statement)

    pool.fetch = recorded  # type: ignore[method-assign]
    return sent


@contextmanager
def server(settings: Settings, module: str = "") -> Iterator[str]:
    """The address of the landing page of `landdata serve`, on a port of this machine."""
    port = free_port()
    words = [sys.executable, "-m", module] if module else _SERVE
    process = subprocess.Popen(words, env=_environment(settings, port), stdout=subprocess.DEVNULL)
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
        env=_environment(settings, free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    """A port of this machine at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_SERVE = [sys.executable, "-m", "portal", "serve"]


def _environment(settings: Settings, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
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
