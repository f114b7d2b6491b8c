"""Kill an import at random moments, and send batches for the same ground at once.

    python bench/crash.py [MOMENTS] [PAIRS] [--parcels N] [--seed N] [--start N]

MOMENTS (20) times, in turn: the command, the worker, the worker's child or the whole database is
killed with `kill -9` at a random moment of an import of N (5,000) parcels: of the time that one
takes up to its last commit, which is corrected as kills come too late or not. Then every table
must be as before or as after one of the import's transactions, and the same import, run again,
must end as an undisturbed one does, to the letter. PAIRS (20) times two batches that touch the
same parcels are sent and accepted at once: no overlap, no number twice, no deadlock. `--start`
goes on where an earlier run ended, so that many short runs do what a long one would.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyogrio
import shapely
from sqlalchemy.orm import Session

from landdata.batches import acceptance, checking, queries
from landdata.embedded.cluster import Cluster
from landdata.errors import Conflict
from landdata.jobs import queue
from landdata.settings import Settings
from landdata.store import database

HERE = Path(__file__).parent
COMMUNES = ("99901", "99902")
VICTIMS = ("command", "worker", "child", "database")
WORKER = """
import json, sys
from landdata.jobs.runner import worker
from landdata.settings import Settings
worker(Settings(**json.loads(sys.argv[1])), heartbeat=1.0)
"""
# What an import writes, apart from what differs each time (keys, times, numbers of rows)
STAGED = """
SELECT count(*), md5(string_agg(md5(
  (row, status, sheet, number, area, land_use, label, owner, ST_AsBinary(geom))::text
), '' ORDER BY row)) FROM staged_parcels
"""
OFFICIAL = """
SELECT count(*), md5(string_agg(md5(
  (commune, sheet, number, version, area, measured_area, land_use, label, valid_to, batch_row,
   h.name, ST_AsBinary(geom))::text
), '' ORDER BY batch_row))
FROM parcel_versions AS v LEFT JOIN holders AS h ON h.version_id = v.id
"""
COUNTS = """
SELECT (SELECT count(DISTINCT parcel_id) FROM parcel_versions), (SELECT count(*) FROM holders),
  (SELECT count(*) FROM publications), (SELECT coalesce(sum(parcels), 0)::bigint FROM sheets),
  (SELECT count(*) FROM findings)
