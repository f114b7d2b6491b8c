"""The pages for people, and health: a Flask application with one error handler."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask, Response, current_app, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from landdata.errors import LandDataError
from landdata.settings import Settings
from landdata.store import database
from landdata.translations import LANGUAGES, decimal, sentence, translator
from ogc.app import SECURITY_HEADERS
from ogc.errors import as_public_error
from ogc.negotiation import PREFIX
from portal import parcels, surveys

YEAR = 365 * 24 * 3600
#: What an error of Flask's own says, by its status.
_SENTENCES = {
    400: sentence("The request is not valid."),
    404: sentence("There is no page at this address."),
    405: sentence("This address does not allow {method}: it is read."),
}


def create_app(settings: Settings | None = None, engine: sa.Engine | None = None) -> Flask:
    """Return the application over the store; settings are read from the environment if not given.

    Raises `Unavailable` or `Conflict` where no engine is given and the store can't be opened.
    """
    settings = settings or Settings.load()
    engine = engine or database.engine(settings)
    app = Flask(__name__)
    app.extensions["landdata"] = parcels.Store(settings, engine)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(parcels.pages)
    app.register_blueprint(surveys.surveys)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.before_request(_choose_language)
    app.after_request(_finish)
    app.context_processor(
        lambda: {
            "language": g.language,
            "other_language": "en" if g.language == "vi" else "vi",
            "_": translator(g.language),
            "decimal": partial(decimal, language=g.language),
            "ogc": request.script_root + PREFIX,
        }
    )
    app.register_error_handler(Exception, error_response)
    return app


def healthz() -> Response:
    """Say that the process is alive."""
    return jsonify(status="ok")


def readyz() -> tuple[Response, int]:
    """Say whether requests can be answered: the database is there and its schema is ours."""
    store: parcels.Store = current_app.extensions["landdata"]
    _ = translator(g.language)
    status: dict[str, Any] = {"status": "ready", "database": False, "schema": None}
    try:
        with store.engine.connect() as connection:
            status["schema"] = MigrationContext.configure(connection).get_current_revision()
            config = database.alembic_config(store.settings, connection)
        status["database"] = True
    except sa.exc.OperationalError:
        status |= {"status": "not ready", "hint": _("The database does not answer.")}
        return jsonify(status), 503
    head = ScriptDirectory.from_config(config).get_current_head()
    if status["schema"] != head:
        hint = _("Run `landdata migrate`: the schema is not at revision {head}.", head=head)
        status |= {"status": "not ready", "hint": hint}
        return jsonify(status), 503
    return jsonify(status), 200


def error_response(error: Exception) -> Response:
    """Return any error as a page for people, as JSON for programs; never with a trace."""
    if isinstance(error, HTTPException):
        if error.code is None or error.code < 400:
            return error.get_response()  # type: ignore[return-value]  # a redirect is no error
        status = error.code
        public = LandDataError(
            _SENTENCES.get(status, sentence("The request failed: {name}.")),
            code=error.name.lower().replace(" ", "-"),
            method=request.method[:20],
            name=error.name,
        )
        headers = {k: v for k, v in error.get_headers() if k in ("Allow", "Retry-After")}
    else:
        translated = as_public_error(error, request.endpoint or "no endpoint")
        public, status, headers = translated.error, translated.status, translated.headers
    document = public.as_dict(g.language)
    if parcels.wants_json():
        response = jsonify(document)
    else:
        page = render_template(
            "error.html", error=document["error"], status=status, name=HTTPStatus(status).phrase
        )
        response = Response(page, mimetype="text/html")
    response.status_code = status
    response.headers.update({**headers, "Cache-Control": "no-store"})
    return response


def _choose_language() -> None:
    """Take the language of the address, of the cookie, of the browser or of the deployment."""
    store: parcels.Store = current_app.extensions["landdata"]
    chosen = request.args.get("lang"), request.cookies.get("lang")
    g.language = next((name for name in chosen if name in LANGUAGES), None) or (
        request.accept_languages.best_match(LANGUAGES, default=store.settings.language)
    )


def _finish(response: Response) -> Response:
    """Add the headers of every response."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.blueprint == "pages":
        response.vary.update(("Accept", "Accept-Language", "Cookie"))
        if request.args.get("lang") in LANGUAGES:
            response.set_cookie("lang", g.language, max_age=YEAR, samesite="Lax", httponly=True)
    return response
