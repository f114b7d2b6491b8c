"""Topology on N made-up parcels with 0.5 % defects: ours beside one bare coverage pass.

    python bench/topology.py [N] [--roads] [--peers] [--limit S] [--seed S]

Prints a table in Markdown: seconds, peak memory, recall and precision. The bare pass is
`shapely.coverage_invalid_edges` with gap width 0.5 m in one thread, which marks edges but
neither pairs nor measures. *Coverage* is overlaps, gaps, unmatched vertices and unparcelled areas
with their exact measures; *all rules* adds those on shape and record and writes the findings;
*with seam* is as many parcels amid half as many official ones. Each runs in a process of its
own, so that the peaks are theirs.

`--peers` adds, on the same parcels, PostGIS in a private cluster, the parcels loaded and indexed
before the clock starts: validity settled first, overlaps by a join with their regions, gaps by the
union of each sheet, unmatched vertices by a join of vertices with boundaries; and GRASS
`v.in.ogr` where it is installed (Debian: grass-core), less the time it takes to start. Each is
given up after `--limit` seconds, and told to take at least as long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyogrio.raw
import shapely

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import coverages

from landdata import topology
from landdata.embedded.cluster import Cluster
from landdata.survey import SCHEMA, CrsChoice, EncodingChoice, Survey
from landdata.topology import coverage


def made(count: int, roads: bool, seed: int) -> coverages.Coverage:
    rng = np.random.default_rng(seed)
    side = round((count * (1.4 if roads else 1.0)) ** 0.5)
    clean = coverages.make(rng, side, side, extra=1, roads=roads)
    return coverages.inject(rng, clean, count // 200, sizes=(0.002, 0.3))


def survey(made: coverages.Coverage) -> Survey:
    n = len(made)
    columns = {name: pa.nulls(n, SCHEMA.field(name).type) for name in SCHEMA.names}
    number = np.arange(n)
    columns["sheet"] = pa.array((number // 400 + 1).astype(str), pa.string())
    columns["number"] = pa.array((number % 400 + 1).astype(str), pa.string())
    columns["scale"] = pa.array(np.full(n, 1000, dtype=np.int32))
    columns["commune"] = pa.array(["99901"]).take(pa.array(np.zeros(n, dtype=np.int64)))
    area = shapely.area(made.polygons)
    columns["area"] = pa.array(np.round(area, 1))
    codes = pa.array(['[{"code":"ONT","area":null},{"code":"CLN","area":null}]'])
    columns["land_use"] = codes.take(pa.array(np.zeros(n, dtype=np.int64)))
    return Survey(
        source="made.zip",
        layer="made",
        rows=number,
        geometry=made.polygons,
        measured_area=area,
        attributes=pa.table(columns, schema=SCHEMA),
        srid=9212,
        crs=CrsChoice(
            declared=None, declared_epsg=None, detected=9212, epsg=9212, reason="made up"
        ),
        encoding=EncodingChoice(name="UTF-8", confidence=1.0),
        fields=(),
    )


def facts(defects: coverage.Defects) -> set[tuple]:
    found: set[tuple] = set()
    for each in defects.overlaps:
        rule = "duplicate-geometry" if each.equal else "overlap"
        rule = rule if each.equal or each.inner is None else "containment"
        found.add((rule, frozenset((each.first, each.second))))
    found |= {("gap", frozenset(each.parcels[:2])) for each in defects.gaps}
    found |= {
        ("unmatched-vertex", frozenset((each.parcel, each.other)), each.point)
        for each in defects.unmatched
    }
    found |= {
        ("unparcelled-area", frozenset(each.parcels), coverages.place_of(each.region))
        for each in defects.enclosed
    }
    return found


def amid(given: coverages.Coverage) -> tuple[coverages.Coverage, topology.Neighbours]:
    """Part a coverage into those in the middle, and those around, which are official."""
    far = given.cell.max(axis=0)
    inner = (given.cell < 0.09 * far) | (given.cell > 0.91 * far)
    own = ~inner.any(axis=1) | (given.cell[:, 0] < 0)
    around = given.polygons[~own]
    keys = np.array([f"99902/1/{k + 1}" for k in range(len(around))], dtype=object)
    seen = shapely.box(*shapely.total_bounds(given.polygons))
    return (
        coverages.Coverage(given.polygons[own], given.cell[own]),
        topology.Neighbours(keys, around, seen),
    )


def run(way: str, count: int, roads: bool, seed: int, answer: multiprocessing.Queue) -> None:
    given = made(round(count * 1.5) if way == "with seam" else count, roads, seed)
    told: set[tuple] = set()
    neighbours = None
    if way == "with seam":
        given, neighbours = amid(given)
    ours = survey(given) if way in ("all rules", "with seam") else None
    before = peak()
    started, busy = time.perf_counter(), time.process_time()
    if way == "bare":
        shapely.coverage_invalid_edges(given.polygons, gap_width=0.5)
    elif way == "coverage":
        defects = coverage.find(given.polygons)
    else:
        checked = topology.check(ours, neighbours, commune="99901")
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    if way == "coverage":
        told = facts(defects)
    stages = checked.seconds if way == "all rules" else {}
    answer.put(
        (len(given), seconds, busy, before, peak(), len(given.truth), len(told & given.truth),
         len(told), stages)
    )  # fmt: skip


# -- peers

POSTGIS = {
    "validity": "CREATE TABLE sound AS SELECT * FROM shapes WHERE ST_IsValid(geom);"
    " CREATE INDEX ON sound USING gist (geom); ANALYZE sound",
    "overlaps": "SELECT count(*), sum(ST_Area(ST_Intersection(a.geom, b.geom)))"
    " FROM sound a JOIN sound b ON a.id < b.id AND a.geom && b.geom"
    " AND ST_Relate(a.geom, b.geom, 'T********')",
    "gaps": "SELECT count(*) FROM (SELECT (ST_DumpRings((ST_Dump(u)).geom)).* FROM"
    " (SELECT ST_Union(geom) AS u FROM sound GROUP BY sheet) AS s) AS r"
    " WHERE path[1] > 0 AND 2 * ST_Area(geom) < 0.5 * ST_Perimeter(geom)",
    "vertices": "CREATE TABLE vertices AS SELECT id, (ST_DumpPoints(geom)).geom FROM sound;"
    " CREATE INDEX ON vertices USING gist (geom); ANALYZE vertices;"
    " CREATE TABLE rims AS SELECT id, ST_Boundary(geom) AS geom FROM sound; ANALYZE rims;"
    " CREATE TABLE unmatched AS SELECT v.id AS one, b.id AS two, v.geom"
    " FROM rims b JOIN vertices v ON v.geom && ST_Expand(b.geom, 0.05) AND v.id <> b.id"
    " AND ST_DWithin(b.geom, v.geom, 0.05);"
    " ANALYZE unmatched; SELECT count(*) FROM unmatched u WHERE NOT EXISTS"
    " (SELECT FROM vertices w WHERE w.id = u.two AND w.geom = u.geom)",
}


def by_postgis(polygons: np.ndarray, home: Path, limit: float) -> tuple[dict[str, float], bool]:
    """Return the seconds of each stage, and whether all were finished."""
    cluster = Cluster(home)
    cluster.up()
    stages = {}
    try:
        url = cluster.url()
        place = f"host={url.query['host']} port={url.query['port']} dbname={url.database}"
        with psycopg.connect(
            f"{place} user={url.username} password={url.password}", autocommit=True
        ) as db:
            db.execute("CREATE EXTENSION IF NOT EXISTS postgis")
            db.execute("CREATE TABLE shapes (id int, sheet int, geom geometry)")
            with db.cursor().copy("COPY shapes FROM STDIN") as copy:
                for k, wkb in enumerate(shapely.to_wkb(polygons, hex=True)):
                    copy.write_row((k, k // 400, wkb))
            db.execute("ANALYZE shapes")
            for stage, statements in POSTGIS.items():
                started = time.perf_counter()
                try:
                    for statement in statements.split(";"):
                        left = limit - sum(stages.values()) - (time.perf_counter() - started)
                        db.execute(f"SET statement_timeout = {max(1, round(1000 * left))}")
                        db.execute(statement)
                except psycopg.errors.QueryCanceled:
                    stages[f"{stage} not finished"] = time.perf_counter() - started
                    return stages, False
                stages[stage] = time.perf_counter() - started
    finally:
        cluster.down()
    return stages, True


def by_grass(polygons: np.ndarray, home: Path, limit: float) -> tuple[float, bool]:
    """Return the seconds, and whether it was finished."""
    file = home / "shapes.gpkg"
    pyogrio.raw.write(
        file, shapely.to_wkb(polygons), [np.arange(len(polygons))], ["id"],
        geometry_type="Polygon", driver="GPKG", crs="EPSG:9212",
    )  # fmt: skip
    grass = ["grass", "--tmp-location", "XY", "--exec"]

    def timed(command: list[str]) -> float:
        started = time.perf_counter()
        # A session of its own: what grass starts must end with it.
        with subprocess.Popen(
            [*grass, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if code:
            raise SystemExit(f"grass {' '.join(command)} ended with {code}")
        return time.perf_counter() - started

    empty = timed(["true"])
    try:
        return timed(["v.in.ogr", "-o", f"input={file}", "output=shapes"]) - empty, True
    except subprocess.TimeoutExpired:
        return limit, False


def tell(peer: str, seconds: float, finished: bool, ours: float) -> None:
    least = "" if finished else "not finished after "
    print(
        f"| {peer} | {least}{seconds:.1f} "
        f"| {'' if finished else 'at least '}{seconds / ours:.1f} × all rules |",
        flush=True,
    )


def peers(count: int, roads: bool, seed: int, ours: float, limit: float) -> None:
    given = made(count, roads, seed)
    with tempfile.TemporaryDirectory(prefix="landdata-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        if shutil.which("grass"):
            tell("GRASS v.in.ogr", *by_grass(given.polygons, home, limit), ours)
        else:
            print("| GRASS v.in.ogr | not installed | |", flush=True)
        stages, finished = by_postgis(given.polygons, home, limit)
        told = ", ".join(f"{stage} {each:.1f}" for stage, each in stages.items())
        tell(f"PostGIS ({told})", sum(stages.values()), finished, ours)


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--roads", action="store_true", help="blocks between roads")
    parser.add_argument("--peers", action="store_true", help="PostGIS and GRASS too")
    parser.add_argument("--limit", type=float, default=600, help="seconds for each of them")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"{options.count} parcels, roads: {options.roads}, seed {seed}\n")
    print("| way | s | × bare | CPU s | peak MB | of it input | recall | precision |")
    print("|---|---|---|---|---|---|---|---|")
    bare = 1.0
    for way in ("bare", "coverage", "all rules", "with seam"):
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(
            target=run, args=(way, options.count, options.roads, seed, answer)
        )
        process.start()
        n, seconds, busy, before, top, truth, right, told, stages = answer.get()
        process.join()
        bare = seconds if way == "bare" else bare
        share = f"{right / truth:.4%} | {right / told:.4%}" if told else "– | –"
        print(
            f"| {way} ({n}) | {seconds:.2f} | {seconds / bare:.2f} | {busy:.2f} "
            f"| {top:.0f} | {before:.0f} "
            f"| {share} |",
            flush=True,
        )
        if stages:
            lap, ours = stages, seconds
    print(
        "\n" + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in lap.items()) + "\n",
        flush=True,
    )
    if options.peers:
        peers(options.count, options.roads, seed, ours, options.limit)


if __name__ == "__main__":
    main()
