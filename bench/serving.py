"""How fast features and tiles are served, beside other servers over the same rows.

    python bench/serving.py [--parcels 1000000] [--clients 1,8,32] [--seconds 2] [--rounds 1]
                            [--servers NAME,…] [--cases NAME/…] [--export] [--json FILE]
                            [--home FOLDER] [--before CHECKOUT]

Makes an embedded PostGIS of its own below the temporary folder and imports PARCELS made-up ones,
once: the store is kept for the next run (`--home` names another place; `--drop` removes it).
The servers of `bench/servers.py` are started over it and asked in turn, case by case, for the
same parcels in CRS84 without compression; what is not installed is named and left out. Beside
them the statements alone, without HTTP: `raw, stored` sends the feature text that stands in the
row, `raw, built` has PostGIS write it.

HTTP is asked by `wrk` (one thread, which costs about 10 µs a request, kept connections), the raw
statements by `pgbench`. Both share the machine with servers and database, as the peers' do.
Before a case is measured, each server's first answers must hold the same parcels; of a page in
an order of the server's own, as many. Each cell begins with a second that is not counted, in
which everybody makes the connections that so many clients need. After it, and after the cell, it
is waited until nobody works any more, and a server that still does is started anew. Before each
case it is told how long the machine halts busy processes by itself: a 99th percentile holds these
too. The cluster is started with room for the connections of all servers at once. Prints requests a
second, and the 50th and 99th percentile in ms; of several rounds, in which all servers are asked in
turn, the median of each. `--before` measures the service of another checkout too, which must be
set up. `--export` measures the whole table instead: seconds, and memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import bare
import numpy as np
import psycopg
from processes import halts, resident, worked
from psycopg.conninfo import make_conninfo
from servers import SERVERS, Running, Server, checkout

from landdata.embedded.cluster import Cluster
from landdata.embedded.roles import SUPERUSER
from landdata.settings import Settings
from landdata.store import database as db

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
COMMUNE = "99901"
HALF = 0.0008  # degrees: a box twice as wide holds somewhat less than 100 parcels of 450 m²
SOME = 500
CONNECTIONS = 400  # of the database: all servers hold theirs at once
FEW, SLOW = 10, 5.0  # a server that gives fewer answers is asked for so many seconds
WARM_UP = 1.0  # seconds of each cell that are not counted
HALTS = 4.0  # seconds in which the machine's own halts are counted
RAW = "raw, stored", "raw, built"
GEOJSON, MVT = "application/geo+json", "application/vnd.mapbox-vector-tile"
TABLES = """
CREATE SCHEMA bench;
CREATE TABLE bench.parcels AS
SELECT parcel_id::text AS id, (row_number() OVER (ORDER BY parcel_id))::integer AS gid,
  national_id, commune, sheet, number, scale, area, legal_area, land_use::text AS land_use, label,
  surveyed_on, valid_from, version,
  ST_Transform(ST_SetSRID(geom, 910000 + ST_SRID(geom)), 4326)::geometry(MultiPolygon, 4326)
    AS geom
FROM parcel_versions WHERE valid_to IS NULL ORDER BY parcel_id;
ALTER TABLE bench.parcels ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON bench.parcels (gid);
CREATE INDEX ON bench.parcels USING gist (geom);
CREATE INDEX ON bench.parcels (commune, sheet, number);
CREATE TABLE bench.stored AS
SELECT v.parcel_id AS id, p.commune, p.sheet, p.number, p.area, p.geom, v.feature
FROM parcel_versions AS v JOIN bench.parcels AS p ON p.id = v.parcel_id::text
WHERE v.valid_to IS NULL ORDER BY v.parcel_id;
ALTER TABLE bench.stored ADD PRIMARY KEY (id);
CREATE INDEX ON bench.stored USING gist (geom);
CREATE INDEX ON bench.stored (commune, sheet, number);
"""
#: What PostGIS writes of a row of `bench.parcels` where the text is not stored.
BUILT = (
    '\'{"type":"Feature","id":"\' || id || \'","geometry":\' || ST_AsGeoJSON(geom, 7, 0)'
    ' || \',"properties":{"id":"\' || id || \'","commune":\' || to_json(commune) ||'
    " ',\"sheet\":' || to_json(sheet) || ',\"number\":' || to_json(number) ||"
    " ',\"scale\":' || coalesce(scale::text, 'null') || ',\"area\":' ||"
    " coalesce(area::text, 'null') || ',\"legal_area\":' || coalesce(legal_area::text, 'null')"
    " || ',\"land_use\":' || land_use"
    " || ',\"label\":' || coalesce(to_json(label)::text, 'null') || ',\"valid_from\":' ||"
    " to_json(valid_from) || ',\"version\":' || version || '}}'"
)


# -- the store -------------------------------------------------------------------------------


def up(cluster: Cluster) -> bool:
    """Start the cluster with room for everybody's connections; whether it was down before."""
    ours = cluster.up()
    with superuser(cluster) as connection:
        (room,) = connection.execute("SHOW max_connections").fetchone() or (0,)
        if int(room) >= CONNECTIONS:
            return ours
        if not ours:
            sys.exit(f"{cluster.home} is in use and has {room} connections: stop it first.")
        connection.execute(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}")
    cluster.down()
    return cluster.up()


