"""Exports that are sent while they are written, and the places for them.

Text goes to the client as it comes, and through a temporary file once the client reads slowly, so
that it holds no connection; a file that GDAL or Arrow writes is sent when it is whole.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from landdata.errors import BadRequest, Unavailable
from landdata.features.exports.formats import FORMATS, filename
from landdata.features.exports.reader import CHUNK, ExportCancelled, ExportReader
from landdata.features.exports.writers import write_file, write_text
from landdata.features.query import Query

MAX_FEATURES = 2_000_000  # a job, and the command, have no such limit
_AHEAD = 8  # chunks that wait in memory for the client
_PATIENCE = 5.0  # seconds of an export in which the database may wait for him
# One for each core of a small machine: more at once would only be slower together.
_places = threading.BoundedSemaphore(2)


class Export:
    """An export on its way: a file that is read while it is still being written.

    `blocks` gives its bytes; where making it fails then, it raises, so that a client never takes
    half a file for a whole one. Closing it stops the query.
    """

    def __init__(self, source: ExportReader, query: Query, name: str) -> None:
        """Take a place for it. Raises `Unavailable` where there is none, or no room."""
        if not _places.acquire(blocking=False):
            raise Unavailable(
                "Too many exports are being made here.", hint="Try again in a minute.", code="busy"
            )
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="landdata-export-")
        except OSError as error:
            _places.release()
            raise _no_room(error) from None
        self._source = source
        self._query = query
        self._name = name
        self._path = Path(self._folder.name) / "export"
        self._moved = threading.Condition()
        self._ahead: deque[bytes] = deque()
        self._patience = _PATIENCE
        self._file: BinaryIO | None = None  # what comes after them
        self._size = 0
        self._error: BaseException | None = None
        self._done = self._stopped = self._ended = False
        self._thread = threading.Thread(target=self._fill)

    def begin(self) -> None:
        """Start it, and wait until it has begun. Raises as `write`, and where it is too much.

        Ends early, by `ExportCancelled` or `Unavailable`, where it is stopped meanwhile.
        """
        try:
            matched = self._source.count(self._query)
            if matched > MAX_FEATURES:
                raise BadRequest(
                    "{matched} features match, and an export has {max_features} at most.",
                    hint="Ask for less, or with the header `Prefer: respond-async`.",
                    code="too-much",
                    matched=f"{matched:,}",
                    max_features=f"{MAX_FEATURES:,}",
                )
            self._thread.start()
            with self._moved:
                self._moved.wait_for(lambda: self._ahead or self._size or self._done)
            if self._error is not None:
                raise self._error
        except BaseException:
            self.close()
            raise

    def finish(self) -> int:
        """Wait until the file is whole; return its size in bytes. Raises as `begin`."""
        with self._moved:
            self._patience = 0.0
            self._moved.wait_for(lambda: self._done)
            if self._error is not None:
                raise self._error
            return self._size + sum(map(len, self._ahead))

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the file as they come."""
        try:
            while (block := self._next_ahead()) is not None:
                yield block
            if self._size:
                with self._path.open("rb") as file:
                    while block := self._next_of(file):
                        yield block
            if self._error is not None:
                raise self._error
        finally:
            self.close()

    def _next_ahead(self) -> bytes | None:
        with self._moved:
            self._moved.wait_for(lambda: self._ahead or self._size or self._done)
            if not self._ahead:
                return None
            self._moved.notify_all()
            return self._ahead.popleft()

    def _next_of(self, file: BinaryIO) -> bytes:
        with self._moved:
            self._moved.wait_for(lambda: self._size > file.tell() or self._done)
        return file.read(CHUNK)

    def stop(self) -> None:
        """End it soon, from another thread: nobody wants it any more."""
        with self._moved:
            self._stopped = True
            self._moved.notify_all()
        if not self._done:
            self._source.stop()

    def close(self) -> None:
        """Stop it, and remove what was written."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        with self._moved:
            was_ended, self._ended = self._ended, True
        if not was_ended:
            self._folder.cleanup()
            _places.release()

    def write(self, data: bytes) -> None:
        """Take bytes from the database."""
        with self._moved:
            in_memory = self._file is None and self._keeps_up()
            if self._stopped:
                raise ExportCancelled
            if in_memory:
                self._ahead.append(data)
                self._moved.notify_all()
                return
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(data)
        self._file.flush()
        with self._moved:
            self._size += len(data)
            self._moved.notify_all()

    def _keeps_up(self) -> bool:
        """Wait a little for the client; whether there is room in memory for the next bytes."""
        began = time.monotonic()
        room = self._moved.wait_for(
            lambda: len(self._ahead) < _AHEAD or self._stopped, self._patience
        )
        self._patience -= time.monotonic() - began
        return room

    def _fill(self) -> None:
        source, query, name = self._source, self._query, self._name
        try:
            if FORMATS[name].text:
                write_text(source, query, name, self)
            else:
                made = self._path.with_name(filename(query.collection, name))
                write_file(source, query, name, made, wanted=lambda: not self._stopped)
                made.replace(self._path)
                self._size = self._path.stat().st_size
        except OSError as error:
            self._error = _no_room(error)
        except BaseException as error:
            self._error = error
        if self._file is not None:
            with suppress(OSError):  # the write has failed already
                self._file.close()
        with self._moved:
            self._done = True
            self._moved.notify_all()


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(
        "The file can't be written here: {strerror}.",
        hint="Ask for less, or when the operator has made room for temporary files.",
        code="no-room",
        strerror=error.strerror,
    )
