"""`landdata serve` on a real port says what Flask says alone, on the short way and the long."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

import brotli
import pytest
import served
import stored

from landdata import db
from portal.app import ALWAYS, create_app

ITEMS = "/ogc/collections/parcels/items"
BREAKS = """
CREATE FUNCTION breaks(n bigint) RETURNS text STABLE LANGUAGE plpgsql AS
  'BEGIN RETURN CASE WHEN n < 500 THEN repeat(''x'', 10000) ELSE (1 / (n - n))::text END; END';
CREATE VIEW breaking AS SELECT n AS id, breaks(n) AS note,
  ST_SetSRID(ST_Point(548000 + n, 1281000), 9212)::geometry(Point, 9212) AS geom
FROM generate_series(1::bigint, 500) AS n
"""
COLLECTION = '[breaking]\ntable = "breaking"\nkey = "id"\ngeometry = "geom"\n'
VARYING = {"date", "server", "content-length", "transfer-encoding", "connection"}


@pytest.fixture(scope="module")
def both(make_store, tmp_path_factory):
    """A port on which it is served, Flask's client, and the keys of some parcels."""
    file = tmp_path_factory.mktemp("served") / "collections.toml"
    file.write_text(COLLECTION)
    settings = make_store().model_copy(update={"collections": file})
    engine = db.engine(settings)
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(BREAKS)
        keys = connection.exec_driver_sql("SELECT parcel_id::text FROM parcel_versions").scalars()
        some = [*keys][:2]
    app = create_app(settings, engine)
    with served.server(settings) as url:
        port = urlsplit(url).port
        # what was published in this second has no date yet
        while "last-modified" not in {name.lower() for name, _ in ask(port, ITEMS)[1]}:
            time.sleep(0.1)
        yield port, app.test_client(use_cookies=False), some
    app.extensions["ogc"].close()
    engine.dispose()


def ask(port, path, method="GET", headers=None):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asking:
        asking.request(method, path, headers=headers or {})
        with asking.getresponse() as answer:
            return answer.status, answer.getheaders(), answer.read()


def told(status, headers, body):
    """An answer without what differs from one second to the next."""
    kept = {name.lower(): {*value.split(", ")} for name, value in headers}
    coding = kept.get("content-encoding")
    if coding and body:
        body = brotli.decompress(body) if coding == {"br"} else gzip.decompress(body)
    if body.startswith(b"{"):
        body = {**json.loads(body), "timeStamp": None}
    return {"status": status, "body": body, **{n: v for n, v in kept.items() if n not in VARYING}}


PATHS = (
    f"{ITEMS}?limit=3", f"{ITEMS}?limit=3&f=json&lang=en", f"{ITEMS}?limit=3&f=html",
    f"{ITEMS}?limit=5000", f"{ITEMS}?limit=0", f"{ITEMS}?nothing=1", f"{ITEMS}?limit=3&limit=4",
    f"{ITEMS}?bbox=106,11,107,12&limit=4&count=exact", f"{ITEMS}?filter=area%3E1&limit=2",
    f"{ITEMS}?filter=area%3E1%20AND%20&limit=2", f"{ITEMS}?limit=2&count=estimate",
    f"{ITEMS}?limit=2&crs=http://www.opengis.net/def/crs/EPSG/0/9212", f"{ITEMS}/",
    f"{ITEMS}?%ff=%e1", f"{ITEMS}?sheet=%E1%BB%9D", "/ogc//collections",
    "/ogc/collections/nothing/items",
    "/ogc/collections/parcels/tiles/WebMercatorQuad/16/30000/50000",
    "/ogc/tiles/WebMercatorQuad/16/30000/50000", "/ogc/tiles/WebMercatorQuad/16/9999999/1",
    "/ogc", "/ogc/", "/ogc/collections", "/ogc/t%C3%A9?x=%C3%A9", "/", "/healthz",
    "/nothing?lang=vi",
)  # fmt: skip
HEADERS = (
    {},
    {"Accept-Encoding": "br, gzip"},
    {"Accept": "text/html", "Accept-Language": "en"},
    {"Accept": "image/png"},
    {"Host": "land.example:8443", "Cookie": "lang=en"},
)


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_both_ways_say_the_same(both, headers):
    port, client, keys = both
    host = headers.get("Host", f"127.0.0.1:{port}")
    for path in (*PATHS, *(f"{ITEMS}/{key}" for key in (*keys, keys[0][:-1] + "x"))):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            made = client.open(
                path, method=method, base_url=f"http://{host}", headers=headers, buffered=True
            )
            flask = told(made.status_code, [*made.headers], made.data)
            assert told(*ask(port, path, method, headers)) == flask, (method, path)


def test_what_is_held_is_not_sent_again(both):
    port, _, keys = both
    for path in (f"{ITEMS}?limit=3", f"{ITEMS}/{keys[0]}"):
        _, headers, _ = ask(port, path)
        (tag,) = (value for name, value in headers if name.lower() == "etag")
        status, headers, body = ask(port, path, headers={"If-None-Match": tag})
        assert (status, body) == (304, b"")
        assert [value for name, value in headers if name.lower() == "etag"] == [tag]


def test_every_answer_carries_what_all_do(both):
    port, *_ = both
    for path in (f"{ITEMS}?limit=1", f"{ITEMS}?limit=x", "/", "/nothing", "/healthz"):
        headers = {name.lower(): value for name, value in ask(port, path)[1]}
        assert {name.lower(): value for name, value in ALWAYS.items()}.items() <= headers.items()


def test_a_stream_that_breaks_off_is_no_whole_file(both):
    port, *_ = both
    with pytest.raises(http.client.IncompleteRead):
        ask(port, "/ogc/collections/breaking/export?f=geojsonl")


def test_requests_in_one_go_are_answered_in_order(both):
    port, _, keys = both
    with socket.create_connection(("127.0.0.1", port)) as made:
        paths = [f"{ITEMS}/{keys[0]}", "/healthz", f"{ITEMS}?limit=1", f"{ITEMS}/{keys[1]}"]
        last = "GET /ogc/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        made.sendall(
            "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode()
            + last.encode()
        )
        answer = b"".join(iter(lambda: made.recv(1 << 16), b""))
    assert answer.count(b"HTTP/1.1 200") == 5
    places = [answer.index(each.encode()) for each in (f'"id":"{keys[0]}"', '"status":"ok"')]
    assert places == sorted(places)