def superuser(cluster: Cluster) -> psycopg.Connection[Any]:
    url = cluster.url("postgres", role=SUPERUSER)
    return psycopg.connect(
        host=str(url.query["host"]), port=str(url.query["port"]), dbname=url.database,
        user=url.username, password=url.password, autocommit=True,
    )  # fmt: skip


def store(cluster: Cluster, parcels: int) -> dict[str, str]:
    """Fill the store, if it is not filled yet; return how to connect to it."""
    home, url = cluster.home, cluster.url()
    database = {
        "host": str(url.query["host"]), "port": str(url.query["port"]), "dbname": "landdata",
        "user": str(url.username), "password": str(url.password),
    }  # fmt: skip
    db.migrate(Settings(home=home))
    with connect(database) as connection:
        (there,) = connection.execute("SELECT count(*) FROM parcel_versions").fetchone() or (0,)
        if not there:
            with tempfile.TemporaryDirectory(prefix="landdata-bench-") as scratch:
                survey = f"{scratch}/survey.zip"
                made = [sys.executable, HERE / "make_parcels.py", str(parcels), survey]
                subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
                for words in (
                    ["communes", "add", COMMUNE, "Xã Suối Mẫu"],
                    ["import", survey, "--commune", COMMUNE, "--accept"],
                ):
                    done = subprocess.run(
                        [BIN / "landdata", *words],
                        env={"LANDDATA_HOME": str(home)},
                        stdout=subprocess.DEVNULL,
                        check=False,
                    )
                    if done.returncode not in (0, 1):
                        sys.exit(f"landdata {words[0]} ended with {done.returncode}")
            there = parcels
        if there != parcels:
            sys.exit(f"{home} holds {there} parcels: name another --home, or --drop it first.")
        if connection.execute("SELECT to_regclass('bench.stored')").fetchone() == (None,):
            connection.execute(TABLES)
            for table in ("parcel_versions", "bench.parcels", "bench.stored"):
                connection.execute(f"VACUUM ANALYZE {table}")
    return database


def warm(database: dict[str, str]) -> None:
    """Have in memory what will be asked of each table, so that the first asked is no slower."""
    with connect(database) as connection:
        ours = "(SELECT *, parcel_id AS id FROM parcel_versions WHERE valid_to IS NULL) AS t"
        srid = connection.execute("SELECT srid FROM deployment").fetchone()
        for table, to in (
            ("bench.parcels AS t", 4326),
            ("bench.stored AS t", 4326),
            (ours, (srid or [0])[0]),
        ):
            connection.execute(
                "SELECT sum(length(t::text)) FROM (SELECT ST_Expand(ST_Transform(geom, %s), %s)"
                " AS box FROM bench.parcels ORDER BY md5(id) LIMIT %s) AS b"
                f" JOIN {table} ON t.geom && box",
                [to, 0.001 if to == 4326 else 100, SOME],
            )


def connect(database: dict[str, str]) -> psycopg.Connection[Any]:
    return psycopg.connect(make_conninfo(**database), autocommit=True)


