"""The web application: the OGC API, the pages for people, health, and the one error handler."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask, Response, current_app, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

import ogc.app
import ogc.errors
import ogc.negotiation
from landdata.errors import LandDataError
from landdata.settings import Settings
from landdata.store import database
from landdata.store.errors import Phase, as_public_error
from portal import parcels, surveys

LANGUAGES = ("vi", "en")
YEAR = 365 * 24 * 3600

#: A page loads from us alone and runs no script that stands in it.
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'self'"
)

#: What every answer of ours carries.
ALWAYS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def check(settings: Settings) -> None:
    """Raise what would keep `create_app` from a strict beginning but the store itself."""
    ogc.app.create_blueprint(settings).service.close()  # type: ignore[attr-defined]


def create_app(
    settings: Settings | None = None, engine: sa.Engine | None = None, *, strict: bool = True
) -> Flask:
    """Return the application over the store; settings are read from the environment if not given.

    Raises `Unavailable` or `Conflict` where no engine is given and the store can't be opened, and
    where `strict`, `BadRequest` for a file of more collections that makes no sense.
    """
    settings = settings or Settings.load()
    engine = engine or database.engine(settings)
    app = Flask(__name__)
    app.extensions["landdata"] = parcels.Store(settings, engine)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    blueprint = ogc.app.create_blueprint(settings, strict=strict)
    app.register_blueprint(blueprint)
    app.extensions["ogc"] = blueprint.service  # type: ignore[attr-defined]  # it hangs there
    app.register_blueprint(parcels.pages)
    app.register_blueprint(surveys.surveys)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.before_request(_choose_language)
    app.after_request(_finish)
    app.context_processor(lambda: {"language": g.language, "_": translate})
    app.register_error_handler(Exception, error_response)
    return app


def translate(vi: str, en: str) -> str:
    """Return the text in the language of the request.

    A sentence stands in both languages where it is used, as in `landdata.findings`: there are
    two, a template is read as what it says, and there is no catalogue to compile or to miss.
    """
    return vi if g.language == "vi" else en


def healthz() -> Response:
    """Say that the process is alive; nothing else is asked."""
    return jsonify(status="ok")


def readyz() -> tuple[Response, int]:
    """Say whether requests can be answered: the database is there and its schema is ours."""
    store: parcels.Store = current_app.extensions["landdata"]
    told: dict[str, Any] = {"status": "ready", "database": False, "schema": None}
    try:
        with store.engine.connect() as connection:
            told["schema"] = MigrationContext.configure(connection).get_current_revision()
            config = database.alembic_config(store.settings, connection)
        told["database"] = True
    except sa.exc.OperationalError:
        told |= {"status": "not ready", "hint": "The database does not answer."}
        return jsonify(told), 503
    head = ScriptDirectory.from_config(config).get_current_head()
    if told["schema"] != head:
        told |= {"status": "not ready", "hint": f"Run `landdata migrate`: {head} is wanted."}
        return jsonify(told), 503
    return jsonify(told), 200


def error_response(error: Exception) -> Response:
    """Return any error as a page for people, as JSON for programs; never with a trace."""
    if f"{request.path}/".startswith(ogc.negotiation.PREFIX + "/"):
        # what no rule of theirs takes: an address with a line break in it, a method of no rule
        return ogc.errors.error_response(error)
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        if error.code is None or error.code < 400:
            return error.get_response()  # type: ignore[return-value]  # a redirect is no error
        told = LandDataError(str(error.description), code=error.name.lower().replace(" ", "-"))
        status = error.code
        headers = {k: v for k, v in error.get_headers() if k in ("Allow", "Retry-After")}
    elif isinstance(error, LandDataError):
        told, status = error, error.status
    else:
        public = as_public_error(error, Phase.READ)
        told = public if isinstance(public, LandDataError) else ogc.errors.unforeseen(error)
        status = told.status
    if status == 503:
        headers.setdefault("Retry-After", "5")
    if parcels.wants_json():
        made = jsonify(told.as_dict())
    else:
        page = render_template(
            "error.html", error=told, status=status, name=HTTPStatus(status).phrase
        )
        made = Response(page, mimetype="text/html")
    made.status_code = status
    made.headers.update(headers)
    made.headers["Cache-Control"] = "no-store"
    return made


def _choose_language() -> None:
    """Take the language asked for: in the address, before, by the browser, by the deployment."""
    store: parcels.Store = current_app.extensions["landdata"]
    asked = request.args.get("lang"), request.cookies.get("lang")
    g.language = next((each for each in asked if each in LANGUAGES), None) or (
        request.accept_languages.best_match(LANGUAGES, default=store.settings.language)
    )


def _finish(response: Response) -> Response:
    """Add what every answer of ours carries; the OGC API sets its own beside it."""
    headers = response.headers
    for name, value in ALWAYS.items():
        headers.setdefault(name, value)
    if request.blueprint == "pages":
        response.vary.update(("Accept", "Accept-Language", "Cookie"))
        if request.args.get("lang") in LANGUAGES:
            response.set_cookie("lang", g.language, max_age=YEAR, samesite="Lax", httponly=True)
    return response
