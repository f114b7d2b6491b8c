"""What a request does is cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

_SOON = 0.1  # seconds after which it listens: most responses are made by then


class Disconnected(Exception):
    """The client has gone, so there is nobody to respond to."""


class CancelledOnDisconnect:
    """A block that is cancelled, and raises `Disconnected`, when the client of a request goes.

    Inside it nothing else may call `receive`.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self._is_disconnected = False

    async def __aenter__(self) -> None:
        """Begin it."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(_SOON, self._begin_to_listen)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._is_disconnected and isinstance(error, asyncio.CancelledError):
            assert self._task is not None
            self._task.uncancel()
            raise Disconnected from None

    def _begin_to_listen(self) -> None:
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body that no endpoint here reads
        self._is_disconnected = True
        assert self._task is not None
        self._task.cancel()
