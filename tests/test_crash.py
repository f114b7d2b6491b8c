"""A few kills at random moments, and a few pairs at once; bench/crash.py makes hundreds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).parents[1] / "bench" / "crash.py"


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_store_as_before_or_as_after() -> None:
    done = subprocess.run(
        [sys.executable, CRASH, "5", "6", "--parcels", "200"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(int(n) for n in re.findall(r"killed +(\d+) times", done.stdout)) == 5
    assert "1 times accepted and verdict-changed: both checked before either" in done.stdout
    assert "0 overlaps, 0 numbers twice, 0 unbalanced batches, 0 lost parcels" in done.stdout
