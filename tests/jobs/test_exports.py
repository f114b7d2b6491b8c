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


def ask(client: served.Client, **asked: Any) -> str:
    answer = client.get(EXPORT, query_string=asked, headers=LATER)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["Location"].endswith(f"/ogc/exports/{answer.json['jobID']}")
    return answer.json["jobID"]


def told(client: served.Client, number: str) -> dict[str, Any]:
    answer = client.get(f"/ogc/exports/{number}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


def ended(client: served.Client, number: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (now := told(client, number))["status"] in ("accepted", "running"):
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
        with contextlib.suppress(OSError):  # one that has ended meanwhile
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
def test_a_job_gives_the_file_that_would_be_streamed(client: served.Client, name: str) -> None:
    asked = {"f": name, "filter": "number <> '3'"}
    now = ended(client, ask(client, **asked))
    assert (now["status"], now["progress"], now["message"]) == ("successful", 100, None)
    assert (now["numberMatched"], now["numberWritten"]) == (15, 15)
    answer = file(client, now)
    at_once = client.get(EXPORT, query_string=asked)
    assert len(answer.data) == now["size"]
    assert answer.headers["Content-Type"] == at_once.headers["Content-Type"]
    assert answer.headers["Content-Disposition"] == (f"attachment; filename=parcels.{name}")
    if name == "geojson":
        assert len(answer.json["features"]) == 15
        by_id = operator.itemgetter("id")
        at_once_sorted = sorted(at_once.json["features"], key=by_id)
        assert sorted(answer.json["features"], key=by_id) == at_once_sorted
    href = next(link["href"] for link in now["links"] if link["rel"] == "enclosure")
    with client.get(href, headers={"Range": "bytes=5-9"}) as part:
        assert (part.status_code, part.data) == (206, answer.data[5:10])
    with client.get(href, headers={"If-None-Match": answer.headers["ETag"]}) as same:
        assert same.status_code == 304


def test_the_same_question_is_the_same_job_until_something_changes(
    client: served.Client, engine: sa.Engine
) -> None:
    number = ask(client, f="csv")
    assert ask(client, f="csv", lang="vi") == number
    assert ask(client, f="csv", bbox="106,11,107,12") != number
    ended(client, number)
    assert ask(client, f="csv") == number
    publish(engine)
    other = ask(client, f="csv")
    assert other != number
    assert ended(client, other)["numberWritten"] == 17


def publish(engine: sa.Engine) -> None:
    batch = stored.batch(engine, "c")
    with database.session(engine) as session:
        after = publications.last_version(session)
    stored.parcel(engine, batch, stored.square(9, 9), number="99")
    with database.session(engine) as session:
        publications.publish(session, batch, after=after, valid_from=stored.FIRST)


def test_who_asks_after_something_changed_is_given_no_job_from_before(
    client: served.Client, engine: sa.Engine
) -> None:
    """A job that is being made may have looked at the store already."""
    with engine.begin() as connection:  # nobody's turn
        connection.execute(
            sa.text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, status)"
                " VALUES ('tests', 'tests.other', 'export 1', 'doing')"
            )
        )
    number = ask(client, f="csv")
    assert ask(client, f="csv") == number
    publish(engine)
    other = ask(client, f="csv")
    assert other != number
    assert told(client, number)["status"] == "accepted"
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM procrastinate_jobs WHERE queue_name = 'tests'"))
    assert ended(client, other)["numberWritten"] == 17


