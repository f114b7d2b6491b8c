"""Import, check and accept of a made-up survey, beside `ogr2ogr` into the same database.

    python bench/importing.py [PARCELS] [RUNS] [--owners]

Makes a shapefile of PARCELS (100,000) parcels, with the name of an owner of each where
`--owners` says so, starts a private PostGIS, and in turn, RUNS (3) times: `landdata import
--accept` into a fresh store, `ogr2ogr` with COPY into an indexed table of the same cluster, and
reading and staging alone, without the rules. Prints medians, the ratios to `ogr2ogr`, our stages,
and peak memory (sum of the resident sizes of all processes of a side, without PostgreSQL's;
shared pages count in each).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from processes import resident, tree

from landdata.embedded.cluster import Cluster

HERE = Path(__file__).parent
# What `check` does with a file, but for the rules
STAGE = """
import sys
from pathlib import Path
from landdata import survey
from landdata.batches import staging
from landdata.store import database as db
from landdata.settings import Settings
settings = Settings.load()
with db.session(db.engine(settings)) as session:
    cursor = session.connection().connection.cursor()
    staging.stage(cursor, 0, survey.stream(Path(sys.argv[1]), settings), status=0)
"""


def run(command: Sequence[str], environment: dict[str, str]) -> tuple[float, int, str]:
    """Run a command; return wall seconds, peak bytes of its process tree, its output."""
    peak = 0
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:

        def watch() -> None:
            nonlocal peak
            while process.poll() is None:
                peak = max(peak, resident(tree(process.pid)))
                time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, _ = process.communicate()
        seconds = time.perf_counter() - started
        watcher.join()
    if process.returncode not in (0, 1):
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return seconds, peak, out


def main() -> None:
    owners = [word for word in sys.argv[1:] if word == "--owners"]
    numbers = [int(word) for word in sys.argv[1:] if word not in owners]
    parcels, runs = (*numbers, *(100_000, 3)[len(numbers) :])
    home = Path(tempfile.mkdtemp(prefix="landdata-bench-"))
    home.chmod(0o755)
    survey = home / "survey.zip"
    make = [sys.executable, str(HERE / "make_parcels.py"), str(parcels), str(survey)]
    subprocess.run([*make, *owners], check=True)
    unpacked = home / "unpacked"
    shutil.unpack_archive(survey, unpacked)
    shapefile = next(unpacked.rglob("*.shp"))
    cluster = Cluster(home)
    cluster.up()
    landdata = Path(sys.executable).parent / "landdata"
    figures: dict[str, list[tuple[float, int]]] = {"landdata": [], "ogr2ogr": [], "staging": []}
    stages: dict[str, float] = {}
    try:
        for turn in range(runs):
            name = f"bench_{turn}"
            with psycopg.connect(conninfo(cluster, "landdata"), autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE landdata")
            url = cluster.url(name).render_as_string(hide_password=False)
            environment = {
                **os.environ,
                "LANDDATA_HOME": str(home / name),
                "LANDDATA_DATABASE_URL": url,
            }
            for words in (["migrate"], ["communes", "add", "99901", "Xã Suối Mẫu"]):
                subprocess.run(
                    [landdata, *words], env=environment, check=True, stdout=subprocess.DEVNULL
                )
            seconds, peak, out = run(
                [str(landdata), "import", str(survey), "--commune", "99901", "--accept", "--json"],
                environment,
            )
            summary = json.loads(out)["summary"]
            assert summary["read"] == summary["accepted"] == parcels, summary
            stages = summary["seconds"]
            figures["landdata"].append((seconds, peak))

            seconds, peak, _ = run(
                ["ogr2ogr", "-f", "PostgreSQL", f"PG:{conninfo(cluster, name)}", str(shapefile),
                 "-nln", "peer", "-nlt", "MULTIPOLYGON", "-lco", "GEOMETRY_NAME=geom",
                 "-a_srs", "EPSG:9212"],
                {**os.environ, "PG_USE_COPY": "YES"},
            )  # fmt: skip
            figures["ogr2ogr"].append((seconds, peak))
            with psycopg.connect(conninfo(cluster, name)) as connection:
                (loaded,) = connection.execute("SELECT count(*) FROM peer").fetchone() or (0,)
                assert loaded == parcels
            seconds, peak, _ = run([sys.executable, "-c", STAGE, str(survey)], environment)
            figures["staging"].append((seconds, peak))
            with psycopg.connect(conninfo(cluster, "landdata"), autocommit=True) as admin:
                admin.execute(f"DROP DATABASE {name}")
            shutil.rmtree(home / name)
    finally:
        cluster.down()
        shutil.rmtree(home)
    print(f"{parcels:,} parcels, median of {runs} (min-max)")
    for side, found in figures.items():
        walls = [seconds for seconds, _ in found]
        memory = max(peak for _, peak in found) / 1e6
        print(
            f"  {side:<9} {statistics.median(walls):6.2f} s"
            f" ({min(walls):.2f}-{max(walls):.2f}), peak {memory:,.0f} MB"
        )
    for side in ("landdata", "staging"):
        ratios = [
            ours[0] / peer[0] for ours, peer in zip(figures[side], figures["ogr2ogr"], strict=True)
        ]
        print(f"  {side} / ogr2ogr {statistics.median(ratios):6.2f}")
    print("  stages    " + ", ".join(f"{stage} {s:.2f}" for stage, s in stages.items()))


def conninfo(cluster: Cluster, database: str) -> str:
    url = cluster.url(database)
    return (
        f"host={url.query['host']} port={url.query['port']} dbname={database}"
        f" user={url.username} password={url.password}"
    )


if __name__ == "__main__":
    main()
