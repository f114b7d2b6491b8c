"""Compare landdata with PostGIS on N made-up parcels and on real files: counts, no timing.

    python bench/differential.py [N] [--seed S] [--real FOLDER]

Prints a table in Markdown: the pairs whose interiors meet by more than rounding, how many of them
`ST_Overlaps`, lie within or are the same by PostGIS, the narrow holes of the unions of sheets, and
the disagreements, each of which is told below. Exit 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from importing import conninfo
from support import coverages, differential

from landdata.embedded.cluster import Cluster


def made(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make blocks between roads with 0.5 % defects, on sheets of about 400 parcels."""
    rng = np.random.default_rng(seed)
    side = round((count * 1.4) ** 0.5)
    clean = coverages.make(rng, side, side, extra=1)
    spoilt = coverages.inject(rng, clean, count // 200, sizes=(0.002, 0.5))
    # What was put in lies on a sheet of its own: it must not hide a hole of the sheet below.
    row, column = (spoilt.cell // 20).T
    return spoilt.polygons, np.where(row < 0, -1, row * 10_000 + column)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--real", type=Path, help="folder of the real survey files")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="landdata-") as scratch:
        Path(scratch).chmod(0o755)  # the cluster's own user goes through it
        cluster = Cluster(Path(scratch) / "home")
        cluster.up()
        try:
            with psycopg.connect(conninfo(cluster, "landdata"), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
                print(f"seed {seed}\n\n| | parcels | pairs | overlaps | within | same | holes"
                      " | disagreements |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
                files = sorted(options.real.iterdir()) if options.real else []
                named = {"made up": (lambda: made(options.count, seed))} | {
                    path.name: (lambda path=path: (differential.real(path, Path(scratch)), None))
                    for path in files
                    if path.name in differential.REAL
                }
                for name, give in named.items():
                    polygons, sheets = give()
                    found = differential.compare(connection, polygons, sheets)
                    print(f"| {name} | {len(polygons):,} | {found.as_row()} |", flush=True)
                    wrong += [f"{name}: {each}" for each in found.disagreements]
        finally:
            cluster.down()
    print("\n" + "\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
