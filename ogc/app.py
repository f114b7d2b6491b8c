"""The OGC API as a Starlette application at `/ogc`: which address is served by which endpoint.

Every response is right behind any host name: links begin with the address of the request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landdata.errors import NotFound
from landdata.features import collections as features_collections
from landdata.features import schemas
from landdata.features.media_types import HTML, JSON, OPENAPI, SCHEMA
from landdata.settings import Settings
from landdata.store import database
from ogc import changes, exports, features, html, tiles
from ogc import openapi as openapi_document
from ogc.conformance import CONFORMANCE
from ogc.disconnects import CancelledOnDisconnect, Disconnected
from ogc.errors import READ, MethodNotAllowed, error_response
from ogc.negotiation import PREFIX, Request
from ogc.responses import Response, json_response
from ogc.service import Service

#: A page loads from us alone and runs no script that stands in it.
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'self'"
)
#: Headers of every response, of the portal too.
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
#: Headers of every response of the OGC API. Pages of any origin may read: what is here is public.
HEADERS = SECURITY_HEADERS | {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "Accept-Ranges, Content-Crs, Content-Disposition, Content-Range, ETag, Location,"
        " Preference-Applied, Retry-After"
    ),
    "Vary": "Accept, Accept-Language, Accept-Encoding",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_OPTIONS = [
    ("Allow", READ),
    ("Access-Control-Allow-Methods", READ),
    (
        "Access-Control-Allow-Headers",
        "Accept, Accept-Language, If-Modified-Since, If-None-Match, Prefer, Range",
    ),
]
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_STATIC = Path(__file__).with_name("static")

_Respond = Callable[..., Awaitable[ASGIApp]]


class BrokenOff(Exception):
    """A stream could not be ended, and the server closes the connection; the log has the cause."""


class Application:
    """The OGC API over a store, as an ASGI application."""

    def __init__(self, settings: Settings, *, strict: bool = True) -> None:
        """Begin to serve; where `strict`, raises `BadRequest` for a wrong file of collections.

        Otherwise the log says what is wrong with it, and the other collections are served. The
        store is read as `database.reading_url` says, on read-only connections with a time limit.
        """
        self.service = Service(settings, database.reading_url(settings), strict=strict)
        self._router = Router(
            routes(self.service), redirect_slashes=False, default=_nothing, lifespan=self._lifespan
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            await self._respond(scope, receive, send_with_headers)
        except Disconnected:
            pass
        except Exception as error:
            language = self.service.error_language(Request(scope))
            response = error_response(error, _endpoint_name(scope), language)
            if is_started:
                raise BrokenOff from None
            await response(scope, receive, send_with_headers)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS":  # alike at every address: nothing here changes anything
            await Response(204, _OPTIONS)(scope, receive, send)
            return
        if method not in ("GET", "HEAD", *_WRITES):
            raise MethodNotAllowed(method)
        if "\n" in path:  # which a pattern would take for its end
            raise _not_found(Request(scope))
        if path.endswith("/"):  # as good without it
            scope["path"] = path[:-1]
        scope["app"] = self  # with one, the router raises what it would send as text
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            if error.status_code == 405:
                raise MethodNotAllowed(method) from None
            raise _not_found(Request(scope)) from None

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        yield
        self.service.close()


class Endpoint:
    """A function that responds to a request, as an ASGI application of its own.

    It gets the service, the request and the variables of the path.
    """

    def __init__(self, service: Service, respond: _Respond) -> None:
        self._service = service
        self._respond = respond
        self.name = f"{respond.__module__}.{respond.__name__}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond; what is read for it is cancelled when the client disconnects."""
        async with CancelledOnDisconnect(receive):
            request = Request(scope)
            response = await self._respond(self._service, request, **scope["path_params"])
        await response(scope, receive, send)


def routes(service: Service) -> list[BaseRoute]:
    """Return the addresses with their endpoints; those of most requests come first."""
    collection = "/collections/{collection}"
    table: tuple[tuple[str, _Respond], ...] = (
        (f"{collection}/items", features.items),
        (f"{collection}/items/{{key:path}}", features.item),
        ("/tiles/{tiling}/{z}/{y}/{x}", tiles.tile),
        (f"{collection}/tiles/{{tiling}}/{{z}}/{{y}}/{{x}}", tiles.tile),
        ("", landing),
        ("/conformance", conformance),
        ("/openapi", openapi),
        ("/collections", collections),
        (collection, describe),
        (f"{collection}/schema", schema),
        (f"{collection}/queryables", queryables),
        (f"{collection}/sortables", sortables),
        (f"{collection}/export", exports.export),
        (f"{collection}/changes", changes.changes),
        ("/exports/{job}", exports.job),
        ("/exports/{job}/{file}", exports.job_file),
        ("/tileMatrixSets", tiles.matrix_sets),
        ("/tileMatrixSets/{tiling}", tiles.matrix_set),
        ("/tiles", tiles.tilesets),
        ("/tiles/{tiling}", tiles.tileset),
        (f"{collection}/tiles", tiles.tilesets),
        (f"{collection}/tiles/{{tiling}}", tiles.tileset),
    )
    listed: list[BaseRoute] = [
        Route(PREFIX + path, Endpoint(service, respond), methods=["GET"]) for path, respond in table
    ]
    return [*listed, Mount(f"{PREFIX}/static", StaticFiles(directory=_STATIC))]