# -- what is asked ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """Some parcels of the store: id, number of the row, sheet, number, longitude, latitude."""

    some: list[tuple[str, int, str, str, float, float]]
    count: int
    deep: str  # the id of the parcel before the deep page

    @classmethod
    def of(cls, database: dict[str, str]) -> Facts:
        with connect(database) as connection:
            (count,) = connection.execute("SELECT count(*) FROM bench.parcels").fetchone() or (0,)
            (deep,) = connection.execute(
                "SELECT id FROM bench.parcels WHERE gid = %s", [count * 9 // 10]
            ).fetchone() or ("",)
            some = connection.execute(
                "SELECT id, gid, sheet, number, ST_X(c), ST_Y(c) FROM (SELECT *, ST_Centroid(geom)"
                " AS c FROM bench.parcels ORDER BY md5(id) LIMIT %s) AS p",
                [SOME],
            ).fetchall()
        return cls(some, count, deep)

    def boxes(self) -> list[tuple[float, float, float, float]]:
        return [(x - HALF, y - HALF, x + HALF, y + HALF) for *_, x, y in self.some]

    def rings(self) -> list[str]:
        made = []
        for *_, x, y in self.some:
            a, b, c, d = x - HALF / 2, y - HALF / 2, x + HALF / 2, y + HALF / 2
            corners = f"{a:.6f} {b:.6f}, {c:.6f} {b:.6f}, {c:.6f} {d:.6f}, {a:.6f} {b:.6f}"
            made.append(f"POLYGON(({corners}))")
        return made

    def tiles(self, z: int) -> list[tuple[int, int, int]]:
        """Tiles (z, x, y) of the web's set that hold some of the parcels, each once."""
        side = 2**z
        found = {}
        for *_, x, y in self.some:
            down = (1 - np.arcsinh(np.tan(np.radians(y))) / np.pi) / 2
            found[z, int((x + 180) / 360 * side), int(down * side)] = None
        return list(found)[:64]


@dataclass(frozen=True)
class Case:
    """A question: the paths of a server, and the statements without one."""

    name: str
    paths: Callable[[Server, str, Facts], list[str] | None]
    raw: Callable[[Facts, bool], list[str]]  # stored or built
    same: bool = True  # whether it tells which parcels, and not only how many
    media: str = GEOJSON


def page(limit: int) -> Callable[[Server, str, Facts], list[str]]:
    return lambda server, _, __: [f"{server.items}?limit={limit}"]


def one(server: Server, _: str, facts: Facts) -> list[str]:
    return [f"{server.items}/{key}" for key, *_ in facts.some]


def box(server: Server, _: str, facts: Facts) -> list[str]:
    return [
        f"{server.items}?limit=100&bbox={w:.6f},{s:.6f},{e:.6f},{n:.6f}"
        for w, s, e, n in facts.boxes()
    ]


def attribute(server: Server, _: str, facts: Facts) -> list[str] | None:
    if not server.attribute:
        return None
    return [
        f"{server.items}?commune={COMMUNE}&sheet={sheet}&number={number}"
        for _, _, sheet, number, _, _ in facts.some
    ]


def deep(server: Server, base: str, facts: Facts) -> list[str]:
    there = facts.count * 9 // 10
    if server.keyset == "after":
        return [f"{server.items}?limit=10&after={facts.deep}"]
    if server.keyset is None:
        return [f"{server.items}?limit=10&offset={there}"]
    # the link that leads on from there is the one that a reader of all pages would meet
    told = json.loads(fetch(f"{base}{server.items}?limit=10&offset={there - 10}"))
    ahead = urlsplit(next(link["href"] for link in told["links"] if link["rel"] == "next"))
    return [f"{ahead.path}?{ahead.query}"]


def chosen(server: Server, _: str, facts: Facts) -> list[str] | None:
    if server.filter is None:
        return None
    made = [server.filter(ring, "400") for ring in facts.rings()]
    return [f"{server.items}?limit=100&{quote(each, safe='=')}" for each in made]


def tile(z: int) -> Callable[[Server, str, Facts], list[str] | None]:
    def paths(server: Server, _: str, facts: Facts) -> list[str] | None:
        if server.tile is None:
            return None
        return [server.tile.format(z=z, x=x, y=y) for z, x, y in facts.tiles(z)]

    return paths


def statement(text: str, values: dict[str, Any], built: bool) -> str:
    for name, value in values.items():
        text = text.replace(f"%({name})s", f"'{value}'" if isinstance(value, str) else str(value))
    if built:
        text = text.replace(
            "SELECT feature FROM bench.stored", f"SELECT {BUILT} FROM bench.parcels"
        )
    return text


def raw(text: str, values: Callable[[Facts], Sequence[dict[str, Any]]]) -> Callable[..., list[str]]:
    return lambda facts, built: [statement(text, each, built) for each in values(facts)[:16]]


CASES = (
    Case("10 items", page(10), raw(bare.PAGE, lambda _: [{"limit": 10}]), same=False),
    Case("1,000 items", page(1000), raw(bare.PAGE, lambda _: [{"limit": 1000}]), same=False),
    Case("box", box, raw(bare.BOX, lambda facts: [
        dict(zip("wsen", each, strict=True)) for each in facts.boxes()])),
    Case("one item", one, raw(bare.ONE, lambda facts: [{"id": key} for key, *_ in facts.some])),
    Case("attribute", attribute, raw(bare.ATTRIBUTE, lambda facts: [
        {"commune": COMMUNE, "sheet": sheet, "number": number}
        for _, _, sheet, number, _, _ in facts.some])),
    Case("deep page", deep, raw(
        bare.AFTER, lambda facts: [{"after": facts.deep, "limit": 10}]), same=False),
    Case("CQL2 filter", chosen, raw(
        bare.FILTER, lambda facts: [{"ring": ring} for ring in facts.rings()])),
    Case("tile z14", tile(14), raw(bare.TILE, lambda facts: [
        dict(zip("zxy", each, strict=True)) for each in facts.tiles(14)]), media=MVT),
    Case("tile z16", tile(16), raw(bare.TILE, lambda facts: [
        dict(zip("zxy", each, strict=True)) for each in facts.tiles(16)]), media=MVT),
)  # fmt: skip


def fetch(url: str, media: str = GEOJSON) -> bytes:
    asked = urllib.request.Request(url, headers={"Accept": media})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code} {error.read()[:300]!r}")


