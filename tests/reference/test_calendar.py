from __future__ import annotations

import datetime as dt

import pytest

from landdata.errors import BadRequest
from landdata.reference import calendar


def test_a_date_means_its_end_in_vietnam() -> None:
    assert calendar.instant("2026-03-01") == dt.datetime(
        2026, 3, 1, 16, 59, 59, 999999, tzinfo=dt.UTC
    )
    assert calendar.instant("2026-03-01T01:00:00Z") == dt.datetime(2026, 3, 1, 1, tzinfo=dt.UTC)


def test_the_day_begins_when_it_does_in_vietnam() -> None:
    assert calendar.day(dt.datetime(2025, 6, 30, 16, 59, 59, tzinfo=dt.UTC)) == dt.date(2025, 6, 30)
    assert calendar.day(dt.datetime(2025, 6, 30, 17, tzinfo=dt.UTC)) == dt.date(2025, 7, 1)
    assert calendar.day() - dt.datetime.now(dt.UTC).date() in (dt.timedelta(0), dt.timedelta(1))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-03-01T01:00:00", "1"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        calendar.instant(text)
