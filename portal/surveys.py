"""How far a survey is: JSON for programs, with nothing that names a person or a file."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from landdata import db, jobs
from portal.parcels import Store

surveys = Blueprint("surveys", __name__)


@surveys.get("/surveys/<int:number>")
def show(number: int) -> Response:
    """Return the state, row counts and progress of a batch."""
    store: Store = current_app.extensions["landdata"]
    with db.session(store.engine) as session:
        answer = jsonify(jobs.progress(session, number))
    answer.headers["Cache-Control"] = "no-store"
    return answer
