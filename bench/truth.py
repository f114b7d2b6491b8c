"""Hold every rule to made-up truth at once, on as many parcels as one likes.

    python bench/truth.py [SIDE] [DEFECTS] [--seed S]

What `tests/test_topology_truth.py` does on fifteen times fifteen parcels, on SIDE × SIDE (1000)
with DEFECTS (5000) in the coverage: defects of every rule on shape, record, coverage and seam,
those of the coverage from 2 mm up, and near each limit as many that are just within. Prints how
often each rule told; fails where one told too much or too little. No timing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from topology.test_truth import hold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", nargs="?", type=int, default=1000)
    parser.add_argument("defects", nargs="?", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    told = hold(*(vars(parser.parse_args())[name] for name in ("seed", "side", "defects")))
    for rule, count in sorted(told.items()):
        print(f"{count:>8}  {rule}")


if __name__ == "__main__":
    main()
