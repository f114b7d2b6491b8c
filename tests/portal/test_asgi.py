# mypy: strict-optional=False
"""`landdata serve` on a real port: what the application says, and what no honest client sends."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import brotli
import pytest
from support import served, stored

from landdata.settings import Settings
from landdata.store import database
from ogc.app import SECURITY_HEADERS

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
def both(
    make_store: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, served.Client, list[str]]]:
    """A port on which it is served, a client in this process, and the keys of some parcels."""
    file = tmp_path_factory.mktemp("served") / "collections.toml"
    file.write_text(COLLECTION)
    settings = make_store().model_copy(update={"collections": file})
    engine = database.engine(settings)
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(BREAKS)
        keys = connection.exec_driver_sql("SELECT parcel_id::text FROM parcel_versions").scalars()
        some = [*keys][:2]
    with served.server(settings, "support.trial") as url, served.whole(settings, engine) as client:
        port = urlsplit(url).port or 0
        # what was published in this second has no date yet
        while "last-modified" not in {name.lower() for name, _ in ask(port, ITEMS)[1]}:
            time.sleep(0.1)
        yield port, client, some
    engine.dispose()


def ask(
    port: int,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | Iterator[Any] | None = None,
) -> tuple[int, list[tuple[str, str]], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asking:
        asking.request(method, path, body, headers or {})
        with asking.getresponse() as answer:
            return answer.status, answer.getheaders(), answer.read()


def told(status: int, headers: list[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """An answer without what differs from one second to the next."""
    kept = {name.lower(): {*value.split(", ")} for name, value in headers}
    coding = kept.get("content-encoding")
    if coding and body:
        body = brotli.decompress(body) if coding == {"br"} else gzip.decompress(body)
    content: Any = body
    if body.startswith(b"{"):
        content = {**json.loads(body), "timeStamp": None}
    return {
        "status": status,
        "body": content,
        **{n: v for n, v in kept.items() if n not in VARYING},
    }


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
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Accept-Encoding": "br, gzip"},
    {"Accept": "text/html", "Accept-Language": "en"},
    {"Accept": "image/png"},
    {"Host": "land.example:8443", "Cookie": "lang=en"},
    {"X-Forwarded-Host": "other.example", "X-Forwarded-Proto": "https"},
)


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_the_server_changes_no_response(
    both: tuple[int, served.Client, list[str]], headers: dict[str, str]
) -> None:
    port, client, keys = both
    host = headers.get("Host", f"127.0.0.1:{port}")
    for path in (*PATHS, *(f"{ITEMS}/{key}" for key in (*keys, keys[0][:-1] + "x"))):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            made = client.open(path, method=method, base_url=f"http://{host}", headers=headers)
            here = told(made.status_code, made.headers.multi_items(), made.data)
            assert told(*ask(port, path, method, headers)) == here, (method, path)


def test_a_cached_response_is_not_sent_again(both: tuple[int, served.Client, list[str]]) -> None:
    port, _, keys = both
    for path in (f"{ITEMS}?limit=3", f"{ITEMS}/{keys[0]}"):
        _, headers, _ = ask(port, path)
        (tag,) = (value for name, value in headers if name.lower() == "etag")
        status, headers, body = ask(port, path, headers={"If-None-Match": tag})
        assert (status, body) == (304, b"")
        assert [value for name, value in headers if name.lower() == "etag"] == [tag]


def test_every_answer_carries_what_all_do(both: tuple[int, served.Client, list[str]]) -> None:
    port, *_ = both
    for path in (f"{ITEMS}?limit=1", f"{ITEMS}?limit=x", "/", "/nothing", "/healthz"):
        headers = {name.lower(): value for name, value in ask(port, path)[1]}
        assert {
            name.lower(): value for name, value in SECURITY_HEADERS.items()
        }.items() <= headers.items()


def test_a_stream_that_breaks_off_is_no_whole_file(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    with pytest.raises(http.client.IncompleteRead):
        ask(port, "/ogc/collections/breaking/export?f=geojsonl")


# -- bytes on the wire, as no client of ours would send them


def sent(port: int, *requests: Any, host: bytes = b"Host: x\r\n", version: bytes = b"1.1") -> bytes:
    """All that comes back for requests in one go, each a line and what follows its headers."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as made:
        for place, (line, *rest) in enumerate(requests):
            last = b"Connection: close\r\n" if place == len(requests) - 1 else b""
            more = rest or [b"", b""]
            made.sendall(b"%b HTTP/%b\r\n%b%b%b\r\n%b" % (line, version, host, last, *more))
        return b"".join(iter(lambda: made.recv(1 << 16), b""))


