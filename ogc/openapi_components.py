"""A catalogue: the parameters, responses and schemas that the API definition refers to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from landdata.features import cql2, crs, query
from landdata.features.collections import Collection
from landdata.features.media_types import JSON
from landdata.features.parameters import COUNTS
from landdata.translations import Translator

#: Returns the first text (Vietnamese) or the second (English).

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_LINKS = {"type": "array", "items": {"$ref": "#/components/schemas/Link"}}


def list_parameter(name: str, description: str, choices: list[str]) -> dict[str, Any]:
    """Return a query parameter whose value is a list, separated by commas."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": choices},
        },
        "example": choices[-2:][:1],
        "style": "form",
        "explode": False,
    }


def instant(_: Translator) -> dict[str, Any]:
    """Return the parameter `datetime` of a request for one feature, without its name."""
    return {
        "description": _("A time (RFC 3339) or a date (its last moment in Vietnam)."),
        "schema": _TEXT,
        "style": "form",
        "explode": False,
    }


def responses(_: Translator) -> dict[str, Any]:
    """Return the responses other than 200, by name."""
    errors = {
        "BadRequest": _("A parameter is unknown, or its value is not valid."),
        "NotFound": _("There is no such collection or feature."),
        "NotAcceptable": _("None of the media types in `Accept` is available."),
        "Unavailable": _("The database is not available, or the query takes too long."),
    }
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Exception"}}}
    return {name: {"description": text, "content": content} for name, text in errors.items()} | {
        "NotModified": {
            "description": _("The client's copy is current (If-None-Match, If-Modified-Since).")
        },
        # the server refuses it before the application sees it
        "TooLong": {"description": _("The address has more than 65,534 bytes.")},
    }


def parameters(storage: int, _: Translator) -> dict[str, Any]:
    """Return the query parameters that are the same for all collections, by name."""
    uris = list(crs.supported(storage))
    crs_uri = {"type": "string", "format": "uri", "enum": uris, "default": uris[0]}
    query_parameters: dict[str, dict[str, Any]] = {
        "f": {
            "description": _("The format of the response; by default that of the Accept header."),
            "schema": {"type": "string", "enum": ["json", "html"]},
        },
        "lang": {
            "description": _("The language of titles; by default that of Accept-Language."),
            "schema": {"type": "string", "enum": ["vi", "en"]},
        },
        "bbox": {
            "description": _(
                "Features that intersect this box: minimum and maximum of both axes, in the"
                " axis order of bbox-crs. Six numbers, with heights that are ignored, in CRS84"
                " only. A feature without geometry is in every box."
            ),
            "schema": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 4,
                "maxItems": 6,
            },
            "example": [106.6, 11.5, 106.7, 11.6],
        },
        "bbox-crs": {
            "description": _("The reference system of bbox."),
            "schema": crs_uri,
        },
        "crs": {
            "description": _("The reference system of the response."),
            "schema": crs_uri,
            "example": f"{crs.EPSG}{storage}",
        },
        "datetime": {
            **instant(_),
            "example": "2025-07-01/2026-01-31T08:00:00Z",
            "description": _(
                "As of a time, or all versions within an interval: RFC 3339 times or dates,"
                " `start/end`, `..` for an open end. Without it, the current versions."
            ),
        },
        "limit": {
            "description": _(
                "The maximum number of features; a larger number means the largest allowed."
            ),
            "schema": {
                "type": "integer",
                "minimum": 1,
                "maximum": query.MAX_LIMIT,
                "default": query.DEFAULT_LIMIT,
            },
        },
        "offset": {
            "description": _("The number of features to skip. Links use cursor, which is faster."),
            "schema": {"type": "integer", "minimum": 0, "default": 0},
        },
        "cursor": {
            "description": _("Where a page begins: opaque, from a next or prev link."),
            "schema": _TEXT,
        },
        "skipGeometry": {
            "description": _("Whether the geometry of each feature is left out (null)."),
            "schema": {"type": "boolean", "default": False},
        },
        "filter": {
            "description": _("A condition in CQL2 on the collection's queryables."),
            "schema": _TEXT,
            "example": "S_INTERSECTS(geometry, BBOX(106.6, 11.5, 106.7, 11.6))",
        },
        "filter-lang": {
            "description": _("The encoding of filter."),
            "schema": {
                "type": "string",
                "enum": [*cql2.LANGUAGES],
                "default": cql2.LANGUAGES[0],
            },
        },
        "filter-crs": {
            "description": _("The reference system of geometries in filter."),
            "schema": crs_uri,
        },
        "count": {
            "description": _(
                "How to count where it costs time: exactly (numberMatched), or by the planner's"
                " estimate (numberEstimated). Where it costs nothing numberMatched is always set."
            ),
            "schema": {"type": "string", "enum": [*COUNTS], "default": "none"},
        },
    }
    return {
        name: {
            "name": name,
            "in": "query",
            "required": False,
            "style": "form",
            "explode": False,
            **values,
        }
        for name, values in query_parameters.items()
    }


