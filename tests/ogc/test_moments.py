"""Times, orders and pages beside plain Python over the same states, at random."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from support import served, stored

from landdata.settings import Settings

ITEMS = "/ogc/collections/parcels/items"
BEGIN = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
VIETNAM = dt.timezone(dt.timedelta(hours=7))
SORTED = ("scale", "area", "legal_area", "label", "surveyed_on", "sheet", "valid_to", "version")


def states(random_of: random.Random) -> list[Any]:
    """Parcels of one to four states each, some of them ended, with nulls in most columns."""
    made = []
    for number in range(80):
        key = str(uuid.UUID(int=random_of.getrandbits(128), version=4))
        count = random_of.randint(1, 4)
        days = sorted(random_of.sample(range(400), count))
        ends = [*days[1:], random_of.choice([None, None, 450])]
        made += [
            {
                "parcel_id": key,
                "version": place + 1,
                "valid_from": BEGIN + dt.timedelta(days=day),
                "valid_to": None if end is None else BEGIN + dt.timedelta(days=end),
                "sheet": str(random_of.randint(1, 3)),
                "number": str(number),
                "scale": random_of.choice([None, 500, 1000]),
                "area": random_of.choice([None, 100.5, 200.0]),
                "legal_area": random_of.choice([None, 1.0]),
                "label": random_of.choice([None, "ONT", "ế", "Ă", "ONT+CLN"]),
                "surveyed_on": random_of.choice([None, dt.date(2025, 1, 3), dt.date(2025, 2, 1)]),
            }
            for place, (day, end) in enumerate(zip(days, ends, strict=True))
        ]
    return made


@pytest.fixture
def known(engine: sa.Engine) -> list[dict[str, Any]]:
    made = states(random.Random(11))  # the same ones each time
    batch = stored.batch(engine, "a")
    insert = (
        "INSERT INTO parcel_versions (parcel_id, version, valid_from, valid_to, sheet, number,"
        " scale, area, legal_area, label, surveyed_on, commune, measured_area, batch_id,"
        " batch_row, geom) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '99901', 400, %s,"
        " 0, ST_GeomFromEWKT(%s))"
    )
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        geom = stored.square(0, 0)
        cursor.executemany(insert, [(*each.values(), batch, geom) for each in made])
    return made


def asked(random_of: random.Random, times: list[dt.datetime]) -> tuple[Any, ...]:
    """A `datetime`, and since and until when it means."""
    first, last = sorted(random_of.choice(times) + dt.timedelta(hours=random_of.choice([-9, 0, 9]))
                         for _ in range(2))  # fmt: skip
    day = dt.datetime.combine(first.astimezone(VIETNAM), dt.time.min, VIETNAM)
    night = dt.datetime.combine(last.astimezone(VIETNAM), dt.time.max, VIETNAM)
    written = [each.isoformat().replace("+00:00", "Z") for each in (first, last)]
    return random_of.choice([
        (written[0], first, first),
        ("/".join(written), first, last),
        (f"{written[0]}/..", first, None),
        (f"/{written[1]}", None, last),
        ("../..", None, None),
        (f"{night:%Y-%m-%d}", night, night),
        (f"{day:%Y-%m-%d}/{night:%Y-%m-%d}", day, night),
    ])  # fmt: skip


def holds(state: dict[str, Any], since: dt.datetime | None, until: dt.datetime | None) -> bool:
    begun = until is None or state["valid_from"] <= until
    return begun and (since is None or state["valid_to"] is None or state["valid_to"] > since)


def rank(value: Any) -> tuple[Any, ...]:
    """Null is the greatest; text goes by its bytes."""
    return value is None, value.encode() if isinstance(value, str) else value or 0


def pages(client: served.Client, url: str | None, rel: str) -> tuple[Any, ...]:
    """The pages from `url` on, and the link to before the last one."""
    found, before = [], None
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        told = answer.json
        found.append([(each["id"], each["properties"]["version"]) for each in told["features"]])
        links = {each["rel"]: each["href"] for each in told["links"]}
        url, before = links.get(rel), links.get("prev")
    return found, before


def test_every_time_and_order_is_as_plain_python_has_it(
    settings: Settings, engine: sa.Engine, known: list[dict[str, Any]]
) -> None:
    random_of = random.Random(5)
    times = [each["valid_from"] for each in known]
    with served.client(settings, engine) as client:
        for _ in range(60):
            when, since, until = asked(random_of, times)
            sheet = random_of.choice([None, "1", "2"])
            steps = [(name, random_of.random() < 0.5)
                     for name in random_of.sample(SORTED, random_of.randint(0, 3))]  # fmt: skip
            wanted = [each for each in known
                      if holds(each, since, until) and sheet in (None, each["sheet"])]  # fmt: skip
            turned = bool(steps) and steps[-1][1]
            wanted.sort(key=lambda each: (each["parcel_id"], each["version"]), reverse=turned)
            for name, descending in reversed(steps):
                wanted.sort(key=lambda each: rank(each[name]), reverse=descending)
            expected = [(each["parcel_id"], each["version"]) for each in wanted]
            parameters = {"datetime": when, "limit": str(random_of.choice([7, 25, 1000]))}
            if sheet:
                parameters["sheet"] = sheet
            if steps:
                parameters["sortby"] = ",".join("-" * down + name for name, down in steps)
            url = f"{ITEMS}?{urlencode(parameters)}"
            told, before = pages(client, url, "next")
            assert [each for page in told for each in page] == expected, url
            back, _ = pages(client, before, "prev")
            left = len(expected) - len(told[-1])
            assert [each for page in reversed(back) for each in page] == expected[:left], url


def test_properties_come_in_their_own_order_and_no_others(
    settings: Settings, engine: sa.Engine, known: list[dict[str, Any]]
) -> None:
    with served.client(settings, engine) as client:
        every = list(client.get(f"{ITEMS}?limit=1").json["features"][0]["properties"])
        random_of = random.Random(3)
        for skip in ("true", "false"):
            chosen = random_of.sample(every, 4)
            url = f"{ITEMS}?properties={','.join(chosen)}&skipGeometry={skip}&sortby=-label"
            for each in client.get(url).json["features"]:
                assert list(each["properties"]) == [name for name in every if name in chosen]
                assert (each["geometry"] is None) == (skip == "true")