def agree(case: Case, running: Running, paths: list[str], known: dict[str, Any]) -> None:
    """See that a server's answers hold what the others' do."""
    for n, path in enumerate(paths[: 10 if case.same else 1]):
        body = fetch(running.base + path, case.media)
        if case.media == MVT:
            if len(body) < 1000:
                sys.exit(f"{running.server.name} draws next to nothing: {path}")
            continue
        told = json.loads(body)
        features = told.get("features", [told])
        ids = sorted(str((e.get("properties") or {}).get("id") or e["id"]) for e in features)
        first = known.setdefault(f"{case.name} {n}", ids)
        good = len(ids) == len(first)
        if case.same:
            good = ids == first
            if running.server.boxes and case.name == "box":
                good = set(ids) >= set(first)
        if not good:
            sys.exit(f"{running.server.name} answers otherwise: {path}: {len(ids)}, {len(first)}")


# -- asking ----------------------------------------------------------------------------------


def cell(
    base: str,
    case: Case,
    paths: list[str],
    clients: int,
    seconds: float,
    rest: Callable[[], None] = lambda: None,
    warm_up: bool = True,
) -> dict[str, Any]:
    """Ask a server for a while, after a beginning that is not counted and a rest.

    It is asked for longer where hardly an answer comes.
    """
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(paths) + "\n")
        file.flush()

        def ask(seconds: float) -> tuple[int, ...]:
            done = subprocess.run(
                ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "60s",
                 "-s", HERE / "serving.lua", base, "--", file.name, str(clients), case.media],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            lines = [line for line in done.stdout.splitlines() if line.startswith("found")]
            # a server that has hung itself up takes no connection any more: not one answer came
            found = lines[0] if lines else f"found 0 {seconds * 1e6:.0f} 0 0 0"
            return tuple(int(each) for each in found.split()[1:])

        if warm_up:
            ask(WARM_UP)
        rest()
        told = ask(seconds)
        if told[0] < FEW:
            told = ask(max(seconds, SLOW))
    count, microseconds, p50, p99, errors = told
    return {
        "per_second": count / microseconds * 1e6, "p50_ms": p50 / 1000, "p99_ms": p99 / 1000,
        "errors": errors,
    }  # fmt: skip