def schema_name(collection: Collection) -> str:
    """Return the name of the schema of a collection's features."""
    ours = collection.id in ("parcels", "communes", "sheets")
    name = collection.id.removesuffix("s").capitalize()
    return name if ours else f"{collection.id}.feature"


def schemas(offer: Iterable[Collection], language: str) -> dict[str, Any]:
    """Return the schemas of all responses, by name."""
    documents: dict[str, Any] = {
        "Exception": {
            "type": "object",
            "required": ["code", "description"],
            "properties": {
                "code": _TEXT,
                "description": _TEXT,
                "error": {
                    "type": "object",
                    "properties": {
                        "code": _TEXT,
                        "message": _TEXT,
                        "hint": {"type": "string", "nullable": True},
                    },
                },
            },
        },
        "Link": {
            "type": "object",
            "required": ["href", "rel"],
            "properties": {
                "href": _TEXT,
                "rel": _TEXT,
                "type": _TEXT,
                "title": _TEXT,
                "hreflang": _TEXT,
            },
        },
        "LandingPage": {
            "type": "object",
            "required": ["links"],
            "properties": {"title": _TEXT, "description": _TEXT, "links": _LINKS},
        },
        "Conformance": {
            "type": "object",
            "required": ["conformsTo"],
            "properties": {"conformsTo": {"type": "array", "items": _TEXT}},
        },
        "Collection": {
            "type": "object",
            "required": ["id", "links"],
            "properties": {
                "id": _TEXT,
                "title": _TEXT,
                "description": _TEXT,
                "itemType": _TEXT,
                "storageCrs": _TEXT,
                "crs": {"type": "array", "items": _TEXT},
                "keywords": {"type": "array", "items": _TEXT},
                "extent": {"type": "object"},
                "links": _LINKS,
            },
        },
        "Collections": {
            "type": "object",
            "required": ["links", "collections"],
            "properties": {
                "links": _LINKS,
                "collections": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Collection"},
                },
            },
        },
        "Schema": {
            "type": "object",
            "required": ["type", "properties"],
            "properties": {"type": _TEXT, "title": _TEXT, "properties": {"type": "object"}},
        },
        "Changes": {
            "type": "object",
            "required": ["changes", "numberReturned", "token", "links"],
            "properties": {
                "changes": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["change", "published", "feature"],
                        "properties": {
                            "change": {
                                "type": "string",
                                "enum": ["created", "changed", "retired"],
                            },
                            "published": _TIME,
                            "feature": {"$ref": "#/components/schemas/Parcel"},
                        },
                    },
                },
                "numberReturned": _COUNT,
                "token": _TEXT,
                "timeStamp": _TIME,
                "links": _LINKS,
            },
        },
        "ExportJob": {
            "type": "object",
            "required": ["jobID", "status", "progress", "links"],
            "properties": {
                "jobID": _TEXT,
                "status": {
                    "type": "string",
                    "enum": ["accepted", "running", "successful", "failed"],
                },
                "progress": {"type": "integer", "minimum": 0, "maximum": 100},
                "numberMatched": {"type": "integer", "nullable": True},
                "numberWritten": _COUNT,
                "secondsLeft": {"type": "number", "nullable": True},
                "message": {"type": "string", "nullable": True},
                **{
                    name: {"type": "string", "format": "date-time", "nullable": True}
                    for name in ("created", "finished", "expires")
                },
                "collection": _TEXT,
                "format": _TEXT,
                "size": {"type": "integer", "nullable": True},
                "links": _LINKS,
            },
        },
        "Geometry": {
            "type": "object",
            "nullable": True,
            "required": ["type"],
            "properties": {"type": _TEXT},
        },
        "MultiPolygon": {
            "type": "object",
            "nullable": True,
            "required": ["type", "coordinates"],
            "properties": {
                "type": {"type": "string", "enum": ["Polygon", "MultiPolygon"]},
                "coordinates": {"type": "array", "items": {"type": "array", "items": {}}},
            },
        },
    }
    for collection in offer:
        name = schema_name(collection)
        identifier = {"type": "integer" if collection.key_kind == "integer" else "string"}
        shape = "MultiPolygon" if collection.geometry.endswith("Polygon") else "Geometry"
        documents[name] = {
            "type": "object",
            "required": ["type", "id", "geometry", "properties"],
            "properties": {
                "type": {"type": "string", "enum": ["Feature"]},
                "id": identifier,
                "geometry": {"$ref": f"#/components/schemas/{shape}"},
                "properties": {
                    "type": "object",
                    "properties": {
                        prop.name: prop.schema(language)
                        | ({"nullable": True} if prop.nullable else {})
                        for prop in collection.properties
                    },
                },
                "links": _LINKS,
            },
        }
        documents[f"{name}Collection"] = {
            "type": "object",
            "required": ["type", "features", "numberReturned", "links", "timeStamp"],
            "properties": {
                "type": {"type": "string", "enum": ["FeatureCollection"]},
                "features": {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/{name}"},
                },
                "numberReturned": _COUNT,
                "numberMatched": _COUNT,
                "numberEstimated": _COUNT,
                "timeStamp": _TIME,
                "links": _LINKS,
            },
        }
    return documents
