"""`landdata serve` as a process: clients that leave, clients that are slow, workers that die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.trial import SECONDS

from landdata.errors import Unavailable
from landdata.settings import Settings
from portal import asgi, serve

ROWS = 20_000
TRIAL = [sys.executable, "-m", "support.trial"]
VIEWS = f"""
CREATE VIEW wide AS
SELECT n AS id, repeat('x', 1000) AS note,
  ST_SetSRID(ST_Point(548000 + n, 1281000), 9212)::geometry(Point, 9212) AS geom
FROM generate_series(1, {ROWS}) AS n;
CREATE FUNCTION nap(n bigint) RETURNS text STABLE LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_sleep(0.01); RETURN repeat(''x'', 50000); END';
CREATE VIEW slow AS SELECT id, nap(id) AS note, geom FROM wide
"""
COLLECTIONS = """
[wide]
table = "wide"
key = "id"
geometry = "geom"
[slow]
table = "slow"
key = "id"
geometry = "geom"
"""


def until(what: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"  # nobody may be there to bury an orphan


class Serving:
    def __init__(
        self, words: Sequence[str | Path], settings: Settings, engine: sa.Engine, folder: Path
    ) -> None:
        self.engine = engine
        self.folder = folder
        self.sockets = ExitStack()
        with engine.begin() as connection:
            connection.execute(sa.text(VIEWS))
        (folder / "collections.toml").write_text(COLLECTIONS)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            words,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TMPDIR": str(folder),
                "LANDDATA_HOME": str(settings.home),
                "LANDDATA_DATABASE_URL": str(settings.database_url),
                "LANDDATA_PORT": str(self.port),
                "LANDDATA_COLLECTIONS": str(folder / "collections.toml"),
            },
            stdout=subprocess.DEVNULL,
        )

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def answers(self) -> bool:
        try:
            return bool(self.get("/healthz"))
        except OSError:
            return False

    def ask(self, path: str, version: str = "1.1", end: bytes = b"\r\n") -> socket.socket:
        """Ask, and read nothing."""
        made = self.sockets.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(30)
        made.connect(("127.0.0.1", self.port))
        made.sendall(f"GET {path} HTTP/{version}\r\nHost: x\r\n".encode() + end)
        return made

    def connections(self, name: str, state: str | None = None) -> Any:
        with self.engine.connect() as connection:
            return connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = :name AND (state = :state OR :state IS NULL)"
                ),
                {"name": name, "state": state},
            )

    def exports(self) -> list[Path]:
        """The files of exports that are being sent."""
        return [*self.folder.glob("landdata-export-*")]

    def workers(self) -> set[int]:
        """The processes that serve."""
        found = set()
        for pid in (each for each in os.listdir("/proc") if each.isdigit()):
            try:
                fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
                words = Path("/proc", pid, "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and "resource_tracker" not in words:
                found.add(int(pid))
        return found


@pytest.fixture
def serving(
    request: pytest.FixtureRequest, settings: Settings, engine: sa.Engine, tmp_path: Path
) -> Iterator[Serving]:
    words = getattr(request, "param", [sys.executable, "-m", "portal", "serve"])
    made = Serving(words, settings, engine, tmp_path)
    try:
        assert until(made.answers, 60)
        yield made
    finally:
        made.sockets.close()
        made.process.terminate()
        made.process.wait(20)


def test_who_leaves_and_who_reads_slowly_holds_no_connection(serving: Serving) -> None:
    leaving = serving.ask("/ogc/collections/slow/export?f=geojsonl")
    assert leaving.recv(1)  # it has begun, and would take minutes
    assert serving.connections("landdata-export", "active") == 1
    leaving.close()
    assert until(lambda: not serving.connections("landdata-export"))

    # as many as may export at once, and more pages than there are connections
    exports = [serving.ask("/ogc/collections/wide/export?f=geojsonl") for _ in range(2)]
    for _ in range(24):
        serving.ask("/ogc/collections/wide/items?limit=5000")
    assert all(each.recv(1) for each in exports)
    assert until(lambda: not serving.connections("landdata-export"))
    assert until(lambda: not serving.connections("landdata-ogc", "active"))
    assert b"FeatureCollection" in serving.get("/ogc/collections/wide/items?limit=10")

    told = bytearray()
    while not told.endswith(b"\r\n0\r\n\r\n"):
        told += exports[0].recv(1 << 16)
    assert told.count(b'"Feature"') == ROWS


@pytest.mark.parametrize("path", [
    "slow/export?f=csv&filter=note%20LIKE%20'y%25'",  # it is counted first
    "slow/export?f=gpkg",  # written, and then sent
])  # fmt: skip
def test_who_leaves_before_an_export_has_begun_ends_it(serving: Serving, path: str) -> None:
    for _ in range(5):  # there are four places
        asking = serving.ask(f"/ogc/collections/{path}")
        assert until(lambda: serving.connections("landdata-export", "active") == 1)
        asking.close()
        assert until(lambda: serving.connections("landdata-export") == 0)


def test_a_page_is_cancelled_when_its_client_disconnects(serving: Serving) -> None:
    for n in range(5):  # one more than run at once
        asking = serving.ask(f"/ogc/collections/slow/items?limit=1000&offset={n}&note=x")
        assert until(lambda: serving.connections("landdata-ogc", "active") == 1)
        asking.close()
        assert until(lambda: serving.connections("landdata-ogc", "active") == 0)


def test_a_worker_that_dies_is_replaced_and_all_end_with_the_service(serving: Serving) -> None:
    before = serving.workers()
    assert len(before) == 2
    os.kill(min(before), signal.SIGSTOP)
    time.sleep(1)  # it hangs, and dies without a word
    os.kill(min(before), signal.SIGKILL)
    assert until(lambda: len(serving.workers() - before) == 1)
    assert until(serving.answers)
    now = serving.workers()
    serving.process.send_signal(signal.SIGINT)
    assert serving.process.wait(20) == 0
    assert not any(map(runs, now))


def drip(made: socket.socket) -> None:
    for _ in range(20 * SECONDS):
        time.sleep(0.1)
        made.sendall(b"x")


@pytest.mark.parametrize("serving", [TRIAL], indirect=True)
def test_a_head_that_comes_slowly_is_not_waited_for(serving: Serving) -> None:
    slow, resting = (serving.ask("/healthz", end=b"") for _ in range(2))
    resting.sendall(b"\r\n")
    assert resting.recv(1000).startswith(b"HTTP/1.1 200")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        drip(slow)
    assert serving.answers()


@pytest.mark.parametrize("serving", [TRIAL], indirect=True)
def test_a_client_that_reads_nothing_of_an_export_is_disconnected(serving: Serving) -> None:
    """Else it would keep the place of an export for as long as it likes."""
    idle = serving.ask("/ogc/collections/wide/export?f=csv")
    assert until(lambda: bool(serving.exports()))
    assert until(lambda: not serving.exports())
    received = b"".join(iter(lambda: idle.recv(1 << 20), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"\r\n0\r\n\r\n")


def test_workers_end_when_the_service_is_killed(serving: Serving) -> None:
    workers = serving.workers()
    serving.process.kill()
    serving.process.wait()
    assert until(lambda: not any(map(runs, workers)))


def test_a_port_that_is_taken_is_told_in_one_sentence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as told:
            serve.run(settings.model_copy(update={"port": port}), asgi.create)
    assert told.value.message == f"Can't listen on 127.0.0.1:{port}: Address already in use."