def statuses(answer: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


def description(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["description"])


def test_requests_in_one_go_are_answered_in_order(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, _, keys = both
    paths = [f"{ITEMS}/{keys[0]}", "/healthz", f"{ITEMS}?limit=1", f"{ITEMS}/{keys[1]}", "/ogc/"]
    answer = sent(port, *([f"GET {path}".encode()] for path in paths))
    assert statuses(answer) == [200] * 5
    places = [answer.index(each.encode()) for each in (f'"id":"{keys[0]}"', '"status":"ok"')]
    assert places == sorted(places)


def test_a_body_reaches_a_view(both: tuple[int, served.Client, list[str]]) -> None:
    port, *_ = both
    body = bytes(range(256)) * 8000  # 2 MB
    assert ask(port, "/echo", "POST", body=body)[::2] == (200, body)
    chunks = (body[n : n + 10_000] for n in range(0, len(body), 10_000))
    assert ask(port, "/echo", "POST", body=chunks)[::2] == (200, body)  # sent in chunks


INNER = b"GET /ogc/nothing HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("line", [f"GET {ITEMS}?limit=1", "GET /ogc", "POST /ogc", "HEAD /ogc"])
@pytest.mark.parametrize(
    "more",
    [
        (b"Content-Length: %d\r\n" % len(INNER), INNER),
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)),
    ],
    ids=["long", "chunked"],
)
def test_a_body_is_neither_read_nor_taken_for_the_next_request(
    both: tuple[int, served.Client, list[str]], line: str, more: tuple[bytes, bytes]
) -> None:
    port, *_ = both
    answer = sent(port, [line.encode(), *more], [b"GET /healthz"])
    assert statuses(answer) == [405 if line.startswith("POST") else 200, 200]
    assert answer.endswith(b'{"status":"ok"}\n')


def test_a_body_that_is_long_or_incomplete_delays_no_response(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    for line in (f"GET {ITEMS}?limit=1", "GET /ogc", "POST /ogc"):
        for body in (INNER * 60_000, b"x"):
            head = b"Content-Length: %d\r\n" % (len(INNER) * 60_000)
            told = statuses(sent(port, [line.encode(), head, body]))
            assert told == [405 if line.startswith("POST") else 200], (line, len(body))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /ogc/collections/\xff\xfe/items", 400),
        (b"GET " + ITEMS.encode() + b"?label=\xff\xe1", 400),
        (b"GET /ogc/collections/%ff%fe/items", 404),
        (b"GET /ogc/collections/parcels/items/%ff%fe", 404),
        (b"GET /ogc/collections/communes/items/%ed%a0%80", 404),
        (b"GET /ogc/tiles/WebMercatorQuad/%ff/0/0", 404),
        (b"GET /ogc/exports/%ff/%ff", 404),
        (b"GET /%ff", 404),
        (b"GET " + ITEMS.encode() + b"?label=%ff%e1", 200),
        (b"GET " + ITEMS.encode() + b"?filter=label='%ed%a0%80'", 200),
        (b"GET " + ITEMS.encode() + b"?limit=%ff", 400),
        (b"GET " + ITEMS.encode() + b"?%ff=1", 400),
        ("GET /ogc/collections/communes/items/ế".encode(), 404),
        (f"GET {ITEMS}?label=ế".encode(), 200),
    ],
)
def test_bytes_that_are_no_text_are_refused(
    both: tuple[int, served.Client, list[str]], line: bytes, status: int
) -> None:
    port, *_ = both
    answer = sent(port, [line])
    assert statuses(answer) == [status]
    answer.partition(b"\r\n\r\n")[2].decode()


def test_a_self_link_repeats_the_query(both: tuple[int, served.Client, list[str]]) -> None:
    """Also where letters were sent as they are, and not escaped."""
    port, *_ = both
    for query in ("label=ế&limit=1", "filter=label='Ế'&limit=1", "limit=1&label=%C3%A9&number=ô"):
        answer = sent(port, [f"GET {ITEMS}?{query}".encode()], host=b"Host: land.example\r\n")
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        (here,) = (each["href"] for each in told["links"] if each["rel"] == "self")
        assert here.isascii()
        assert parse_qsl(urlsplit(here).query) == parse_qsl(query)


