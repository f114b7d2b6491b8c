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
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from landdata import serve
from landdata.errors import Unavailable
from landdata.settings import Settings

ROWS = 20_000
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

    def ask(self, path: str) -> socket.socket:
        """Ask, and read nothing."""
        made = self.sockets.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(30)
        made.connect(("127.0.0.1", self.port))
        made.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        return made

    def connections(self, name: str, state: str | None = None) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = :name AND (state = :state OR :state IS NULL)"
                ),
                {"name": name, "state": state},
            )

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
    words = getattr(request, "param", [Path(sys.executable).parent / "landdata", "serve"])
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

    told = b"".join(iter(lambda: exports[0].recv(1 << 16), b""))
    assert told.partition(b"\r\n\r\n")[2].count(b"\n") == ROWS


def sockets(pid: int) -> int:
    found = 0
    for each in Path("/proc", str(pid), "fd").iterdir():
        with suppress(FileNotFoundError):  # it is closed by now
            found += os.readlink(each).startswith("socket:")
    return found


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


def test_clients_who_come_at_once_are_shared_out(serving: Serving) -> None:
    assert until(lambda: len(serving.workers()) == 2)
    for _ in range(2):  # each has begun
        assert until(serving.answers)
    staying = [serving.sockets.enter_context(socket.socket()) for _ in range(8)]
    for each in staying:
        each.connect(("127.0.0.1", serving.port))
    for each in staying:
        each.settimeout(30)
        each.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert each.recv(1 << 16).startswith(b"HTTP/1.1 200")
    those = {pid: sockets(pid) for pid in serving.workers()}
    for each in staying:
        each.close()
    assert until(lambda: [more - sockets(pid) for pid, more in those.items()] == [4, 4])


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


HASTY = "from landdata import serve, settings as s; serve.HUNG = 5; serve.run(s.Settings.load())"


@pytest.mark.parametrize("serving", [[sys.executable, "-c", HASTY]], indirect=True)
def test_a_worker_that_hangs_is_replaced(serving: Serving) -> None:
    assert until(lambda: len(serving.workers()) == 2)
    hung, other = serving.workers()
    os.kill(hung, signal.SIGSTOP)
    assert until(lambda: not runs(hung))
    assert until(lambda: len(serving.workers() - {hung, other}) == 1)
    assert runs(other)
    assert until(serving.answers)


def test_clients_who_come_while_no_worker_lives_are_answered(serving: Serving) -> None:
    assert until(lambda: len(serving.workers()) == 2)
    serving.process.send_signal(signal.SIGSTOP)  # it learns of all of it at once
    workers = serving.workers()
    for each in workers:
        os.kill(each, signal.SIGKILL)
    # what it has open is closed with the last of its threads
    tasks = [Path("/proc", str(each), "task") for each in workers]
    assert until(lambda: all(len([*each.iterdir()]) == 1 for each in tasks))
    assert until(lambda: not any(map(runs, workers)))
    asking = serving.ask("/healthz")
    serving.process.send_signal(signal.SIGCONT)
    assert asking.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_workers_end_when_the_service_is_killed(serving: Serving) -> None:
    workers = serving.workers()
    serving.process.send_signal(signal.SIGSTOP)
    time.sleep(2 * serve.BEAT_SECONDS)  # so that it has not heard all they said
    serving.process.kill()
    serving.process.wait()
    assert until(lambda: not any(map(runs, workers)))


def test_a_port_that_is_taken_is_told_in_one_sentence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as told:
            serve.run(settings.model_copy(update={"port": port}))
    assert told.value.message == f"Can't listen on 127.0.0.1:{port}: Address already in use."