def raw_cell(
    database: dict[str, str], statements: list[str], clients: int, seconds: float
) -> dict[str, Any]:
    """Run statements for a while, each prepared, over as many connections as clients.

    The beginning is left out by the times of its log.
    """
    with tempfile.TemporaryDirectory(prefix="landdata-bench-") as folder:
        files: list[str] = []
        for n, each in enumerate(statements):
            path = Path(folder) / f"{n}.sql"
            path.write_text(each + "\n")
            files += ["-f", str(path)]
        subprocess.run(
            [pgbench(), "-n", "-M", "prepared",
             "-c", str(clients), "-j", str(min(clients, 2)), "-l",
             "-T", f"{WARM_UP + max(1, seconds):.0f}", "--log-prefix", f"{folder}/log", *files],
            env={"PGHOST": database["host"], "PGPORT": database["port"], "PGUSER": database["user"],
                 "PGPASSWORD": database["password"], "PGDATABASE": database["dbname"],
                 "PGOPTIONS": "-c jit=off"},
            check=True, capture_output=True,
        )  # fmt: skip
        lines = [line for log in Path(folder).glob("log*") for line in log.open()]
    # client, number, µs that it took, script, and when it ended: seconds and µs
    told = np.array([line.split() for line in lines], dtype=np.int64)
    ended = told[:, 4] + told[:, 5] / 1e6
    times = told[ended >= (ended - told[:, 2] / 1e6).min() + WARM_UP, 2] / 1000
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "per_second": clients * times.size / times.sum() * 1000, "p50_ms": p50, "p99_ms": p99,
        "errors": 0,
    }  # fmt: skip


def pgbench() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench")) or [shutil.which("pgbench")]
    if found[-1] is None:
        sys.exit("pgbench is missing: it comes with PostgreSQL.")
    return str(found[-1])


def settle(database: dict[str, str], servers: Sequence[Running]) -> None:
    """Wait until nobody works any more; start anew who still does after some seconds."""
    with connect(database) as connection:

        def asleep() -> bool:
            (active,) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone() or (0,)
            pids = [pid for each in servers for pid in each.pids()]
            before = worked(pids)
            time.sleep(0.05)
            return not active and worked(pids) - before <= 1

        end = time.monotonic() + 2
        while not asleep():
            if time.monotonic() > end:
                for each in servers:
                    pids = each.pids()
                    before = worked(pids)
                    time.sleep(0.1)
                    if worked(pids) - before > 1:
                        each.restart()
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active'"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
                end = time.monotonic() + 10


# -- the whole table -------------------------------------------------------------------------


