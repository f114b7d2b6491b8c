"""How tiles are cut, what is shown on them, and the documents that say so.

OGC Tile Matrix Set 2.0 and TileJSON 3.0. Parcels are never simplified: tiles wider than their
`Collection.max_tile_width_m` do not show them, but the map sheets and the communes instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyproj

from landdata.errors import NotFound
from landdata.features import crs
from landdata.features.collections import Collection, Property
from landdata.features.media_types import MVT, TILEJSON
from landdata.reference.vn2000 import transformer

WEB_MERCATOR = "WebMercatorQuad"
HALF_EQUATOR = crs.HALF_EQUATOR

_RELATION = "http://www.opengis.net/def/rel/ogc/1.0/"
_WEB_NORTH = 85.05112877980659  # degrees: where web Mercator ends
_PLACE = re.compile(r"0|[1-9][0-9]{0,8}")

_BENEATH = {"parcels": ("communes", "sheets")}
_FIELDS = {"integer": "Number", "number": "Number", "boolean": "Boolean"}  # of TileJSON
#: What a tile tells of a feature; the rest is one request away, by its id.
_TOLD = {"parcels": ("id", "commune", "sheet", "number", "area", "land_use", "label")}


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
        """Return level, row and column of a tile as an address names it: each in one way alone.

        Raises `NotFound` outside the tile matrix set.
        """
        if all(map(_PLACE.fullmatch, (z, row, column))):
            level, y, x = int(z), int(row), int(column)
            if level < self.levels and y < 2**level and x < 2**level:
                return level, y, x
        raise NotFound(
            f"There is no tile {f'{z[:20]}/{row[:20]}/{column[:20]}'!r} in {self.id}.",
            hint=f"Levels go from 0 to {self.levels - 1}; rows and columns from 0 to"
            " 2 to the power of the level, less one.",
        )

    def describe(self, base: str) -> dict[str, Any]:
        """Return the definition, OGC TMS 2.0."""
        told: dict[str, Any] = {"id": self.id, "title": self.title}
        if self.uri:
            told["uri"] = self.uri
        return {
            **told,
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
            "links": [
                {
                    "href": f"{base}/tileMatrixSets/{self.id}",
                    "rel": "self",
                    "type": "application/json",
                    "title": self.title,
                }
            ],
        }


@cache
def matrix_sets(storage: int) -> dict[str, TileMatrixSet]:
    """Return the tile matrix sets by id: the web's, and one in the storage CRS.

    The second is there where the storage CRS is a zone of VN-2000: 2,097,152 m wide around its
    meridian, from 5° to 24° north, with pixels of 8192 m halved at each level.
    """
    known = crs.supported(storage)
    made = [
        TileMatrixSet(
            WEB_MERCATOR,
            "Google Maps Compatible for the World",
            "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad",
            known[f"{crs.EPSG}3857"],
            -HALF_EQUATOR,
            HALF_EQUATOR,
            2 * HALF_EQUATOR,
            23,
        )
    ]
    if storage in crs.VN2000 and not known[f"{crs.EPSG}{storage}"].geographic:
        made.append(
            TileMatrixSet(
                f"VN2000Quad-{storage}",
                pyproj.CRS.from_epsg(storage).name,
                None,
                known[f"{crs.EPSG}{storage}"],
                -548_576.0,
                2_700_000.0,
                2_097_152.0,
                20,
            )
        )
    return {each.id: each for each in made}


def matrix_set(storage: int, name: str) -> TileMatrixSet:
    """Return the tile matrix set of this id. Raises `NotFound`."""
    known = matrix_sets(storage)
    if name not in known:
        raise NotFound(
            f"There is no tile matrix set {name[:100]!r}.",
            hint=f"There are: {', '.join(known)}.",
        )
    return known[name]


def layers(
    offer: dict[str, Collection], name: str | None, of: TileMatrixSet, level: int
) -> list[Collection]:
    """Return what a tileset shows at a level: a collection, or what stands in for it there.

    Without a name the tileset is that of the whole service: parcels and what is beneath.
    """
    width = of.width / 2**level
    main = offer[name or "parcels"]
    if width <= main.max_tile_width_m:
        return [main]
    beneath = [offer[each] for each in _BENEATH.get(main.id, ()) if each in offer]
    return [each for each in beneath if width <= each.max_tile_width_m]


def first_level(of: Collection, tiling: TileMatrixSet) -> int:
    """Return the first level of a tile matrix set at which a collection is drawn."""
    return next(z for z in range(tiling.levels) if tiling.width / 2**z <= of.max_tile_width_m)


def tile_properties(of: Collection) -> list[Property]:
    """Return the properties that tiles have of a collection."""
    return [each for each in of.properties if each.name in _TOLD.get(of.id, (each.name,))]


# -- documents -------------------------------------------------------------------------------


def matrix_set_list(base: str, storage: int) -> dict[str, Any]:
    """Return the list of the tile matrix sets."""
    return {
        "tileMatrixSets": [
            {
                "id": each.id,
                "title": each.title,
                **({"uri": each.uri} if each.uri else {}),
                "crs": each.crs.uri,
                "links": [
                    _link(
                        f"{base}/tileMatrixSets/{each.id}", "self", "application/json", each.title
                    )
                ],
            }
            for each in matrix_sets(storage).values()
        ],
        "links": [_link(f"{base}/tileMatrixSets", "self", "application/json", "This document")],
    }


def links(base: str, name: str | None) -> list[dict[str, Any]]:
    """Return the links to the tilesets of a collection, or of the service."""
    made = [_link(_place(base, name), _RELATION + "tilesets-vector", "application/json", "Tiles")]
    if name is None:
        made.append(
            _link(
                f"{base}/tileMatrixSets",
                _RELATION + "tiling-schemes",
                "application/json",
                "Tile matrix sets",
            )
        )
    return made


def tilesets(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    storage: int,
    extents: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the list of the tilesets of a collection, or of the service."""
    here = _place(base, name)
    main = offer[name or "parcels"]
    return {
        "tilesets": [
            {
                "title": f"{(name or 'map')}: {each.title}",
                **_cut(each, _shown(offer, main, each), storage, extents),
                "links": [
                    _link(f"{here}/{each.id}", "self", "application/json", "The tileset"),
                    *_scheme(base, each),
                    _template(f"{here}/{each.id}"),
                ],
            }
            for each in matrix_sets(storage).values()
        ],
        "links": [_link(here, "self", "application/json", "This document")],
    }


