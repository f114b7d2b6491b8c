"""Days of Vietnam, which has one offset (+07:00) and no summer time."""

from __future__ import annotations

import datetime as dt

from landdata.errors import BadRequest

VIETNAM = dt.timezone(dt.timedelta(hours=7))


def day(time: dt.datetime | None = None) -> dt.date:
    """Return the day in Vietnam at a time; without one, today."""
    return (time or dt.datetime.now(dt.UTC)).astimezone(VIETNAM).date()


def instant(text: str) -> dt.datetime:
    """Return an as-of time from RFC 3339 or a date, which means the end of that day in Vietnam.

    Raises `BadRequest` for anything else, and for a time without an offset.
    """
    try:
        if len(text) == len("2026-01-31"):
            return dt.datetime.combine(dt.date.fromisoformat(text), dt.time.max, tzinfo=VIETNAM)
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadRequest(
            "{text!r} is not a date or a time with its offset.",
            hint="Give a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00+07:00).",
            code="bad-time",
            text=text,
        )
    return time
