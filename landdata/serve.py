"""The web server: uvicorn over the portal's application, in a few processes.

In each worker one thread reads requests, answers them on its event loop and sends what is ready as
fast as its client takes it: no other thread has to be woken for a request, and a client that reads
a page slowly holds neither the loop nor a connection to the database.

The first process takes the connections and gives them to the workers in turn. Left to themselves
the worker that is awake takes all that come at once, and keeps them, while the other has nothing
to do. It replaces a worker that dies, and one whose event loop goes round no more.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import resource
import signal
import socket
import time
from contextlib import suppress
from multiprocessing import connection
from typing import Any

import uvicorn

from landdata.errors import Unavailable
from landdata.settings import Settings
from landdata.store import database

# named, not imported: landdata knows no HTTP
APPLICATION = "portal.gateway:create"
CONNECTION = "portal.connection:Connection"
CHECK = "portal.app:check"

WORKERS = 2

KEPT_SECONDS = 75  # that an open connection waits for the next request
ENDING_SECONDS = 5  # in which a worker ends what it has begun
AGAIN_SECONDS = 0.5  # after which one that has died is begun again
BEAT_SECONDS = 1.0  # after which a worker says again that its event loop goes round
HUNG = 30  # beats; who has missed so many is killed

_LOG = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `Unavailable` where the store can't be opened or the port is taken, `BadRequest` where
    the file of more collections makes no sense.
    """
    database.engine(settings).dispose()
    if settings.collections is not None:  # workers that can't begin would be begun for ever
        _named(CHECK)(settings)
    with _listening(settings.host, settings.port) as listener:
        base = f"http://{settings.host}:{settings.port}"
        print(f"Portal   {base}/\nOGC API  {base}/ogc\nCtrl-C stops.", flush=True)  # noqa: T201  # for who started it
        _share_out(listener)


def _share_out(listener: socket.socket) -> None:
    """Give each worker in turn a connection, and replace one that has died."""
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, _stop)
    workers: list[_Worker] = []
    try:
        while True:
            while len(workers) < WORKERS:
                workers.append(_Worker())
            sources = [listener, *(source for each in workers for source in each.sources)]
            ready = connection.wait(sources, BEAT_SECONDS)
            for each in workers:
                each.watch(told=each.way in ready)
            dead = [each for each in workers if each.process.sentinel in ready]
            for each in dead:
                workers.remove(each)
                each.way.close()
            if dead:
                time.sleep(AGAIN_SECONDS)
            elif listener in ready:
                with suppress(OSError), listener.accept()[0] as taken:  # it may have left already
                    next((each for each in workers if each.takes(taken)), None)
                    workers.append(workers.pop(0))
    except KeyboardInterrupt:
        pass
    finally:
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, signal.SIG_IGN)
        _end(workers)


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


class _Worker:
    """A process that answers, and the way by which it gets connections and says that it lives."""

    def __init__(self) -> None:
        self._missed: int | None = None  # beats since the last; none before the first
        self._due = 0.0  # when the next one should have come
        self.way, theirs = socket.socketpair()
        self.way.setblocking(False)
        self.process = multiprocessing.get_context("spawn").Process(target=_answer, args=[theirs])
        # Ctrl-C reaches all processes of a terminal: it is ours, who then end the others
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with theirs:
            self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def sources(self) -> tuple[socket.socket, int]:
        """What is ready when it says something, and when it has died."""
        return self.way, self.process.sentinel

    def watch(self, *, told: bool) -> None:
        """Hear that its event loop goes round; kill it where too many beats did not come.

        They are counted and not timed: where the machine stands still, so does this.
        """
        if told:
            with suppress(OSError):
                self.way.recv(1000)
            self._missed = 0
        elif self._missed is not None and time.monotonic() > self._due:
            self._missed += 1
            if self._missed == HUNG:
                _LOG.error("A worker of the web server hangs, and is replaced.")
                self.process.kill()
        else:
            return
        self._due = time.monotonic() + BEAT_SECONDS

    def takes(self, taken: socket.socket) -> bool:
        """Give it a connection, unless it has died or hangs."""
        try:
            return bool(socket.send_fds(self.way, [b"x"], [taken.fileno()]))
        except OSError:
            return False


def _end(workers: list[_Worker]) -> None:
    for each in workers:
        each.process.terminate()
    until = time.monotonic() + ENDING_SECONDS + 2
    for each in workers:
        each.process.join(max(until - time.monotonic(), 0))
        each.process.kill()
        each.process.join()


def _answer(way: socket.socket) -> None:
    """What a worker does until it is told to end, or the first process has ended."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a client takes one
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        loop="uvloop",
        http=CONNECTION,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEPT_SECONDS,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )
    _Server(config, way).run(sockets=[])


class _Server(uvicorn.Server):
    """Takes its connections from the first process."""

    def __init__(self, config: uvicorn.Config, way: socket.socket) -> None:
        super().__init__(config)
        self._way = way
        self._taking: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._way.setblocking(False)
        asyncio.get_running_loop().add_reader(self._way, self._take)
        self._beat()

    def _beat(self) -> None:
        with suppress(OSError):  # the first process may have ended, or have no time to listen
            self._way.send(b".")
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().remove_reader(self._way)
        await super().shutdown(sockets)

    def _take(self) -> None:
        try:
            told, given, _, _ = socket.recv_fds(self._way, 1, 1)
        except BlockingIOError:
            return
        except ConnectionResetError:  # it ended before it had heard all
            told, given = b"", []
        if not told:  # the first process has ended
            asyncio.get_running_loop().remove_reader(self._way)
            self.should_exit = True
        for each in given:
            task = asyncio.ensure_future(self._connect(socket.socket(fileno=each)))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def _connect(self, taken: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it may have left already
            await loop.connect_accepted_socket(self._protocol, taken)

    def _protocol(self) -> Any:
        made: Any = self.config.http_protocol_class
        return made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _named(what: str) -> Any:
    module, _, name = what.partition(":")
    return getattr(importlib.import_module(module), name)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # Python repeats the address there
        raise Unavailable(
            f"Can't listen on {host}:{port}: {why}.",
            hint="Stop what listens there, or set LANDDATA_PORT to another port.",
            code="port-taken",
        ) from None
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones have it too
    return made