# -- the service and its collections -------------------------------------------------------------


async def landing(service: Service, request: Request) -> Response:
    """The landing page."""
    form, language = service.negotiate(request, (JSON, HTML))
    offer = await service.collections()
    describe = service.descriptions.landing
    document = await run_in_threadpool(describe, offer, request.base, language)
    if form == HTML:
        return await html.page(service, request, "landing.html", document=document, offer=offer)
    return json_response(request, document, language=language)


async def conformance(service: Service, request: Request) -> Response:
    """The conformance classes that hold."""
    form, language = service.negotiate(request, (JSON, HTML))
    document = {"conformsTo": list(CONFORMANCE)}
    if form == HTML:
        return await html.page(service, request, "conformance.html", document=document)
    return json_response(request, document, language=language)


async def openapi(service: Service, request: Request) -> Response:
    """The API definition."""
    form, language = service.negotiate(request, (OPENAPI, JSON, HTML))
    offer, storage, base = await service.collections(), service.settings.srid, request.base

    def write() -> dict[str, Any]:
        return openapi_document.document(offer, storage=storage, url=base, language=language)

    document = await run_in_threadpool(write)
    if form == HTML:
        return await html.page(service, request, "openapi.html", document=document)
    return await run_in_threadpool(
        lambda: json_response(request, document, OPENAPI, language=language)
    )


async def collections(service: Service, request: Request) -> Response:
    """All collections."""
    form, language = service.negotiate(request, (JSON, HTML))
    offer = await service.collections()
    extents = await service.extents.of_all(offer.values())
    describe = service.descriptions.collections
    document = await run_in_threadpool(describe, offer, extents, request.base, language)
    if form == HTML:
        return await html.page(service, request, "collections.html", document=document)
    return json_response(request, document, language=language)


async def describe(service: Service, request: Request, collection: str) -> Response:
    """One collection."""
    described = await service.collection(collection)
    form, language = service.negotiate(request, (JSON, HTML))
    extent = await service.extents.of(described)
    document = await run_in_threadpool(
        service.descriptions.collection, described, extent.description, request.base, language
    )
    if form == HTML:
        return await html.page(service, request, "collection.html", document=document, of=described)
    return json_response(request, document, language=language, stamp=extent.stamp)


async def schema(service: Service, request: Request, collection: str) -> Response:
    """The schema of a collection's features."""
    return await _schema(service, request, collection, schemas.schema)


async def queryables(service: Service, request: Request, collection: str) -> Response:
    """The properties by which a collection can be filtered."""
    return await _schema(service, request, collection, schemas.queryables)


async def sortables(service: Service, request: Request, collection: str) -> Response:
    """The properties by which a collection can be sorted."""
    return await _schema(service, request, collection, schemas.sortables)


async def _schema(
    service: Service,
    request: Request,
    collection: str,
    describe: Callable[[features_collections.Collection, str, str], dict[str, Any]],
) -> Response:
    of = await service.collection(collection)
    form, language = service.negotiate(request, (SCHEMA, JSON, HTML))
    kind = describe.__name__
    document = describe(of, language, f"{request.base}/collections/{of.id}/{kind}")
    if form == HTML:
        return await html.page(service, request, "schema.html", document=document, of=of, kind=kind)
    return json_response(request, document, SCHEMA, language=language)


# -- what no route serves ------------------------------------------------------------------------


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    if "//" not in scope["path"]:
        raise _not_found(request)
    place = re.sub("/+", "/", request.path_url.removeprefix(request.root))
    query = f"?{request.query}" if request.query else ""
    await Response(308, [("Location", f"{request.root}{place}{query}")])(scope, receive, send)


def _not_found(request: Request) -> NotFound:
    path = request.scope["path"][:200]
    return NotFound(
        "There is nothing at {path!r}.", hint="Begin at {base}.", path=path, base=request.base
    )


def _endpoint_name(scope: Scope) -> str:
    return getattr(scope.get("endpoint"), "name", "no endpoint")
