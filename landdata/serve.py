"""The web server: gunicorn with threads over the portal's application."""

from __future__ import annotations

import socket
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.util import import_app

from landdata import db
from landdata.errors import Unavailable
from landdata.settings import Settings

APPLICATION = "portal.app:create_app()"  # named, not imported: landdata knows no HTTP


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told what it needs from the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Two processes of eight threads: a slow client holds a thread, not the service."""
        options: dict[str, Any] = {
            "bind": f"{self._settings.host}:{self._settings.port}",
            "workers": 2,
            "threads": 8,
            "worker_class": "gthread",
            "timeout": 120,
            "graceful_timeout": 5,
            "limit_request_line": 8190,  # a filter may hold a polygon
            "loglevel": "warning",
            "proc_name": "landdata",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, once in each worker: connections must not cross a fork."""
        return import_app(APPLICATION)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `Unavailable` where the store can't be opened or the port is taken.
    """
    db.engine(settings).dispose()
    _bindable(settings.host, settings.port)
    base = f"http://{settings.host}:{settings.port}"
    print(f"Portal   {base}/\nOGC API  {base}/ogc\nCtrl-C stops.", flush=True)  # noqa: T201
    _Server(settings).run()


def _bindable(host: str, port: int) -> None:
    """Say in one sentence what gunicorn would say in five tries and a trace."""
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
