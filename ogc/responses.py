"""A response of the OGC API: validators, compression, JSON, and how it is sent (ASGI)."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache, lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

import brotli
import xxhash
from starlette.types import Receive, Scope, Send

from landdata.features.media_types import GEOJSON, HTML, JSON
from landdata.translations import sentence, translate

if TYPE_CHECKING:
    from ogc.negotiation import Request

_TITLES = {
    "self": sentence("This document"),
    "next": sentence("Next page"),
    "prev": sentence("Previous page"),
    "collection": sentence("The collection"),
    GEOJSON: sentence("This document as GeoJSON"),
    HTML: sentence("This document as HTML"),
}
_UNPACKED = 1000  # bytes up to which a body is not worth compressing


@dataclass(slots=True)
class Response:
    """A status, headers and a body; without the headers that all responses carry."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self.start(send)
        await send({"type": "http.response.body", "body": self.body})

    async def start(self, send: Send) -> None:
        """Send status and headers."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})


def cacheable(
    request: Request,
    parts: Sequence[bytes],
    media: str,
    *,
    language: str,
    tail: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    stamp: int | None = None,
) -> Response:
    """Return a response with its ETag, or 304; `tail` is what changes though nothing has.

    `stamp` is the second in which its content was last published.
    """
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    tag = digest.hexdigest()
    # weak, because the same response is sent plain and compressed
    always = validators(tag, stamp)
    if request.has_current(tag, stamp):
        return Response(304, always)
    body = b"".join([*parts, tail])
    listed = [("Content-Type", media), ("Content-Language", language), *headers, *always]
    coding = request.coding if len(body) > _UNPACKED else ""
    if coding:
        listed.append(("Content-Encoding", coding))
        body = _compressed(body, coding)
    listed.append(("Content-Length", str(len(body))))
    return Response(200, listed, body)


def json_response(
    request: Request,
    document: dict[str, Any],
    media: str = JSON,
    *,
    language: str,
    stamp: int | None = None,
) -> Response:
    """Return a document as JSON of some media type."""
    body = dump(localize_titles(document, language)).encode()
    return cacheable(request, [body], media, language=language, stamp=stamp)


def validators(tag: str, stamp: int | None) -> list[tuple[str, str]]:
    """Return the headers with which a client can revalidate its copy of a response.

    Stamps go up by a second at least, so one of several in a second may be ahead of the clock: it
    is not sent before its time.
    """
    headers = [("ETag", f'W/"{tag}"'), ("Cache-Control", "no-cache")]  # cache it, and revalidate
    if stamp is not None and stamp <= time.time():
        headers.append(("Last-Modified", http_date(stamp)))
    return headers


@lru_cache(256)
def http_date(stamp: int) -> str:
    """Write a second since 1970 as HTTP has it."""
    return formatdate(stamp, usegmt=True)


def _compressed(body: bytes, coding: str) -> bytes:
    """Compress a body; at their fastest, brotli is the smaller one."""
    if coding == "br":
        return brotli.compress(body, quality=1)  # type: ignore[no-any-return]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(document: Any) -> str:
    """Write JSON as it is sent."""
    return _write(document)


def dump_links(links: Iterable[dict[str, str]]) -> str:
    """Write links as JSON: as `dump` would, in half the time."""
    return ",".join(
        [
            f'{{"href":{encode_basestring(link["href"])},"rel":"{link["rel"]}",'
            f'"type":"{link["type"]}","title":"{link["title"]}"}}'
            for link in links
        ]
    )


def link(href: str, rel: str, media: str, language: str) -> dict[str, str]:
    """Return a link of a response."""
    return {"href": href, "rel": rel, "type": media, "title": _title(rel, language)}


@cache
def _title(name: str, language: str) -> str:
    return translate(_TITLES[name], language)


def localize_titles(document: Any, language: str) -> Any:
    """Translate the titles of the links in a document, whoever has written it; returns it."""
    if language == "en":
        return document
    if isinstance(document, dict):
        title = document.get("title")
        if "href" in document and isinstance(title, str):
            document["title"] = translate(sentence(title), language)
        for part in document.values():
            localize_titles(part, language)
    elif isinstance(document, list):
        for part in document:
            localize_titles(part, language)
    return document


def alternate(request: Request, form: str, language: str) -> dict[str, str]:
    """Return the link to the other form of a feature or page."""
    other = GEOJSON if form == HTML else HTML
    title = _title(other, language)
    href = request.url_with(f="json" if form == HTML else "html")
    return {"href": href, "rel": "alternate", "type": other, "title": title}
