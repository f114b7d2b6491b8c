"""How fast features are served, beside other servers over the same rows.

    python bench/serving.py DATABASE [--parcels 100000] [--clients 1,8,32] [--seconds 3]
                            [--only NAME,…] [--json]

DATABASE is the URL of an empty database of PostGIS (`postgresql://…`), which is migrated and
filled once and then kept, so that a second run measures at once. The servers are started here,
asked in turn, case by case, and ended: ours under gunicorn (as `landdata serve`) and, where it is
installed beside us, under Granian; pygeoapi 0.21 under gunicorn and tipg under uvicorn; two
processes each. The peers are installed into environments of their own below the temporary folder.
They get a table that is kinder to them than ours: only the rows of now, in CRS84 already, with an
index on all that is asked for.

Each client is a process with one kept connection that asks for JSON without compression. Every
question is asked of each server before it is measured, and the answers must hold the same
parcels (pages in an order of the server's own: as many). Prints requests a second, and the 50th
and 99th percentile in ms.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import psycopg
from psycopg import sql

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
COMMUNE = "99901"
WORKERS = 2
CACHE = Path(tempfile.gettempdir()) / "landdata-bench-peers"
PEERS = {
    "pygeoapi": ["pygeoapi==0.21.0", "geoalchemy2", "psycopg2-binary", "gunicorn"],
    "tipg": ["tipg", "uvicorn[standard]"],
}
TABLE = """
CREATE SCHEMA bench;
CREATE TABLE bench.parcels AS
SELECT parcel_id::text AS id, national_id, commune, sheet, number, scale, area, legal_area,
  land_use::text AS land_use, label, surveyed_on, valid_from, version,
  ST_Transform(ST_SetSRID(geom, 910000 + ST_SRID(geom)), 4326)::geometry(MultiPolygon, 4326) AS geom
FROM parcel_versions WHERE valid_to IS NULL ORDER BY parcel_id;
ALTER TABLE bench.parcels ADD PRIMARY KEY (id);
CREATE INDEX ON bench.parcels USING gist (geom);
CREATE INDEX ON bench.parcels (commune, sheet, number);
ANALYZE bench.parcels
"""


@dataclass(frozen=True)
class Server:
    """How a server is started, and how it is asked."""

    name: str
    items: str
    command: Callable[[int, str, Path], tuple[list[str], dict[str, str]]]
    geometry: str
    intersects: str = "S_INTERSECTS"
    keyset: bool = False


# -- the servers -----------------------------------------------------------------------------


def ours(port: int, database: str, _: Path) -> tuple[list[str], dict[str, str]]:
    return [str(BIN / "landdata"), "serve"], {
        "LANDDATA_DATABASE_URL": database,
        "LANDDATA_PORT": str(port),
    }


def granian(port: int, database: str, _: Path) -> tuple[list[str], dict[str, str]]:
    command = [
        str(BIN / "granian"), "--interface", "wsgi", "--factory", "--workers", str(WORKERS),
        "--blocking-threads", "8", "--no-access-log", "--log-level", "error",
        "--host", "127.0.0.1", "--port", str(port), "portal.app:create_app",
    ]  # fmt: skip
    return command, {"LANDDATA_DATABASE_URL": database}


def pygeoapi(port: int, database: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    place = urlsplit(database)
    provider = {
        "type": "feature", "name": "PostgreSQL", "id_field": "id", "table": "parcels",
        "geom_field": "geom",
        "data": {"host": place.hostname, "port": place.port or 5432, "user": place.username,
                 "password": place.password, "dbname": place.path[1:], "search_path": ["bench"]},
    }  # fmt: skip
    text = {"en": "x"}
    configuration = {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port}, "url": f"http://127.0.0.1:{port}",
            "mimetype": "application/json; charset=UTF-8", "encoding": "utf-8", "gzip": False,
            "languages": ["en-US"], "cors": False, "pretty_print": False, "admin": False,
            "limits": {"default_items": 10, "max_items": 10000},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {"title": text, "description": text, "keywords": {"en": ["x"]},
                               "keywords_type": "theme", "terms_of_service": "x",
                               "url": "http://127.0.0.1"},
            "license": {"name": "x", "url": "http://127.0.0.1"},
            "provider": {"name": "x", "url": "http://127.0.0.1"},
            "contact": {"name": "x", "email": "x@x"},
        },
        "resources": {
            "parcels": {
                "type": "collection", "title": text, "description": text,
                "keywords": {"en": ["x"]}, "links": [],
                "extents": {"spatial": {"bbox": [-180, -90, 180, 90],
                                        "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}},
                "providers": [provider],
            }
        },
    }  # fmt: skip
    config, definition = folder / "pygeoapi.yml", folder / "openapi.yml"
    config.write_text(json.dumps(configuration))  # JSON is YAML
    environment = {"PYGEOAPI_CONFIG": str(config), "PYGEOAPI_OPENAPI": str(definition)}
    here = environment_of("pygeoapi")
    subprocess.run(
        [here / "pygeoapi", "openapi", "generate", config, "--output-file", definition],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return [
        str(here / "gunicorn"), "--workers", str(WORKERS), "--threads", "8",
        "--worker-class", "gthread", "--bind", f"127.0.0.1:{port}", "--log-level", "error",
        "pygeoapi.flask_app:APP",
    ], environment  # fmt: skip


def tipg(port: int, database: str, _: Path) -> tuple[list[str], dict[str, str]]:
    return [
        str(environment_of("tipg") / "uvicorn"), "--workers", str(WORKERS), "--log-level", "error",
        "--host", "127.0.0.1", "--port", str(port), "tipg.main:app",
    ], {"DATABASE_URL": database, "TIPG_DB_SCHEMAS": '["bench"]'}  # fmt: skip


SERVERS = (
    Server("landdata", "/ogc/collections/parcels/items", ours, "geometry", keyset=True),
    Server(
        "landdata (Granian)", "/ogc/collections/parcels/items", granian, "geometry", keyset=True
    ),
    # its filters are ECQL
    Server("pygeoapi", "/collections/parcels/items", pygeoapi, "geom", "INTERSECTS"),
    Server("tipg", "/collections/bench.parcels/items", tipg, "geom"),
)


def environment_of(name: str) -> Path:
    """Return the folder of programs of a peer, installed if it is not there yet."""
    home = CACHE / name
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *PEERS[name]], check=True)
        (home / "ready").touch()
    return home / "bin"


@contextmanager
def started(server: Server, database: str) -> Iterator[str]:
    """The address of a server that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="landdata-bench-"))
    command, environment = server.command(port, database, folder)
    environment = {**os.environ, "LANDDATA_HOME": str(folder), **environment}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=folder)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                fetch(f"{base}{server.items}?limit=1")
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"{server.name} ended with {process.returncode}")
                time.sleep(0.1)
        else:
            sys.exit(f"{server.name} does not answer")
        yield base
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