"""


class Crashes:
    """A private PostGIS, and a fresh store in it for each moment."""

    def __init__(self, home: Path, parcels: int) -> None:
        self.home = home
        self.cluster = Cluster(home)
        self.cluster.up()
        self.survey = home / "survey.zip"
        subprocess.run(
            [sys.executable, HERE / "make_parcels.py", str(parcels), self.survey], check=True
        )
        self.settings = self.store("template_store")
        self.command("migrate")
        for code in COMMUNES:
            self.command("communes", "add", code, "Xã Suối Mẫu")

    def store(self, name: str, template: str = "landdata") -> Settings:
        with psycopg.connect(self.conninfo("landdata"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return Settings(home=self.home / name, database_url=self.conninfo(name), language="en")

    def fresh(self, name: str) -> None:
        self.settings = self.store(name, "template_store")

    def drop(self) -> None:
        name = self.settings.home.name
        with psycopg.connect(self.conninfo("landdata"), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        shutil.rmtree(self.settings.home, ignore_errors=True)

    def conninfo(self, name: str) -> str:
        url = self.cluster.url(name).set(drivername="postgresql")
        return str(url.render_as_string(hide_password=False))

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "LANDDATA_HOME": str(self.settings.home),
            "LANDDATA_DATABASE_URL": str(self.settings.database_url),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from landdata.cli import main; main()", *words],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *words: str) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode in (0, 1), (words, err)
        return out

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session in this process, where nobody is killed: to start a command takes seconds."""
        engine = database.engine(self.settings)
        try:
            with database.session(engine) as session:
                yield session
        finally:
            engine.dispose()

    def submit(self) -> None:
        with self.session() as session:
            queue.submit(session, self.settings, self.survey, commune=COMMUNES[0], by="surveyor")

    def take(self) -> None:
        with self.session() as session:
            checking.receive_and_check(
                session, self.settings, self.survey, commune=COMMUNES[0], by="surveyor"
            )

    def accept(self) -> None:
        """Accept the batch that there is; what was killed may have used a number up."""
        with self.session() as session:
            (batch,) = queries.list_all(session)
            acceptance.accept(session, self.settings, batch["id"], by="officer", reviewed=False)

    def importing(self) -> subprocess.Popen[str]:
        return self.start("import", str(self.survey), "--commune", COMMUNES[0], "--accept")

    def worker(self) -> subprocess.Popen[bytes]:
        given = json.dumps(self.settings.model_dump(mode="json"))
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, given],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for(self, state: str) -> None:
        """Wait until the batch is in `state`, to within a few milliseconds."""
        end = time.monotonic() + 120
        with psycopg.connect(str(self.settings.database_url), autocommit=True) as connection:
            while (found := connection.execute("SELECT state FROM batches").fetchone()) != (state,):
                assert time.monotonic() < end, f"{found}, not {state}"
                time.sleep(0.005)

    def seen(self) -> dict[str, Any]:
        """All that an import writes, and whether the kept file is whole."""
        with psycopg.connect(str(self.settings.database_url)) as connection:
            found = connection.execute("SELECT state, sha256, source FROM batches").fetchall()
            seen: dict[str, Any] = {"batches": len(found), "state": None}
            for state, sha256, source in found:
                kept = self.settings.home / "surveys" / sha256[:2] / sha256 / source
                assert hashlib.sha256(kept.read_bytes()).hexdigest() == sha256, "a torn file"
                seen["state"] = state
            for name, query in (("staged", STAGED), ("official", OFFICIAL), ("counts", COUNTS)):
                seen[name] = connection.execute(query).fetchone()
        return seen

    def quiet(self) -> None:
        """Wait until the server has noticed that its clients are gone."""
        end = time.monotonic() + 30
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        while True:
            with psycopg.connect(str(self.settings.database_url)) as connection:
                (others,) = connection.execute(query).fetchone() or (0,)
            if not others:
                return
            assert time.monotonic() < end, "a killed client's transaction goes on"
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Whether a process has ended; what waits to be buried has."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def moment(
    crashes: Crashes, victim: str, delay: float, stages: dict[str | None, dict[str, Any]]
) -> str:
    """Kill once; check what is there; do it again. Returns the state that was found."""
    if victim in ("command", "database"):
        process: subprocess.Popen[Any] = crashes.importing()
        time.sleep(delay)
        if victim == "command":
            kill(process.pid)
        else:
            status = crashes.cluster.status()
            assert status.pid
            kill(status.pid)
            while not gone(status.pid):
                time.sleep(0.01)
        process.communicate(timeout=120)
        if victim == "database":
            crashes.cluster.up()
    else:
        crashes.submit()
        process = crashes.worker()
        time.sleep(delay)
        for pid in [process.pid] if victim == "worker" else children(process.pid):
            kill(pid)
        if victim == "child":
            process.terminate()  # gracefully: what it has begun again, it ends
        process.wait(timeout=120)
    crashes.quiet()
    seen = crashes.seen()
    found = seen["state"]
    before = dict(seen, state="received" if found == "checking" else found)
    assert before == stages[before["state"]], (victim, delay, seen)

    if victim in ("command", "database"):
        crashes.take()
    elif found != "checked":
        process = crashes.worker()
        crashes.wait_for("checked")
        process.terminate()
        process.wait(timeout=120)
    crashes.accept()
    assert crashes.seen() == stages["accepted"], (victim, delay)
    return str(found)


