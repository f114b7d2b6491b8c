"""An attempt at a job, as the runner hands it to the code of a task, and how it may fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]  # takes a sentence for the operator


class BrokenOffError(Exception):
    """The job ended without an outcome, by no fault of its input: it is to be run again."""


class AbortedError(Exception):
    """The job was cancelled, or its runner stops."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job; `number` counts from 1, lost runners' attempts included."""

    job_id: int
    number: int
    is_aborted: Callable[[], bool]
