"""The embedded PostGIS, with real clusters: made, killed, started by two at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError, ProgrammingError
from sqlalchemy.pool import NullPool

from landdata.embedded.cluster import Cluster
from landdata.embedded.roles import READER
from landdata.errors import Unavailable


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path, whose parents are 0700: root's cluster runs as `postgres`, who must get in.
    base = Path(tempfile.mkdtemp(prefix="ld-"))
    base.chmod(0o755)
    yield base / "home"
    Cluster(base / "home").down()
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """One running cluster for the tests that change nothing of it."""
    base = Path(tempfile.mkdtemp(prefix="ld-"))
    base.chmod(0o755)
    cluster = Cluster(base, fast=True)
    cluster.up()
    yield cluster
    cluster.down()
    shutil.rmtree(base)


def ask(cluster: Cluster, statement: str, *, role: str = "landdata") -> str:
    engine = create_engine(cluster.url(role=role), poolclass=NullPool)
    with engine.begin() as db:
        return str(db.execute(text(statement)).scalar_one())


def wait_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < end:
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            return  # a zombie that nobody reaps
        time.sleep(0.01)


def test_up_creates_a_postgis_and_is_idempotent(home: Path) -> None:
    cluster = Cluster(home)
    assert not cluster.status().running
    assert cluster.up() is True
    assert cluster.up() is False
    assert Cluster(home).up() is False
    status = cluster.status()
    assert status.running
    assert status.pid
    assert status.version
    assert status.size > 10_000_000
    # Survives a crash: nothing traded for speed unless asked.
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert ask(cluster, f"SHOW {setting}") == "on"
    assert cluster.down() is True
    assert cluster.down() is False
    assert not cluster.status().running
    assert cluster.up() is True


def test_postgis_answers_through_the_url(shared: Cluster) -> None:
    assert ask(shared, "SELECT ST_Area('POLYGON((0 0,0 3,3 3,3 0,0 0))'::geometry)") == "9.0"
    assert ask(shared, "SELECT current_user") == "landdata"
    assert ask(shared, "SHOW server_encoding") == "UTF8"
    assert ask(shared, "SELECT extname FROM pg_extension WHERE extname = 'btree_gist'")
    assert "***" in str(shared.url())


def test_no_login_over_tcp_or_without_password(shared: Cluster) -> None:
    assert ask(shared, "SHOW listen_addresses") == ""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=str(shared.status().socket), dbname="landdata", user="landdata", password="guess"
        )
    facts = shared.home / "cluster.json"
    assert stat.S_IMODE(facts.stat().st_mode) == 0o600


def test_roles_have_no_more_power_than_needed(shared: Cluster) -> None:
    for role in ("landdata", READER):
        assert (
            ask(shared, f"SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = '{role}'")
            == "False"
        )
    engine = create_engine(shared.url(role=READER), poolclass=NullPool)
    # Read-only by default, and without the right to write where that default is lifted.
    for lifted, message in (("", "read-only"), ("SET TRANSACTION READ WRITE;", "permission")):
        for write in ("CREATE TABLE public.t (n int)", "DELETE FROM spatial_ref_sys"):
            with (
                pytest.raises((ProgrammingError, InternalError), match=message),
                engine.begin() as db,
            ):
                db.execute(text(lifted + write))


def test_the_owner_may_add_the_crs_that_postgis_lacks(shared: Cluster) -> None:
    assert (
        ask(
            shared,
            "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid)"
            " VALUES (909212, 'TEST', 9212) RETURNING srid",
        )
        == "909212"
    )


def test_the_log_holds_no_values(shared: Cluster) -> None:
    ask(shared, "SELECT 'Nguyễn Văn'")
    with pytest.raises(Exception, match="invalid input syntax"):
        ask(shared, "SELECT 'Nguyễn Văn'::int")
    assert "Nguy" not in shared.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_kill_9_of_the_postmaster_loses_nothing(home: Path) -> None:
    cluster = Cluster(home)
    cluster.up()
    engine = create_engine(cluster.url(), poolclass=NullPool)
    with engine.begin() as db:
        db.execute(text("CREATE TABLE kept AS SELECT 42 AS n"))
    for _ in range(2):
        pid = cluster.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        assert cluster.up() is True
        assert ask(cluster, "SELECT n FROM kept") == "42"


def test_a_stale_pid_of_another_process_does_not_prevent_the_start(home: Path) -> None:
    cluster = Cluster(home, fast=True)
    cluster.up()
    file = cluster.data / "postmaster.pid"
    lines = file.read_text().splitlines()
    cluster.down()
    # A living process of the server's user, as pids come round in a container.
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    with subprocess.Popen([*([] if os.geteuid() else user), "sleep", "60"], cwd="/") as other:
        file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        file.chmod(0o600)
        shutil.chown(file, cluster.data.owner())
        try:
            assert not cluster.status().running
            assert cluster.up() is True
        finally:
            other.kill()
    assert ask(cluster, "SELECT 1") == "1"


def test_two_processes_at_once_start_one_cluster(home: Path) -> None:
    code = (
        "import sys; from landdata.embedded.cluster import Cluster;"
        "c = Cluster(sys.argv[1], fast=True); print(c.up(), c.status().pid)"
    )
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, encoding="utf-8"
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in starts]
    assert [process.returncode for process in starts] == [0, 0, 0]
    assert sorted(started for started, _ in said) == ["False", "False", "True"]
    assert len({pid for _, pid in said}) == 1


def test_the_remains_of_a_killed_initdb_are_replaced(home: Path) -> None:
    left = home / "postgres.new-crashed"
    (left / "base").mkdir(parents=True)
    (left / "PG_VERSION").write_text("15\n")
    home.chmod(0o711)
    cluster = Cluster(home, fast=True)
    assert cluster.up() is True
    assert not left.exists()
    assert ask(cluster, "SELECT 1") == "1"


@pytest.mark.slow
def test_a_kill_during_creation_leaves_the_next_start_unaffected(home: Path) -> None:
    code = (
        "import sys; from landdata.embedded.cluster import Cluster;"
        "Cluster(sys.argv[1], fast=True).up()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(home)]) as process:
        while not list(home.glob("postgres.new-*")) and process.poll() is None:
            time.sleep(0.005)
        process.kill()
    cluster = Cluster(home, fast=True)
    assert cluster.up() is True
    assert ask(cluster, "SELECT postgis_lib_version()")


def test_other_files_are_not_touched(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "thesis.txt").write_text("mine")
    with pytest.raises(Unavailable, match="no data folder of PostgreSQL"):
        Cluster(home).up()
    assert (home / "postgres" / "thesis.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["n" * 120, "a,b", "it's mine", "tỉnh Bình Định", "a:5432"])
def test_any_folder_name_works(home: Path, name: str) -> None:
    cluster = Cluster(home.parent / name, fast=True)
    try:
        cluster.up()
        assert ask(cluster, "SELECT 1") == "1"
        cluster.down()
        socket = cluster.status().socket
        assert socket is not None
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert len(os.fsencode(socket / ".s.PGSQL.5432")) <= 107
        if not socket.is_relative_to(cluster.home):
            shutil.rmtree(socket)  # as a restart of the machine clears /tmp
            cluster.up()
            assert ask(cluster, "SELECT 1") == "1"
            shutil.rmtree(cluster.status().socket or "")
    finally:
        cluster.down()


def test_another_major_version_is_reported(home: Path) -> None:
    cluster = Cluster(home, fast=True)
    cluster.up()
    cluster.down()
    (cluster.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(Unavailable, match="is of PostgreSQL 9") as caught:
        Cluster(home).up()
    assert re.search(r"postgresql-9-postgis-3", caught.value.hint or "")


def test_a_lost_password_file_is_reported(home: Path) -> None:
    cluster = Cluster(home, fast=True)
    with pytest.raises(Unavailable, match="no database"):
        cluster.url()
    cluster.up()
    cluster.down()
    (home / "cluster.json").unlink()
    with pytest.raises(Unavailable, match=r"cluster\.json"):
        Cluster(home).up()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's cluster runs as another user")
def test_a_folder_that_postgres_cannot_enter_is_reported_to_root(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    closed.chmod(0o700)
    tmp_path.chmod(0o755)
    with pytest.raises(Unavailable, match="can't enter") as caught:
        Cluster(closed / "home").up()
    assert "LANDDATA_HOME" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported() -> None:
    with pytest.raises(Unavailable, match="not usable"):
        Cluster("/proc/landdata").up()
