"""Clients that others wrote page through all parcels while batches are accepted: none lost, none
doubled, and what they filter is filtered by the server.

    script/clients [--parcels N] [CLIENT ...]

CLIENT: plain, ogr2ogr, pyogrio, owslib, openlayers, maplibre, qgis (all of them; those that are
not installed are named and left out). N parcels (100,000) are imported into a store of its own and
served. At a client's second page, batches begin to be accepted, one after the other: each
changes parcels of the store and adds some. Every parcel of the beginning must arrive once, and
nothing twice.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import http.server
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
import sqlalchemy as sa
from a2wsgi import ASGIMiddleware
from werkzeug.serving import make_server

from landdata.batches import acceptance, checking, receiving
from landdata.embedded.cluster import Cluster
from landdata.settings import Settings
from landdata.store import communes, database
from portal.asgi import Application

ROOT = Path(__file__).parents[1]
COMMUNE = "99901"
EAST, NORTH, SIDE, ACROSS, PER_SHEET = 548_000, 1_281_000, 10, 250, 1000
QGIS_PYTHON = "/usr/bin/python3"


@dataclass
class World:
    """A served store, and batches that wait to be accepted."""

    settings: Settings
    engine: sa.Engine
    parcels: int
    at_once: bool  # whether a page waits until the batch of its moment is accepted
    url: str = ""
    asked: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    accepted: int = 0
    _made: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: threading.Thread | None = None

    def official(self) -> set[str]:
        """The ids of the parcels of now."""
        statement = "SELECT parcel_id::text FROM parcel_versions WHERE valid_to IS NULL"
        with self.engine.connect() as connection:
            return set(connection.scalars(sa.text(statement)))

    def submit(self, numbers: range, code: str) -> int:
        """Send and check a batch of the parcels of these numbers; its own number."""
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / f"survey{self._made}.zip", numbers, code)
            with database.session(self.engine) as session:
                made, _ = receiving.receive(
                    session, self.settings, path, commune=COMMUNE, by="crew"
                )
                number = made.id
            with database.session(self.engine) as session:
                checking.check(session, self.settings, number)
        self._made += 1
        return number

    def prepare(self, count: int) -> None:
        """Make and check batches: each changes twenty parcels and adds ten."""
        for _ in range(count):
            step = max(1, self.parcels // 40)
            changed = range((self._made * step) % (self.parcels - 20) + 1, self.parcels)[:20]
            added = self.parcels + 10 * self._made
            code = ("CLN", "ONT", "HNK", "NTS")[self._made % 4]
            self.waiting.append(self.submit([*changed, *range(added + 1, added + 11)], code))

    def accept(self) -> None:
        """Accept the next batch that waits, if any."""
        with self._lock:
            if not self.waiting:
                return
            number = self.waiting.pop(0)
            with database.session(self.engine) as session:
                acceptance.accept(session, self.settings, number, by="officer")
            self.accepted += 1

    def accept_all(self) -> None:
        while self.waiting:
            self.accept()

    def note(self, path: str, query: str) -> None:
        """What is done before each request is answered."""
        if not path.endswith("/items"):
            return
        self.asked.append(query)
        if "cursor=" not in query or not self.waiting:
            return
        if self.at_once:
            self.accept()
        elif self._running is None or not self._running.is_alive():
            self._running = threading.Thread(target=self.accept_all)
            self._running.start()

    def settle(self) -> None:
        """Wait until nothing is being accepted any more."""
        if self._running is not None:
            self._running.join()


def write(path: Path, numbers: Any, code: str) -> Path:
    """Write parcels by number as a zipped shapefile: squares of a lattice, 1000 a sheet."""
    n = np.array(numbers) - 1
    x, y = EAST + SIDE * (n % ACROSS), NORTH + SIDE * (n // ACROSS)
    data = {
        "SHBANDO": (n // PER_SHEET + 1).astype(str),
        "SHTHUA": (n % PER_SHEET + 1).astype(str),
        "DIENTICH": np.full(len(n), float(SIDE * SIDE)),
        "KHLOAIDAT": np.full(len(n), code),
    }
    folder = path.with_suffix("")
    folder.mkdir()
    pyogrio.raw.write(
        folder / f"{path.stem}.shp",
        geometry=shapely.to_wkb(shapely.box(x, y, x + SIDE, y + SIDE)),
        field_data=list(data.values()),
        fields=list(data),
        geometry_type="Polygon",
        crs="EPSG:9212",
        encoding="UTF-8",
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member in sorted(folder.iterdir()):
            archive.write(member, member.name)
    return path


@contextmanager
def world(settings: Settings, parcels: int, *, at_once: bool) -> Iterator[World]:
    """Fill a migrated store with parcels, and serve it."""
    engine = database.engine(settings)
    made = World(settings, engine, parcels, at_once)
    with database.session(engine) as session:
        communes.add(session, COMMUNE, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
    number = made.submit(range(1, parcels + 1), "LUC")
    with database.session(engine) as session:
        acceptance.accept(session, settings, number, by="officer")
    app = Application(settings, engine)
    answer = ASGIMiddleware(app)

    def noted(environ: dict[str, Any], start: Any) -> Any:
        made.note(environ["PATH_INFO"], environ["QUERY_STRING"])
        return answer(environ, start)

    try:
        with listening(noted) as address:
            made.url = f"{address}/ogc"
            yield made
            made.settle()
    finally:
        app.ogc.service.close()
        engine.dispose()


@contextmanager
def listening(app: Callable[..., Any]) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- clients: each gives the ids of all parcels, and of those of a sheet ------------------------


@dataclass(frozen=True)
class Told:
    """What a client found: the ids of everything, of a sheet, and what it saw besides."""

    ids: list[str]
    sheet: list[str]
    more: dict[str, Any] = field(default_factory=dict)


def plain(url: str, sheet: str) -> Told:
    """Follow `next` with the standard library."""

    def all_of(query: str) -> list[str]:
        found, there = [], f"{url}/collections/parcels/items?f=json&limit=1000{query}"
        while there:
            with urllib.request.urlopen(there) as answer:
                told = json.load(answer)
            found += [feature["id"] for feature in told["features"]]
            there = next((link["href"] for link in told["links"] if link["rel"] == "next"), "")
        return found

    return Told(all_of(""), all_of(f"&sheet={sheet}"))


def ogr2ogr(url: str, sheet: str) -> Told:
    """GDAL's own program, as Debian has it."""

    def all_of(*words: str) -> list[str]:
        command = ["ogr2ogr", "-f", "CSV", "-select", "id", "/vsistdout/", f"OAPIF:{url}",
                   "parcels", "-oo", "PAGE_SIZE=1000", *words]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        if "ERROR" in done.stderr:
            raise RuntimeError(done.stderr)
        return [line.strip('"') for line in done.stdout.split()[1:]]

    return Told(all_of(), all_of("-where", f"sheet = '{sheet}'"))