def tileset(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    of: TileMatrixSet,
    storage: int,
    extents: Mapping[str, dict[str, Any]],
    language: str,
) -> dict[str, Any]:
    """Return a tileset's description, OGC TMS 2.0."""
    here = f"{_place(base, name)}/{of.id}"
    main = offer[name or "parcels"]
    shown = _shown(offer, main, of)
    box = extents[main.id]["spatial"]["bbox"]
    links = [
        _link(here, "self", "application/json", "This document"),
        *_scheme(base, of),
        _template(here),
    ]
    if of.id == WEB_MERCATOR:
        links.append(_link(f"{here}?f=tilejson", "alternate", TILEJSON, "This as TileJSON"))
    return {
        "title": main.title[language],
        **_cut(of, shown, storage, extents),
        "boundingBox": {
            "lowerLeft": box[:2],
            "upperRight": box[2:],
            "crs": crs.CRS84,
        },
        "layers": [
            {
                "id": each.id,
                "title": each.title[language],
                "dataType": "vector",
                "minTileMatrix": str(least),
                "maxTileMatrix": str(most),
                "propertiesSchema": {
                    "type": "object",
                    "properties": {
                        known.name: known.parameter_schema(language)
                        for known in tile_properties(each)
                    },
                },
            }
            for each, least, most in shown
        ],
        "links": links,
    }


