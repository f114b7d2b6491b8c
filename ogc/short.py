"""The short way: what is asked most, answered without a framework and without a thread.

Pages and single features as GeoJSON, and tiles that are kept, by GET at their plain addresses.
Whatever else is asked goes the long way, through Flask; so does every error, which is told there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from landdata.features.media_types import HTML
from landdata.store.read_connections import Steps
from ogc.negotiation import FEATURE_FORMS, PREFIX, Answer, Asked

if TYPE_CHECKING:
    from ogc.app import Service

#: Where the long way finds what went wrong on the short one.
ERROR = "landdata.error"

#: A page of more is made in a thread: to hash and pack megabytes would hold up all others.
MOST = 1000

_COLLECTION = r"/collections/([a-z][a-z0-9_-]{0,40})"
_ITEMS = re.compile(rf"{PREFIX}{_COLLECTION}/items(?:/([a-zA-Z0-9._:-]+))?")
_TILE = re.compile(rf"{PREFIX}(?:{_COLLECTION})?/tiles/([a-zA-Z0-9-]+)/([0-9]+)/([0-9]+)/([0-9]+)")


def steps(service: Service, environ: dict[str, Any]) -> Steps[Answer | None] | None:
    """Return the steps to the answer of a request, given as in WSGI; None for the long way.

    The answer may be None too, where it shows only then that the way is long.
    """
    if environ["REQUEST_METHOD"] != "GET" or not service.is_current:
        return None
    path = environ["PATH_INFO"]
    if found := _ITEMS.fullmatch(path):
        asked = Asked(environ)
        collection, key = found.groups()
        if asked.form(FEATURE_FORMS) == HTML or not _few(asked.first.get("limit")):
            return None
        if key is None:
            return service.page(asked, collection)
        return service.feature(asked, collection, key)
    if found := _TILE.fullmatch(path):
        return service.kept_tile(Asked(environ), *found.groups())
    return None


def _few(limit: str | None) -> bool:
    return limit is None or not limit.isdecimal() or int(limit.lstrip("0")[:9] or 0) <= MOST
