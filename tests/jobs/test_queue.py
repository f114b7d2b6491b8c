"""The queue with real workers: checked once, stopped, limited, killed and taken up again."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.surveys import parcel, plot, write
from support.workers import worker

from landdata.batches import acceptance, lifecycle, queries
from landdata.batches.validation import ReadOptions
from landdata.errors import Conflict, NotFound
from landdata.jobs import queue
from landdata.settings import Settings
from landdata.store import communes, database
from portal.app import create_app

COMMUNE = "99901"


@pytest.fixture(autouse=True)
def commune(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        communes.add(session, COMMUNE, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))


@pytest.fixture
def submit(engine: sa.Engine, settings: Settings) -> Callable[..., int]:
    def submit(path: Path, **more: Any) -> int:
        with database.session(engine) as session:
            return queue.submit(session, settings, path, commune=COMMUNE, by="surveyor", **more).id

    return submit


def progress(engine: sa.Engine, number: int) -> dict[str, Any]:
    with database.session(engine) as session:
        return queue.progress(session, number)


def wait(engine: sa.Engine, number: int, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look until it is so; a minute is far beyond what any of this takes."""
    end = time.monotonic() + 60
    while True:
        told = progress(engine, number)
        if until(told):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.1)


def in_state(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda told: told["state"] in states


@contextmanager
def held(engine: sa.Engine) -> Iterator[None]:
    """Hold every check at the end of its staging."""
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE findings IN ACCESS EXCLUSIVE MODE"))
        yield


def staging(told: dict[str, Any]) -> bool:
    return bool(told["progress"] and told["progress"]["stage"] in ("coverage", "stage"))


def children(process: subprocess.Popen[str]) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{process.pid}/task").glob("*")
        for child in (task / "children").read_text().split()
    ]


def queued(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'landdata.check'"
                    " AND status IN ('todo', 'doing')"
                )
            )
        )


