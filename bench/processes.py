"""What processes use, read from /proc, and what the machine takes for itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            for child in (task / "children").read_text().split():
                found += tree(int(child))
        except OSError:
            continue
    return found


def resident(pids: Sequence[int]) -> int:
    """Resident memory of processes, in bytes; shared pages count in each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def worked(pids: Sequence[int]) -> int:
    """Ticks of CPU that processes have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except (OSError, IndexError):
            continue
    return total


def halts(seconds: float) -> list[float]:
    """For how many ms the machine does not let processes run, of which each processor has one.

    They only look at the clock, so whoever is measured has these halts too, where all processors
    are at work. Those of half a millisecond and more.
    """
    processors = len(os.sched_getaffinity(0))
    # not multiprocessing's own pool: it ends its processes by a signal, which a benchmark handles
    with ProcessPoolExecutor(processors) as pool:
        return [each for found in pool.map(_halts, [seconds] * processors) for each in found]


def _halts(seconds: float) -> list[float]:
    found = []
    end = (last := time.perf_counter()) + seconds
    while last < end:
        now = time.perf_counter()
        if now - last >= 0.0005:
            found.append((now - last) * 1000)
        last = now
    return found
