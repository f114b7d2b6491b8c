"""The short way: what is asked most, answered without the detours of a framework.

Pages and single features as GeoJSON, and tiles, by GET at their plain addresses. Whatever else is
asked goes the long way, through Flask; so does every error, which is told there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ogc.asked import FEATURE_FORMS, HTML, PREFIX, Answer, Asked

if TYPE_CHECKING:
    from ogc.api import Service

#: Where the long way finds what went wrong on the short one.
ERROR = "landdata.error"

_COLLECTION = r"/collections/([a-z][a-z0-9_-]{0,40})"
_ITEMS = re.compile(rf"{PREFIX}{_COLLECTION}/items(?:/([a-zA-Z0-9._:-]+))?")
_TILE = re.compile(rf"{PREFIX}(?:{_COLLECTION})?/tiles/([a-zA-Z0-9-]+)/([0-9]+)/([0-9]+)/([0-9]+)")
_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Short:
    """A WSGI application before another; `always` are headers that each answer carries."""

    def __init__(
        self,
        long: Callable[..., Iterable[bytes]],
        service: Service,
        always: Mapping[str, str],
    ) -> None:
        self._long = long
        self._service = service
        self._always = list(always.items())

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, or let the other answer."""
        answer = None
        if environ["REQUEST_METHOD"] == "GET":
            try:
                answer = self._answer(environ)
            except Exception as error:  # whatever it is, it is told once, over there
                environ[ERROR] = error
        if answer is None:
            return self._long(environ, start)
        start(_STATUS[answer.status], answer.headers + self._always)
        return [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer | None:
        path = environ["PATH_INFO"]
        if found := _ITEMS.fullmatch(path):
            asked = Asked(environ)
            collection, key = found.groups()
            if asked.form(FEATURE_FORMS) == HTML:
                return None
            if key is None:
                return self._service.page(asked, collection)
            return self._service.feature(asked, collection, key)
        if found := _TILE.fullmatch(path):
            return self._service.draw(Asked(environ), *found.groups())
        return None
