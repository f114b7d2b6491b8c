"""Vector tiles: drawn by PostGIS, and cached until something changes in their area.

A tile is cached in the process with the stamp of its area (`landdata.store.publications`), which
is read for each request: one row of an index, in the reader's own database. So a cached tile is
never outdated, on a replica neither, and a change elsewhere does not evict it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from cachetools import LRUCache
from psycopg.pq.abc import PGresult

from landdata.features import crs, sql
from landdata.features.collections import Collection
from landdata.features.query import Query
from landdata.features.tile_matrix_sets import HALF_EQUATOR, TileMatrixSet, tile_properties
from landdata.reference import calendar
from landdata.store.read_connections import Statement
from landdata.store.read_pool import ReadPool

_EXTENT, _BUFFER = 4096, 64  # units of a tile's side, and how far beyond it features are drawn
_CELL, _LEVELS = 256.0, 13  # metres and highest level of `changed_cells`
_EXACT = 0.1  # of a unit: how far a vertex may be from where the projection has it


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as it is sent, packed or not.

    `tag` is that of its content, `stamp` the second in which that was last published, if any.
    """

    body: bytes
    tag: str
    stamp: int | None = None


@dataclass(frozen=True, slots=True)
class TileRequest:
    """One tile of some layers.

    `place` is its level, row and column, `bounds` (min E, min N, max E, max N) in its own CRS,
    `area` the same with its margin, in the storage CRS.
    """

    layers: Sequence[Collection]
    of: TileMatrixSet
    place: tuple[int, int, int]
    bounds: tuple[float, float, float, float]
    area: crs.BBox
    packed: bool

    @property
    def cache_key(self) -> tuple[Any, ...]:
        """The key of the tile in the cache."""
        return tuple(layer.id for layer in self.layers), self.of.id, self.place, self.packed


