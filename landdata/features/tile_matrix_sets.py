"""Tile matrix sets, the layers of their tiles, and the documents that describe them.

OGC Tile Matrix Set 2.0 and TileJSON 3.0. Parcels are never simplified: tiles wider than their
`Collection.max_tile_width_m` show the map sheets and the communes instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyproj

from landdata.errors import NotFound
from landdata.features import crs
from landdata.features.collections import Collection, Property
from landdata.features.media_types import JSON, MVT, TILEJSON
from landdata.reference.vn2000 import transformer
from landdata.translations import sentence

WEB_MERCATOR = "WebMercatorQuad"
HALF_EQUATOR = crs.HALF_EQUATOR

_RELATION = "http://www.opengis.net/def/rel/ogc/1.0/"
_WEB_NORTH = 85.05112877980659  # degrees: where web Mercator ends
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

#: Collections that stand in for another one on wider tiles.
_STAND_INS = {"parcels": ("communes", "sheets")}
_FIELDS = {"integer": "Number", "number": "Number", "boolean": "Boolean"}  # of TileJSON
#: The properties of a feature in a tile; the others are one request away, by its id.
_TILE_PROPERTIES = {"parcels": ("id", "commune", "sheet", "number", "area", "land_use", "label")}


@dataclass(frozen=True, slots=True)
class TileMatrixSet:
    """A pyramid of square tiles: `width` metres at level 0, halved at each; rows go south.

    `x`, `y` is the upper left corner in the axes of `crs` (easting, northing).
    """

    id: str
    title: str
    uri: str | None
    crs: crs.Crs
    x: float
    y: float
    width: float
    levels: int

    def bounds(self, z: int, row: int, column: int) -> tuple[float, float, float, float]:
        """Return (min E, min N, max E, max N) of a tile."""
        side = self.width / 2**z
        west, north = self.x + column * side, self.y - row * side
        return west, north - side, west + side, north

    def place(self, z: str, row: str, column: str) -> tuple[int, int, int]:
        """Read level, row and column of a tile; leading zeros are refused, so a tile has one URL.

        Raises `NotFound` outside the tile matrix set.
        """
        if all(map(_INDEX.fullmatch, (z, row, column))):
            level, y, x = int(z), int(row), int(column)
            if level < self.levels and y < 2**level and x < 2**level:
                return level, y, x
        raise NotFound(
            "There is no tile {value!r} in {id}.",
            hint="Levels go from 0 to {levels}; rows and columns from 0 to 2 to the power of "
            "the level, less one.",
            value=f"{z[:20]}/{row[:20]}/{column[:20]}",
            id=self.id,
            levels=self.levels - 1,
        )

    def describe(self, base: str) -> dict[str, Any]:
        """Return the definition, OGC TMS 2.0."""
        return {
            "id": self.id,
            "title": self.title,
            **({"uri": self.uri} if self.uri else {}),
            "crs": self.crs.uri,
            "orderedAxes": ["X", "Y"] if self.crs.srid == 3857 else ["E", "N"],
            "boundingBox": {
                "lowerLeft": [self.x, self.y - self.width],
                "upperRight": [self.x + self.width, self.y],
                "crs": self.crs.uri,
            },
            "tileMatrices": [
                {
                    "id": str(z),
                    "scaleDenominator": self.width / 256 / 2**z / 0.00028,
                    "cellSize": self.width / 256 / 2**z,
                    "cornerOfOrigin": "topLeft",
                    "pointOfOrigin": [self.x, self.y],
                    "tileWidth": 256,
                    "tileHeight": 256,
                    "matrixWidth": 2**z,
                    "matrixHeight": 2**z,
                }
                for z in range(self.levels)
            ],
            "links": [_link(f"{base}/tileMatrixSets/{self.id}", "self", JSON, self.title)],
        }


@cache
def matrix_sets(storage: int) -> dict[str, TileMatrixSet]:
    """Return the tile matrix sets by id: the web's, and one in the storage CRS.

    The second exists where the storage CRS is a zone of VN-2000: 2,097,152 m wide around its
    meridian, from 5° to 24° north, with pixels of 8192 m halved at each level.
    """
    systems = crs.supported(storage)
    sets = [
        TileMatrixSet(
            WEB_MERCATOR, "Google Maps Compatible for the World",
            "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad",
            systems[f"{crs.EPSG}3857"], -HALF_EQUATOR, HALF_EQUATOR, 2 * HALF_EQUATOR, 23,
        )
    ]  # fmt: skip
    own = systems[f"{crs.EPSG}{storage}"]
    if storage in crs.VN2000 and not own.geographic:
        title = pyproj.CRS.from_epsg(storage).name
        sets.append(
            TileMatrixSet(
                f"VN2000Quad-{storage}", title, None, own, -548_576.0, 2_700_000.0, 2_097_152.0, 20
            )
        )
    return {matrix_set.id: matrix_set for matrix_set in sets}


def matrix_set(storage: int, name: str) -> TileMatrixSet:
    """Return the tile matrix set of this id. Raises `NotFound`."""
    sets = matrix_sets(storage)
    if name not in sets:
        raise NotFound(
            "There is no tile matrix set {name!r}.",
            hint="There are: {sets}.",
            name=name[:100],
            sets=", ".join(sets),
        )
    return sets[name]


def layers(
    offer: dict[str, Collection], name: str | None, matrix_set: TileMatrixSet, level: int
) -> list[Collection]:
    """Return the layers of a tileset at a level: its collection, or those that stand in for it.

    Without a name the tileset is that of the service, whose collection is parcels.
    """
    width = matrix_set.width / 2**level
    main = offer[name or "parcels"]
    if width <= main.max_tile_width_m:
        return [main]
    return [layer for layer in _stand_ins(offer, main) if width <= layer.max_tile_width_m]


def _stand_ins(offer: dict[str, Collection], main: Collection) -> list[Collection]:
    return [offer[name] for name in _STAND_INS.get(main.id, ()) if name in offer]


def first_level(collection: Collection, matrix_set: TileMatrixSet) -> int:
    """Return the first level of a tile matrix set at which a collection is drawn."""
    widths = (matrix_set.width / 2**z for z in range(matrix_set.levels))
    return next(z for z, width in enumerate(widths) if width <= collection.max_tile_width_m)


def tile_properties(collection: Collection) -> list[Property]:
    """Return the properties of a collection's features in tiles."""
    names = _TILE_PROPERTIES.get(collection.id)
    return [prop for prop in collection.properties if names is None or prop.name in names]


