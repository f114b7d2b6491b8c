"""Work that is the same for each part of some arrays, on all processors at once.

In threads and not in processes: numpy and GEOS let go of the interpreter's lock while they count,
and threads share the arrays, where processes would each need a copy. Nothing is cut at the edge of
a part, so parts need no margin around them: an edge is looked for among all edges, and a box among
all boxes. What comes out is in the order of the parts, whichever of them ends first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")

#: At most eight: each thread needs room for what it works on.
THREADS = min(len(os.sched_getaffinity(0)), 8)


def spread(work: Callable[[P], R], parts: Iterable[P]) -> list[R]:
    """Return what `work` makes of each part, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, parts))