# in a process of its own: others may have loaded another GDAL
_PYOGRIO = """
import json, sys, pyogrio
for where in (None, f"sheet = '{sys.argv[2]}'"):
    _, table = pyogrio.read_arrow("OAPIF:" + sys.argv[1], layer="parcels", columns=["id"],
                                  read_geometry=False, where=where)
    print(json.dumps(table["id"].to_pylist()))
"""


def pyogrio_arrow(url: str, sheet: str) -> Told:
    """GDAL in pyogrio, the newest there is."""
    done = subprocess.run([sys.executable, "-c", _PYOGRIO, url, sheet], capture_output=True,
                          text=True, check=True)  # fmt: skip
    return Told(*map(json.loads, done.stdout.splitlines()))


def owslib(url: str, sheet: str) -> Told:
    """OWSLib, which leaves paging to its user."""
    from owslib.ogcapi.features import Features  # noqa: PLC0415  # only this client needs it

    service = Features(url)

    def all_of(**query: str) -> list[str]:
        found, more = [], {}
        while True:
            told = service.collection_items("parcels", limit=1000, **query, **more)
            found += [feature["id"] for feature in told["features"]]
            there = [link["href"] for link in told["links"] if link["rel"] == "next"]
            if not there:
                return found
            more = {"cursor": there[0].rpartition("cursor=")[2]}

    return Told(all_of(), all_of(sheet=sheet))