def tilejson(
    base: str,
    offer: dict[str, Collection],
    name: str | None,
    of: TileMatrixSet,
    extents: Mapping[str, dict[str, Any]],
    language: str,
) -> dict[str, Any]:
    """Return a tileset of `WebMercatorQuad` as TileJSON 3.0.0."""
    main = offer[name or "parcels"]
    shown = _shown(offer, main, of)
    box = extents[main.id]["spatial"]["bbox"]
    # beyond this a client enlarges what it has: 4096 units across 153 m are 4 cm
    deepest = 18
    return {
        "tilejson": "3.0.0",
        "name": main.title[language],
        "scheme": "xyz",
        "tiles": [f"{_place(base, name)}/{of.id}/{{z}}/{{y}}/{{x}}"],
        "minzoom": min(least for _, least, _ in shown),
        "maxzoom": deepest,
        "bounds": box,
        "center": [
            (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, first_level(main, of)
        ],
        "vector_layers": [
            {
                "id": each.id,
                "description": each.title[language],
                "minzoom": least,
                "maxzoom": min(most, deepest),
                "fields": {
                    known.name: _FIELDS.get(known.kind, "String")
                    for known in tile_properties(each)
                },
            }
            for each, least, most in shown
        ],
    }  # fmt: skip


def _shown(
    offer: dict[str, Collection], main: Collection, of: TileMatrixSet
) -> list[tuple[Collection, int, int]]:
    """The layers of a tileset with their first and last level."""
    begins = first_level(main, of)
    made = [(main, begins, of.levels - 1)]
    for each in (offer[name] for name in _BENEATH.get(main.id, ()) if name in offer):
        made.append((each, first_level(each, of), begins - 1))
    return made


def _cut(
    of: TileMatrixSet,
    shown: list[tuple[Collection, int, int]],
    storage: int,
    extents: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """What a tileset is cut by, and at each level the tiles in which there may be something."""
    limits = []
    for z in range(min(least for _, least, _ in shown), of.levels):
        here = [each.id for each, least, most in shown if least <= z <= most]
        if here:
            grounds = np.array([_covered(of, storage, extents[each]) for each in here])
            limits.append(
                _limits(of, z, [*grounds[:, :2].min(axis=0), *grounds[:, 2:].max(axis=0)])
            )
    return {
        "dataType": "vector",
        "crs": of.crs.uri,
        "tileMatrixSetId": of.id,
        **({"tileMatrixSetURI": of.uri} if of.uri else {}),
        "tileMatrixSetLimits": limits,
    }


def _covered(of: TileMatrixSet, storage: int, extent: dict[str, Any]) -> list[float]:
    """Return the bounds of an extent (CRS84) in the CRS of a tile matrix set, within it."""
    west, south, east, north = extent["spatial"]["bbox"]
    if of.crs.srid == 3857:
        moved = transformer(4326, 3857)
        west, south = moved.transform(west, max(south, -_WEB_NORTH))
        east, north = moved.transform(east, min(north, _WEB_NORTH))
    else:
        world = crs.supported(storage)[crs.CRS84]
        area = crs.bbox_polygon(f"{west!r},{south!r},{east!r},{north!r}", world, storage)
        west, south, east, north = area.bounds
    low = [max(west, of.x), max(south, of.y - of.width)]
    return [*low, min(east, of.x + of.width), min(north, of.y)]


def _limits(of: TileMatrixSet, z: int, ground: Sequence[float]) -> dict[str, Any]:
    """The rows and columns of the tiles on a ground, in the CRS of the tile matrix set."""
    west, south, east, north = map(float, ground)
    count = 1 << z
    side, last = of.width / count, count - 1

    def place(way: float) -> int:
        return min(max(math.floor(way / side), 0), last)

    return {
        "tileMatrix": str(z),
        "minTileRow": place(of.y - north),
        "maxTileRow": place(of.y - south),
        "minTileCol": place(west - of.x),
        "maxTileCol": place(east - of.x),
    }


def _template(tileset: str) -> dict[str, Any]:
    """The link to the tiles themselves."""
    place = f"{tileset}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
    return {**_link(place, "item", MVT, "The tiles"), "templated": True}


def _place(base: str, name: str | None) -> str:
    return f"{base}/collections/{name}/tiles" if name else f"{base}/tiles"


def _scheme(base: str, of: TileMatrixSet) -> Iterable[dict[str, Any]]:
    return [
        _link(
            f"{base}/tileMatrixSets/{of.id}",
            _RELATION + "tiling-scheme",
            "application/json",
            of.title,
        )
    ]


def _link(href: str, rel: str, media: str, title: str) -> dict[str, Any]:
    return {"href": href, "rel": rel, "type": media, "title": title}
