"""Hold every rule to made-up truth at once, on as many parcels as one likes.

    python bench/truth.py [SIDE] [DEFECTS] [--seed S]

What `tests/topology/test_truth.py` does on fifteen times fifteen parcels, on SIDE × SIDE (1000)
with DEFECTS (5000) in the coverage: defects of every rule on shape, record, coverage and seam,
those of the coverage from 2 mm up, and near each limit as many that are just within. Prints how
many findings each rule has; fails where they are not the defects. No timing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.rule_truth import verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", nargs="?", type=int, default=1000)
    parser.add_argument("defects", nargs="?", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    counts = verify(*(vars(parser.parse_args())[name] for name in ("seed", "side", "defects")))
    for rule, count in sorted(counts.items()):
        print(f"{count:>8}  {rule}")


if __name__ == "__main__":
    main()
