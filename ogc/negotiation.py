"""What a request asks for, and the answer to it: HTTP without a framework.

Flask's views and the short way of `ogc.short` read a request by `Asked` and answer by `answer`,
so both say the same. What a header means is worked out once for each of its texts.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus, urlencode

import brotli
import xxhash
from werkzeug.datastructures import LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header, parse_etags
from werkzeug.wrappers import Request

from landdata.errors import BadRequest, NotAcceptable
from landdata.features import collections
from landdata.features.media_types import GEOJSON, HTML, JSON, MVT, TILEJSON

PREFIX = "/ogc"
#: Where a request has a `Future` that is done when its client has left, before it is answered.
LEFT = "ogc.left"
#: What every answer of the OGC API carries. Pages of any origin may read: what is here is public.
OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "Accept-Ranges, Content-Crs, Content-Disposition, Content-Range, ETag, Location,"
        " Preference-Applied, Retry-After"
    ),
    "X-Content-Type-Options": "nosniff",
}
VARY = "Accept", "Accept-Language", "Accept-Encoding"

#: How features can be told.
FEATURE_FORMS = (GEOJSON, JSON, HTML)

_NAMES = {"json": JSON, "geojson": GEOJSON, "html": HTML, "mvt": MVT, "tilejson": TILEJSON}
_TITLES = {
    "self": "This document",
    "next": "Next page",
    "prev": "Previous page",
    "collection": "The collection",
}
KEPT_LENGTH = 2000  # of a query, up to which it is remembered what it means
_AS_SENT = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"  # all that a letter may stand beside
_SMALL = 1000  # bytes below which an answer is not worth packing


class Asked:
    """A request, read from its WSGI environment as far as it is needed."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._place: str | None = None
        #: The query string as it came.
        self.query: str = environ.get("QUERY_STRING", "")

        #: Names and values of the query string; bytes that are no text stay encoded.
        self.arguments: tuple[tuple[str, str], ...]
        #: The first value of each parameter.
        self.first: dict[str, str]
        reading = _parsed if len(self.query) > KEPT_LENGTH else _known
        self.arguments, self.first = reading(self.query)

    @property
    def root(self) -> str:
        """The address of the application, as the client knows it. Raises `BadRequest`."""
        environ = self._environ
        return _root(
            environ["wsgi.url_scheme"], environ.get("HTTP_HOST"), environ["SERVER_NAME"],
            str(environ["SERVER_PORT"]), environ.get("SCRIPT_NAME", ""),
        )  # fmt: skip

    @property
    def base(self) -> str:
        """The address of the landing page."""
        return self.root + PREFIX

    @property
    def place(self) -> str:
        """The address that was asked, without its parameters."""
        if self._place is None:
            self._place = self.root + _quoted(self._environ["PATH_INFO"])
        return self._place

    @property
    def here(self) -> str:
        """The address that was asked; letters that were sent as they are become escaped."""
        query = self.query
        if not query.isascii():
            query = quote(query.encode("latin-1"), safe=_AS_SENT)
        return f"{self.place}?{query}" if query else self.place

    def changed(self, **changes: str | None) -> str:
        """The address that was asked, with some parameters changed, or left out for None."""
        new = [f"{name}={quote_plus(v)}" for name, v in changes.items() if v is not None]
        if not self.query.isascii():
            old = [urlencode([each]) for each in self.arguments if each[0] not in changes]
        elif self.first.keys().isdisjoint(changes):
            old = [self.query] if self.query else []
        else:  # what stays is left as it was written
            pairs = [each.partition("=") for each in self.query.split("&")]
            old = [n + is_ + v for n, is_, v in pairs if n and unquote_plus(n) not in changes]
        return f"{self.place}?{'&'.join(old + new)}"

    def form(self, forms: tuple[str, ...]) -> str:
        """Return the media type to answer in, of `forms`: by `f`, else by Accept, else the first.

        JSON without more is the first too, whatever JSON that is. Raises `BadRequest`,
        `NotAcceptable`.
        """
        return _form(forms, self.first.get("f"), self._environ.get("HTTP_ACCEPT", ""))

    def language(self, default: str) -> str:
        """Return the language to answer in. Raises `BadRequest` for one there is not."""
        accepted = self._environ.get("HTTP_ACCEPT_LANGUAGE", "")
        return _language(self.first.get("lang"), accepted, default)

    @property
    def coding(self) -> str:
        """How the client likes an answer best: `br`, `gzip`, or as it is."""
        return _coding(self._environ.get("HTTP_ACCEPT_ENCODING", ""))

    @property
    def takes_gzip(self) -> bool:
        """Whether the client takes what is packed with gzip."""
        return _takes_gzip(self._environ.get("HTTP_ACCEPT_ENCODING", ""))

    def has(self, tag: str, stamp: int | None = None) -> bool:
        """Whether the client holds the answer with this tag, or of this stamp, already.

        Where it names tags its date does not count (RFC 9110). A date counts only as it was sent:
        a later one that a client took from its own clock may be from before a commit that was
        already stamped.
        """
        given = self._environ.get("HTTP_IF_NONE_MATCH")
        if given:
            return parse_etags(given).contains_weak(tag)
        since = self._environ.get("HTTP_IF_MODIFIED_SINCE")
        return bool(since) and stamp is not None and since == _date(stamp)


