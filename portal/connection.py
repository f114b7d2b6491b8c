"""A client's connection: HTTP/1.1 as the web server reads and writes it, bounded and mild.

uvicorn and llhttp do the work. What is added: how much a request may be and how long it may take
to come; for how long an answer may wait to be taken; letters in an address that were sent as they
are; a body that nobody wants is read off before the connection is closed, else the answer could be
lost with it; and HTTP/1.0.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio import TimerHandle, Transport
from functools import partial
from typing import Any
from urllib.parse import quote

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# bytes; httptools itself has no bounds. A body is only read off, and what may stand behind it.
MOST_ADDRESS, MOST_HEAD, MOST_BODY = 65_534, 256 << 10, 16 << 20
SECONDS = 30  # for which a client may send the head of a request, or a body after its answer
TAKING = 300  # seconds in which a client has to take something of an answer that waits for it

_REFUSALS = {
    400: "This is no request of HTTP/1.1.",
    414: f"The address has more than {MOST_ADDRESS:,} bytes.",
    431: f"The head of the request has more than {MOST_HEAD:,} bytes.",
}
_AS_SENT = "".join(map(chr, range(128)))


class Connection(HttpToolsProtocol):
    """What is read from a client, and the answers to it in the order of asking."""

    _late: TimerHandle | None = None  # hangs up
    _in_head = _in_line = True  # the head and its first line are still to come, or their rest
    _read = 0  # bytes of the head, or of what comes after it
    _keep = True  # the connection after the answer
    _refused: int | None = None  # why no more is read, as a status
    _stuck: TimerHandle | None = None  # hangs up on who takes nothing

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._in_time()
        super().connection_lost(exc)
        if self._stuck is not None:
            self._stuck.cancel()

    def pause_writing(self) -> None:
        """Wait for the client to take what is written, as long as it takes something."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._refused is not None:
            return
        self._read += len(data)
        if self._read > (MOST_HEAD if self._in_head else MOST_BODY):
            self._refused = 431 if self._in_head else 413
            if self._in_head:
                self.send_400_response("")
            else:
                self.transport.close()
            return
        if self._in_line:
            if not data.isascii():
                line, end, rest = data.partition(b"\n")
                data = quote(line, safe=_AS_SENT).encode() + end + rest
            self._in_line = b"\n" not in data
        super().data_received(data)
        if self._in_head and self._late is None:
            self._limit()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take some of the address."""
        super().on_url(url)
        if len(self.url) > MOST_ADDRESS:
            self._refused = 414
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are nobody's."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer it."""
        self._in_head, self._read = False, 0
        self._in_time()
        super().on_headers_complete()
        # closed with something unread, it would be reset, and the answer might never arrive
        self._keep, self.cycle.keep_alive = self.cycle.keep_alive, True

    def on_message_complete(self) -> None:
        """Have it all read."""
        self.cycle.keep_alive = self._keep
        self._in_line, self._read = True, 0
        super().on_message_complete()
        if self.cycle.response_complete and not self._keep:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the rest of the request, or for the next one."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and self._late is None:
            self._limit()
            if not self._keep:
                self.transport.write_eof()

    def send_400_response(self, _: str) -> None:
        """Say what is wrong with the request, in one sentence, and hang up."""
        self._refused = self._refused or 400
        told = _REFUSALS[self._refused].encode()
        head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        if self.cycle is None or self.cycle.response_complete:  # else it would be taken for part
            self.transport.write(STATUS_LINE[self._refused] + head % len(told) + told)
        self.transport.write_eof()
        self._in_time()
        self._limit()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = partial(_until_closed, app, cycle)
        super()._start_asgi_task(cycle, app)

    def _limit(self) -> None:
        self._late = self.loop.call_later(SECONDS, self.transport.close)

    def _wait(self, before: int | None = None) -> None:
        """Hang up if nothing was taken since `before` bytes waited; else wait on."""
        waiting = self.transport.get_write_buffer_size() + _unsent(self.transport)
        if before is not None and waiting >= before:
            _reset(self.transport)
        else:
            self._stuck = self.loop.call_later(TAKING, self._wait, waiting)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


async def _until_closed(
    app: Any, cycle: RequestResponseCycle, scope: Any, receive: Any, send: Any
) -> None:
    """Answer in HTTP/1.0, which has no chunks: what has no length ends with the connection.

    Where it breaks off the connection is reset: an end would make half a file a whole one.
    """
    known = True

    async def sent(message: Any) -> None:
        nonlocal known
        if message["type"] == "http.response.start":
            known = any(name == b"content-length" for name, _ in message["headers"])
            cycle.chunked_encoding = None if known else False
        elif not known:
            cycle.expected_content_length = len(message["body"])
        await send(message)

    try:
        await app(scope, receive, sent)
    except BaseException:
        if not cycle.response_started:  # it is told that something is wrong
            raise
        _reset(cycle.transport)
        raise


def _unsent(transport: Transport) -> int:
    """What the system holds for the client, in bytes: it may be long in asking for more."""
    own = transport.get_extra_info("socket")
    (held,) = struct.unpack("i", fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(held)


def _reset(transport: Transport) -> None:
    """Break a connection off, so that what has come is not taken for all there is."""
    own = transport.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
