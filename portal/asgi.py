"""One application of both: the OGC API at `/ogc` (Starlette), all else the portal (Flask)."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
from a2wsgi import WSGIMiddleware
from starlette.types import Message, Receive, Scope, Send
from werkzeug.exceptions import ClientDisconnected

import ogc.app
import portal.app
from landdata.settings import Settings
from ogc.negotiation import PREFIX

_THREADS = 16


def create() -> Application:
    """Return the application over the store of the environment's settings, for a worker process.

    The log tells of a file of more collections that makes no sense: `landdata serve` has checked
    it, and it may have been spoilt since. Raises as `portal.app.create_app`.
    """
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    application = Application(Settings.load(), strict=False)
    gc.freeze()  # what is there for good is not looked through again and again
    return application


def _end_with_the_service() -> None:
    """End this worker when the process that would end it was killed."""
    service = multiprocessing.parent_process()
    if service is not None:
        service.join()
        os.kill(os.getpid(), signal.SIGTERM)


class Application:
    """The OGC API and the portal over a store, as one ASGI application."""

    def __init__(
        self, settings: Settings, engine: sa.Engine | None = None, *, strict: bool = True
    ) -> None:
        """Raises as `portal.app.create_app` and, where `strict`, as `ogc.app.Application`."""
        self.portal = portal.app.create_app(settings, engine)
        self.ogc = ogc.app.Application(settings, strict=strict)
        # Any: a2wsgi has types of its own for the same
        self._wsgi: Any = WSGIMiddleware(cast("Any", self._portal), workers=_THREADS)
        self._known_as = _known_as(settings.url) if settings.url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request; `lifespan` is the server's beginning and end."""
        if scope["type"] == "lifespan":
            await self.ogc(scope, receive, send)
            return
        path = scope["path"]
        if self._known_as is not None:
            self._known_as(scope)
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            await self.ogc(scope, receive, send)
            return
        if not scope["query_string"].isascii():  # WSGI has it in ASCII
            scope["query_string"] = quote(scope["query_string"], safe=_ASCII).encode()

        async def receive_body() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected  # half a body is none
            return message

        await self._wsgi(scope, receive_body, send)

    def _portal(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        environ["wsgi.input_terminated"] = True  # a body in chunks has no length, but an end
        return self.portal.wsgi_app(environ, start)


_ASCII = "".join(map(chr, range(128)))


def _known_as(url: str) -> Callable[[Scope], None]:
    """Return what makes a request one of the service's address, whatever it says itself."""
    parts = urlsplit(url)
    host, root = parts.netloc.encode(), parts.path.rstrip("/")

    def rewrite(scope: Scope) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [(b"host", host), *headers]
        scope["scheme"] = parts.scheme
        scope["root_path"], scope["path"] = root, root + scope["path"]

    return rewrite