def test_an_absolute_address_is_as_good_as_a_path(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    for path in (f"{ITEMS}?limit=2", "/ogc/conformance", "/ogc/nothing"):
        plain = sent(port, [f"GET {path}".encode()])
        absolute = sent(port, [f"GET http://x{path}".encode()])
        assert statuses(plain) == statuses(absolute)
        body = [each.partition(b"\r\n\r\n")[2].partition(b',"timeStamp"')[0]
                for each in (plain, absolute)]  # fmt: skip
        assert body[0] == body[1]


def test_links_begin_with_a_host_or_there_are_none(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    here = f'"http://127.0.0.1:{port}{ITEMS}?limit=1"'.encode()
    line = [f"GET {ITEMS}?limit=1".encode()]
    for version, host in ((b"1.0", b""), (b"1.0", b"Host:\r\n"), (b"1.1", b"Host:\r\n")):
        answer = sent(port, line, host=host, version=version)
        assert statuses(answer) == [200]
        assert here in answer
    for host in (b'a"b', b"a/b", b"a, b", b"a\r\nHost: b", b"<script>"):
        for path in (f"{ITEMS}?limit=1", f"{ITEMS}?limit=1&f=html", "/ogc", "/ogc/nothing"):
            answer = sent(port, [f"GET {path}".encode()], host=b"Host: %b\r\n" % host)
            assert statuses(answer) == [400], (host, path)
            assert "Host" in description(answer)


def test_a_url_may_be_as_long_as_the_definition_says(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    told = json.loads(ask(port, "/ogc/openapi?lang=en")[2])["components"]["responses"]["TooLong"]
    most = int(re.search(r"[0-9,]+(?= bytes)", told["description"])[0].replace(",", ""))
    path = f"{ITEMS}?label=".ljust(most, "x")
    for longer, status in (("", 200), ("x", 414)):
        assert statuses(sent(port, [f"GET {path}{longer}".encode()])) == [status]


def test_the_head_of_a_request_has_bounds(both: tuple[int, served.Client, list[str]]) -> None:
    port, *_ = both
    line = [f"GET {ITEMS}?limit=1".encode()]
    for size, status in ((200_000, 200), (600_000, 431)):
        header = b"X: " + b"a" * size + b"\r\n"
        assert statuses(sent(port, line, host=b"Host: x\r\n" + header)) == [status]
    for wrong in (b"GET", b"GET /ogc HTTP/x", b"\x16\x03\x01\x02\x00", b"G\xe9T /ogc"):
        assert statuses(sent(port, [wrong])) == [400], wrong


@pytest.mark.parametrize("trailer", [b"X: y\r\n" * 10_000, b"x" * 60_000], ids=["many", "long"])
def test_what_stands_behind_a_body_is_not_kept(
    both: tuple[int, served.Client, list[str]], trailer: bytes
) -> None:
    """Headers may stand there, which else would be collected without an end."""
    port, *_ = both
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    with socket.create_connection(("127.0.0.1", port), timeout=30) as made:
        made.sendall(head)
        assert made.recv(1 << 16).startswith(b"HTTP/1.1 200")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            made.sendall(trailer * 1000)  # 60 MB


def test_an_old_client_gets_no_chunks_and_no_half_file_for_a_whole_one(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    export = "/ogc/collections/{}/export?f=geojsonl"
    whole = ask(port, export.format("parcels"))[2]
    answer = sent(port, [f"GET {export.format('parcels')}".encode()], version=b"1.0")
    assert answer.partition(b"\r\n\r\n")[2] == whole
    # it could not tell a file that breaks off from a whole one, which is why it waits for the whole
    broken = sent(port, [f"GET {export.format('breaking')}".encode()], version=b"1.0")
    assert statuses(broken) == [400]


def test_invalid_headers_are_ignored_or_refused(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    for header, status in (
        (b"Accept: \xff\xfe", 406),
        (b"Accept-Language: \xff", 200),
        (b"Accept-Encoding: \xff;q=x, br;q=, gzip;q=9", 200),
        (b'If-None-Match: \xff"', 200),
        (b"If-Modified-Since: yesterday", 200),
        (b"Range: bytes=5-2", 200),
        (b"Cookie: \xff", 200),
        (b"".join(b"X-%d: a\r\n" % n for n in range(80)) + b"X: a", 200),
    ):
        answer = sent(port, [f"GET {ITEMS}?limit=1".encode()], host=b"Host: x\r\n%b\r\n" % header)
        assert statuses(answer) == [status], header


def test_the_head_of_a_file_does_not_say_that_it_is_empty(
    both: tuple[int, served.Client, list[str]],
) -> None:
    port, *_ = both
    status, headers, _ = ask(port, "/ogc/collections/communes/export?f=gpkg", "HEAD")
    assert status == 200
    named = {name.lower(): value for name, value in headers}
    assert "content-length" not in named
    assert named["content-type"] == "application/geopackage+sqlite3"


def test_links_begin_with_the_address_of_the_settings(make_store: Callable[..., Settings]) -> None:
    """Whatever a proxy, or a client that names another one, says."""
    url = "https://land.example/data"
    settings = make_store(url=f"{url}/")
    engine = database.engine(settings)
    key = stored.lattice(engine)["1"]
    headers = {"X-Forwarded-Host": "other.example", "X-Forwarded-Proto": "http"}
    with served.whole(settings, engine) as client:
        for path in (
            "/ogc", "/ogc/collections", ITEMS, f"{ITEMS}?limit=3&f=html", f"{ITEMS}/{key}",
            "/ogc/collections/parcels/tiles/WebMercatorQuad?f=tilejson", "/ogc/openapi",
            "/ogc/collections/parcels/changes?limit=1", "/ogc?f=html", "/?lang=en",
        ):  # fmt: skip
            response = client.get(path, headers=headers, base_url="http://127.0.0.1:5000")
            assert response.status_code == 200, path
            links = re.findall(r"(?:href|src)\W+(https?://|/)([^\"\s]*)", response.text)
            links += re.findall(r'"(https?://)(land[^"]*|127[^"]*|other[^"]*)"', response.text)
            assert links, path
            for scheme, rest in links:
                start = "/data" if scheme == "/" else url
                assert (scheme + rest).startswith(start), (path, scheme + rest)
        later = {**headers, "Prefer": "respond-async"}
        response = client.get("/ogc/collections/parcels/export?f=csv", headers=later)
        assert response.headers["location"].startswith(f"{url}/ogc/exports/")
    engine.dispose()
