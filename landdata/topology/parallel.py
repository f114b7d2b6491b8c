"""The same work on each part of some arrays, on all processors.

Threads, not processes: numpy and GEOS release the interpreter's lock while they compute, and
threads share the arrays, of which processes would need copies. Parts need no margins, because a
part is searched for among all edges or boxes. Results are in the order of the parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")

#: At most eight: each thread needs memory for its part.
THREADS = min(len(os.sched_getaffinity(0)), 8)


def spread(work: Callable[[P], R], parts: Iterable[P]) -> list[R]:
    """Return the results of `work` for the parts, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, parts))
