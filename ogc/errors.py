"""What went wrong, as the OGC API tells it: one sentence, in the keys of OGC and in ours."""

from __future__ import annotations

import logging
import traceback

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from landdata.errors import LandDataError, NotFound
from landdata.features.media_types import JSON
from ogc.negotiation import Asked, dump

READ = "GET, HEAD, OPTIONS"
WRITES = ("POST", "PUT", "PATCH", "DELETE")
_LOG = logging.getLogger(__name__)

_OGC_CODES = {
    400: "InvalidParameterValue",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
}


def error_response(error: Exception) -> Response:
    """Return any error as JSON, with the keys of this project and those of OGC."""
    headers = {}
    if isinstance(error, HTTPException):
        status = error.code or 200
        if status < 400:
            return error.get_response()  # type: ignore[return-value]  # a redirect is no error
        if request.method not in (*READ.split(", "), *WRITES):
            error = only_read()  # no rule knows it, so each would be called not found
        if isinstance(error, MethodNotAllowed):
            headers["Allow"], status = READ, 405
        told = LandDataError(str(error.description), code=error.name.lower().replace(" ", "-"))
    elif isinstance(error, LandDataError):
        told, status = error, error.status
        if status == 503:
            headers["Retry-After"] = "5"
    else:
        told, status = unforeseen(error), 500
    description = f"{told.message} {told.hint}" if told.hint else told.message
    code = _OGC_CODES.get(status, "NoApplicableCode")
    body = {**told.as_dict(), "code": code, "description": description}
    made = Response(dump(body), status, headers, JSON)
    made.headers["Cache-Control"] = "no-store"
    return made


def unforeseen(error: Exception) -> LandDataError:
    """Write to the log where it happened, and return what is told of it.

    Nothing that was asked or stored is in either: that may be about a person.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{f.name} {f.filename}:{f.lineno}" for f in reversed(frames))
    _LOG.error("%s at %s: %s", type(error).__name__, request.endpoint, places)
    return LandDataError("Something went wrong here; it is written in the log.")


def nothing(rest: str = "") -> Response:
    """Answer what no rule takes: 405 where another method would do, else 404."""
    adapter = current_app.create_url_adapter(request)
    if request.method in WRITES and adapter is not None:
        try:
            rule, _ = adapter.match(method="GET", return_rule=True)
        except HTTPException:
            pass
        else:
            if rule.endpoint != "ogc.other":
                raise only_read()
    raise NotFound(
        f"There is nothing at {request.path[:200]!r}.",
        hint=f"Begin at {Asked(request.environ).base}.",
    )


def only_read() -> MethodNotAllowed:
    """The error of a method that would change something."""
    told = f"{request.method[:20]} is not for this address: it is read."
    return MethodNotAllowed(READ.split(", "), told)
