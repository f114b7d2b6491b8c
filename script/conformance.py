"""Runs OGC's test suites against a service, and judges what they find.

A suite ends with exit code 0 whatever it finds, so its report is read. The suite for features has
a table of reference systems, in which the zones of VN-2000 are missing and EPSG:4326 has its
longitude first; it is given a table that is right in these, and judges for itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

import click
from pyproj.crs import CoordinateOperation

from landdata.reference.vn2000 import DATUM_OPERATION, VN_2000, ZONES

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "conformance"
TABLE = "proj4/nad/epsg"  # of the suite for features, in its jar
SUITES = {"ets-ogcapi-features10": "1.9", "ets-ogcapi-tiles10": "1.2"}
START_SECONDS, SUITE_SECONDS = 300, 1800

# A tile that shows parcels of the samples, for the suite that asks for a range of such.
TILE = {"tilematrix": 14, "mintilerow": 7661, "maxtilerow": 7661, "mintilecol": 13047,
        "maxtilecol": 13047}  # fmt: skip


@click.command()
@click.option("--url", help="Landing page of a running service; else one is started.")
@click.option("--suites", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(url: str | None, suites: Path | None) -> None:
    """Run the official suites; exit code 1 where one finds fault with the service."""
    if shutil.which("java") is None:
        click.echo("conformance: skipped: there is no java; install Java 17 (openjdk-17-jre).")
        return
    jars = {name: jar for name in SUITES if (jar := find(name, suites or PLACE / "suites"))}
    if not jars:
        click.echo("conformance: skipped: there are no suites to run.")
        return
    if url:
        faults = [run(name, jar, url) for name, jar in jars.items()]
    else:
        with service() as started:
            faults = [run(name, jar, started) for name, jar in jars.items()]
    sys.exit(1 if sum(faults) else 0)


def find(name: str, folder: Path) -> Path | None:
    """Return the suite's jar, brought by Maven if it is not there; null where it can't be had."""
    there = sorted(folder.glob(f"{name}-*aio.jar"))
    if there:
        return there[-1]
    artifact = f"org.opengis.cite:{name}:{SUITES[name]}:jar:aio"
    if shutil.which("mvn") is None:
        click.echo(f"conformance: no {name}: there is no mvn to bring {artifact}.")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}",
               f"-DoutputDirectory={folder}"]  # fmt: skip
    subprocess.run(command, check=False, capture_output=True, cwd=tempfile.gettempdir())
    there = sorted(folder.glob(f"{name}-*aio.jar"))
    if not there:
        click.echo(
            f"conformance: no {name}: Maven cannot bring {artifact}."
            f" Put its …-aio.jar into {folder}, or name its folder with --suites."
        )
        return None
    return there[-1]


@contextmanager
def service() -> Iterator[str]:
    """Start a service with the samples, in a data folder of its own; stop it at the end."""
    home = Path(tempfile.mkdtemp(prefix="landdata-conformance-"))
    home.chmod(0o755)  # root's PostgreSQL runs as another user, who passes through
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = ("LANDDATA_DATABASE_URL", "LANDDATA_READ_URL")
    env = {k: v for k, v in os.environ.items() if k not in names}
    env |= {"LANDDATA_HOME": str(home), "LANDDATA_PORT": str(port), "LANDDATA_HOST": "127.0.0.1"}
    log = (home / "start.log").open("wb")
    child = subprocess.Popen([sys.executable, ROOT / "script" / "start.py"], env=env,
                             stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        until = time.monotonic() + START_SECONDS
        while not ready(f"http://127.0.0.1:{port}/readyz"):
            if child.poll() is not None or time.monotonic() > until:
                click.echo((home / "start.log").read_text("utf-8", "replace")[-2000:])
                raise click.ClickException("the service did not start")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/ogc"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def ready(url: str) -> bool:
    """Tell whether the service answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def run(name: str, jar: Path, url: str) -> int:
    """Run a suite and print what it found; returns how many faults are the service's."""
    place = PLACE / "report" / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    tiles = f"{url}/collections/parcels/tiles/WebMercatorQuad"
    given = {
        "iut": url,
        "noofcollections": -1,
        "tilematrixsetdefinitionuri": "http://www.opengis.net/def/tilematrixset/OGC/1.0/"
        "WebMercatorQuad",
        "urltemplatefortiles": tiles + "/{tileMatrix}/{tileRow}/{tileCol}",
        **TILE,
    }
    entries = "".join(f'<entry key="{k}">{escape(str(v))}</entry>' for k, v in given.items())
    properties = place / "properties.xml"
    # without its DTD, which Java would fetch
    properties.write_text(f'<?xml version="1.0"?><properties version="1.0">{entries}</properties>')
    with zipfile.ZipFile(jar) as archive:
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
        if TABLE in archive.namelist():
            table = place / "systems" / TABLE
            table.parent.mkdir(parents=True)
            table.write_text(reference_systems() + archive.read(TABLE).decode("utf-8"))
    main_class = manifest.partition("Main-Class:")[2].split()[0]
    classes = f"{place / 'systems'}{os.pathsep}{jar}"
    with (place / "log.txt").open("wb") as log:
        subprocess.run(
            ["java", "-cp", classes, main_class, "-o", place, "-h", "false", properties],
            check=False,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=SUITE_SECONDS,
        )
    reports = sorted(place.glob("testng/*/testng-results.xml"))
    if not reports:
        click.echo(f"{name}: it did not run to its end; see {place / 'log.txt'}.")
        return 1
    return judge(name, jar, reports[-1])


def judge(name: str, jar: Path, report: Path) -> int:
    """Print a report's figures; returns how many faults are the service's."""
    found: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for test in ET.parse(report).getroot().iter("test-method"):  # noqa: S314  # of our own run
        status = str(test.get("status"))
        if test.get("is-config") == "true" and status != "FAIL":
            continue
        message = (test.findtext(".//message") or "").strip()
        values = [(each.text or "").strip() for each in test.iterfind(".//param/value")]
        told = f"{test.get('name')}: {message.splitlines()[0][:200] if message else ''}"
        if status == "FAIL":
            faults[f"{told} {[each for each in values if each.startswith('http')]}"] += 1
        elif status == "SKIP":
            reasons[f"skipped: {told}"] += 1
        found[status] += 1
    words = (("PASS", "passed"), ("FAIL", "failed"), ("SKIP", "skipped"))
    click.echo(f"{jar.stem}: " + ", ".join(f"{found[key]} {word}" for key, word in words))
    for text, n in (*reasons.items(), *faults.items()):
        click.echo(f"  {n} × {text}")
    return found["FAIL"]


def reference_systems() -> str:
    """Write VN-2000 and the axes of EPSG:4326 as the suite's table writes reference systems.

    Its first entry of a code counts. The rotations are EPSG's of a coordinate frame, hence
    turned round for +towgs84.
    """
    shift = CoordinateOperation.from_epsg(DATUM_OPERATION).towgs84
    turned = [-each if 3 <= place < 6 else each for place, each in enumerate(shift)]
    datum = "+ellps=WGS84 +towgs84=" + ",".join(map(str, turned))
    lines = [
        "<4326> +proj=longlat +datum=WGS84 +axis=neu +no_defs  <>",
        f"<{VN_2000}> +proj=longlat {datum} +axis=neu +no_defs  <>",
    ]
    lines += [
        f"<{code}> +proj=tmerc +lat_0=0 +lon_0={meridian} +k={scale} +x_0=500000 +y_0=0 {datum}"
        " +units=m +no_defs  <>"
        for code, (meridian, scale) in ZONES.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