def test_a_file_with_addresses_is_given_to_nobody_once_they_are_public_no_longer(
    settings: Settings, engine: sa.Engine
) -> None:
    stored.lattice(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE parcel_versions SET address = '1 Trần Phú'"))
    public = settings.model_copy(update={"publish_address": True})
    with served.client(public, engine) as client:
        number = ask(client, f="csv")
        with file(client, ended(client, number)) as answer:
            assert "Trần Phú" in answer.text
    with served.client(settings, engine) as client:
        other = ask(client, f="csv")
        assert other != number
        with file(client, ended(client, other)) as answer:
            assert "Trần Phú" not in answer.text


@pytest.fixture
def held(engine: sa.Engine) -> Iterator[sa.Connection]:
    """No export gets on while this holds."""
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE parcel_versions IN ACCESS EXCLUSIVE MODE"))
        yield connection
        connection.rollback()


def test_what_is_killed_is_made_again(client: served.Client, held: sa.Connection) -> None:
    number = ask(client, f="geojsonl")
    child = writer()
    kill(child)
    assert told(client, number)["status"] == "accepted"
    assert writer() != child
    held.rollback()
    assert ended(client, number)["numberWritten"] == 16


def test_what_breaks_off_time_and_again_has_failed(
    client: served.Client, held: sa.Connection
) -> None:
    number = ask(client, f="geojsonl")
    for _ in range(3):
        kill(writer())
    now = ended(client, number)
    assert (now["status"], now["message"]) == ("failed", "It broke off 3 times.")
    assert [link["rel"] for link in now["links"]] == ["self"]
    assert ask(client, f="geojsonl") != number


def test_one_that_fails_says_why_and_leaves_no_file(
    client: served.Client, settings: Settings, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE parcel_versions RENAME TO gone"))
    now = ended(client, ask(client, f="geojson"))
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
def test_what_is_too_large_fails_with_its_limit(
    make_store: Callable[..., Settings], changes: dict[str, float], why: str, name: str
) -> None:
    settings = make_store(**changes)
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, engine) as client:
        number = ask(client, f=name)
        now = ended(client, number)
    assert now["status"] == "failed"
    assert now["message"].startswith(why)
    left = settings.home / "exports" / number
    assert not [each for each in left.iterdir() if each.name.startswith(("part-", "parcels"))]
    engine.dispose()


def test_what_takes_too_long_fails_with_its_limit(make_store: Callable[..., Settings]) -> None:
    settings = make_store(export_seconds=1)
    engine = database.engine(settings)
    stored.lattice(engine)
    with served.client(settings, engine) as client, engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE parcel_versions IN ACCESS EXCLUSIVE MODE"))
        now = ended(client, ask(client, f="csv"))
        connection.rollback()
    assert (now["status"], now["message"]) == ("failed", "It took more than 1 s; ask for less.")
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "why"),
    [("geojson", "The file is larger than the server may write"), ("gpkg", "The GeoPackage could")],
)
def test_where_no_more_can_be_written_the_job_says_so(
    client: served.Client, settings: Settings, name: str, why: str
) -> None:
    """The limit of a process stands for a full disk, which a test can't make everywhere."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        number = ask(client, f=name)
        at_once = client.get(EXPORT, query_string={"f": "geojsonl"}).data
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert at_once.count(b"Feature") == 16  # one that is read at once needs no room
    now = ended(client, number)
    assert now["status"] == "failed"
    assert now["message"].startswith(why)
    left = settings.home / "exports" / number
    assert not [each for each in left.iterdir() if each.name.startswith(("part-", "parcels"))]


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
    number = ask(client, f="csv")
    with worker(settings):
        assert ended(client, number)["numberWritten"] == 16


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_job_with_it_and_the_next_makes_it_again(
    client: served.Client, settings: Settings, held: sa.Connection
) -> None:
    command = [sys.executable, "-c", _SERVER, settings.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        number = server.stdout.readline().strip()
        child = writer(server.pid)
        server.kill()
    wait_till_gone(child)
    left = settings.home / "exports" / number / "part-of-the-one-that-was-killed"
    left.mkdir(exist_ok=True)
    assert told(client, number)["status"] == "accepted"
    writer()
    assert told(client, number)["message"] == "It broke off and is made again."
    held.rollback()
    now = ended(client, number)
    assert (now["numberWritten"], now["message"]) == (16, None)
    assert not left.exists()


def test_what_a_crash_of_the_machine_left_unreadable_hinders_nobody(
    client: served.Client, settings: Settings
) -> None:
    number = ask(client, f="csv")
    ended(client, number)
    for name in ("job.json", "result.json"):
        (settings.home / "exports" / number / name).write_text("")
    assert client.get(f"/ogc/exports/{number}").status_code == 404
    assert ended(client, ask(client, f="csv"))["status"] == "successful"


def test_old_files_go_though_nobody_asks(
    client: served.Client, settings: Settings, engine: sa.Engine
) -> None:
    number = ask(client, f="csv")
    ended(client, number)
    place = settings.home / "exports" / number / "result.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "finished": kept["finished"] - 25 * 3600}))
    with served.client(settings, engine):  # another server begins
        end = time.monotonic() + 20
        while place.parent.exists():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_files_go_when_their_time_is_over(client: served.Client, settings: Settings) -> None:
    number = ask(client, f="csv")
    now = ended(client, number)
    place = settings.home / "exports" / number / "result.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "finished": kept["finished"] - 25 * 3600}))
    assert client.get(f"/ogc/exports/{number}").status_code == 404
    assert client.get(f"/ogc/exports/{number}/parcels.csv").status_code == 404
    assert now["expires"] > now["finished"]
    assert not place.parent.exists()


def test_only_so_many_wait(client: served.Client, held: sa.Connection) -> None:
    for n in range(10):
        ask(client, f="csv", number=str(n))
    answer = client.get(EXPORT, query_string={"f": "csv"}, headers=LATER)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "busy")
    held.rollback()


@pytest.mark.parametrize(
    "path",
    ["/ogc/exports/x", "/ogc/exports/..%2f..%2fx", "/ogc/exports/AAAAAAAAAAAAAAAA/parcels.csv"],
)
def test_what_is_not_there_is_not_found(client: served.Client, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get(f"{path}?x=1").status_code in (400, 404)
    assert client.delete("/ogc/exports/AAAAAAAAAAAAAAAA").status_code == 405


def test_what_makes_no_sense_starts_nothing(client: served.Client, settings: Settings) -> None:
    for asked in ({"f": "dwg"}, {"f": "csv", "bbox": "x"}, {"f": "csv", "limit": "3"}):
        assert client.get(EXPORT, query_string=asked, headers=LATER).status_code == 400
    client.head(f"{EXPORT}?f=csv", headers=LATER)
    assert not (settings.home / "exports").exists()
