"""Propose mends for N made-up surveys with small defects, and count what they do.

    python bench/proposals.py [N] [--seed S]

Each survey has about 500 parcels at 1:1000, a third of them agricultural land, and thirty near
misses, slivers of overlap and narrow gaps from 2 mm to 0.14 m. Prints how many of the findings
are gone when all rules run over the proposed shapes, how many are new, and the largest shift
beside its limit. Exit 1 where one is new or beyond its limit. No timing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import coverages
from topology import survey

from landdata import topology
from landdata.survey import Survey
from landdata.topology import repair

KINDS = ("overlap", "gap", "unmatched", "slid-vertex", "torn-at-road")


def made(seed: int) -> Survey:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 24, 24, extra=int(rng.integers(0, 3)))
    spoilt = survey(coverages.inject(rng, clean, 30, kinds=KINDS, sizes=(0.002, 0.14)))
    uses = [
        json.dumps([{"code": c, "area": None}])
        for c in rng.choice(["ONT", "ODT", "CLN"], len(spoilt))
    ]
    at = spoilt.attributes.schema.get_field_index("land_use")
    table = spoilt.attributes.set_column(at, "land_use", pa.array(uses))
    return replace(spoilt, attributes=table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=30)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    told: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    new, closest, proposals, beyond = 0, 0.0, 0, 0
    for turn in range(options.count):
        given = made(seed + turn)
        before = topology.check(given, commune="99901")
        found = repair.propose(given, before, lambda of: topology.check(of, commune="99901"))
        at = {int(row): k for k, row in enumerate(given.rows)}
        shapes = given.geometry.copy()
        for each in found.proposals:
            shapes[at[each.row]] = each.geometry
            closest = max(closest, each.shift / each.limit)
            beyond += each.shift > each.limit + 1e-9
        proposals += len(found.proposals)
        after = topology.check(replace(given, geometry=shapes), commune="99901")
        first, then = (Counter(f.rule for f in run.findings) for run in (before, after))
        may = Counter({rule: n for rule, n in first.items() if rule in repair.REPAIRABLE})
        told += may
        mended += may - then
        new += sum((then - first).values())
    print(f"seed {seed}, {options.count} surveys, {proposals} parcels with a proposal\n")
    print("| rule | found | mended |\n|---|---|---|")
    for rule, count in sorted(told.items()):
        print(f"| {rule} | {count} | {mended[rule]} |")
    print(f"| all | {told.total()} | {mended.total()} ({mended.total() / told.total():.2%}) |")
    print(f"\nnew: {new}; beyond their limit: {beyond}; largest shift: {closest:.1%} of its limit")
    return 1 if new or beyond else 0


if __name__ == "__main__":
    sys.exit(main())
