"""What a request wants: its address, parameters, media type, language and coding.

Parsed query strings and headers are cached by their raw value: clients repeat them.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus, urlencode

from werkzeug.datastructures import LanguageAccept, MIMEAccept
from werkzeug.http import parse_accept_header, parse_etags
from werkzeug.sansio.utils import get_host

from landdata.errors import BadRequest, NotAcceptable
from landdata.features import collections
from landdata.features.media_types import GEOJSON, HTML, JSON, MVT, TILEJSON
from ogc.responses import http_date

PREFIX = "/ogc"

#: Media types of features.
FEATURE_FORMS = (GEOJSON, JSON, HTML)

_NAMES = {"json": JSON, "geojson": GEOJSON, "html": HTML, "mvt": MVT, "tilejson": TILEJSON}
CACHED_LENGTH = 2000  # of a query string, up to which it is cached parsed
_AS_SENT = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"  # all that may stay beside an escaped letter


class Request:
    """A request, read from its ASGI scope as far as it is needed."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.scope = scope
        pairs = scope["headers"]
        self._headers: dict[bytes, bytes] = dict(pairs)
        if len(self._headers) != len(pairs):  # headers that were sent more than once
            self._headers = {}
            for name, value in pairs:
                before = self._headers.get(name)
                self._headers[name] = value if before is None else before + b"," + value
        self._url: str | None = None
        #: The query string as it came.
        self.query: str = scope["query_string"].decode("latin-1")
        #: Names and values of the query string; bytes that are no text stay encoded.
        self.arguments: tuple[tuple[str, str], ...]
        #: The first value of each parameter.
        self.first: dict[str, str]
        parse = _parsed if len(self.query) > CACHED_LENGTH else _cached
        self.arguments, self.first = parse(self.query)

    def header(self, name: bytes) -> str:
        """Return a header by its lower-case name; empty where there is none."""
        return self._headers.get(name, b"").decode("latin-1")

    @property
    def root(self) -> str:
        """The address of the application, as the client knows it. Raises `BadRequest`."""
        scope = self.scope
        server = scope.get("server") or ("localhost", 80)
        return _root(scope["scheme"], self.header(b"host"), *server, scope.get("root_path", ""))

    @property
    def base(self) -> str:
        """The address of the landing page."""
        return self.root + PREFIX

    @property
    def path_url(self) -> str:
        """The address of the request, without its parameters."""
        if self._url is None:
            path = self.scope["path"].removeprefix(self.scope.get("root_path", ""))
            self._url = self.root + _quoted(path)
        return self._url

    @property
    def url(self) -> str:
        """The address of the request, in ASCII."""
        query = self.query
        if not query.isascii():
            query = quote(query.encode("latin-1"), safe=_AS_SENT)
        return f"{self.path_url}?{query}" if query else self.path_url

    def url_with(self, **changes: str | None) -> str:
        """Return the address of the request with some parameters changed; None leaves one out."""
        new = [f"{name}={quote_plus(v)}" for name, v in changes.items() if v is not None]
        if not self.query.isascii():
            old = [urlencode([pair]) for pair in self.arguments if pair[0] not in changes]
        elif self.first.keys().isdisjoint(changes):
            old = [self.query] if self.query else []
        else:  # what stays is left as it was written
            pairs = [pair.partition("=") for pair in self.query.split("&")]
            old = [n + is_ + v for n, is_, v in pairs if n and unquote_plus(n) not in changes]
        return f"{self.path_url}?{'&'.join(old + new)}"

    def media_type(self, forms: tuple[str, ...]) -> str:
        """Return the media type to respond with, of `forms`: by `f`, by Accept, or the first.

        Any JSON that is requested without more means the first. Raises `BadRequest`,
        `NotAcceptable`.
        """
        return _media_type(forms, self.first.get("f"), self.header(b"accept"))

    def language(self, default: str) -> str:
        """Return the language to respond in. Raises `BadRequest` for one that is not offered."""
        return _language(self.first.get("lang"), self.header(b"accept-language"), default)

    @property
    def coding(self) -> str:
        """The content coding that the client prefers: `br`, `gzip`, or none."""
        return _coding(self.header(b"accept-encoding"))

    @property
    def accepts_gzip(self) -> bool:
        """Whether the client accepts gzip."""
        return _accepts_gzip(self.header(b"accept-encoding"))

    def has_current(self, tag: str, stamp: int | None = None) -> bool:
        """Whether the client holds the response with this tag, or of this stamp, already.

        Where it names tags its date does not count (RFC 9110). A date counts only as it was sent:
        a later one that a client took from its own clock may be from before a commit that was
        already stamped.
        """
        tags = self.header(b"if-none-match")
        if tags:
            return parse_etags(tags).contains_weak(tag)
        since = self.header(b"if-modified-since")
        return bool(since) and stamp is not None and since == http_date(stamp)


def parse_arguments(query: str) -> tuple[tuple[str, str], ...]:
    """Return names and values of a query string; bytes that are no text stay encoded."""
    if not query:
        return ()
    text = query.encode("latin-1").decode(errors="replace")
    return tuple(parse_qsl(text, keep_blank_values=True, errors="werkzeug.url_quote"))


def _parsed(query: str) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    pairs = parse_arguments(query)
    return pairs, dict(reversed(pairs))


_cached = lru_cache(1000)(_parsed)


_PLAIN = re.compile(r"[A-Za-z0-9/._~-]*")


def _quoted(path: str) -> str:
    return path if _PLAIN.fullmatch(path) else quote(path, errors="replace")


@lru_cache(256)
def _root(scheme: str, host: str, name: str, port: int | str | None, root_path: str) -> str:
    address = get_host(scheme, host or None, (name, int(port) if port else None))
    if not address:
        raise BadRequest(
            "The header Host is no name and port of a host: {host!r}.",
            hint="Links would begin with it.",
            host=host[:200],
        )
    return f"{scheme}://{address}{quote(root_path)}"


@lru_cache(256)
def _media_type(forms: tuple[str, ...], name: str | None, accept: str) -> str:
    main = forms[0]
    if name is not None:
        form = _NAMES.get(name)
        if form is None or form not in forms:
            names = ", ".join(k for k, v in _NAMES.items() if v in forms)
            raise BadRequest(
                "Parameter f is not usable: there is no form {name!r} here.",
                hint="There are: {names}.",
                name=name[:100],
                names=names,
            )
        return main if form in (JSON, GEOJSON) else form
    accepted = parse_accept_header(accept, MIMEAccept)
    if not accepted:
        return main
    named = dict.fromkeys((*forms, main.partition(";")[0]))
    best = accepted.best_match(named)
    if best is None:  # what is wanted of a type beside its name, such as a charset, is passed over
        plain = (("*/*" if media == "*" else media.partition(";")[0], q) for media, q in accepted)
        best = MIMEAccept(plain).best_match(named)
    if best is None:
        raise NotAcceptable(
            "None of the media types in Accept is available: {accepted!r}.",
            hint="There are: {forms}.",
            accepted=str(accepted)[:200],
            forms=", ".join(forms),
        )
    return best if best in (HTML, TILEJSON) else main


@lru_cache(256)
def _language(language: str | None, accept: str, default: str) -> str:
    if language is not None:
        if language not in collections.LANGUAGES:
            raise BadRequest(
                "Parameter lang is not usable: there is no language {language!r} here.",
                hint="There are: {languages}.",
                language=language[:100],
                languages=", ".join(collections.LANGUAGES),
            )
        return language
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
def _accepts_gzip(accept: str) -> bool:
    return parse_accept_header(accept)["gzip"] > 0