def openlayers(url: str, sheet: str) -> Told:
    """OpenLayers in Chromium, from another origin; it draws tiles of both kinds too."""
    zone = "+proj=tmerc +lat_0=0 +lon_0=106.25 +k=0.9999 +x_0=500000 +y_0=0 +ellps=WGS84 +units=m"
    with page("openlayers.html") as opened:
        told = opened.evaluate(f"pages({url!r}, 1000)")
        few = opened.evaluate(f"filtered({url!r}, {sheet!r})")
        middle = [EAST + 12.5 * SIDE, NORTH + 5 * SIDE]
        own = opened.evaluate(f"tiles({url!r}, 'VN2000Quad-9212', {zone!r}, {middle}, 0.5)")
        web = opened.evaluate(f"tiles({url!r}, 'WebMercatorQuad', null, {mercator()}, 0.5)")
    return Told(told["ids"], few, {"kept": told["kept"], "VN-2000": own, "web": web})


def maplibre(url: str, sheet: str) -> Told:
    """MapLibre in Chromium, from another origin, with software for WebGL."""
    with page("maplibre.html") as opened:
        opened.wait_for_function("window.ready")
        told = opened.evaluate(f"pages({url!r}, 1000)")
        few = opened.evaluate(f"filtered({url!r}, {sheet!r})")
        web = opened.evaluate(f"tiles({url!r}, {degrees()}, 17)")
    more = {"kept": told["kept"], "drawn": told["drawn"], "web": web}
    return Told(told["ids"], few, more)


def qgis(url: str, sheet: str) -> Told:
    """QGIS without a screen, as Debian has it."""
    command = [QGIS_PYTHON, ROOT / "script" / "qgis_client.py", url, sheet]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(done.stderr[-2000:])
    told = json.loads(lines[-1])
    return Told(told.pop("ids"), told.pop("sheet"), told)


def mercator() -> list[float]:
    """The middle of the lattice's corner, in EPSG:3857."""
    x, y = degrees()
    return [x * 20037508.342789244 / 180,
            float(np.log(np.tan(np.pi / 4 + np.radians(y) / 2)) * 6378137)]  # fmt: skip


def degrees() -> list[float]:
    from landdata.reference.vn2000 import transformer  # noqa: PLC0415

    return list(transformer(9212, 4326).transform(EAST + 12.5 * SIDE, NORTH + 5 * SIDE))


