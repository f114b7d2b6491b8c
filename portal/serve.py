"""The command line with the portal: `landdata serve`, and the portal's health check.

Granian serves, with its own worker processes and its own limits. It reads heads of bounded size in
bounded time, waits for slow readers, and replaces a worker that dies.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

import landdata.cli
from landdata.cli import cli
from landdata.errors import Unavailable
from landdata.settings import Settings
from landdata.translations import sentence

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from landdata.operations.health import Result

WORKERS = 2
ENDING_SECONDS = 5  # in which a worker ends what it has begun
AGAIN_SECONDS = 0.5  # after which a worker that died is replaced
BACKLOG = 2048  # connections that wait to be accepted
CONNECTIONS = 10_000  # open at once in a worker: an idle one counts
MAX_HEAD = 256 << 10  # bytes of a request's head
HEAD_SECONDS = 30  # in which a head has to come


def main() -> None:
    """Run the command that the words name, and end with its exit code."""
    landdata.cli.main(checks=[check_map_libraries])


@cli.command()
def serve() -> None:
    """Serve the portal and the OGC API until stopped."""
    from portal import asgi  # noqa: PLC0415  # only this command needs it: the others start fast

    run(Settings.load(), asgi.create)


def run(settings: Settings, create: Callable[[], ASGIApp]) -> None:
    """Serve until SIGTERM or SIGINT what `create` makes in each worker.

    Raises `Unavailable` where the store can't be opened or the port is taken, `BadRequest` where
    the file of more collections makes no sense.
    """
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415
    from granian.http import HTTP1Settings  # noqa: PLC0415
    from granian.log import LogLevels  # noqa: PLC0415
    from granian.server import Server  # noqa: PLC0415

    from landdata.features import collections, custom_collections  # noqa: PLC0415
    from landdata.store import database  # noqa: PLC0415

    database.engine(settings).dispose()
    # workers that can't begin would be begun for ever
    own = frozenset(collections.collections(settings))
    reading = database.reading_url(settings)
    custom_collections.CustomCollections(
        settings.collections, settings.srid, own, reading
    ).collections(strict=True)
    _check_port(settings.host, settings.port)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a client takes one
    multiprocessing.set_start_method("spawn", force=True)  # a forked worker would share our state
    server = Server(
        "portal.asgi",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=WORKERS,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=MAX_HEAD
        ),
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        respawn_interval=AGAIN_SECONDS,
        workers_kill_timeout=ENDING_SECONDS,
    )
    base = f"http://{settings.host}:{settings.port}"
    print(f"Portal   {base}/\nOGC API  {base}/ogc\nCtrl-C stops.", flush=True)  # noqa: T201  # for who started it
    server.serve(target_loader=create, wrap_loader=False)


def _check_port(host: str, port: int) -> None:
    """Raise `Unavailable` where something listens: Granian would share the port with it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # Python repeats the address there
        raise Unavailable(
            "Can't listen on {host}:{port}: {why}.",
            hint="Stop what listens there, or set LANDDATA_PORT to another port.",
            code="port-taken",
            host=host,
            port=port,
            why=why,
        ) from None


def check_map_libraries(_: Settings) -> Result:
    """See that script/setup has brought the map's libraries."""
    from landdata.operations.health import Result  # noqa: PLC0415  # `doctor` has imported it

    ok = files("portal").joinpath("static", "vendor", "ol.js").is_file()
    hint = None if ok else sentence("Run script/setup, which brings the map's libraries.")
    found = sentence("there") if ok else sentence("missing")
    return Result(sentence("map libraries"), ok, found, hint)