def undisturbed(crashes: Crashes) -> tuple[dict[str | None, dict[str, Any]], dict[str, float]]:
    """What each transaction of an import leaves, and how long it is until the last commits."""
    stages = {None: crashes.seen()}
    crashes.submit()
    stages["received"] = crashes.seen()
    started = time.perf_counter()
    process = crashes.worker()
    crashes.wait_for("checked")
    queued = time.perf_counter() - started
    process.terminate()
    process.wait(timeout=60)
    stages["checked"] = crashes.seen()
    crashes.accept()
    stages["accepted"] = crashes.seen()
    crashes.drop()
    crashes.fresh("timed")
    started = time.perf_counter()
    importing = crashes.importing()
    crashes.wait_for("accepted")
    at_once = time.perf_counter() - started
    importing.communicate(timeout=120)
    assert crashes.seen() == stages["accepted"]
    crashes.drop()
    return stages, {
        "command": at_once, "database": at_once, "worker": queued, "child": queued,
    }  # fmt: skip


# -- pairs ---------------------------------------------------------------------------------


def survey(path: Path, parcels: list[tuple[int, Any]]) -> Path:
    """Write a zipped shapefile of (number, polygon)."""
    folder = path.with_suffix("")
    folder.mkdir()
    pyogrio.raw.write(
        folder / f"{path.stem}.shp",
        geometry=shapely.to_wkb(np.array([shape for _, shape in parcels], dtype=object)),
        field_data=[
            np.array(["1" for _ in parcels], dtype=object),
            np.array([str(number) for number, _ in parcels], dtype=object),
            np.array([shape.area for _, shape in parcels]),
        ],
        fields=["SHBANDO", "SHTHUA", "DIENTICH"],
        geometry_type="Polygon",
        crs="EPSG:9212",
        encoding="UTF-8",
    )
    shutil.make_archive(str(path.with_suffix("")), "zip", folder)
    return path


KINDS = (
    "other numbers, half a metre aside",
    "the same numbers, moved",
    "the very same file",
    "the same parcels, last first",
    "the same ground, in another commune",
    "both checked before either is accepted, and seen by an officer",
)
SEEN = 5  # the kind whose verdicts an officer has seen: the later one has changed


