"""The extents of collections, for their descriptions.

A table of the deployment may take long to read, or fail. Only its own description waits for it, and
that only as long as no extent of it is cached.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from landdata.errors import Unavailable
from landdata.features import crs
from landdata.features.collections import Collection
from landdata.features.sql import stamp_sql
from landdata.reference import calendar
from landdata.store.read_pool import ReadPool

_SECONDS = 60.0  # for which an extent is cached
_PATIENCE = 1.0  # seconds to wait for a table of the deployment whose last extent is known
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Extent:
    """An extent in pygeoapi's form (CRS84 degrees, UTC), and its stamp as in `Page`."""

    description: dict[str, Any]
    stamp: int | None


class Extents:
    """Reads the extents of collections, and again when a minute is over; on one event loop."""

    def __init__(self, pool: ReadPool, storage: int, own: frozenset[str]) -> None:
        self._pool = pool
        self._storage = storage
        self._own = own
        self._cache: WeakKeyDictionary[Collection, tuple[float, Extent]] = WeakKeyDictionary()
        self._reading: dict[Collection, asyncio.Task[Extent]] = {}

    async def of(self, collection: Collection) -> Extent:
        """Return an extent: a minute old at most, or older where its table is slow to read.

        Raises `Unavailable` where one of ours can't be read; that of another table is the world.
        """
        at, cached = self._cache.get(collection, (0.0, None))
        if cached is not None and time.monotonic() - at <= _SECONDS:
            return cached
        reading = self._reading.get(collection)
        if reading is None:
            reading = asyncio.ensure_future(self._read(collection))
            self._reading[collection] = reading
            reading.add_done_callback(lambda done: self._finish(collection, done))
        # not cancelled with this request: others may wait for the same
        if cached is None or collection.id in self._own:
            return await asyncio.shield(reading)
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(reading), _PATIENCE)
        return cached

    async def of_all(self, collections: Iterable[Collection]) -> dict[str, dict[str, Any]]:
        """Return the descriptions of the extents of collections, by their ids."""
        listed = [*collections]
        extents = await asyncio.gather(*map(self.of, listed))
        return {of.id: extent.description for of, extent in zip(listed, extents, strict=True)}

    def _finish(self, of: Collection, reading: asyncio.Task[Extent]) -> None:
        del self._reading[of]
        if not reading.cancelled():
            reading.exception()  # retrieved, though every request that waited may have gone

    async def _read(self, of: Collection) -> Extent:
        try:
            extent = await read(self._pool, of, self._storage)
        except Unavailable as error:
            if of.id in self._own:
                raise
            # a table of the deployment that can't be read keeps no other from being described
            _LOG.error("The extent of %s is not known. %s", of.id, error.message)
            extent = Extent(WORLD, None)
        self._cache[of] = time.monotonic(), extent
        return extent


async def read(pool: ReadPool, of: Collection, storage: int) -> Extent:
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
    rows = await pool.rows(
        f"SELECT {bounds}, began, {stamp_sql(of)} FROM (SELECT {moving} AS moved, began FROM"  # noqa: S608
        f" (SELECT ST_Extent(geom) AS box, min(valid_from)::text AS began FROM {of.table}) AS a)"
        " AS b",
        {},
    )
    west, south, east, north, began, stamp = rows[0]
    if west is None:
        return Extent(WORLD, stamp)
    low = [math.floor(degrees * 1e7) / 1e7 for degrees in (west, south)]
    box = low + [math.ceil(degrees * 1e7) / 1e7 for degrees in (east, north)]
    first = None
    if began is not None and began != "-infinity":
        first = _first(of, began)
    return Extent(_extent(box, first), stamp)


def _extent(box: list[float], begin: dt.datetime | None) -> dict[str, Any]:
    return {
        "spatial": {"bbox": box, "crs": crs.CRS84},
        "temporal": {"begin": begin, "end": None},
    }


#: The extent of what has none.
WORLD = _extent([-180.0, -90.0, 180.0, 90.0], None)


def _first(of: Collection, began: str) -> dt.datetime:
    if of.valid == "time":
        return dt.datetime.fromisoformat(began)
    day = dt.date.fromisoformat(began)
    return dt.datetime.combine(day, dt.time.min, tzinfo=calendar.VIETNAM).astimezone(dt.UTC)