def export(running: Running, count: int) -> dict[str, Any]:
    """Read the whole table, count its features, and watch the memory of the server."""
    assert running.server.export is not None
    pids = running.pids()
    before = peak = resident(pids)
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.02):
            peak = max(peak, resident(running.pids()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    path = running.server.export.format(count=count)
    mark = b'"type":"Feature"'
    spaced = b'"type": "Feature"'
    host, port = urlsplit(running.base).hostname, urlsplit(running.base).port
    began = time.perf_counter()
    size = found = 0
    first = None
    with socket.create_connection((str(host), int(port or 0)), timeout=180) as connection:
        # HTTP/1.0, so that the end of the connection is the end of the answer
        connection.sendall(
            f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: {GEOJSON}\r\n\r\n".encode()
        )
        kept = b""
        while block := connection.recv(1 << 20):
            first = first or time.perf_counter() - began
            size += len(block)
            text = kept + block
            found += text.count(mark) + text.count(spaced)
            kept = text[-(len(spaced) - 1) :]
            if kept.endswith(mark):
                kept = b""
    seconds = time.perf_counter() - began
    finished.set()
    watcher.join()
    return {
        "seconds": seconds, "first_byte": first, "megabytes": size / 1e6, "features": found,
        "memory_mb": (peak - before) / 1e6, "idle_mb": before / 1e6,
    }  # fmt: skip


def raw_export(database: dict[str, str]) -> dict[str, Any]:
    began = time.perf_counter()
    size = 0
    with connect(database) as connection, connection.cursor().copy(bare.ALL) as copy:
        while block := copy.read():
            size += len(block)
    return {"seconds": time.perf_counter() - began, "megabytes": size / 1e6}


# -- the run ---------------------------------------------------------------------------------


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--parcels", type=int, default=1_000_000)
    arguments.add_argument("--home", type=Path)
    arguments.add_argument("--before", type=Path)
    arguments.add_argument("--clients", default="1,8,32")
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--servers", default="")
    arguments.add_argument("--cases", default="")
    arguments.add_argument("--export", action="store_true")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--drop", action="store_true")
    given = arguments.parse_args()
    home = given.home or Path(tempfile.gettempdir()) / f"landdata-bench-{given.parcels}"
    if given.drop:
        Cluster(home).down()
        shutil.rmtree(home)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    cluster = Cluster(home)
    ours = up(cluster)
    try:
        results = measure(store(cluster, given.parcels), given)
    finally:
        if ours:  # it may have been there already, for others
            cluster.down()
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


def measure(database: dict[str, str], given: argparse.Namespace) -> list[dict[str, Any]]:
    facts = Facts.of(database)
    warm(database)
    cases = [each for each in CASES if not given.cases or each.name in given.cases.split("/")]
    with ExitStack() as stack:
        running = []
        before = [checkout(given.before.absolute())] if given.before else []
        for server in [*before, *chosen_servers(given.servers)]:
            if server.tiles_only and not any(case.media == MVT for case in cases):
                continue
            made = Running(server, database)
            stack.callback(made.stop)
            made.start()
            running.append(made)
        if given.export:
            return exports(database, facts, running)
        clients = [int(each) for each in given.clients.split(",")]
        return [
            found
            for case in cases
            for found in column(
                database, facts, case, running, clients, seconds=given.seconds, rounds=given.rounds
            )
        ]


def chosen_servers(names: str) -> list[Server]:
    """The servers that are asked for and installed; says which are not."""
    wanted = [each for each in SERVERS if not names or each.name in names.split(",")]
    for each in wanted:
        if each.missing:
            print(f"{each.name} is left out: {', '.join(each.missing)} is not installed.")
    return [each for each in wanted if not each.missing]


def column(
    database: dict[str, str],
    facts: Facts,
    case: Case,
    running: Sequence[Running],
    clients: Sequence[int],
    *,
    seconds: float,
    rounds: int,
) -> list[dict[str, Any]]:
    """Ask everybody one question, by more and more clients; return the medians of the rounds."""
    known: dict[str, Any] = {}
    asked: list[tuple[Running, list[str]]] = []
    for each in running:
        if each.server.hangs:
            each.restart()
        paths = case.paths(each.server, each.base, facts)
        if paths and (case.media == MVT or not each.server.tiles_only):
            agree(case, each, paths, known)
            if case.media == MVT and each.server.ours and not each.server.tiles_only:
                cell(each.base, case, paths, 8, 20)  # from the cache, in both processes
            asked.append((each, paths))
    results: list[dict[str, Any]] = []

    def rest() -> None:
        settle(database, running)

    rest()
    halted = halts(HALTS)
    print(
        f"{case.name:12} the machine halts {len(halted) / HALTS:.1f} times a second,"
        f" {sum(halted) / HALTS:.0f} ms of it, {max(halted, default=0):.0f} ms at most",
        flush=True,
    )
    for number in clients:
        cells: dict[str, list[dict[str, Any]]] = {}
        # one after the other, so that what else the machine does is alike for all
        for name, built in zip(RAW, (False, True), strict=True):
            if not (built and case.media == MVT):
                cells[name] = [raw_cell(database, case.raw(facts, built), number, seconds)]
        for _ in range(rounds):
            for each, paths in asked:
                if each.server.hangs:
                    each.restart()
                warm_up = not each.server.hangs
                found = cell(each.base, case, paths, number, seconds, rest, warm_up)
                cells.setdefault(each.server.name, []).append(found)
                rest()
        for name, measured in cells.items():
            found = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
            found["errors"] = sum(each["errors"] for each in measured)
            results.append({"server": name, "case": case.name, "clients": number, **found})
            wrong = f"   {found['errors']} errors" if found["errors"] else ""
            print(
                f"{case.name:12} {number:3} clients {name:20} {found['per_second']:9.1f}/s"
                f"   p50 {found['p50_ms']:9.2f} ms   p99 {found['p99_ms']:9.2f} ms{wrong}",
                flush=True,
            )
    return results


def exports(
    database: dict[str, str], facts: Facts, running: Sequence[Running]
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = [
        {"server": "COPY", "features": facts.count, **raw_export(database)}
    ]
    print(f"COPY                 {results[0]['seconds']:7.2f} s  {results[0]['megabytes']:7.0f} MB")
    for each in running:
        if each.server.export is None:
            continue
        # a tenth where the whole would take all of the memory
        count = facts.count if each.server.ours or each.server.keyset else facts.count // 10
        found = {"server": each.server.name, **export(each, count)}
        results.append(found)
        print(
            f"{each.server.name:20} {found['seconds']:7.2f} s  {found['megabytes']:7.0f} MB "
            f" {found['features']:9,} features  first byte {found['first_byte']:5.2f} s"
            f"  memory +{found['memory_mb']:.0f} MB on {found['idle_mb']:.0f}",
            flush=True,
        )
        if found["features"] != count:
            print(f"  {count - found['features']:,} features are missing")
        settle(database, running)
    return results


if __name__ == "__main__":
    main()