def arguments(query: str) -> tuple[tuple[str, str], ...]:
    """Return names and values of a query string; bytes that are no text stay encoded."""
    if not query:
        return ()
    text = query.encode("latin-1").decode(errors="replace")
    return tuple(parse_qsl(text, keep_blank_values=True, errors="werkzeug.url_quote"))


def _parsed(query: str) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    pairs = arguments(query)
    return pairs, dict(reversed(pairs))


_known = lru_cache(1000)(_parsed)


_PLAIN = re.compile(r"[A-Za-z0-9/._~-]*")


def _quoted(path: str) -> str:
    if _PLAIN.fullmatch(path):
        return path
    return quote(path.encode("latin-1").decode(errors="replace"))


@lru_cache(256)
def _root(scheme: str, host: str | None, name: str, port: str, script: str) -> str:
    environ: dict[str, Any] = {
        "wsgi.url_scheme": scheme, "SERVER_NAME": name, "SERVER_PORT": port, "SCRIPT_NAME": script,
        "REQUEST_METHOD": "GET",
    }  # fmt: skip
    if host:  # HTTP/1.0 knows none, and the web server then gives an empty one
        environ["HTTP_HOST"] = host
    asked = Request(environ)
    if not asked.host:
        raise BadRequest(
            f"The header Host is no name and port of a host: {(host or '')[:200]!r}.",
            hint="Links would begin with it.",
        )
    return asked.root_url.rstrip("/")


@lru_cache(256)
def _form(forms: tuple[str, ...], name: str | None, accept: str) -> str:
    main = forms[0]
    if name is not None:
        asked = _NAMES.get(name)
        if asked is None or asked not in forms:
            names = ", ".join(k for k, v in _NAMES.items() if v in forms)
            raise BadRequest(
                f"Parameter f is not usable: there is no form {name[:100]!r} here.",
                hint=f"There are: {names}.",
            )
        return main if asked in (JSON, GEOJSON) else asked
    accepted = parse_accept_header(accept, MIMEAccept)
    if not accepted:
        return main
    named = dict.fromkeys((*forms, main.partition(";")[0]))
    best = accepted.best_match(named)
    if best is None:  # what is wanted of a type beside its name, such as a charset, is passed over
        plain = (("*/*" if each == "*" else each.partition(";")[0], q) for each, q in accepted)
        best = MIMEAccept(plain).best_match(named)
    if best is None:
        raise NotAcceptable(
            f"There is no answer here in what Accept names: {str(accepted)[:200]!r}.",
            hint=f"There are: {', '.join(forms)}.",
        )
    return best if best in (HTML, TILEJSON) else main


