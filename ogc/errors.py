"""Errors as the OGC API sends them: one sentence, in the keys of OGC and in ours."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from landdata.errors import LandDataError, where
from landdata.features.media_types import JSON
from landdata.store.errors import Phase
from landdata.store.errors import as_public_error as database_error
from ogc.responses import Response, dump

READ = "GET, HEAD, OPTIONS"
_LOG = logging.getLogger(__name__)

_OGC_CODES = {
    400: "InvalidParameterValue",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
}


class MethodNotAllowed(LandDataError):
    """The address is there, but not for this method."""

    status = 405
    code = "method-not-allowed"

    def __init__(self, method: str) -> None:
        super().__init__("This address does not allow {method}: it is read.", method=method[:20])


@dataclass(frozen=True, slots=True)
class PublicError:
    """What a client sees of an error."""

    error: LandDataError
    status: int
    headers: dict[str, str]


def as_public_error(error: Exception, endpoint: str) -> PublicError:
    """Translate an error of the application; one that nobody foresaw is written to the log.

    Nothing that was requested or stored is in either: that may be about a person.
    """
    headers = {"Cache-Control": "no-store"}
    error = database_error(error, Phase.READ)
    if not isinstance(error, LandDataError):
        _LOG.error("at %s: %s", endpoint, where(error))
        error = LandDataError("Something went wrong here; it is written in the log.")
    if error.status == 503:
        headers["Retry-After"] = "5"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = READ
    return PublicError(error, error.status, headers)


def error_response(error: Exception, endpoint: str, language: str) -> Response:
    """Return any error as JSON, with the keys of this project and those of OGC."""
    public = as_public_error(error, endpoint)
    document = public.error.as_dict(language)
    message, hint = document["error"]["message"], document["error"]["hint"]
    description = f"{message} {hint}" if hint else message
    code = _OGC_CODES.get(public.status, "NoApplicableCode")
    body = dump({**document, "code": code, "description": description}).encode()
    headers = [
        ("Content-Type", JSON),
        ("Content-Language", language),
        ("Content-Length", str(len(body))),
    ]
    return Response(public.status, [*headers, *public.headers.items()], body)
