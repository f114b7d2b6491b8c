"""Exports as jobs: a link at once, progress, and a file that is there when it is whole."""

from __future__ import annotations

import contextlib
import json
import operator
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import served, stored
from support.workers import worker

from landdata.jobs import exports
from landdata.settings import Settings
from landdata.store import database, publications

EXPORT = "/ogc/collections/parcels/export"
LATER = {"Prefer": "respond-async"}


@pytest.fixture
def client(settings: Settings, engine: sa.Engine) -> Iterator[served.Client]:
    stored.lattice(engine)
    with served.client(settings, engine) as opened:
        yield opened


def submit(client: served.Client, **query: Any) -> str:
    response = client.get(EXPORT, query_string=query, headers=LATER)
    assert response.status_code == 202, response.text
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Location"].endswith(f"/ogc/exports/{response.json['jobID']}")
    return response.json["jobID"]


def status(client: served.Client, number: str) -> dict[str, Any]:
    response = client.get(f"/ogc/exports/{number}")
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json


def wait_for(client: served.Client, number: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (now := status(client, number))["status"] in ("accepted", "running"):
        assert [link["rel"] for link in now["links"]] == ["self"]  # nothing half is ever linked
        assert time.monotonic() < end, now
        time.sleep(0.1)
    return now


def file(client: served.Client, now: dict[str, Any]) -> served.Response:
    (href,) = [link["href"] for link in now["links"] if link["rel"] == "enclosure"]
    return client.get(href)


def writers(ancestor: int | str) -> list[int]:
    """The processes that write exports for a server."""
    found = []
    for task in Path(f"/proc/{ancestor}/task").glob("*"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            for child in (task / "children").read_text().split():
                found += writers(child)
                if b"landdata.jobs.export_task" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def writer(ancestor: int | None = None) -> int:
    """The one process that writes an export, which may start only now."""
    end = time.monotonic() + 60
    while not (found := writers(ancestor or os.getpid())):
        assert time.monotonic() < end
        time.sleep(0.01)
    (one,) = found
    return one


def wait_till_gone(process: int) -> None:
    end = time.monotonic() + 60
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    wait_till_gone(process)


@pytest.mark.parametrize("name", ["geojson", "gpkg"])
def test_a_job_writes_the_file_that_would_be_streamed(client: served.Client, name: str) -> None:
    query = {"f": name, "filter": "number <> '3'"}
    now = wait_for(client, submit(client, **query))
    assert (now["status"], now["progress"], now["message"]) == ("successful", 100, None)
    assert (now["numberMatched"], now["numberWritten"]) == (15, 15)
    response = file(client, now)
    at_once = client.get(EXPORT, query_string=query)
    assert len(response.data) == now["size"]
    assert response.headers["Content-Type"] == at_once.headers["Content-Type"]
    assert response.headers["Content-Disposition"] == (f"attachment; filename=parcels.{name}")
    if name == "geojson":
        assert len(response.json["features"]) == 15
        by_id = operator.itemgetter("id")
        at_once_sorted = sorted(at_once.json["features"], key=by_id)
        assert sorted(response.json["features"], key=by_id) == at_once_sorted
    href = next(link["href"] for link in now["links"] if link["rel"] == "enclosure")
    with client.get(href, headers={"Range": "bytes=5-9"}) as part:
        assert (part.status_code, part.data) == (206, response.data[5:10])
    with client.get(href, headers={"If-None-Match": response.headers["ETag"]}) as same:
        assert same.status_code == 304


def test_the_same_request_is_the_same_job_until_a_publication(
    client: served.Client, engine: sa.Engine
) -> None:
    number = submit(client, f="csv")
    assert submit(client, f="csv", lang="vi") == number
    assert submit(client, f="csv", bbox="106,11,107,12") != number
    wait_for(client, number)
    assert submit(client, f="csv") == number
    publish(engine)
    other = submit(client, f="csv")
    assert other != number
    assert wait_for(client, other)["numberWritten"] == 17


def publish(engine: sa.Engine) -> None:
    batch = stored.batch(engine, "c")
    with database.session(engine) as session:
        after = publications.last_version(session)
    stored.parcel(engine, batch, stored.square(9, 9), number="99")
    with database.session(engine) as session:
        publications.publish(session, batch, after=after, valid_from=stored.FIRST)


def test_a_request_after_a_publication_gets_a_new_job(
    client: served.Client, engine: sa.Engine
) -> None:
    """A running job may have read the store before the publication."""
    with engine.begin() as connection:  # no job may start
        connection.execute(
            sa.text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, status)"
                " VALUES ('tests', 'tests.other', 'export 1', 'doing')"
            )
        )
    number = submit(client, f="csv")
    assert submit(client, f="csv") == number
    publish(engine)
    other = submit(client, f="csv")
    assert other != number
    assert status(client, number)["status"] == "accepted"
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM procrastinate_jobs WHERE queue_name = 'tests'"))
    assert wait_for(client, other)["numberWritten"] == 17