def pair(crashes: Crashes, engine: Any, number: int, folder: Path) -> list[str]:
    """Send two batches that touch the same parcels at once; return what became of each."""
    x, y = 548_000.0 + 120 * (number % 50), 1_281_000.0 + 120 * (number // 50)

    def row(shift: float, numbers: list[int]) -> list[tuple[int, Any]]:
        return [
            (n, shapely.box(x + 20 * i + shift, y, x + 20 * i + 20 + shift, y + 20))
            for i, n in enumerate(numbers)
        ]

    numbers = [10 * number + i for i in range(1, 5)]
    kind = number % len(KINDS)
    first = row(0, numbers)
    aside = row(0.5, [n + 5 for n in numbers])
    second = (aside, row(0.5, numbers), first, first[::-1], row(0.5, numbers), aside)[kind]
    files = [survey(folder / f"{number}-a.zip", first)]
    files.append(files[0] if kind == 2 else survey(folder / f"{number}-b.zip", second))
    codes = (COMMUNES[0], COMMUNES[kind == 4])

    def take(side: int) -> int:
        with database.session(engine) as session:
            return checking.receive_and_check(
                session, crashes.settings, files[side], commune=codes[side], by="surveyor"
            ).id

    def accept(batch: int, *, reviewed: bool) -> None:
        with database.session(engine) as session:
            acceptance.accept(session, crashes.settings, batch, by="officer", reviewed=reviewed)

    checked = [take(side) for side in range(2)] if kind == SEEN else []
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def send(side: int) -> None:
        start.wait()
        try:
            if checked:
                accept(checked[side], reviewed=True)
            else:
                accept(take(side), reviewed=False)
            outcomes.append("accepted")
        except Conflict as error:
            outcomes.append(error.code)
            if checked:  # the officer looks again, and finds nothing that can be accepted
                with database.session(engine) as session:
                    report = checking.check(session, crashes.settings, checked[side])
                assert report.summary["rejected"] == len(second), report.summary
                accept(checked[side], reviewed=True)
        except Exception as error:
            outcomes.append(type(getattr(error, "orig", None) or error).__name__)

    threads = [threading.Thread(target=send, args=(side,)) for side in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


WRONG = {
    "overlaps": """SELECT count(*) FROM parcel_versions a JOIN parcel_versions b
        ON a.id < b.id AND a.geom && b.geom AND a.valid_to IS NULL AND b.valid_to IS NULL
        WHERE ST_Area(ST_Intersection(a.geom, b.geom)) > 0""",
    "numbers twice": """SELECT count(*) FROM (SELECT FROM parcel_versions WHERE valid_to IS NULL
        GROUP BY commune, sheet, number HAVING count(*) > 1) AS twice""",
    "unbalanced batches": """SELECT count(*) FROM batches WHERE (summary->>'read')::int <>
        coalesce(summary->>'accepted', summary->>'acceptable')::int
        + (summary->>'rejected')::int + (summary->>'duplicate')::int""",
    "lost parcels": """SELECT count(*) FROM batches AS b WHERE state = 'accepted'
        AND (summary->>'accepted')::int <> (SELECT count(*) FROM parcel_versions AS v
        WHERE v.batch_id = b.id)""",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("moments", nargs="?", type=int, default=20)
    parser.add_argument("pairs", nargs="?", type=int, default=20)
    parser.add_argument("--parcels", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first kill and pair")
    parser.add_argument("--minutes", type=float, default=1e9, help="no kill is begun after them")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    home = Path(tempfile.mkdtemp(prefix="landdata-crash-"))
    home.chmod(0o755)
    crashes = Crashes(home, given.parcels)
    found: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, ...]] = Counter()  # kind, and what became of both
    try:
        crashes.fresh("reference")
        stages, seconds = undisturbed(crashes)
        for turn in range(given.start, given.start + given.moments):
            if time.monotonic() > end:
                break
            print(f"\r{turn}", end="", file=sys.stderr, flush=True)
            crashes.fresh(f"moment_{turn}")
            victim = VICTIMS[turn % len(VICTIMS)]
            delay = random.Random(f"{given.seed} {turn}").uniform(0, seconds[victim])
            state = moment(crashes, victim, delay, stages)
            found[victim, state] += 1
            # the machine is not always as busy as when it was timed: few shall come too late
            late = state == ("accepted" if victim in ("command", "database") else "checked")
            seconds[victim] *= 0.85 if late else 1.02
            crashes.drop()
        crashes.fresh("pairs")
        engine = database.engine(crashes.settings)
        folder = home / "files"
        folder.mkdir()
        for number in range(given.start, given.start + given.pairs):
            outcomes = pair(crashes, engine, number, folder)
            sent[KINDS[number % len(KINDS)], *outcomes] += 1
        engine.dispose()
        with psycopg.connect(str(crashes.settings.database_url)) as connection:
            wrong = {
                name: (connection.execute(query).fetchone() or (None,))[0]
                for name, query in WRONG.items()
            }
    finally:
        crashes.cluster.down()
        shutil.rmtree(home, ignore_errors=True)
    kills = sum(found.values())
    last = given.start + kills
    print(
        f"{kills} kills of an import of {given.parcels} parcels,"
        f" seed {given.seed}, from {given.start} to before {last}:"
    )
    for (victim, state), times in sorted(found.items()):
        print(f"  {victim:>8} killed {times:>3} times with the batch {state}")
    if kills:
        print(
            "  each time the store was as before or as after, and the import, run again, complete"
        )
    print(f"{given.pairs} pairs at once, from {given.start}:")
    for (kind, *outcome), times in sorted(sent.items()):
        print(f"  {times:>3} times {' and '.join(outcome)}: {kind}")
    print("  " + ", ".join(f"{times} {name}" for name, times in wrong.items()))
    fine = {"accepted", "verdict-changed"}
    if any(wrong.values()) or any(
        set(outcome) - fine or (kind == KINDS[SEEN] and len(set(outcome)) == 1)
        for kind, *outcome in sent
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
