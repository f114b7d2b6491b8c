"""The changes of parcels: each once, in order, whatever is being accepted meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from support import served, stored
from support.surveys import parcel, plot, write

from landdata.batches import acceptance, checking
from landdata.settings import Settings
from landdata.store import database, publications

CHANGES = "/ogc/collections/parcels/changes"


@pytest.fixture
def client(settings: Settings, engine: sa.Engine) -> Iterator[served.Client]:
    with served.client(settings, engine) as opened:
        yield opened


def told(client: served.Client, token: str | None = None, **parameters: Any) -> Any:
    if token:
        parameters["since"] = token
    answer = client.get(CHANGES, query_string=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json


def everything(
    client: served.Client, token: str | None = None, limit: int = 3
) -> tuple[list[dict[str, Any]], str]:
    """All changes after a token, by pages; and the token at the end."""
    found = []
    while True:
        page = told(client, token, limit=limit)
        assert len(page["changes"]) == page["numberReturned"] <= limit
        found += page["changes"]
        token = page["token"]
        if not any(link["rel"] == "next" for link in page["links"]):
            return found, token


def short(changes: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [
        (
            each["change"],
            each["feature"]["properties"]["number"],
            each["feature"]["properties"]["version"],
        )
        for each in changes
    ]


def test_changes_come_in_order_and_by_pages(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    assert told(client)["changes"] == []
    rows = [parcel(n, plot(n, 0)) for n in range(1, 8)]
    stored.official(engine, settings, write(tmp_path / "a.zip", rows))
    first, token = everything(client)
    assert short(first) == [("created", str(n), 1) for n in range(1, 8)]
    assert first[0]["feature"]["geometry"]["type"] == "MultiPolygon"
    one = client.get(f"/ogc/collections/parcels/items/{first[0]['feature']['id']}").json
    assert {k: v for k, v in one.items() if k != "links"} == first[0]["feature"]
    assert everything(client, token) == ([], token)
    rows = [parcel(2, plot(2, 0, height=25)), parcel(9, plot(9, 0))]
    stored.official(engine, settings, write(tmp_path / "b.zip", rows))
    second, token = everything(client, token, limit=1)
    assert short(second) == [("changed", "2", 2), ("created", "9", 1)]
    assert everything(client, limit=1)[0] == everything(client, limit=100)[0]
    assert short(everything(client)[0]) == short(first + second)
    assert everything(client, "now") == ([], token)


def test_a_retired_parcel_is_listed_with_its_last_version(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    rows = [parcel(n, plot(n, 0)) for n in range(1, 6)]
    stored.official(engine, settings, write(tmp_path / "a.zip", rows))
    _, token = everything(client)
    with database.session(engine) as session:
        after = publications.last_version(session)
        ended = session.scalars(
            sa.text(
                "UPDATE parcel_versions SET valid_to = clock_timestamp()"
                " WHERE number IN ('2', '4') RETURNING id"
            )
        ).all()
        publications.publish(
            session, 1, after=after, valid_from=dt.datetime.now(dt.UTC), retired=ended
        )
    changes, _ = everything(client, token, limit=1)
    assert short(changes) == [("retired", "2", 1), ("retired", "4", 1)]
    assert changes[0]["feature"]["properties"]["valid_to"]
    sheets = client.get("/ogc/collections/sheets/items").json["features"]
    assert [each["properties"]["parcels"] for each in sheets] == [3]


def insert(session: Session, batch: int, number: int) -> Any:
    """A parcel, not yet published; the number of its state."""
    return session.scalar(
        sa.text(
            "INSERT INTO parcel_versions (parcel_id, version, valid_from, commune, sheet, number,"
            " measured_area, batch_id, batch_row, geom)"
            " VALUES (gen_random_uuid(), 1, now(), '99901', '1', :number, 400, :batch, 0,"
            " ST_GeomFromEWKT(:geom)) RETURNING id"
        ),
        {"batch": batch, "number": str(number), "geom": stored.square(number, 0)},
    )


def test_a_transaction_that_begins_first_and_commits_last_is_not_missed(
    client: served.Client, engine: sa.Engine, settings: Settings
) -> None:
    slow, quick = stored.batch(engine, "a"), stored.batch(engine, "b")
    with database.session(engine) as late:
        before = publications.last_version(late)
        first = insert(late, slow, 1)
        with database.session(engine) as early:
            after = publications.last_version(early)
            second = insert(early, quick, 2)
            publications.publish(early, quick, after=after, valid_from=stored.FIRST)
        changes, token = everything(client)
        assert short(changes) == [("created", "2", 1)]
        assert first < second
        publications.publish(late, slow, after=before, valid_from=stored.FIRST)
        assert everything(client, token) == ([], token)
    changes, _ = everything(client, token)
    assert short(changes) == [("created", "1", 1)]


@pytest.mark.slow
def test_no_change_is_missed_or_repeated_while_batches_are_accepted(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    made = []
    for n in range(1, 13):
        code = f"9990{1 + n % 3}"
        rows = [
            parcel(f"{n}{k}", plot(40 * n + k, 700 * (n % 3)), SHBANDO=str(n)) for k in range(8)
        ]
        with database.session(engine) as session:
            path = write(tmp_path / f"{n}.zip", rows)
            batch = checking.receive_and_check(session, settings, path, commune=code, by="surveyor")
            made.append(batch.id)

    def accept(number: int) -> None:
        with database.session(engine) as session:
            acceptance.accept(session, settings, number, by="officer")
            time.sleep(0.02 * (number % 3))  # the commit comes when it comes

    found, token = [], None
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(accept, number) for number in made]
        while not all(each.done() for each in running):
            page = told(client, token, limit=5)
            found += page["changes"]
            token = page["token"]
        for each in running:
            each.result()
    rest, _ = everything(client, token)
    found += rest
    ids = [each["feature"]["id"] for each in found]
    assert len(ids) == len(set(ids)) == 96
    assert short(found) == short(everything(client, limit=1000)[0])


def test_a_long_poll_returns_at_the_first_change(
    client: served.Client, engine: sa.Engine, settings: Settings, towns: None, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    token = told(client, "now")["token"]
    timer = threading.Timer(0.3, stored.official, (engine, settings, path))
    timer.start()
    started = time.monotonic()
    page = told(client, token, wait=20)
    timer.join()
    assert short(page["changes"]) == [("created", "1", 1)]
    assert time.monotonic() - started < 19
    assert told(client, page["token"], wait=1)["changes"] == []


def test_changes_come_in_the_requested_crs(client: served.Client, engine: sa.Engine) -> None:
    stored.lattice(engine)
    uri = "http://www.opengis.net/def/crs/EPSG/0/9212"
    answer = client.get(CHANGES, query_string={"crs": uri, "limit": 1})
    assert answer.headers["Content-Crs"] == f"<{uri}>"
    x, y = answer.json["changes"][0]["feature"]["geometry"]["coordinates"][0][0][0]
    assert stored.EAST <= x <= stored.EAST + 80
    assert stored.NORTH <= y <= stored.NORTH + 80
    assert "Chủ sử dụng" not in answer.text
    assert "Thôn" not in answer.text


def test_the_collection_links_its_changes(client: served.Client) -> None:
    for collection in client.get("/ogc/collections").json["collections"]:
        found = [each for each in collection["links"] if each["rel"] == "version-history"]
        assert len(found) == (collection["id"] == "parcels")
        for each in found:
            assert client.get(each["href"]).mimetype == each["type"]


@pytest.mark.parametrize(("path", "status"), [
    (f"{CHANGES}?since=x", 400),
    (f"{CHANGES}?since=WzEsMl0", 400),  # [1,2]
    (f"{CHANGES}?since=WzEsMiwzXQ", 400),  # [1,2,3]
    (f"{CHANGES}?since=Wy0xLDAsMF0", 400),  # [-1,0,0]
    (f"{CHANGES}?wait=31", 400),
    (f"{CHANGES}?wait=-1", 400),
    (f"{CHANGES}?limit=0", 400),
    (f"{CHANGES}?offset=1", 400),
    (f"{CHANGES}?f=html", 400),
    ("/ogc/collections/communes/changes", 404),
])  # fmt: skip
def test_an_invalid_query_is_refused(client: served.Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.json["description"]
