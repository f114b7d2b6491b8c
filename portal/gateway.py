"""The application on an event loop (ASGI), as the web server takes it.

What is asked most goes the short way, here on the loop; all else goes through Flask, in threads.
A thread is held while Flask works and while a block of a stream is made, and not while a client
reads. Who leaves ends what is made for him. A stream that breaks off ends the connection, so that
nobody takes half a file for a whole one.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from landdata.settings import Settings
from landdata.store.read_pool import Lines
from ogc import short
from ogc.negotiation import LEFT, OPEN, VARY
from portal.app import ALWAYS, create_app

_THREADS = 16
_WHOLE = 1 << 20  # bytes: a shorter answer is sent as a whole
_SOON = 0.1  # seconds after which it is watched whether who waits is still there

_Headers = list[tuple[bytes, bytes]]
_Blocks = Generator[bytes, None, None]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_WSGI = {
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

_LOG = logging.getLogger(__name__)


class BrokenOffError(Exception):
    """A stream could not be ended; the server closes the connection. Why is in the log."""


def create() -> Application:
    """Return the application over the store of the environment's settings.

    A file of more collections that makes no sense is told in the log: `landdata serve` has looked
    at it, and it may have been spoilt since. Raises as `create_app` otherwise.
    """
    settings = Settings.load()
    made = Application(create_app(settings, strict=False), settings.url)
    gc.freeze()  # what is there for good is not looked through again and again
    return made


class Application:
    """Answers on the event loop, and has Flask answer in threads.

    Clients know it by `url`, or else by the address that they ask.
    """

    def __init__(self, flask: Flask, url: str | None = None) -> None:
        self._known_as = _known_as(url) if url else {}
        self._flask = flask
        self._service = flask.extensions["ogc"]
        self._lines = Lines(self._service.url)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flask")
        self._always = _encoded((OPEN | {"Vary": ", ".join(VARY)} | ALWAYS).items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; `lifespan` tells of the server's beginning and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            environ = _environ(scope) | self._known_as
            if not await self._shortly(environ, receive, send):
                await self._long(environ, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        for told in ("startup", "shutdown"):
            await receive()
            if told == "shutdown":
                self.close()
            await send({"type": f"lifespan.{told}.complete"})

    def close(self) -> None:
        """End the connections to the database."""
        self._lines.close()
        self._service.close()

    async def _shortly(self, environ: dict[str, Any], receive: Receive, send: Send) -> bool:
        """Answer on the short way, if there is one."""
        try:
            steps = short.steps(self._service, environ)
            if steps is None:
                return False
            answer = await self._lines.follow(steps, partial(_left, receive))
        except Exception as error:  # whatever it is, it is told once, over there
            environ[short.ERROR] = error
            return False
        if answer is None:
            return False
        headers = _encoded(answer.headers) + self._always
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return True

    async def _long(self, environ: dict[str, Any], receive: Receive, send: Send) -> None:
        """Have Flask answer."""
        run = partial(asyncio.get_running_loop().run_in_executor, self._threads)
        status, headers, body = await self._waited_for(run, environ, receive)
        start = {"type": "http.response.start", "status": status, "headers": headers}
        if isinstance(body, bytes):
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        left = asyncio.ensure_future(_left(receive))
        try:
            await send(start)
            while not left.done() and (block := await run(next, body, None)) is not None:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        except Exception as error:  # whatever it is, the client can't be told any more
            _LOG.error("%s while a stream was made", type(error).__name__)
            raise BrokenOffError from None
        finally:
            left.cancel()
            await run(body.close)
        await send({"type": "http.response.body", "body": b""})

    async def _waited_for(
        self, run: Callable[..., asyncio.Future[Any]], environ: dict[str, Any], receive: Receive
    ) -> Any:
        """Have Flask begin to answer; where that takes long, tell it when the client leaves."""
        told: Future[None] = Future()
        begun = run(self._begun, environ | {LEFT: told})
        await asyncio.wait({begun}, timeout=_SOON)
        if not begun.done():
            left = asyncio.ensure_future(_left(receive))
            either: set[asyncio.Future[Any]] = {begun, left}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
        if not begun.done():
            await asyncio.to_thread(told.set_result, None)
        return await begun

    def _begun(self, environ: dict[str, Any]) -> tuple[int, _Headers, bytes | _Blocks]:
        """Have Flask begin to answer; return status, headers, and the body or its blocks."""
        status, headers = "", []

        def start(*told: Any) -> Any:
            nonlocal status, headers
            status, headers = told[:2]

        whole = {**_WSGI, **environ, "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
        blocks = _blocks(self._flask(whole, start))
        length = int(dict(headers).get("Content-Length", _WHOLE))
        body = b"".join(blocks) if length < _WHOLE else blocks
        return int(status[:3]), _encoded(headers), body


def _blocks(made: Any) -> _Blocks:
    with closing(made):
        yield from made


async def _left(receive: Receive) -> None:
    """Wait until the client has gone. What it sends is not read: no address takes anything."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _encoded(headers: Iterable[tuple[str, str]]) -> _Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _known_as(url: str) -> dict[str, str]:
    """Return what a request has of an address, as WSGI has it."""
    parts = urlsplit(url)
    return {
        "wsgi.url_scheme": parts.scheme,
        "HTTP_HOST": parts.netloc,
        "SCRIPT_NAME": parts.path.rstrip("/"),
    }


def _environ(scope: Scope) -> dict[str, Any]:
    """Return a request as WSGI has it, without what is the same of all."""
    server, port = scope.get("server") or ("localhost", 80)
    client, _ = scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client,
        "wsgi.url_scheme": scope["scheme"],
    }
    for name, value in scope["headers"]:
        key = _key(name)
        told = value.decode("latin-1")
        if key in environ:  # sent more than once
            told = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{told}"
        environ[key] = told
    return environ


@lru_cache(256)
def _key(header: bytes) -> str:
    name = header.decode("latin-1").upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