class Tiles:
    """Draws tiles and caches them, in at most `cache_mb` MB; on one event loop."""

    def __init__(self, pool: ReadPool, storage: int, *, cache_mb: int) -> None:
        self._pool = pool
        self._storage = storage
        self._cache: LRUCache[tuple[Any, ...], tuple[tuple[Any, ...], Tile]] = LRUCache(
            cache_mb << 20, getsizeof=lambda cached: len(cached[1].body) + 500
        )

    def request(
        self,
        layers: Sequence[Collection],
        of: TileMatrixSet,
        place: tuple[int, int, int],
        *,
        packed: bool,
    ) -> TileRequest:
        """Return the request of a tile with these layers, packed with gzip or as it is."""
        bounds = of.bounds(*place)
        return TileRequest(layers, of, place, bounds, self._ground(of, bounds), packed)

    async def tile(self, request: TileRequest) -> Tile:
        """Return a tile, cached or drawn now. Its body is empty where nothing is drawn."""
        return await self._cached(request) or await self._drawn(request)

    async def _cached(self, request: TileRequest) -> Tile | None:
        """Return the cached tile, if there is one and nothing has changed in its area."""
        if request.area.is_empty or not request.layers:
            return _EMPTY
        cached = self._cache.get(request.cache_key)
        stamp, parameters = self._stamp(request.layers, request.area)
        if cached is None or stamp is None:
            return None
        now = _texts(await self._pool.fetch(Statement(f"SELECT {stamp}", parameters)))
        return cached[1] if cached[0] == (self._today(request.layers), *now) else None

    async def _drawn(self, request: TileRequest) -> Tile:
        layers = request.layers
        stamp, parameters = self._stamp(layers, request.area)
        drawn = [self._layer(of, request.of, request.bounds, request.area) for of in layers]
        for _, bound in drawn:
            parameters |= bound
        content = " || ".join(statement for statement, _ in drawn)
        # stamp and content in one statement, so of one snapshot: a change after it has another
        today = self._today(layers)
        sql = f"SELECT {content}, {stamp or 'NULL'}"
        statement = Statement(sql, parameters, has_generic_plan=False, binary=True)
        mvt, *standing = _texts(await self._pool.fetch(statement))
        body = mvt or b""
        tag = _tag(body)
        # communes bear no second: what they are depends on the day too
        has_second = stamp is not None and "communes" not in {of.id for of in layers}
        if request.packed and body:
            body = await asyncio.to_thread(partial(gzip.compress, body, 5, mtime=0))
        tile = Tile(body, tag, int(standing[0] or 0) or None if has_second else None)
        if stamp is not None:
            with suppress(ValueError):  # it is larger than the whole cache
                self._cache[request.cache_key] = (today, *standing), tile
        return tile

    def _moved(
        self, tiling: TileMatrixSet, bounds: tuple[float, float, float, float]
    ) -> tuple[str, dict[str, Any]]:
        """SQL of the geometry in the tiling's CRS, and its parameters.

        Over a tile that is a few kilometres wide the projection is an affine map, to a small part
        of the tile's own grid, and costs a fraction.
        """
        unit = (bounds[2] - bounds[0]) / _EXTENT
        if tiling.crs.srid != self._storage:
            plane = crs.affine_map(bounds, tiling.crs, self._storage, within=unit * _EXACT)
            if plane is not None:
                names = ("ma", "mb", "md", "me", "mx", "my")
                marks = ", ".join(f"%({name})s::double precision" for name in names)
                return f"ST_Affine(geom, {marks})", dict(zip(names, plane, strict=True))
        # a tile's grid is coarser than what this leaves out
        return crs.output_sql("geom", self._storage, tiling.crs, leads_back=False), {}

    def _ground(self, of: TileMatrixSet, bounds: tuple[float, float, float, float]) -> crs.BBox:
        """The tile with its margin, in the storage CRS."""
        margin = (bounds[2] - bounds[0]) * _BUFFER / _EXTENT
        west, south, east, north = (
            bounds[0] - margin, bounds[1] - margin, bounds[2] + margin, bounds[3] + margin,
        )  # fmt: skip
        if of.crs.srid == 3857:
            west, east = max(west, -HALF_EQUATOR), min(east, HALF_EQUATOR)
        return crs.parse_bbox(f"{west!r},{south!r},{east!r},{north!r}", of.crs, self._storage)

    def _stamp(
        self, layers: Sequence[Collection], area: crs.BBox
    ) -> tuple[str | None, dict[str, Any]]:
        """SQL that gives the stamp of what `layers` show of an area; null where nobody knows.

        Each publication has a later one, so the latest is the same only if each is.
        """
        names = {of.id for of in layers}
        if not names <= {"parcels", "sheets", "communes"}:
            return None, {}
        west, south, east, north = area.bounds
        wide = max(east - west, north - south)
        level = min(max(math.ceil(math.log2(max(wide / 4, 1) / _CELL)), 0), _LEVELS)
        side = _CELL * 2**level
        box = {
            "cell_level": level,
            "cell_west": math.floor(west / side),
            "cell_east": math.floor(east / side),
            "cell_south": math.floor(south / side),
            "cell_north": math.floor(north / side),
        }
        ground = (
            "(SELECT coalesce(max(stamp), 0)::text FROM changed_cells WHERE level = %(cell_level)s"
            " AND x BETWEEN %(cell_west)s AND %(cell_east)s"
            " AND y BETWEEN %(cell_south)s AND %(cell_north)s)"
        )
        units = "(SELECT coalesce(sum(stamp), 0)::text FROM changed_cells WHERE level = -1)"
        if names == {"communes"}:
            return units, {}
        return f"{ground}, {units}" if "communes" in names else ground, box

    @staticmethod
    def _today(layers: Sequence[Collection]) -> dt.date | None:
        """The day, where what holds now depends on it."""
        if all(of.open_ended for of in layers):
            return None
        return calendar.day()

    def _layer(
        self,
        of: Collection,
        tiling: TileMatrixSet,
        bounds: tuple[float, float, float, float],
        area: crs.BBox,
    ) -> tuple[str, dict[str, Any]]:
        """SQL of one layer as MVT bytes, and its parameters."""
        query = Query(collection=of, crs=tiling.crs, storage=self._storage, bbox=area)
        branches, bound = sql.time_conditions(query)
        frame = f"ST_MakeEnvelope(%(w)s, %(s)s, %(e)s, %(n)s, {tiling.crs.srid:d})"
        west, south, east, north = area.bounds
        parameters = {
            "w": bounds[0], "s": bounds[1], "e": bounds[2], "n": bounds[3],
            "aw": west, "as": south, "ae": east, "an": north,
            **bound,
        }  # fmt: skip
        ground = f"ST_MakeEnvelope(%(aw)s, %(as)s, %(ae)s, %(an)s, {self._storage:d})"
        moved, plane = self._moved(tiling, bounds)
        parameters |= plane
        shape = f"ST_AsMVTGeom({moved}, {frame}, {_EXTENT:d}, {_BUFFER:d}, true)"
        columns = ", ".join(
            f'{_scalar(shown.kind, shown.column)} AS "{shown.name}"'
            for shown in tile_properties(of)
        )
        where = " OR ".join(f"({branch})" for branch in branches)
        return (
            f"coalesce((SELECT ST_AsMVT(drawn, '{of.id}', {_EXTENT:d}, '_shape')"  # noqa: S608
            f" FROM (SELECT {columns}, {shape} AS _shape FROM {of.table}"
            f" WHERE ({where}) AND geom && {ground}) AS drawn), '')",
            parameters,
        )


def _scalar(kind: str, column: str) -> str:
    """SQL of a value as MVT can have it."""
    if kind == "codes":  # 'ONT,CLN'
        return f"translate(jsonb_path_query_array({column}, '$[*].code')::text, '[]\" ', '')"
    return column if kind in ("integer", "number", "string", "boolean") else f"({column})::text"


def _texts(result: PGresult) -> list[bytes | None]:
    """The one row of a result, texts and bytes."""
    return [result.get_value(0, n) for n in range(result.nfields)]


def _tag(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


_EMPTY = Tile(b"", _tag(b""))
