"""How far a survey is: JSON for programs, with nothing that names a person or a file."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from landdata.jobs import queue
from landdata.store import database
from portal.parcels import Store

surveys = Blueprint("surveys", __name__)


@surveys.get("/surveys/<int:number>")
def show(number: int) -> Response:
    """Return the state, row counts and progress of a batch."""
    store: Store = current_app.extensions["landdata"]
    with database.session(store.engine) as session:
        answer = jsonify(queue.progress(session, number))
    answer.headers["Cache-Control"] = "no-store"
    return answer
