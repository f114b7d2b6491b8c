"""Vector tiles: made by PostGIS, and kept as long as they hold.

A tile is kept in the process with the stamp of its ground (`landdata.publications`), which is
asked for each time: one row of an index, read in the reader's own database. So a tile is never
old, on a replica neither, and what changes elsewhere does not throw it away.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from psycopg.pq.abc import PGresult

from landdata.features import crs, sql
from landdata.features.collections import Collection
from landdata.features.query import Query
from landdata.features.tile_matrix_sets import HALF_EQUATOR, TileMatrixSet, tile_properties
from landdata.reference import calendar
from landdata.store.read_connections import Question, Steps

_EXTENT, _BUFFER = 4096, 64  # units of a tile's side, and how far beyond it features are drawn
_CELL, _LEVELS = 256.0, 13  # metres and highest level of `changed_cells`
_EXACT = 0.1  # of a unit: how far a vertex may be from where the projection has it


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as it is sent, packed or not.

    `tag` is that of what is in it, `stamp` the second in which that was last published, if known.
    """

    body: bytes
    tag: str
    stamp: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tile that is asked for.

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
    def key(self) -> tuple[Any, ...]:
        """What it is kept under."""
        return tuple(each.id for each in self.layers), self.of.id, self.place, self.packed


class Tiles:
    """Tells how tiles are made, and keeps them."""

    def __init__(self, storage: int, *, cache_mb: int) -> None:
        self._storage = storage
        self._kept: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], Tile]] = OrderedDict()
        self._most = cache_mb << 20
        self._bytes = 0
        self._lock = threading.Lock()

    def wanted(
        self,
        layers: Sequence[Collection],
        of: TileMatrixSet,
        place: tuple[int, int, int],
        *,
        packed: bool,
    ) -> Wanted:
        """Return what is asked for with a tile: these layers, packed with gzip or as it is."""
        bounds = of.bounds(*place)
        return Wanted(layers, of, place, bounds, self._ground(of, bounds), packed)

    def kept(self, wanted: Wanted) -> Steps[Tile | None]:
        """Return a tile that was made before and still holds, if there is one."""
        if wanted.area.is_empty or not wanted.layers:
            return _EMPTY
        with self._lock:
            found = self._kept.get(wanted.key)
        stamp, parameters = self._stamp(wanted.layers, wanted.area)
        if found is None or stamp is None:
            return None
        now = _texts((yield Question(f"SELECT {stamp}", parameters)))
        if found[0] != (self._today(wanted.layers), *now):
            return None
        with self._lock, suppress(KeyError):  # it may have been put out meanwhile
            self._kept.move_to_end(wanted.key)
        return found[1]

    def tile(self, wanted: Wanted) -> Steps[Tile]:
        """Return a tile, kept or made now. Its body is empty where nothing is drawn."""
        kept = yield from self.kept(wanted)
        if kept is not None:
            return kept
        layers = wanted.layers
        stamp, parameters = self._stamp(layers, wanted.area)
        drawn = [self._layer(each, wanted.of, wanted.bounds, wanted.area) for each in layers]
        for _, bound in drawn:
            parameters |= bound
        content = " || ".join(statement for statement, _ in drawn)
        # stamp and content in one statement, so of one snapshot: a change after it has another
        today = self._today(layers)
        statement = f"SELECT {content}, {stamp or 'NULL'}"
        made = yield Question(statement, parameters, has_generic_plan=False, binary=True)
        drawn_as, *standing = _texts(made)
        body = drawn_as or b""
        tag = _tag(body)
        # communes bear no second: what they are depends on the day too
        known = stamp is not None and "communes" not in {each.id for each in layers}
        stamp_of = int(standing[0] or 0) or None if known else None
        packed = wanted.packed and body
        tile = Tile(gzip.compress(body, 5, mtime=0) if packed else body, tag, stamp_of)
        if stamp is not None:
            self._keep(wanted.key, (today, *standing), tile)
        return tile

    def _keep(self, key: tuple[Any, ...], stamp: tuple[Any, ...], tile: Tile) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            if old is not None:
                self._bytes -= len(old[1].body) + 500
            self._kept[key] = (stamp, tile)
            self._bytes += len(tile.body) + 500
            while self._bytes > self._most:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes -= len(oldest.body) + 500

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
                marks = ", ".join(f"%({each})s::double precision" for each in names)
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
        names = {each.id for each in layers}
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
        if all(each.open_ended for each in layers):
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
            f'{_scalar(each.kind, each.column)} AS "{each.name}"' for each in tile_properties(of)
        )
        where = " OR ".join(f"({each})" for each in branches)
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