def rows(n: int) -> list[dict[str, Any]]:
    return [parcel(i, plot(i % 10, i // 10)) for i in range(1, n + 1)]


def test_a_submitted_file_is_checked_by_a_worker(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", rows(12))
    number = submit(path)
    assert submit(path) == number
    assert queued(engine) == 1
    told = progress(engine, number)
    assert (told["state"], told["progress"]["stage"]) == ("received", "waiting")
    bad = write(tmp_path / "b.zip", rows(3))
    with zipfile.ZipFile(bad) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bad, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data[:-40] if name.endswith(".dbf") else data)
    unreadable = submit(bad)
    other = submit(write(tmp_path / "c.zip", [parcel(40, plot(20, 20))]))
    with worker(settings, concurrency=2) as process:
        told = wait(engine, number, in_state("checked"))
        assert told["counts"] == {"read": 12, "acceptable": 12, "rejected": 0, "duplicate": 0}
        assert wait(engine, unreadable, in_state("refused"))["refused"]
        wait(engine, other, in_state("checked"))
        process.terminate()
        assert process.wait(20) == 0
    with database.session(engine) as session:
        refusal = queries.show(session, unreadable)["batch"]["refusal"]
        assert ".dbf" in refusal["message"]
        assert refusal["hint"]
        assert acceptance.accept(session, settings, number, by="officer")["accepted"] == 12
    assert queued(engine) == 0
    assert submit(path) == number  # decided: nothing to do
    assert queued(engine) == 0
    assert submit(bad) == unreadable  # refused: it is tried again
    assert queued(engine) == 1


def test_a_ring_of_three_points_breaks_no_check_in_the_queue(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    x, y = plot(0, 0).bounds[:2]
    shapes = [list(plot(1, 0).exterior.coords), [(x, y), (x + 5, y + 5), (x, y)]]
    features = [
        {
            "type": "Feature",
            "properties": {"sheet": 1, "number": k + 1},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for k, ring in enumerate(shapes)
    ]
    path = tmp_path / "rings.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    number = submit(path, options=ReadOptions(crs=9212))
    with worker(settings) as process:
        told = wait(engine, number, in_state("checked", "refused"))
        process.terminate()
        assert process.wait(20) == 0
    assert told["counts"] == {"read": 2, "acceptable": 1, "rejected": 1, "duplicate": 0}


def test_a_waiting_batch_can_be_cancelled(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", rows(3))
    number, second = submit(path), submit(write(tmp_path / "b.zip", [parcel(9, plot(9, 9))]))
    assert queue.cancel(engine, number)
    assert not queue.cancel(engine, number)
    assert progress(engine, number) == {
        "id": number, "state": "received", "counts": None, "refused": None, "progress": None,
    }  # fmt: skip
    with database.session(engine) as session:
        lifecycle.withdraw(session, second, by="surveyor")  # its job is still there
    assert submit(path) == number
    with worker(settings):
        wait(engine, number, in_state("checked"))
    assert progress(engine, second)["state"] == "withdrawn"
    with pytest.raises(NotFound):
        queue.cancel(engine, 99)


@pytest.mark.slow
def test_a_cancelled_check_leaves_no_rows_and_no_files(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    number = submit(write(tmp_path / "a.zip", rows(8)))
    with worker(settings) as process:
        with held(engine):
            told = wait(engine, number, staging)
            assert told["progress"]["rows"] == 8
            assert 0.4 < told["progress"]["share"] < 1
            assert queue.cancel(engine, number)
            with (
                database.session(engine) as session,
                pytest.raises(Conflict, match="not been checked"),
            ):
                acceptance.accept(session, settings, number, by="officer")
            assert not children(process)
        assert progress(engine, number)["state"] == "received"
        assert not list((settings.home / "scratch").iterdir())
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM staged_parcels")) == 0


@pytest.mark.slow
def test_a_check_over_the_time_limit_is_refused(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    number = submit(write(tmp_path / "a.zip", rows(2)))
    limited = settings.model_copy(update={"job_seconds": 4})
    with worker(limited), held(engine):
        assert wait(engine, number, in_state("refused"))["refused"] == "too-slow"


@pytest.mark.slow
def test_a_terminated_worker_requeues_its_check(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    number = submit(write(tmp_path / "a.zip", rows(2)))
    with worker(settings, grace=0.5) as process, held(engine):
        wait(engine, number, staging)
        process.terminate()
        assert process.wait(30) == 0
        assert "back into the queue" in process.communicate()[0]
    assert queued(engine) == 1
    with worker(settings):
        wait(engine, number, in_state("checked"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_check_is_restarted_after_a_kill(
    engine: sa.Engine,
    settings: Settings,
    submit: Callable[..., int],
    tmp_path: Path,
    victim: str,
) -> None:
    number = submit(write(tmp_path / "a.zip", rows(20)))
    with worker(settings) as process, held(engine):
        wait(engine, number, staging)
        (child,) = children(process)
        os.kill(process.pid if victim == "worker" else child, signal.SIGKILL)
        if victim == "worker":
            process.wait(20)
            end = time.monotonic() + 20
            while Path(f"/proc/{child}").exists():  # it does not outlive its worker
                assert time.monotonic() < end
                time.sleep(0.05)
    with worker(settings):
        told = wait(engine, number, in_state("checked"))
    assert told["counts"]["acceptable"] == 20
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM staged_parcels")) == 20


def test_progress_of_a_batch_over_http(
    engine: sa.Engine, settings: Settings, submit: Callable[..., int], tmp_path: Path
) -> None:
    number = submit(write(tmp_path / "Ông Ba.zip", rows(2)))
    client = create_app(settings, engine).test_client()
    answer = client.get(f"/surveys/{number}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "id": number, "state": "received", "counts": None, "refused": None,
        "progress": {"stage": "waiting", "share": 0.0, "rows": None, "seconds_left": None},
    }  # fmt: skip
    assert "Ba" not in answer.text
    assert "surveyor" not in answer.text
    assert client.get("/surveys/99").status_code == 404
    assert client.post(f"/surveys/{number}").status_code == 405
