"""What `script/run` does once all is installed: one process, because each start costs a second.

The commands are those of the command line, called in this process; only the server is another.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from landdata.cli import main
from landdata.cli.options import FINDINGS
from landdata.embedded.cluster import Cluster
from landdata.errors import LandDataError
from landdata.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAMPLES = Path(__file__).parents[1] / "sample_parcels"
STOP_SECONDS = 30


class Stopped(BaseException):
    """Somebody wants us to end; like KeyboardInterrupt no error that others may catch."""


def stop(_: int, __: FrameType | None) -> NoReturn:
    """End at once, tidying up."""
    # A second signal must not break the tidying up that the first one began. Not SIG_IGN, of
    # which Python complains where that second one has come already.
    for name in SIGNALS:
        signal.signal(name, lambda *_: None)
    raise Stopped


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put a signal off until the block is done: what has half started can't be stopped."""
    noted: list[int] = []
    for name in SIGNALS:
        signal.signal(name, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        for name in SIGNALS:
            signal.signal(name, stop)
        if noted:
            stop(noted[0], None)


def landdata(*words: str) -> None:
    """Run a command of landdata; findings are no failure, all else ends us with its exit code."""
    sys.argv = ["landdata", *words]
    try:
        main()
    except SystemExit as end:
        if end.code not in (None, 0, FINDINGS):
            raise


def start(settings: Settings) -> None:
    """Bring the store up with its samples, and serve it until told to stop."""
    cluster = None if settings.database_url else Cluster(settings.home)
    ours = bool(cluster and not cluster.status().running)
    server = None
    try:
        if cluster:
            click.echo(f"Starting PostGIS in {settings.home}")
            with uninterrupted():
                cluster.up()
        landdata("migrate")
        load_samples()
        # Our death is the server's too, whatever kills us.
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "portal", "serve"],
            start_new_session=True,
        )
        # Not server.wait(): a signal that misses the moment would be heard only with the next.
        while server.poll() is None:
            time.sleep(0.2)
        sys.exit(server.returncode)
    except Stopped:
        click.echo("Stopping")
    finally:
        if server and server.poll() is None:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
        if cluster and ours:
            cluster.down()


def load_samples() -> None:
    """Import each batch of sample_parcels; what is in the store already is not stored again."""
    communes = SAMPLES / "communes.geojson"
    if communes.exists():
        landdata("communes", "import", str(communes))
    for facts in sorted(SAMPLES.glob("*/expected.json")):
        expected = json.loads(facts.read_text("utf-8"))
        for survey in sorted(facts.parent.glob("*.zip")):
            click.echo(f"\n{facts.parent.name}: {survey.name}")
            accept = ["--accept"] if expected["accept"] else []
            landdata("import", str(survey), "--commune", expected["commune"], *accept)


if __name__ == "__main__":
    for wanted in SIGNALS:
        signal.signal(wanted, stop)
    try:
        start(Settings.load())
    except Stopped:
        pass
    except LandDataError as error:
        click.echo(f"landdata: {error.message} {error.hint or ''}".rstrip(), err=True)
        sys.exit(error.exit_code)
