"""`landdata serve` with short limits, and a view that sends back the body of a request.

`-m support.trial` runs it as a process.
"""

from __future__ import annotations

from flask import request

from landdata.settings import Settings
from ogc import exports
from portal import asgi, serve

SECONDS = 3


def create() -> asgi.Application:
    exports.READ_SECONDS = SECONDS
    application = asgi.create()
    application.portal.add_url_rule("/echo", view_func=lambda: request.data, methods=["POST"])
    return application


if __name__ == "__main__":
    serve.HEAD_SECONDS = SECONDS
    serve.run(Settings.load(), create)
