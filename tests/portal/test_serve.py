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
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.trial import SECONDS

from landdata.errors import Unavailable
from landdata.settings import Settings
from landdata.store import database
from portal import asgi, serve

ROWS = 20_000
SERVE = (sys.executable, "-m", "portal", "serve")
TRIAL = (sys.executable, "-m", "support.trial")
MakeStore = Callable[..., Settings]
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


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
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
    """A server as a process, over a store with views that take long to read."""

    def __init__(self, command: Sequence[str], settings: Settings, folder: Path) -> None:
        self.engine = database.engine(settings)
        self.folder = folder
        self.sockets = ExitStack()
        with self.engine.begin() as connection:
            connection.execute(sa.text(VIEWS))
        (folder / "collections.toml").write_text(COLLECTIONS)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            command,
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
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
            return bytes(response.read())

    def answers(self) -> bool:
        try:
            return bool(self.get("/healthz"))
        except OSError:
            return False

    def send(self, path: str, end: bytes = b"\r\n") -> socket.socket:
        """Send a request, and read nothing of its response."""
        client = self.sockets.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + end)
        return client

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
        pids = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
                words = Path("/proc", pid, "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and "resource_tracker" not in words:
                pids.add(int(pid))
        return pids

    def close_sockets(self) -> None:
        """Leave as every client does, and wait until nothing is read from the store."""
        self.sockets.close()
        assert until(lambda: not self.connections("landdata-export"))
        assert until(lambda: not self.connections("landdata-ogc", "active"))


@contextmanager
def process(
    command: Sequence[str], make_store: MakeStore, folders: pytest.TempPathFactory
) -> Iterator[Serving]:
    running = Serving(command, make_store(), folders.mktemp("serve"))
    try:
        assert until(running.answers, 60)
        yield running
    finally:
        running.sockets.close()
        running.process.terminate()
        running.process.wait(20)
        running.engine.dispose()


@pytest.fixture
def serving(make_store: MakeStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that the test may kill."""
    with process(SERVE, make_store, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="module")
def processes(
    make_store: MakeStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Serving]]:
    """A function that starts a command once, and returns the same server to every test."""
    with ExitStack() as opened:

        @cache
        def start(*command: str) -> Serving:
            return opened.enter_context(process(command, make_store, tmp_path_factory))

        yield start


@pytest.fixture(params=[SERVE], ids=["serve"])
def shared_serving(
    request: pytest.FixtureRequest, processes: Callable[..., Serving]
) -> Iterator[Serving]:
    """A server that other tests use too, left without clients."""
    running = processes(*request.param)
    yield running
    running.close_sockets()


def test_clients_that_leave_or_read_slowly_hold_no_connection(shared_serving: Serving) -> None:
    leaving = shared_serving.send("/ogc/collections/slow/export?f=geojsonl")
    assert leaving.recv(1)  # it has begun, and would take minutes
    assert shared_serving.connections("landdata-export", "active") == 1
    leaving.close()
    assert until(lambda: not shared_serving.connections("landdata-export"))

    # as many as may export at once, and more pages than there are connections
    exports = [shared_serving.send("/ogc/collections/wide/export?f=geojsonl") for _ in range(2)]
    for _ in range(24):
        shared_serving.send("/ogc/collections/wide/items?limit=5000")
    assert all(export.recv(1) for export in exports)
    assert until(lambda: not shared_serving.connections("landdata-export"))
    assert until(lambda: not shared_serving.connections("landdata-ogc", "active"))
    assert b"FeatureCollection" in shared_serving.get("/ogc/collections/wide/items?limit=10")

    body = bytearray()
    while not body.endswith(b"\r\n0\r\n\r\n"):
        body += exports[0].recv(1 << 16)
    assert body.count(b'"Feature"') == ROWS


@pytest.mark.parametrize("path", [
    "slow/export?f=csv&filter=note%20LIKE%20'y%25'",  # it is counted first
    "slow/export?f=gpkg",  # written, and then sent
])  # fmt: skip
def test_an_export_ends_when_its_client_leaves_before_it_begins(
    shared_serving: Serving, path: str
) -> None:
    for _ in range(5):  # there are four places
        client = shared_serving.send(f"/ogc/collections/{path}")
        assert until(lambda: shared_serving.connections("landdata-export", "active") == 1)
        client.close()
        assert until(lambda: shared_serving.connections("landdata-export") == 0)


def test_a_page_is_cancelled_when_its_client_disconnects(shared_serving: Serving) -> None:
    for n in range(5):  # one more than run at once
        client = shared_serving.send(f"/ogc/collections/slow/items?limit=1000&offset={n}&note=x")
        assert until(lambda: shared_serving.connections("landdata-ogc", "active") == 1)
        client.close()
        assert until(lambda: shared_serving.connections("landdata-ogc", "active") == 0)


def test_a_worker_that_dies_is_replaced_and_all_end_with_the_service(serving: Serving) -> None:
    before = serving.workers()
    assert len(before) == 2
    os.kill(min(before), signal.SIGSTOP)
    time.sleep(1)  # it hangs, and dies without a word
    os.kill(min(before), signal.SIGKILL)
    assert until(lambda: len(serving.workers() - before) == 1)
    assert until(serving.answers)
    workers = serving.workers()
    serving.process.send_signal(signal.SIGINT)
    assert serving.process.wait(20) == 0
    assert not any(map(runs, workers))


def drip(client: socket.socket) -> None:
    for _ in range(20 * SECONDS):
        time.sleep(0.1)
        client.sendall(b"x")


@pytest.mark.parametrize("shared_serving", [TRIAL], ids=["short limits"], indirect=True)
def test_a_client_that_sends_its_head_slowly_is_disconnected(shared_serving: Serving) -> None:
    slow, resting = (shared_serving.send("/healthz", end=b"") for _ in range(2))
    resting.sendall(b"\r\n")
    assert resting.recv(1000).startswith(b"HTTP/1.1 200")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        drip(slow)
    assert shared_serving.answers()


@pytest.mark.parametrize("shared_serving", [TRIAL], ids=["short limits"], indirect=True)
def test_a_client_that_reads_nothing_of_an_export_is_disconnected(shared_serving: Serving) -> None:
    """Else it would keep the place of an export for as long as it likes."""
    idle = shared_serving.send("/ogc/collections/wide/export?f=csv")
    assert until(lambda: bool(shared_serving.exports()))
    assert until(lambda: not shared_serving.exports())
    received = b"".join(iter(lambda: idle.recv(1 << 20), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"\r\n0\r\n\r\n")


def test_workers_end_when_the_service_is_killed(serving: Serving) -> None:
    workers = serving.workers()
    serving.process.kill()
    serving.process.wait()
    assert until(lambda: not any(map(runs, workers)))


def test_a_port_in_use_is_reported_in_one_sentence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(Unavailable) as raised:
            serve.run(settings.model_copy(update={"port": port}), asgi.create)
    assert raised.value.message == f"Can't listen on 127.0.0.1:{port}: Address already in use."
