"""A few spoilt files of each format, and all that once showed a fault; script/fuzz makes more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_spoilt_files_are_read_or_refused_and_nothing_worse() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "script" / "fuzz.py", "--count", "12"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    kept = (ROOT / "tests" / "support" / "fuzz_seeds.txt").read_text("utf-8").count("\n") - 1
    files = sum(int(n) for n in re.findall(r"^\w+: (\d+) files", done.stdout, re.MULTILINE))
    assert files == 48 + kept
    assert "0 faults" in done.stdout