@lru_cache(256)
def _language(asked: str | None, accept: str, default: str) -> str:
    if asked is not None:
        if asked not in collections.LANGUAGES:
            raise BadRequest(
                f"Parameter lang is not usable: there is no language {asked[:100]!r} here.",
                hint=f"There are: {', '.join(collections.LANGUAGES)}.",
            )
        return asked
    accepted = parse_accept_header(accept, LanguageAccept)
    best = accepted.best_match(collections.LANGUAGES) if accepted else None
    return best or default


@lru_cache(256)
def _coding(accept: str) -> str:
    accepted = parse_accept_header(accept)
    liked = dict(accepted)
    brotli_quality = liked.get("br", 0)
    if brotli_quality > 0 and brotli_quality >= accepted["gzip"]:
        return "br"
    return "gzip" if accepted["gzip"] > 0 else ""


@lru_cache(256)
def _date(stamp: int) -> str:
    return formatdate(stamp, usegmt=True)


@lru_cache(256)
def _takes_gzip(accept: str) -> bool:
    return parse_accept_header(accept)["gzip"] > 0


# -- answers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and a body, still without what every answer of ours carries."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(
    asked: Asked,
    parts: Sequence[bytes],
    media: str,
    *,
    language: str,
    tail: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    stamp: int | None = None,
) -> Answer:
    """Return an answer with its ETag, or 304; `tail` is what changes though nothing has.

    `stamp` is the second in which what it tells was last published.
    """
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    tag = found.hexdigest()
    # weak, because the same answer is sent plain and compressed
    always = validators(tag, stamp)
    if asked.has(tag, stamp):
        return Answer(304, always, b"")
    body = b"".join([*parts, tail])
    made = [("Content-Type", media), ("Content-Language", language), *headers, *always]
    coding = asked.coding if len(body) > _SMALL else ""
    if coding:
        made.append(("Content-Encoding", coding))
        body = _packed(body, coding)
    made.append(("Content-Length", str(len(body))))
    return Answer(200, made, body)


def validators(tag: str, stamp: int | None) -> list[tuple[str, str]]:
    """Return the headers by which a client may ask whether its answer still holds.

    Stamps go up by a second at least, so a quick one may be ahead of the clock: it is not sent
    before its time.
    """
    made = [("ETag", f'W/"{tag}"'), ("Cache-Control", "no-cache")]  # keep it, and ask again
    if stamp is not None and stamp <= time.time():
        made.append(("Last-Modified", _date(stamp)))
    return made


def _packed(body: bytes, coding: str) -> bytes:
    """Compress a body; at their fastest, brotli is the smaller one."""
    if coding == "br":
        return brotli.compress(body, quality=1)  # type: ignore[no-any-return]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(told: Any) -> str:
    """Write JSON as it is sent."""
    return _write(told)


def links(told: Iterable[dict[str, str]]) -> str:
    """Write links as JSON: as `dump` would, in half the time."""
    return ",".join(
        [
            f'{{"href":{encode_basestring(each["href"])},"rel":"{each["rel"]}",'
            f'"type":"{each["type"]}","title":"{each["title"]}"}}'
            for each in told
        ]
    )


def link(href: str, rel: str, media: str) -> dict[str, str]:
    """Return a link of an answer."""
    return {"href": href, "rel": rel, "type": media, "title": _TITLES[rel]}


def alternate(asked: Asked, form: str) -> dict[str, str]:
    """Return the link to the other form of a feature or page."""
    other = GEOJSON if form == HTML else HTML
    title = "This document as GeoJSON" if form == HTML else "This document as HTML"
    href = asked.changed(f="json" if form == HTML else "html")
    return {"href": href, "rel": "alternate", "type": other, "title": title}
