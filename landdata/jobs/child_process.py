"""The child process of a job: killed at its time limit, on cancellation, or with its runner.

The child reads a JSON object from standard input and prints a JSON object a line: progress, and
at last its outcome, which has the key `end`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from landdata.jobs.attempt import AbortedError, BrokenOffError

_PROGRESS_INTERVAL: Final = 0.5  # seconds between two calls of `on_progress`
_PR_SET_PDEATHSIG: Final = 1


class TimeLimitError(Exception):
    """The job took too long."""


# -- in the runner -------------------------------------------------------------------------


def run(
    module: str,
    payload: dict[str, Any],
    *,
    seconds: float,
    is_aborted: Callable[[], bool],
    on_progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run `module` in a child with `payload`; return its outcome.

    Kills the child and its process group where it has not ended by itself. Raises
    `BrokenOffError`, `AbortedError`, `TimeLimitError` (after `seconds`).
    """
    child = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C on the runner's terminal is for the runner alone
    )
    outcome: dict[str, Any] | None = None
    progress: dict[str, Any] = {}
    last = time.monotonic()
    deadline = last + seconds
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps({**payload, "runner": os.getpid()}).encode())
        for line in _lines(child):
            if line is not None:
                message = json.loads(line)
                outcome = message if "end" in message else outcome
                progress |= message
            now = time.monotonic()
            if progress and outcome is None and now - last > _PROGRESS_INTERVAL:
                on_progress(progress)
                progress, last = {}, now
            if is_aborted():
                raise AbortedError
            if now > deadline:
                raise TimeLimitError
        child.wait()
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    if outcome is None or outcome["end"] == "again":
        raise BrokenOffError
    return outcome


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Yield the lines that a child prints, and null after 0.2 s without one."""
    assert child.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=0.2):
                yield None
                continue
            block = os.read(child.stdout.fileno(), 1 << 16)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if not block:
                return


# -- in the child --------------------------------------------------------------------------


def receive() -> dict[str, Any]:
    """Return the payload, after asking the kernel to kill this process with its runner."""
    payload: dict[str, Any] = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != payload["runner"]:
        sys.exit(1)
    return payload


def send(**message: Any) -> None:
    """Send progress or, with the key `end`, the outcome."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