# -- the store -------------------------------------------------------------------------------


def fill(database: str, parcels: int) -> None:
    """Migrate the database and import made-up parcels, unless they are there."""
    with tempfile.TemporaryDirectory(prefix="landdata-bench-") as scratch:
        environment = {**os.environ, "LANDDATA_HOME": scratch, "LANDDATA_DATABASE_URL": database}

        def landdata(*words: str) -> None:
            done = subprocess.run(
                [BIN / "landdata", *words], env=environment, stdout=subprocess.DEVNULL, check=False
            )
            if done.returncode not in (0, 1):
                sys.exit(f"landdata {words[0]} ended with {done.returncode}")

        landdata("migrate")
        with psycopg.connect(database, autocommit=True) as connection:
            # compiling statements costs every server, the peers above all, tens of ms a request
            name = connection.info.dbname
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET jit = off").format(sql.Identifier(name))
            )
            there = connection.execute("SELECT count(*) FROM parcel_versions").fetchone()
            if there == (0,):
                survey = Path(scratch) / "survey.zip"
                made = [sys.executable, str(HERE / "make_parcels.py"), str(parcels), str(survey)]
                subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
                landdata("communes", "add", COMMUNE, "Xã Suối Mẫu")
                landdata("import", str(survey), "--commune", COMMUNE, "--accept")
            if connection.execute("SELECT to_regclass('bench.parcels')").fetchone() == (None,):
                connection.execute(TABLE)
            connection.execute("VACUUM ANALYZE parcel_versions")


def questions(
    database: str, seed: int = 1
) -> Iterator[tuple[str, Callable[[Server, str], list[str]]]]:
    """Yield each case and what makes its paths for a server."""
    chance = random.Random(seed)
    with psycopg.connect(database) as connection:
        some = connection.execute(
            "SELECT id, sheet, number, ST_X(c), ST_Y(c) FROM (SELECT *, ST_Centroid(geom) AS c"
            " FROM bench.parcels ORDER BY md5(id) LIMIT 500) AS p"
        ).fetchall()
        (count,) = connection.execute("SELECT count(*) FROM bench.parcels").fetchone() or (0,)
    chance.shuffle(some)
    half = 0.0009  # about 100 parcels of 450 m²

    def boxes(server: Server, _: str) -> list[str]:
        made = []
        for *_, x, y in some:
            box = f"{x - half:.6f},{y - half:.6f},{x + half:.6f},{y + half:.6f}"
            made.append(f"{server.items}?limit=100&bbox={box}")
        return made

    def attributes(server: Server, _: str) -> list[str]:
        return [
            f"{server.items}?commune={COMMUNE}&sheet={sheet}&number={number}"
            for _, sheet, number, _, _ in some
        ]

    def deep(server: Server, base: str) -> list[str]:
        there = count * 9 // 10
        if not server.keyset:
            return [f"{server.items}?limit=10&offset={there}"]
        # as links lead there: by key, in pages as large as there are
        path, passed = f"{server.items}?limit=10000", 0
        while passed < there:
            told = fetch(base + path)
            passed += len(told["features"])
            ahead = next(link["href"] for link in told["links"] if link["rel"] == "next")
            path = urlsplit(ahead).path + "?" + urlsplit(ahead).query
        return [path.replace("limit=10000", "limit=10")]

    def filters(server: Server, _: str) -> list[str]:
        made = []
        for _, _, _, x, y in some:
            a, b, c, d = x - half / 2, y - half / 2, x + half / 2, y + half / 2
            ring = f"{a:.6f} {b:.6f}, {c:.6f} {b:.6f}, {c:.6f} {d:.6f}, {a:.6f} {b:.6f}"
            text = f"{server.intersects}({server.geometry}, POLYGON(({ring}))) AND area > 400"
            made.append(f"{server.items}?limit=100&filter={quote(text)}")
        return made

    yield "10 items", lambda server, _: [f"{server.items}?limit=10"]
    yield "1,000 items", lambda server, _: [f"{server.items}?limit=1000"]
    yield "box", boxes
    yield "one item", lambda server, _: [f"{server.items}/{key}" for key, *_ in some]
    yield "attribute", attributes
    yield "deep page", deep
    yield "CQL2 filter", filters


