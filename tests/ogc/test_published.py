"""What is told beside features: how many there are, and when that was last published."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import served, stored
from support.surveys import parcel, plot, write

from landdata.batches import acceptance, checking
from landdata.settings import Settings
from landdata.store import database, publications

ITEMS = "/ogc/collections/parcels/items"
TILE = "/ogc/collections/parcels/tiles/VN2000Quad-9212/{}/{}/{}"


@pytest.fixture
def client(settings: Settings, engine: sa.Engine) -> Iterator[served.Client]:
    with served.client(settings, engine) as opened:
        yield opened


def matched(client: served.Client, asked: str = "") -> Any:
    return client.get(f"{ITEMS}?limit=1{asked}").json.get("numberMatched")


def tile(east: int, level: int = 13) -> str:
    """The tile of 256 m in which there is this easting, on the lattice's first row."""
    side = 2_097_152 / 2**level
    return TILE.format(
        level, int((2_700_000 - stored.NORTH - 10) // side), int((east + 548_576) // side)
    )


# -- how many


def test_all_parcels_and_those_of_a_sheet_are_counted_without_being_read(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    assert matched(client) == 0
    rows = [parcel(n, plot(n, 0)) for n in range(1, 6)]
    stored.official(engine, settings, write(tmp_path / "a.zip", rows))
    began = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    rows = [parcel(n, plot(n, 200), SHBANDO="2") for n in range(1, 4)]
    stored.official(engine, settings, write(tmp_path / "b.zip", rows), "99902")
    rows = [parcel(2, plot(2, 0, height=25)), parcel(9, plot(9, 0))]
    stored.official(engine, settings, write(tmp_path / "c.zip", rows))
    asked = served.statements(client)
    assert matched(client) == 9
    assert matched(client, "&count=exact") == 9
    assert matched(client, "&crs=[EPSG:9212]&sortby=-area&properties=number") == 9
    assert matched(client, "&commune=99901") == 6
    assert matched(client, "&commune=99902&sheet=2") == 3
    assert matched(client, "&sheet=1") == 6
    assert matched(client, f"&datetime={began}") == 5
    assert matched(client, "&datetime=2020-01-01") == 0
    assert len(asked) == 8
    assert not any("count(" in each.sql for each in asked)
    assert matched(client, "&commune=99901&number=9") == 1
    assert matched(client, f"&datetime={began}&commune=99901") is None
    assert matched(client, "&datetime=2020-01-01/..") is None
    assert matched(client, "&bbox=106,11,107,12") is None
    assert matched(client, "&bbox=106,11,107,12&count=exact") == 9


def test_the_number_stands_on_every_page(client: served.Client, engine: sa.Engine) -> None:
    stored.lattice(engine)
    url: str | None = f"{ITEMS}?limit=5"
    seen = []
    while url:
        told = client.get(url).json
        seen.append(told["numberMatched"])
        url = next((each["href"] for each in told["links"] if each["rel"] == "next"), None)
    assert seen == [16] * 4


def test_communes_and_sheets_are_counted_for_every_request(
    client: served.Client, engine: sa.Engine
) -> None:
    stored.lattice(engine)
    stored.commune(engine, "99902", "Xã Suối Con")
    asked = "items?limit=1"
    assert client.get(f"/ogc/collections/communes/{asked}").json["numberMatched"] == 2
    assert client.get(f"/ogc/collections/sheets/{asked}").json["numberMatched"] == 1


@pytest.mark.slow
def test_the_number_is_right_while_batches_are_accepted_and_parcels_retired(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    numbers = []
    for n in range(1, 13):
        town = 1 + n % 3
        rows = [
            # every fourth parcel is one of the commune's batch before, with another shape
            parcel(f"{n if k % 4 else town}-{k}", plot(40 * n + k, 700 * town, height=20 - k % 3),
                   SHBANDO=str(k % 2)) for k in range(8)
        ]  # fmt: skip
        with database.session(engine) as session:
            path = write(tmp_path / f"{n}.zip", rows)
            made = checking.receive_and_check(
                session, settings, path, commune=f"9990{town}", by="surveyor"
            )
            numbers.append(made.id)
    told, over = [], threading.Event()

    def accept(number: int) -> None:
        with database.session(engine) as session:
            acceptance.accept(session, settings, number, by="officer", reviewed=False)
            time.sleep(0.02 * (number % 3))

    def read() -> None:
        while not over.is_set():
            page = client.get(f"{ITEMS}?limit=10000").json
            told.append((page.get("numberMatched", 0), len(page["features"])))

    with ThreadPoolExecutor(5) as pool:
        reading = pool.submit(read)
        try:
            list(pool.map(accept, numbers))
        finally:
            over.set()
        reading.result()
    assert all(number == features for number, features in told)
    with database.session(engine) as session:
        after = publications.last_version(session)
        retire = sa.text(
            "UPDATE parcel_versions SET valid_to = :now WHERE valid_to IS NULL"
            " AND number LIKE '3-%' RETURNING id"
        )
        now = session.scalar(sa.text("SELECT clock_timestamp()"))
        gone = session.scalars(retire, {"now": now}).all()
        publications.publish(session, 1, after=after, valid_from=now, retired=gone)
    assert len(gone) > 0
    with database.session(engine) as session:
        times = session.scalars(sa.text("SELECT valid_from FROM publications")).all()
        counting = sa.text(
            "SELECT count(*) FROM parcel_versions"
            " WHERE valid_from <= :at AND coalesce(valid_to, 'infinity') > :at"
        )
        wanted = {at: session.scalar(counting, {"at": at}) for at in times}
    assert len(wanted) == 13
    for at, number in wanted.items():
        when = at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        assert matched(client, f"&datetime={when}") == number
    assert matched(client) == wanted[max(wanted)]


def test_a_version_published_late_is_counted_from_its_valid_time(
    client: served.Client, engine: sa.Engine
) -> None:
    batch = stored.batch(engine, "a")
    for place, time_of in enumerate((stored.FIRST, stored.SECOND, stored.FIRST)):
        with database.session(engine) as session:
            after = publications.last_version(session)
        geom = stored.square(place, 0)
        stored.parcel(engine, batch, geom, number=str(place), valid_from=time_of)
        with database.session(engine) as session:
            publications.publish(session, batch, after=after, valid_from=time_of)
    for when, number in (("2025-06-01", 0), ("2025-08-01", 2), ("2026-03-02", 3)):
        assert matched(client, f"&datetime={when}") == number
    assert matched(client) == 3


def test_what_was_published_before_is_counted_by_the_migration(
    engine: sa.Engine, settings: Settings
) -> None:
    stored.lattice(engine)
    counts = sa.text("SELECT number, valid_from, parcels FROM publications ORDER BY number")
    with database.session(engine) as session:
        before = session.execute(counts).all()
    database.migrate(settings, "0010")
    database.migrate(settings)
    with database.session(engine) as session:
        assert session.execute(counts).all() == before
    assert [each.parcels for each in before] == [16, 16]


# -- when


def stamps(engine: sa.Engine) -> list[int]:
    with database.session(engine) as session:
        return list(session.scalars(sa.text("SELECT stamp FROM publications ORDER BY number")))


def dated(client: served.Client, url: str) -> Any:
    """The answer's date, once the clock has come to it."""
    for _ in range(100):
        found = client.get(url).headers.get("Last-Modified")
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(url)


def test_an_answer_tells_when_it_was_published_and_is_not_sent_again(
    client: served.Client, engine: sa.Engine, settings: Settings
) -> None:
    key = stored.lattice(engine)["1"]
    urls = [
        ITEMS, f"{ITEMS}/{key}", f"{ITEMS}?datetime=2025-08-01", f"{ITEMS}?sheet=1&limit=3",
        "/ogc/collections/sheets/items", tile(stored.EAST),
        "/ogc/collections/parcels", "/ogc/collections/sheets",
    ]  # fmt: skip
    for url in urls:
        date = dated(client, url)
        assert parsedate_to_datetime(date).timestamp() == stamps(engine)[-1]
        same = client.get(url, headers={"If-Modified-Since": date})
        assert (same.status_code, same.data) == (304, b"")
        # a date of one's own clock, or another answer's, says nothing of what was seen
        for other in ("Tue, 01 Jan 2030 00:00:00 GMT", "Wed, 01 Jan 2020 00:00:00 GMT", "soon"):
            assert client.get(url, headers={"If-Modified-Since": other}).status_code == 200
        # tags go before dates
        both = {"If-Modified-Since": date, "If-None-Match": '"another"'}
        assert client.get(url, headers=both).status_code == 200
    for url in ("/ogc/collections/communes/items", f"{ITEMS}?f=html", "/ogc/collections"):
        assert "Last-Modified" not in client.get(url).headers


def test_two_publications_within_a_second_never_bear_one_date(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    seen = {}
    for n in range(1, 5):
        stored.official(engine, settings, write(tmp_path / f"{n}.zip", [parcel(n, plot(n, 0))]))
        answer = client.get(ITEMS)
        date = answer.headers.get("Last-Modified")
        if date:  # none while the stamp is ahead of the clock
            assert parsedate_to_datetime(date).timestamp() <= time.time()
            seen[date] = answer.json["numberMatched"]
    made = stamps(engine)
    assert all(after > before for before, after in itertools.pairwise(made))
    date = dated(client, ITEMS)
    assert seen.setdefault(date, 4) == 4
    for old in seen:
        status = client.get(ITEMS, headers={"If-Modified-Since": old}).status_code
        assert status == (304 if old == date else 200)


def test_a_tile_keeps_its_date_while_others_change(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(300, 0))]
    stored.official(engine, settings, write(tmp_path / "a.zip", rows))
    here, far = tile(stored.EAST), tile(stored.EAST + 6000)
    before = dated(client, here)
    assert dated(client, far) == before
    stored.official(engine, settings, write(tmp_path / "b.zip", [parcel(3, plot(1, 0))]))
    assert dated(client, far) == before
    assert client.get(far, headers={"If-Modified-Since": before}).status_code == 304
    after = dated(client, here)
    assert parsedate_to_datetime(after) > parsedate_to_datetime(before)
    assert client.get(here, headers={"If-Modified-Since": before}).status_code == 200


def test_a_past_answer_is_new_when_a_state_of_it_ends(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    stored.official(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    then = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    url = f"{ITEMS}?datetime={then}"
    before = dated(client, url)
    assert client.get(url).json["features"][0]["properties"]["valid_to"] is None
    stored.official(engine, settings, write(tmp_path / "b.zip", [parcel(1, plot(0, 0, height=25))]))
    answer = client.get(url, headers={"If-Modified-Since": before})
    assert answer.status_code == 200
    assert answer.json["features"][0]["properties"]["valid_to"] is not None
