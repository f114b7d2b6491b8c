"""The extents of collections, as their descriptions tell them.

A table of the deployment may be long in telling its extent, or fail. Nobody waits for it who asks
for another collection, and once it is known nobody waits long.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from landdata.errors import Unavailable
from landdata.features import crs
from landdata.features.collections import Collection
from landdata.features.sql import stamp_sql
from landdata.reference import calendar
from landdata.store.read_connections import Reader

_SECONDS = 60.0  # for which an extent is told as it was
_PATIENCE = 1.0  # seconds for which a table of the deployment is waited for, if it was known before
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Extent:
    """What is told of it, in pygeoapi's form (CRS84 degrees, UTC), and its stamp as in `Page`."""

    told: dict[str, Any]
    stamp: int | None


class Extents:
    """Knows the extents of collections, and has each asked anew when a minute is over."""

    def __init__(self, reader: Reader, storage: int, own: frozenset[str]) -> None:
        self._reader = reader
        self._storage = storage
        self._own = own
        self._kept: WeakKeyDictionary[Collection, tuple[float, Extent]] = WeakKeyDictionary()
        self._asking: dict[Collection, Future[Extent]] = {}
        self._lock = threading.Lock()

    def of(self, collection: Collection) -> Extent:
        """Return an extent: a minute old at most, or longer where a table is slow to tell it.

        Raises `Unavailable` where one of ours can't be read; that of another table is the world.
        """
        kept, asking = self.begin(collection)
        if asking is None:
            assert kept is not None
            return kept
        if kept is None or collection.id in self._own:
            return asking.result()
        try:
            return asking.result(_PATIENCE)
        except TimeoutError:
            return kept

    def over(self, offer: Mapping[str, Collection]) -> Mapping[str, dict[str, Any]]:
        """Return what is told of each collection by its id, waited for when it is looked at."""
        return _Over(self, offer)

    def begin(self, of: Collection) -> tuple[Extent | None, Future[Extent] | None]:
        """Return what is known, and what will be unless that is recent."""
        with self._lock:
            at, kept = self._kept.get(of, (0.0, None))
            if kept is not None and time.monotonic() - at <= _SECONDS:
                return kept, None
            asking = self._asking.get(of)
            if asking is None:
                asking = Future()
                threading.Thread(target=self._ask, args=(of, asking), daemon=True).start()
                self._asking[of] = asking  # not before: a thread may not be had
            return kept, asking

    def _ask(self, of: Collection, asking: Future[Extent]) -> None:
        try:
            made = self._read(of)
        except BaseException as error:  # whatever it is, it is told to those who wait
            with self._lock:
                del self._asking[of]
            asking.set_exception(error)
            return
        with self._lock:
            self._kept[of] = time.monotonic(), made
            del self._asking[of]
        asking.set_result(made)

    def _read(self, of: Collection) -> Extent:
        try:
            return read(self._reader, of, self._storage)
        except Unavailable as error:
            if of.id in self._own:
                raise
            # a table of the deployment that can't be read keeps nobody from all others
            _LOG.error("The extent of %s is not known. %s", of.id, error.message)
            return Extent(WORLD, None)


class _Over(Mapping[str, dict[str, Any]]):
    """Extents that are asked for by name; all that are not known begin to be read at once."""

    def __init__(self, extents: Extents, offer: Mapping[str, Collection]) -> None:
        self._extents = extents
        self._offer = offer
        for each in offer.values():
            extents.begin(each)

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._extents.of(self._offer[name]).told

    def __iter__(self) -> Iterator[str]:
        return iter(self._offer)

    def __len__(self) -> int:
        return len(self._offer)


def read(reader: Reader, of: Collection, storage: int) -> Extent:
    """Return the extent of a collection. Raises `Unavailable`.

    The box is in CRS84, the first beginning as RFC 3339 has it; the whole world where there is
    nothing yet. The box encloses the transformed bounds, edges included, and is rounded outward.
    """
    moving = crs.output_sql(
        f"ST_Segmentize(ST_SetSRID(box::geometry, {storage:d}), 1000)",
        storage,
        crs.supported(storage)[crs.CRS84],
        leads_back=False,
    )
    bounds = ", ".join(f"ST_{name}(moved)" for name in ("XMin", "YMin", "XMax", "YMax"))
    rows = reader.rows(
        f"SELECT {bounds}, began, {stamp_sql(of)} FROM (SELECT {moving} AS moved, began FROM"  # noqa: S608
        f" (SELECT ST_Extent(geom) AS box, min(valid_from)::text AS began FROM {of.table}) AS a)"
        " AS b",
        {},
    )
    west, south, east, north, began, stamp = rows[0]
    if west is None:
        return Extent(WORLD, stamp)
    low = [math.floor(each * 1e7) / 1e7 for each in (west, south)]
    box = low + [math.ceil(each * 1e7) / 1e7 for each in (east, north)]
    first = None
    if began is not None and began != "-infinity":
        first = _first(of, began)
    return Extent(_extent(box, first), stamp)


def _extent(box: list[float], begin: dt.datetime | None) -> dict[str, Any]:
    return {
        "spatial": {"bbox": box, "crs": crs.CRS84},
        "temporal": {"begin": begin, "end": None},
    }


#: The extent of what is not known.
WORLD = _extent([-180.0, -90.0, 180.0, 90.0], None)


def _first(of: Collection, began: str) -> dt.datetime:
    if of.valid == "time":
        return dt.datetime.fromisoformat(began)
    day = dt.date.fromisoformat(began)
    return dt.datetime.combine(day, dt.time.min, tzinfo=calendar.VIETNAM).astimezone(dt.UTC)
