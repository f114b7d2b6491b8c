"""JSON Schemas of a collection: its features, its queryables and its sortables.

As OGC API - Common, part 3 (23-058r2) has them.
"""

from __future__ import annotations

from typing import Any

from landdata.features.collections import Collection, Property
from landdata.reference import land_use
from landdata.translations import sentence, translate

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ROLES = {"valid_from": "primary-interval-start", "valid_to": "primary-interval-end"}


def schema(collection: Collection, language: str, url: str) -> dict[str, Any]:
    """Return the schema of a collection's features."""
    properties = {}
    for prop in collection.properties:
        described = properties[prop.name] = _property(collection, prop, language)
        if prop.nullable:  # in a response; a value to filter by is never null
            described["type"] = [described["type"], "null"]
    geometry = _geometry(collection, language)
    return _document(collection, language, url, {"geometry": geometry, **properties})


def queryables(collection: Collection, language: str, url: str) -> dict[str, Any]:
    """Return the schema of what features can be filtered by."""
    properties = {
        name: _property(collection, prop, language, queryable=True)
        for name, prop in collection.queryables.items()
    }
    geometry = _geometry(collection, language)
    document = _document(collection, language, url, {"geometry": geometry, **properties})
    return document | {"additionalProperties": False}


def sortables(collection: Collection, language: str, url: str) -> dict[str, Any]:
    """Return the schema of what features can be sorted by."""
    properties = {
        name: _property(collection, prop, language) for name, prop in collection.sortables.items()
    }
    return _document(collection, language, url, properties) | {"additionalProperties": False}


def _document(
    collection: Collection, language: str, url: str, properties: dict[str, Any]
) -> dict[str, Any]:
    for number, described in enumerate(properties.values(), start=1):
        described["x-ogc-propertySeq"] = number
    return {
        "$schema": DIALECT,
        "$id": url,
        "type": "object",
        "title": collection.title[language],
        "properties": properties,
    }


def _geometry(collection: Collection, language: str) -> dict[str, Any]:
    kind = "any" if collection.geometry == "Unknown" else collection.geometry.lower()
    return {
        "title": translate(sentence("Geometry"), language),
        "format": f"geometry-{kind}",
        "x-ogc-role": "primary-geometry",
    }


def _property(
    collection: Collection, prop: Property, language: str, *, queryable: bool = False
) -> dict[str, Any]:
    described: dict[str, Any] = _without_nullable(prop.schema(language))
    if prop.kind == "codes" and queryable:
        codes = [*land_use.CURRENT, *land_use.LEGACY]
        described["items"] = {"type": "string", "enum": codes}
    if prop.unit:
        described["x-ogc-unitLang"] = "UCUM"
    if prop.column == collection.key:
        described["x-ogc-role"] = "id"
    # a custom collection may use these names for anything: both must be times, or both dates
    kinds = {end.kind for end in collection.properties if end.name in _ROLES}
    if prop.name in _ROLES and kinds in ({"time"}, {"date"}):
        described["x-ogc-role"] = _ROLES[prop.name]
    return described


def _without_nullable(node: Any) -> Any:
    """Return a copy with OpenAPI 3.0's `nullable` as JSON Schema writes it."""
    if isinstance(node, list):
        return [_without_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _without_nullable(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable"):
        copy["type"] = [copy["type"], "null"]
    return copy
