"""What a question as of the past costs, beside the same question on the state of now.

    python bench/as_of.py DATABASE [--parcels 1000000] [--versions 5] [--repeat 40] [--http]
                          [--json]

DATABASE is the URL of an empty database of PostGIS (`postgresql://…`), which is migrated and
filled once by set-based SQL and then kept: a lattice of parcels of nine vertices in survey order,
each with so many states, changed sheet by sheet at times of their own over the years (5,000,000
states take about 7 GB and some minutes). Each question is asked as the OGC API asks it, to the
page of features as text, or with --http of `landdata serve` on a kept connection; as of now and as
of several times of the past, in an order by chance, at another place each time and once before it
is measured, so that the disk is not; the answers must be as many. Prints medians in ms, and their
ratio for the worst of the times.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import sqlalchemy as sa

from landdata.features import collections, pages, parameters
from landdata.features import query as queries
from landdata.settings import Settings
from landdata.store import database
from landdata.store.read_pool import ReadPool

Ask = Callable[[dict[str, str]], int]

EAST, NORTH, SIDE = 480_000, 1_260_000, 20
COLUMNS = 2_000
SHEET = 1_000  # parcels
FIRST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
YEAR = dt.timedelta(days=365)
FILL = """
INSERT INTO parcel_versions (
  parcel_id, version, valid_from, valid_to, commune, sheet, number, scale, area, legal_area,
  measured_area, land_use, label, surveyed_on, geom, batch_id, batch_row
)
SELECT
  key(n), {version}, began({version}, n), CASE WHEN {version} < {versions}
  THEN began({version} + 1, n) END, '99901', (n / {sheet} + 1)::text,
  (n % {sheet} + 1)::text, 1000, 400 + {version}, 400, 400, '[{{"code": "ONT", "area": null}}]',
  'ONT', began({version}, n)::date,
  ST_SetSRID(ST_Translate(
    ST_GeomFromText('MULTIPOLYGON(((0 0,10 0,20 0,20 10,20 20,10 20,0 20,0 10,0 0)))'),
    {east} + {side} * (n % {columns}), {north} + {side} * (n / {columns})), 9212),
  {version}, n
FROM generate_series(0, {parcels} - 1) AS n
ORDER BY n
"""
FUNCTIONS = """
CREATE FUNCTION pg_temp.key(n integer) RETURNS uuid IMMUTABLE LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(n), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid $$;
CREATE FUNCTION pg_temp.began(version integer, n integer) RETURNS timestamptz
  IMMUTABLE LANGUAGE sql AS $$ SELECT '2020-01-01T00:00:00Z'::timestamptz
  + (version - 1) * interval '365 days' + (n / 1000 * 37 % 365) * interval '1 day' $$