@contextmanager
def page(name: str) -> Iterator[Any]:
    """A page of tests/support/web_clients in Chromium, on its own origin; no error may appear."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    handler = functools.partial(Files, directory=str(ROOT / "tests" / "support" / "web_clients"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium",
                args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
                      "--disable-background-networking"],
            )  # fmt: skip
            opened = browser.new_page()
            opened.set_default_timeout(600_000)
            wrong: list[str] = []
            opened.on("pageerror", lambda error: wrong.append(str(error)))
            opened.goto(f"http://127.0.0.1:{server.server_port}/{name}")
            yield opened
            browser.close()
            if wrong:
                raise RuntimeError("; ".join(wrong))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Files(http.server.SimpleHTTPRequestHandler):
    """The pages of the tests, and the libraries that npm brought."""

    def translate_path(self, path: str) -> str:
        if path.startswith("/node_modules/"):
            return str(ROOT / path.partition("?")[0].lstrip("/"))
        return super().translate_path(path)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


CLIENTS: dict[str, Callable[[str, str], Told]] = {
    "plain": plain,
    "ogr2ogr": ogr2ogr,
    "pyogrio": pyogrio_arrow,
    "owslib": owslib,
    "openlayers": openlayers,
    "maplibre": maplibre,
    "qgis": qgis,
}


def missing(name: str) -> str | None:
    """Say what a client lacks on this machine; null where it has all."""
    if name == "ogr2ogr" and shutil.which("ogr2ogr") is None:
        return "there is no ogr2ogr; install gdal-bin"
    if name in ("openlayers", "maplibre") and not Path("/usr/bin/chromium").exists():
        return "there is no chromium"
    if name == "qgis":
        asked = [QGIS_PYTHON, "-c", "import qgis.core"]
        if not Path(QGIS_PYTHON).exists() or subprocess.run(asked, capture_output=True,
                                                            check=False).returncode:  # fmt: skip
            return "there is no QGIS; install python3-qgis"
    return None


def pictures(told: Told, made: World) -> list[str]:
    """Say what is wrong with what a client in the browser has kept and drawn."""
    wrong = []
    if told.more.get("kept", len(told.ids)) != len(told.ids):
        wrong.append(f"{told.more['kept']} of them kept")
    for name in ("VN-2000", "web"):
        seen = told.more.get(name)
        if seen is None:
            continue
        if not set(seen["ids"]) or not set(seen["ids"]) <= made.official():
            wrong.append(f"{len(seen['ids'])} parcels in the tiles ({name})")
        if not 0.2 < seen["drawn"] < 0.8:  # the lattice begins in the middle of the picture
            wrong.append(f"{seen['drawn']:.0%} of the picture drawn ({name})")
    return wrong


def judge(made: World, name: str, changes: int) -> tuple[str, list[str]]:
    """Let a client read while batches are accepted; what it did in words, and what was wrong."""
    made.prepare(changes)
    before, accepted = made.official(), made.accepted
    made.asked.clear()
    began = time.monotonic()
    told = CLIENTS[name](made.url, "2")
    seconds = time.monotonic() - began
    made.settle()
    made.accept_all()
    after = made.official()
    wrong = []
    counts = Counter(told.ids)
    if lost := before - counts.keys():
        wrong.append(f"{len(lost)} lost")
    if doubled := [each for each, n in counts.items() if n > 1]:
        wrong.append(f"{len(doubled)} doubled")
    if unknown := counts.keys() - after:
        wrong.append(f"{len(unknown)} that are not there")
    if len(told.sheet) != PER_SHEET or len(set(told.sheet)) != PER_SHEET:
        wrong.append(f"{len(told.sheet)} of sheet 2 instead of {PER_SHEET}")
    wanted = ["sheet"]
    if name == "qgis":  # before 3.30 it leaves boxes and times to the server, and nothing else
        old = tuple(map(int, told.more["version"].split(".")[:2])) < (3, 30)
        wanted = ["bbox=", "datetime=" if old else "sheet"]
        if (len(told.more["box"]), len(told.more["since"])) != (1, 0):
            wrong.append(f"{len(told.more['box'])} in the box, {len(told.more['since'])} of old")
    for part in wanted:
        if not any(part in query for query in made.asked):
            wrong.append(f"the server was not asked with {part}")
    if made.accepted - accepted != changes:
        wrong.append(f"only {made.accepted - accepted} batches accepted")
    wrong += pictures(told, made)
    text = (
        f"{name}: {len(told.ids)} of {len(before)} to {len(after)} parcels in {len(made.asked)}"
        f" requests, {seconds:.1f} s; {changes} batches accepted meanwhile"
    )
    return text, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parcels", type=int, default=100_000)
    parser.add_argument("--batches", type=int, default=5, help="accepted while a client reads")
    parser.add_argument("clients", nargs="*", choices=[[], *CLIENTS], metavar="CLIENT")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="landdata-clients-"))
    home.chmod(0o755)  # root's PostgreSQL runs as another user, who passes through
    cluster = Cluster(home, fast=True)
    faults = 0
    try:
        cluster.up()
        url = cluster.url().render_as_string(hide_password=False)
        settings = Settings(home=home, database_url=url, srid=9212, language="en")
        database.migrate(settings)
        with world(settings, given.parcels, at_once=False) as made:
            for name in given.clients or CLIENTS:
                if lack := missing(name):
                    print(f"{name}: left out: {lack}.")
                    continue
                text, wrong = judge(made, name, given.batches)
                print(text, "" if not wrong else f"WRONG: {'; '.join(wrong)}", flush=True)
                faults += len(wrong)
    finally:
        cluster.down()
        shutil.rmtree(home, ignore_errors=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