# -- documents -------------------------------------------------------------------------------


def matrix_set_list(base: str, storage: int) -> dict[str, Any]:
    """Return the list of the tile matrix sets."""
    here = f"{base}/tileMatrixSets"
    return {
        "tileMatrixSets": [
            {
                "id": matrix_set.id,
                "title": matrix_set.title,
                **({"uri": matrix_set.uri} if matrix_set.uri else {}),
                "crs": matrix_set.crs.uri,
                "links": [_link(f"{here}/{matrix_set.id}", "self", JSON, matrix_set.title)],
            }
            for matrix_set in matrix_sets(storage).values()
        ],
        "links": [_link(here, "self", JSON, sentence("This document"))],
    }


def links(base: str, name: str | None) -> list[dict[str, Any]]:
    """Return the links to the tilesets of a collection, or of the service."""
    tiles = [
        _link(_tilesets_url(base, name), _RELATION + "tilesets-vector", JSON, sentence("Tiles"))
    ]
    if name is None:
        schemes = _RELATION + "tiling-schemes"
        tiles.append(_link(f"{base}/tileMatrixSets", schemes, JSON, sentence("Tile matrix sets")))
    return tiles


def tilesets(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    storage: int,
    extents: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the list of the tilesets of a collection, or of the service."""
    here = _tilesets_url(base, name)
    main = offer[name or "parcels"]
    return {
        "tilesets": [
            {
                "title": f"{(name or 'map')}: {matrix_set.title}",
                **_data(matrix_set, _levels(offer, main, matrix_set), storage, extents),
                "links": [
                    _link(f"{here}/{matrix_set.id}", "self", JSON, sentence("The tileset")),
                    _scheme_link(base, matrix_set),
                    _tiles_link(f"{here}/{matrix_set.id}"),
                ],
            }
            for matrix_set in matrix_sets(storage).values()
        ],
        "links": [_link(here, "self", JSON, sentence("This document"))],
    }


def tileset(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    matrix_set: TileMatrixSet,
    storage: int,
    extents: Mapping[str, dict[str, Any]],
    language: str,
) -> dict[str, Any]:
    """Return a tileset's description, OGC TMS 2.0."""
    here = f"{_tilesets_url(base, name)}/{matrix_set.id}"
    main = offer[name or "parcels"]
    levels = _levels(offer, main, matrix_set)
    box = extents[main.id]["spatial"]["bbox"]
    links = [
        _link(here, "self", JSON, sentence("This document")),
        _scheme_link(base, matrix_set),
        _tiles_link(here),
    ]
    if matrix_set.id == WEB_MERCATOR:
        links.append(
            _link(
                f"{here}?f=tilejson", "alternate", TILEJSON, sentence("This document as TileJSON")
            )
        )
    return {
        "title": main.title[language],
        **_data(matrix_set, levels, storage, extents),
        "boundingBox": {"lowerLeft": box[:2], "upperRight": box[2:], "crs": crs.CRS84},
        "layers": [
            {
                "id": layer.id,
                "title": layer.title[language],
                "dataType": "vector",
                "minTileMatrix": str(first),
                "maxTileMatrix": str(last),
                "propertiesSchema": {
                    "type": "object",
                    "properties": {
                        prop.name: prop.parameter_schema(language)
                        for prop in tile_properties(layer)
                    },
                },
            }
            for layer, first, last in levels
        ],
        "links": links,
    }


def tilejson(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    matrix_set: TileMatrixSet,
    extents: Mapping[str, dict[str, Any]],
    language: str,
) -> dict[str, Any]:
    """Return a tileset of `WebMercatorQuad` as TileJSON 3.0.0."""
    main = offer[name or "parcels"]
    levels = _levels(offer, main, matrix_set)
    west, south, east, north = box = extents[main.id]["spatial"]["bbox"]
    # a client enlarges the tiles of this level: 4096 units across 153 m are 4 cm
    deepest = 18
    return {
        "tilejson": "3.0.0",
        "name": main.title[language],
        "scheme": "xyz",
        "tiles": [f"{_tilesets_url(base, name)}/{matrix_set.id}/{{z}}/{{y}}/{{x}}"],
        "minzoom": min(first for _, first, _ in levels),
        "maxzoom": deepest,
        "bounds": box,
        "center": [(west + east) / 2, (south + north) / 2, first_level(main, matrix_set)],
        "vector_layers": [
            {
                "id": layer.id,
                "description": layer.title[language],
                "minzoom": first,
                "maxzoom": min(last, deepest),
                "fields": {
                    prop.name: _FIELDS.get(prop.kind, "String") for prop in tile_properties(layer)
                },
            }
            for layer, first, last in levels
        ],
    }


def _levels(
    offer: dict[str, Collection], main: Collection, matrix_set: TileMatrixSet
) -> list[tuple[Collection, int, int]]:
    """Return the layers of a tileset with their first and last level."""
    begin = first_level(main, matrix_set)
    return [(main, begin, matrix_set.levels - 1)] + [
        (layer, first_level(layer, matrix_set), begin - 1) for layer in _stand_ins(offer, main)
    ]


def _data(
    matrix_set: TileMatrixSet,
    levels: list[tuple[Collection, int, int]],
    storage: int,
    extents: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return a tileset's matrix set, and for each level the tiles that may not be empty."""
    limits = []
    for z in range(min(first for _, first, _ in levels), matrix_set.levels):
        here = [layer.id for layer, first, last in levels if first <= z <= last]
        if here:
            bounds = np.array([_bounds(matrix_set, storage, extents[name]) for name in here])
            whole = [*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)]
            limits.append(_limits(matrix_set, z, whole))
    return {
        "dataType": "vector",
        "crs": matrix_set.crs.uri,
        "tileMatrixSetId": matrix_set.id,
        **({"tileMatrixSetURI": matrix_set.uri} if matrix_set.uri else {}),
        "tileMatrixSetLimits": limits,
    }


def _bounds(matrix_set: TileMatrixSet, storage: int, extent: dict[str, Any]) -> list[float]:
    """Return the bounds of an extent (CRS84) in the CRS of a tile matrix set, within it."""
    west, south, east, north = extent["spatial"]["bbox"]
    if matrix_set.crs.srid == 3857:
        transform = transformer(4326, 3857).transform
        west, south = transform(west, max(south, -_WEB_NORTH))
        east, north = transform(east, min(north, _WEB_NORTH))
    else:
        world = crs.supported(storage)[crs.CRS84]
        box = crs.bbox_polygon(f"{west!r},{south!r},{east!r},{north!r}", world, storage)
        west, south, east, north = box.bounds
    low = [max(west, matrix_set.x), max(south, matrix_set.y - matrix_set.width)]
    return [*low, min(east, matrix_set.x + matrix_set.width), min(north, matrix_set.y)]


def _limits(matrix_set: TileMatrixSet, z: int, bounds: Sequence[float]) -> dict[str, Any]:
    """Return the rows and columns of the tiles within bounds in the CRS of the matrix set."""
    west, south, east, north = map(float, bounds)
    count = 1 << z
    side, last = matrix_set.width / count, count - 1

    def index(distance: float) -> int:
        return min(max(math.floor(distance / side), 0), last)

    return {
        "tileMatrix": str(z),
        "minTileRow": index(matrix_set.y - north),
        "maxTileRow": index(matrix_set.y - south),
        "minTileCol": index(west - matrix_set.x),
        "maxTileCol": index(east - matrix_set.x),
    }


def _tilesets_url(base: str, name: str | None) -> str:
    return f"{base}/collections/{name}/tiles" if name else f"{base}/tiles"


def _tiles_link(tileset: str) -> dict[str, Any]:
    url = f"{tileset}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
    return {**_link(url, "item", MVT, sentence("The tiles")), "templated": True}


def _scheme_link(base: str, matrix_set: TileMatrixSet) -> dict[str, Any]:
    url = f"{base}/tileMatrixSets/{matrix_set.id}"
    return _link(url, _RELATION + "tiling-scheme", JSON, matrix_set.title)


def _link(href: str, rel: str, media_type: str, title: str) -> dict[str, Any]:
    return {"href": href, "rel": rel, "type": media_type, "title": title}