def test_a_file_with_addresses_is_not_served_once_addresses_are_private(
    settings: Settings, engine: sa.Engine
) -> None:
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE parcel_versions SET address = '1 Trần Phú'"))
    public = settings.model_copy(update={"publish_address": True})
    with served.client(public, engine) as client:
        number = submit(client, f="csv")
        with file(client, wait_for(client, number)) as response:
            assert "Trần Phú" in response.text
    with served.client(settings, engine) as client:
        other = submit(client, f="csv")
        assert other != number
        with file(client, wait_for(client, other)) as response:
            assert "Trần Phú" not in response.text


@pytest.fixture
def locked(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A lock that every export waits for."""
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE parcel_versions IN ACCESS EXCLUSIVE MODE"))
        yield connection
        connection.rollback()


def test_a_killed_job_is_restarted(client: served.Client, locked: sa.Connection) -> None:
    number = submit(client, f="geojsonl")
    child = writer()
    kill(child)
    assert status(client, number)["status"] == "accepted"
    assert writer() != child
    locked.rollback()
    assert wait_for(client, number)["numberWritten"] == 16


def test_a_job_killed_three_times_has_failed(client: served.Client, locked: sa.Connection) -> None:
    number = submit(client, f="geojsonl")
    for _ in range(3):
        kill(writer())
    now = wait_for(client, number)
    assert (now["status"], now["message"]) == ("failed", "It broke off 3 times.")
    assert [link["rel"] for link in now["links"]] == ["self"]
    assert submit(client, f="geojsonl") != number


def test_a_failed_job_has_a_message_and_no_file(
    client: served.Client, settings: Settings, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE parcel_versions RENAME TO gone"))
    now = wait_for(client, submit(client, f="geojson"))
    assert now["status"] == "failed"
    assert now["message"]
    assert not [*(settings.home / "exports").rglob("*.geojson")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"export_gb": 1e-6}, "The file has more than 0.000001 GB; ask for less."),
        ({"export_free_gb": 1e9}, "It would leave less than 1000000000 GB on the disk"),
    ],
)
@pytest.mark.parametrize("name", ["csv", "gpkg"])
def test_a_file_over_the_limit_fails_and_names_the_limit(
    make_store: Callable[..., Settings], changes: dict[str, float], why: str, name: str
) -> None:
    settings = make_store(**changes)
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, engine) as client:
        number = submit(client, f=name)
        now = wait_for(client, number)
    assert now["status"] == "failed"
    assert now["message"].startswith(why)
    left = settings.home / "exports" / number
    assert not [path for path in left.iterdir() if path.name.startswith(("part-", "parcels"))]
    engine.dispose()


def test_a_job_over_the_time_limit_fails_and_names_the_limit(
    make_store: Callable[..., Settings],
) -> None:
    settings = make_store(export_seconds=1)
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, engine) as client, engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE parcel_versions IN ACCESS EXCLUSIVE MODE"))
        now = wait_for(client, submit(client, f="csv"))
        connection.rollback()
    assert (now["status"], now["message"]) == ("failed", "It took more than 1 s; ask for less.")
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "why"),
    [("geojson", "The file is larger than the server may write"), ("gpkg", "The GeoPackage could")],
)
def test_a_full_disk_is_the_message_of_the_job(
    client: served.Client, settings: Settings, name: str, why: str
) -> None:
    """The limit of a process stands for a full disk, which a test can't make everywhere."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        number = submit(client, f=name)
        at_once = client.get(EXPORT, query_string={"f": "geojsonl"}).data
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert at_once.count(b"Feature") == 16  # one that is read at once needs no room
    now = wait_for(client, number)
    assert now["status"] == "failed"
    assert now["message"].startswith(why)
    left = settings.home / "exports" / number
    assert not [path for path in left.iterdir() if path.name.startswith(("part-", "parcels"))]


_SERVER = """
import sys, time
import sqlalchemy as sa
from landdata.settings import Settings
from landdata.features import collections
from landdata.jobs import exports
settings = Settings.model_validate_json(sys.argv[1])
jobs = exports.Jobs(settings)
parcels = collections.collections(settings)["parcels"]
print(jobs.ask(parcels, "gpkg", [("f", "gpkg")], 1), flush=True)
time.sleep(600)
"""


def test_a_worker_writes_exports_too(
    client: served.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports.Jobs, "_start_runner", lambda _: None)
    number = submit(client, f="csv")
    with worker(settings):
        assert wait_for(client, number)["numberWritten"] == 16


@pytest.mark.slow
def test_a_killed_server_ends_its_job_and_the_next_server_restarts_it(
    client: served.Client, settings: Settings, locked: sa.Connection
) -> None:
    command = [sys.executable, "-c", _SERVER, settings.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        number = server.stdout.readline().strip()
        child = writer(server.pid)
        server.kill()
    wait_till_gone(child)
    left = settings.home / "exports" / number / "part-of-the-one-that-was-killed"
    left.mkdir(exist_ok=True)
    assert status(client, number)["status"] == "accepted"
    writer()
    assert status(client, number)["message"] == "It broke off and is made again."
    locked.rollback()
    now = wait_for(client, number)
    assert (now["numberWritten"], now["message"]) == (16, None)
    assert not left.exists()


def test_unreadable_files_of_a_job_are_not_found_and_block_no_other(
    client: served.Client, settings: Settings
) -> None:
    number = submit(client, f="csv")
    wait_for(client, number)
    for name in ("job.json", "result.json"):
        (settings.home / "exports" / number / name).write_text("")
    assert client.get(f"/ogc/exports/{number}").status_code == 404
    assert wait_for(client, submit(client, f="csv"))["status"] == "successful"


def test_a_new_server_deletes_expired_files(
    client: served.Client, settings: Settings, engine: sa.Engine
) -> None:
    number = submit(client, f="csv")
    wait_for(client, number)
    place = settings.home / "exports" / number / "result.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "finished": kept["finished"] - 25 * 3600}))
    with served.client(settings, engine):  # another server begins
        end = time.monotonic() + 20
        while place.parent.exists():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_request_for_an_expired_file_deletes_it(
    client: served.Client, settings: Settings
) -> None:
    number = submit(client, f="csv")
    now = wait_for(client, number)
    place = settings.home / "exports" / number / "result.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "finished": kept["finished"] - 25 * 3600}))
    assert client.get(f"/ogc/exports/{number}").status_code == 404
    assert client.get(f"/ogc/exports/{number}/parcels.csv").status_code == 404
    assert now["expires"] > now["finished"]
    assert not place.parent.exists()


def test_the_queue_is_limited(client: served.Client, locked: sa.Connection) -> None:
    for n in range(10):
        submit(client, f="csv", number=str(n))
    response = client.get(EXPORT, query_string={"f": "csv"}, headers=LATER)
    assert (response.status_code, response.json["error"]["code"]) == (503, "busy")
    locked.rollback()


@pytest.mark.parametrize(
    "path",
    ["/ogc/exports/x", "/ogc/exports/..%2f..%2fx", "/ogc/exports/AAAAAAAAAAAAAAAA/parcels.csv"],
)
def test_a_job_that_does_not_exist_is_not_found(client: served.Client, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get(f"{path}?x=1").status_code in (400, 404)
    assert client.delete("/ogc/exports/AAAAAAAAAAAAAAAA").status_code == 405


def test_an_invalid_request_starts_no_job(client: served.Client, settings: Settings) -> None:
    for query in ({"f": "dwg"}, {"f": "csv", "bbox": "x"}, {"f": "csv", "limit": "3"}):
        assert client.get(EXPORT, query_string=query, headers=LATER).status_code == 400
    client.head(f"{EXPORT}?f=csv", headers=LATER)
    assert not (settings.home / "exports").exists()