# -- asking ----------------------------------------------------------------------------------


def fetch(url: str) -> dict[str, object]:
    asked = urllib.request.Request(url, headers={"Accept": "application/geo+json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read()[:300]!r}")


def content(told: dict[str, object], case: str) -> object:
    """What must be the same from every server."""
    if told["type"] == "Feature":
        return told["id"]
    ids = sorted(str(each["id"]) for each in told["features"])
    # a page's order is each server's own, and so is which hundred of a full box
    return len(ids) if "item" in case or "page" in case or len(ids) == 100 else ids


def one(connection: socket.socket, netloc: str, path: str) -> None:
    """Ask once over a kept connection and read the whole answer."""
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {netloc}\r\nAccept: application/geo+json\r\n\r\n".encode()
    )
    data = connection.recv(1 << 18)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(1 << 18)
    head = data[:end].lower()
    if not head.startswith(b"http/1.1 200"):
        raise SystemExit(f"{path}: {data[:500]!r}")
    if b"content-length: " in head:
        left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0]) - (len(data) - end - 4)
        while left > 0:
            left -= len(connection.recv(1 << 18))
        return
    last = data[-5:]
    while last != b"0\r\n\r\n":  # in chunks
        last = (last + connection.recv(1 << 18))[-5:]


def ask(netloc: str, paths: Sequence[str], seconds: float, seed: int) -> list[float]:
    """Ask for paths in random order until the time is over; return the time of each, in s."""
    chance = random.Random(seed)
    host, _, port = netloc.partition(":")
    times = []
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one(connection, netloc, paths[0])
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            one(connection, netloc, chance.choice(paths))
            times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("database")
    arguments.add_argument("--parcels", type=int, default=100_000)
    arguments.add_argument("--clients", default="1,8,32")
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    clients = [int(each) for each in given.clients.split(",")]
    fill(given.database, given.parcels)
    chosen = [each for each in SERVERS if not given.only or each.name in given.only.split(",")]
    if not (BIN / "granian").exists():
        chosen = [each for each in chosen if each.command is not granian]
    known: dict[str, object] = {}
    results = []
    with ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(max(clients)))
        bases = [stack.enter_context(started(each, given.database)) for each in chosen]
        for case, make in questions(given.database):
            asked = [make(server, base) for server, base in zip(chosen, bases, strict=True)]
            for server, base, paths in zip(chosen, bases, asked, strict=True):
                for n, path in enumerate(paths[:10]):
                    told = content(fetch(base + path), case)
                    if known.setdefault(f"{case} {n}", told) != told:
                        sys.exit(f"{server.name} answers otherwise: {path}")
            for number in clients:
                # one after the other, so that what else the machine does is alike for all
                for server, base, paths in zip(chosen, bases, asked, strict=True):
                    netloc = base.removeprefix("http://")
                    work = [(netloc, paths, given.seconds, seed) for seed in range(number)]
                    found = pool.starmap(ask, work, chunksize=1)
                    times = np.concatenate([np.array(each) for each in found])
                    p50, p99 = np.percentile(times, [50, 99]) * 1000
                    rate = number * times.size / times.sum()
                    results.append(
                        {"server": server.name, "case": case, "clients": number,
                         "per_second": rate, "p50_ms": p50, "p99_ms": p99}
                    )  # fmt: skip
                    if not given.json:
                        print(
                            f"{case:12} {number:3} clients {server.name:20} {rate:9.1f}/s"
                            f"   p50 {p50:8.2f} ms   p99 {p99:8.2f} ms",
                            flush=True,
                        )
    if given.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
