"""The web server: uvicorn over the portal's application, in a few processes.

In each, one thread reads requests, answers them on its event loop and sends what is ready as fast
as its client takes it: no other thread has to be woken for a request, and a client that reads a
page slowly holds neither the loop nor a connection to the database.
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

import uvicorn
from uvicorn.supervisors import multiprocess

from landdata import db
from landdata.errors import Unavailable
from landdata.settings import Settings

# named, not imported: landdata knows no HTTP
APPLICATION = "portal.gateway:create"
CONNECTION = "portal.connection:Connection"
CHECK = "portal.app:check"

WORKERS = 2

KEPT_SECONDS = 75  # that an open connection waits for the next request

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
    multiprocess.Process = _Worker  # type: ignore[misc]  # there is no other way to name it
    uvicorn.run(
        f"{__name__}:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=WORKERS,
        loop="uvloop",
        http=CONNECTION,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEPT_SECONDS,
        timeout_graceful_shutdown=5,
        timeout_worker_healthcheck=60,  # it may be busy: only one that hangs is replaced
    )


class _Worker(multiprocess.Process):
    """A worker whose end is heard at once, also while it is asked whether it lives."""

    def start(self) -> None:
        """Start it, and let go of its end of the pipe, which else nobody would see closed."""
        super().start()
        self.child_conn.close()


def application() -> Any:
    """Make the application, once in each worker, which ends when what started it does."""
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
