"""The best bare application: it sends the text that stands in the row, and does nothing else.

No parameter is checked, no link is made, no header says more than the type: what a server of
features in Python could reach. `application` is plain WSGI, `flask_application()` the same in
Flask. `BARE_DATABASE` is where `bench.stored` is; `bench/serving.py` makes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from psycopg.types.string import TextBinaryLoader, TextLoader

ONE = "SELECT feature FROM bench.stored WHERE id = %(id)s"
PAGE = "SELECT feature FROM bench.stored ORDER BY id LIMIT %(limit)s"
AFTER = "SELECT feature FROM bench.stored WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"
BOX = (
    "SELECT feature FROM bench.stored WHERE geom && ST_MakeEnvelope(%(w)s, %(s)s, %(e)s, %(n)s,"
    " 4326) AND ST_Intersects(geom, ST_MakeEnvelope(%(w)s, %(s)s, %(e)s, %(n)s, 4326)) LIMIT 100"
)
ATTRIBUTE = (
    "SELECT feature FROM bench.stored"
    " WHERE commune = %(commune)s AND sheet = %(sheet)s AND number = %(number)s"
)
FILTER = (
    "SELECT feature FROM bench.stored WHERE geom && ST_GeomFromText(%(ring)s, 4326)"
    " AND ST_Intersects(geom, ST_GeomFromText(%(ring)s, 4326)) AND area > 400 LIMIT 100"
)
TILE = (
    "SELECT ST_AsMVT(t, 'parcels') FROM (SELECT id::text, commune, sheet, number, area,"
    " ST_AsMVTGeom(ST_Transform(geom, 3857), ST_TileEnvelope(%(z)s, %(x)s, %(y)s)) AS geom"
    " FROM bench.stored WHERE geom && ST_Transform(ST_TileEnvelope(%(z)s, %(x)s, %(y)s,"
    " margin => 64.0 / 4096), 4326)) AS t"
)
ALL = "COPY (SELECT feature FROM bench.stored) TO STDOUT (FORMAT csv, QUOTE E'\\x01')"

_own = threading.local()


class _Bytes(TextLoader):
    def load(self, data: Any) -> bytes:
        return bytes(data)


class _BinaryBytes(TextBinaryLoader):
    def load(self, data: Any) -> bytes:
        return bytes(data)


def connection() -> psycopg.Connection[Any]:
    """This thread's connection."""
    found = getattr(_own, "connection", None)
    if found is None:
        found = psycopg.connect(
            os.environ["BARE_DATABASE"], autocommit=True, prepare_threshold=0, options="-c jit=off"
        )
        for loader in (_Bytes, _BinaryBytes):
            found.adapters.register_loader("text", loader)
        _own.connection = found
    return found


def answer(path: str, query: str) -> tuple[str, bytes] | Iterator[bytes]:
    """The type and body of an answer, or the blocks of the whole table."""
    if path == "/export":
        return whole()
    given = dict(parse_qsl(query))
    if path.startswith("/tiles/"):
        _, _, z, y, x = path.split("/")
        (row,) = connection().execute(TILE, {"z": int(z), "x": int(x), "y": int(y)})
        return "application/vnd.mapbox-vector-tile", row[0]
    if path != "/items":
        row = connection().execute(ONE, {"id": path.removeprefix("/items/")}).fetchone()
        return "application/geo+json", row[0]
    if "bbox" in given:
        box = dict(zip("wsen", map(float, given["bbox"].split(",")), strict=True))
        statement, values = BOX, box
    elif "sheet" in given:
        statement, values = ATTRIBUTE, given
    elif "ring" in given:
        statement, values = FILTER, given
    elif "after" in given:
        statement, values = AFTER, given
    else:
        statement, values = PAGE, given
    rows = connection().execute(statement, values).fetchall()
    features = b",".join([row[0] for row in rows])
    return "application/geo+json", b'{"type":"FeatureCollection","features":[%b]}' % features


def whole() -> Iterator[bytes]:
    """The whole table as it comes from the database, which waits for a slow client."""
    yield b'{"type":"FeatureCollection","features":['
    with connection().cursor() as cursor, cursor.copy(ALL) as copy:
        held: list[bytes] = []
        for row in copy:
            held.append(bytes(row))
            if len(held) == 400:
                yield b",".join(held) + b","
                held = []
        yield b",".join(held)
    yield b"]}"


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
    """WSGI, and no more."""
    told = answer(environ["PATH_INFO"], environ["QUERY_STRING"])
    if not isinstance(told, tuple):
        start("200 OK", [("Content-Type", "application/geo+json")])
        return told
    media, body = told
    start("200 OK", [("Content-Type", media), ("Content-Length", str(len(body)))])
    return [body]


def flask_application() -> Any:
    """The same in Flask."""
    from flask import Flask, Response, request  # noqa: PLC0415  # not where it is not asked for

    app = Flask(__name__)

    @app.route("/<path:_>")
    def ask(_: str) -> Response:
        told = answer(request.path, request.query_string.decode())
        if not isinstance(told, tuple):
            return Response(told, mimetype="application/geo+json")
        return Response(told[1], mimetype=told[0])

    return app
