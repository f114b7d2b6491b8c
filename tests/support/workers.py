"""A worker of the job queue, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from landdata.settings import Settings

PROGRAM = """
import json, sys
from landdata.jobs.runner import worker
from landdata.settings import Settings
options = json.loads(sys.argv[1])
worker(Settings(**options.pop("settings")), say=lambda text: print(text, flush=True), **options)
"""


@contextmanager
def worker(settings: Settings, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a worker until the block ends."""
    arguments = {"settings": settings.model_dump(mode="json"), "heartbeat": 1.0, **options}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=60)
