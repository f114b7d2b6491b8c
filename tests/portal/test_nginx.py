"""docs/nginx.conf in front of the service, run by nginx itself, against hostile clients."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import served, stored

from landdata.settings import Settings
from landdata.store import database

CONFIGURATION = Path(__file__).parents[2] / "docs" / "nginx.conf"
ITEMS = "/ogc/collections/parcels/items"
SECONDS = 2  # instead of the times that the configuration gives a client

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def shortened(text: str, port: int, upstream: int, folder: Path) -> str:
    """The configuration on free ports, impatient, with its own folder for all that it writes."""
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:5000;", f"server 127.0.0.1:{upstream};"),
        ("client_header_timeout 15s;", f"client_header_timeout {SECONDS}s;"),
        ("send_timeout 60s;", f"send_timeout {SECONDS}s;"),
        ("http {", f"http {{ access_log off; proxy_temp_path {folder}/proxy;"
         f" client_body_temp_path {folder}/body;"),
    ):  # fmt: skip
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    user = "user root;" if os.getuid() == 0 else ""
    return f"{user} daemon off; pid {folder}/pid; error_log {folder}/log; {text}"


@pytest.fixture(scope="module")
def port(
    make_store: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of nginx; behind it the service with the lattice, and short limits of its own."""
    settings = make_store()
    engine = database.engine(settings)
    stored.lattice(engine)
    with engine.begin() as connection:
        # what is written for one feature is longer than what a socket and nginx hold in memory
        connection.exec_driver_sql("UPDATE parcel_versions SET label = repeat('x', 2000000)")
    engine.dispose()
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    port = served.free_port()
    with served.server(settings, "support.trial") as url:
        text = shortened(CONFIGURATION.read_text(), port, urlsplit(url).port or 0, folder)
        (folder / "nginx.conf").write_text(text)
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"])
        try:
            until = time.monotonic() + 20
            while not answers(port):
                assert nginx.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield port
        finally:
            nginx.terminate()
            nginx.wait(20)


def answers(port: int) -> bool:
    try:
        return exchange(port, "/healthz").startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


def exchange(port: int, path: str, more: bytes = b"") -> bytes:
    """All that comes back."""
    with connect(port) as made:
        head = f"GET {path} HTTP/1.1\r\nHost: land.example\r\nConnection: close\r\n"
        made.sendall(head.encode() + more + b"\r\n")
        return b"".join(iter(lambda: made.recv(1 << 16), b""))


def test_links_begin_with_the_host_that_the_client_knows(port: int) -> None:
    assert b'"href":"http://land.example/ogc' in exchange(port, "/ogc")


def test_a_body_reaches_the_portal(port: int) -> None:
    with connect(port) as made:
        body = b"x" * 300_000
        head = (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"
        )
        made.sendall(head + body)
        response = b"".join(iter(lambda: made.recv(1 << 16), b""))
    assert response.startswith(b"HTTP/1.1 200")
    assert response.endswith(body)


def test_an_address_may_be_as_long_as_the_service_takes(port: int) -> None:
    path = f"{ITEMS}?label=".ljust(64_000, "y")
    assert exchange(port, path).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [70_000, 2_000_000])
def test_a_huge_head_is_refused(port: int, size: int) -> None:
    with suppress(ConnectionResetError, BrokenPipeError):  # refused before it was sent
        refused = exchange(port, "/healthz", b"X: " + b"a" * size + b"\r\n")
        assert refused.startswith(b"HTTP/1.1 400")
    assert answers(port)


def drip(made: socket.socket) -> None:
    for _ in range(20 * SECONDS):
        time.sleep(0.1)
        made.sendall(b"x")


def test_a_slow_head_is_not_waited_for(port: int) -> None:
    with connect(port) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            drip(slow)
    assert answers(port)


@pytest.mark.parametrize("path", [f"{ITEMS}?limit=17", "/ogc/collections/parcels/export?f=csv"])
def test_a_client_that_reads_nothing_is_disconnected_and_stops_no_other(
    port: int, path: str
) -> None:
    with connect(port) as idle:
        idle.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        poll = select.poll()
        poll.register(idle, 0)  # a reset is told though nothing is read
        until = time.monotonic() + 60
        while not poll.poll(100):
            assert answers(port)
            assert time.monotonic() < until