"""


def fill(url: str, parcels: int, versions: int) -> None:
    """Fill the store, unless it is there."""
    with psycopg.connect(url) as connection:
        there = connection.execute(
            "SELECT count(DISTINCT parcel_id) FROM parcel_versions"
        ).fetchone()
        if there and there[0]:
            if there[0] != parcels:
                sys.exit(f"The database holds {there[0]} parcels: name an empty one.")
            return
        connection.execute(FUNCTIONS)
        for version in range(1, versions + 1):
            statement = FILL.format(
                version=version, versions=versions, parcels=parcels, sheet=SHEET,
                east=EAST, north=NORTH, side=SIDE, columns=COLUMNS,
            )  # fmt: skip
            statement = statement.replace("key(n)", "pg_temp.key(n)").replace(
                "began(", "pg_temp.began("
            )
            connection.execute(statement.encode())
            print(f"state {version} of {versions} is there", file=sys.stderr, flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE parcel_versions")


def questions(parcels: int, chance: random.Random) -> dict[str, Callable[[], dict[str, str]]]:
    """What is asked, at another place each time."""

    def box(width: float) -> dict[str, str]:
        x = EAST + SIDE * chance.uniform(0, COLUMNS - width)
        y = NORTH + SIDE * chance.uniform(0, max(parcels / COLUMNS - width, 1))
        far = SIDE * width
        return {
            "bbox": f"{x},{y},{x + far},{y + far}", "bbox-crs": "EPSG:9212", "limit": "1000",
        }  # fmt: skip

    def number() -> dict[str, str]:
        n = chance.randrange(parcels)
        return {
            "commune": "99901", "sheet": str(n // SHEET + 1), "number": str(n % SHEET + 1),
        }  # fmt: skip

    def page(limit: int) -> dict[str, str]:
        n = chance.randrange(parcels - 2 * limit)
        key = f"{n:012x}"
        cursor = queries.Cursor("next", f"{key[:8]}-{key[8:]}-7000-8000-000000000000")
        return {"limit": str(limit), "cursor": cursor.token()}

    sheets = parcels // SHEET + 1
    return {
        "10 items": lambda: {"limit": "10"},
        "1,000 items": lambda: {"limit": "1000"},
        "small box (about 100)": lambda: box(9),
        "one number": number,
        "10 items, deep page": lambda: page(10),
        "1,000 items, deep page": lambda: page(1000),
        "filter": lambda: {
            "filter": f"commune = '99901' AND sheet = '{chance.randrange(1, sheets)}' AND area > 9",
            "limit": "100",
        },
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("database")
    options.add_argument("--parcels", type=int, default=1_000_000)
    options.add_argument("--versions", type=int, default=5)
    options.add_argument("--repeat", type=int, default=40)
    options.add_argument("--http", action="store_true")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(home=home, database_url=given.database)
        database.migrate(settings)
        fill(given.database, given.parcels, given.versions)
        asking = (
            opened.enter_context(over_http(settings)) if given.http else through_python(settings)
        )
        measure(given, asking)


def through_python(settings: Settings) -> Ask:
    """Ask the database as the OGC API does."""
    collection = collections.collections(settings)["parcels"]
    pool = ReadPool(sa.make_url(settings.database_url or ""))
    loop = asyncio.new_event_loop()

    def ask(asked: dict[str, str]) -> int:
        query = parameters.read_query(collection, [*asked.items()], settings.srid)
        return len(loop.run_until_complete(pages.page(pool, query)).features)

    return ask


@contextmanager
def over_http(settings: Settings) -> Iterator[Ask]:
    """Ask a server of our own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "LANDDATA_HOME": str(settings.home),
        "LANDDATA_DATABASE_URL": settings.database_url or "",
        "LANDDATA_PORT": str(port),
    }
    command = [sys.executable, "-m", "portal", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(asked: dict[str, str]) -> int:
            connection.request("GET", "/ogc/collections/parcels/items?" + urlencode(asked))
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return body.count(b'"type":"Feature"')

        try:
            while True:
                try:
                    ask({"limit": "1"})
                    break
                except (OSError, http.client.HTTPException):
                    connection.close()
                    time.sleep(0.2)
            yield ask
        finally:
            server.terminate()


def measure(given: argparse.Namespace, asking: Ask) -> None:
    """Ask all, and print it."""
    chance = random.Random(1)
    # in the middle of each state's years, where all of them are of that state, and on a day of
    # the change from one to the next, where half are; and the day before yesterday
    moments = [
        "",
        *(
            (FIRST + YEAR * (1 + each)).isoformat().replace("+00:00", "Z")
            for each in (0.05, 0.5, given.versions / 2 - 1, given.versions - 1.5)
        ),
        (dt.datetime.now(dt.UTC) - dt.timedelta(days=2)).isoformat(timespec="seconds"),
    ]
    told = {}
    for name, ask in questions(given.parcels, chance).items():
        taken: dict[str, list[float]] = {each: [] for each in moments}
        for _ in range(given.repeat):
            asked = ask()
            sizes = set()
            # whoever comes first is slower: so another one each time
            order = [(n, each) for n in (0, 1) for each in chance.sample(moments, len(moments))]
            for turn, moment in order:
                more = {"datetime": moment} if moment else {}
                started = time.perf_counter()
                found = asking(asked | more)
                if turn:
                    taken[moment].append(1000 * (time.perf_counter() - started))
                sizes.add(found)
            assert len(sizes) == 1, (name, sizes)
            assert sizes != {0}, name
        now, *past = (statistics.median(each) for each in taken.values())
        told[name] = {
            "now_ms": round(now, 3),
            "past_ms": [round(each, 3) for each in past],
            "ratio": round(max(past) / now, 2),
        }
    if given.json:
        print(json.dumps(told))
        return
    print(f"{given.parcels} parcels, {given.versions} states each")
    print(f"{'':24}{'now':>9}" + "".join(f"{m[:10]:>12}" for m in moments[1:]) + f"{'worst':>8}")
    for name, row in told.items():
        past = "".join(f"{each:12.2f}" for each in row["past_ms"])
        print(f"{name:24}{row['now_ms']:9.2f}{past}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
