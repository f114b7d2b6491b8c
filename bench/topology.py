"""Topology on N made-up parcels with 0.5 % defects: ours beside one bare coverage pass.

    python bench/topology.py [N] [--roads]

Prints a table in Markdown: seconds, peak memory, recall and precision. The peer is
`shapely.coverage_invalid_edges` with gap width 0.5 m in one thread, which marks edges but
neither pairs nor measures. Each runs in a process of its own, so that the peaks are theirs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import coverages

from landdata import topology
from landdata.survey import SCHEMA, CrsChoice, EncodingChoice, Survey
from landdata.topology import coverage


def made(count: int, roads: bool, seed: int) -> coverages.Coverage:
    rng = np.random.default_rng(seed)
    side = round((count * (1.4 if roads else 1.0)) ** 0.5)
    clean = coverages.make(rng, side, side, extra=1, roads=roads)
    return coverages.inject(rng, clean, count // 200, sizes=(0.003, 0.3))


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
    return found


def run(way: str, count: int, roads: bool, seed: int, answer: multiprocessing.Queue) -> None:
    given = made(count, roads, seed)
    told: set[tuple] = set()
    ours = survey(given) if way == "all rules" else None
    before = peak()
    started, busy = time.perf_counter(), time.process_time()
    if way == "bare":
        shapely.coverage_invalid_edges(given.polygons, gap_width=0.5)
    elif way == "coverage":
        defects = coverage.find(given.polygons)
    else:
        checked = topology.check(ours, commune="99901")
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    if way == "coverage":
        told = facts(defects)
    stages = checked.seconds if way == "all rules" else {}
    answer.put(
        (len(given), seconds, busy, before, peak(), len(given.truth), len(told & given.truth),
         len(told), stages)
    )  # fmt: skip


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--roads", action="store_true", help="blocks between roads")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"{options.count} parcels, roads: {options.roads}, seed {seed}\n")
    print("| way | s | × bare | CPU s | peak MB | of it input | recall | precision |")
    print("|---|---|---|---|---|---|---|---|")
    bare = 1.0
    for way in ("bare", "coverage", "all rules"):
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
            f"| {share} |"
        )
    print("\n" + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items()))


if __name__ == "__main__":
    main()
