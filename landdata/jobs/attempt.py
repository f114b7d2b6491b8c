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
    """One attempt at a job; `number` counts from 1, and `limit` is the number of the last one."""

    job_id: int
    number: int
    limit: int
    is_aborted: Callable[[], bool]

    @property
    def is_last(self) -> bool:
        """Whether no other follows, should this one break off."""
        return self.number >= self.limit

    @property
    def is_beyond_last(self) -> bool:
        """Whether the last attempt ended together with its runner."""
        return self.number > self.limit
