"""The web server: Granian over the portal's application.

Its own threads, outside Python, read requests and write answers, so a client that reads a
page slowly holds neither our event loop nor a connection to the database.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import socket
import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from landdata import db
from landdata.errors import Unavailable
from landdata.settings import Settings

# named, not imported: landdata knows no HTTP
APPLICATION = "portal.gateway:create"
CHECK = "portal.app:check"

WORKERS = 2

_PR_SET_PDEATHSIG = 1


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `Unavailable` where the store can't be opened or the port is taken, `BadRequest` where
    the file of more collections makes no sense.
    """
    db.engine(settings).dispose()
    if settings.collections is not None:  # workers that can't begin would be begun for ever
        _named(CHECK)(settings)
    _bindable(settings.host, settings.port)
    base = f"http://{settings.host}:{settings.port}"
    print(f"Portal   {base}/\nOGC API  {base}/ogc\nCtrl-C stops.", flush=True)  # noqa: T201  # for who started it
    Server(
        APPLICATION,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,  # by RSGI a stream that breaks off would end as a whole one
        loop=Loops.uvloop,
        http=HTTPModes.http1,  # to look whether it is another costs every request 5 µs
        workers=WORKERS,
        respawn_failed_workers=True,
        workers_kill_timeout=5,
        log_level=LogLevels.error,
    ).serve(target_loader=_application, wrap_loader=False)


def _application() -> Any:
    """Make the application, once in each worker, which ends when what started it does."""
    # until the server minds signals here, one ends the process; the parent's handler would not
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    started_by = multiprocessing.parent_process()
    if started_by is not None and started_by.pid != os.getppid():
        sys.exit(1)  # it had ended before we asked
    return _named(APPLICATION)()


def _named(what: str) -> Any:
    module, _, name = what.partition(":")
    return getattr(importlib.import_module(module), name)


def _bindable(host: str, port: int) -> None:
    """Say in one sentence what the server would say in a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                f"Can't listen on {host}:{port}: {error.strerror}.",
                hint="Stop what listens there, or set LANDDATA_PORT to another port.",
                code="port-taken",
            ) from None
