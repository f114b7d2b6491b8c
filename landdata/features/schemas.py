"""What a collection's features hold, what can be asked for, and what they can be sorted by.

JSON Schemas as OGC API - Common, part 3 (23-058r2), wants them, made from the collections.
"""

from __future__ import annotations

from typing import Any

from landdata.features.collections import Collection, Property
from landdata.reference import land_use

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ROLES = {"valid_from": "primary-interval-start", "valid_to": "primary-interval-end"}


def schema(of: Collection, language: str, url: str) -> dict[str, Any]:
    """Return the schema of a collection's features."""
    known = {}
    for each in of.properties:
        described = known[each.name] = _described(of, each, language)
        if each.nullable:  # in what is sent; a value that is asked for is none
            described["type"] = [described["type"], "null"]
    return _whole(of, language, url, {"geometry": _geometry(of, language), **known})


def queryables(of: Collection, language: str, url: str) -> dict[str, Any]:
    """Return what can be asked for: by value, and in a filter."""
    known = {
        name: _described(of, each, language, asked=True) for name, each in of.queryables.items()
    }
    made = _whole(of, language, url, {"geometry": _geometry(of, language), **known})
    return made | {"additionalProperties": False}


def sortables(of: Collection, language: str, url: str) -> dict[str, Any]:
    """Return what features can be sorted by."""
    known = {name: _described(of, each, language) for name, each in of.sortables.items()}
    return _whole(of, language, url, known) | {"additionalProperties": False}


def _whole(of: Collection, language: str, url: str, known: dict[str, Any]) -> dict[str, Any]:
    for place, each in enumerate(known.values()):
        each["x-ogc-propertySeq"] = place + 1
    return {
        "$schema": DIALECT,
        "$id": url,
        "type": "object",
        "title": of.title[language],
        "properties": known,
    }


def _geometry(of: Collection, language: str) -> dict[str, Any]:
    return {
        "title": "Hình thể" if language == "vi" else "Geometry",
        "format": f"geometry-{'any' if of.geometry == 'Unknown' else of.geometry.lower()}",
        "x-ogc-role": "primary-geometry",
    }


def _described(
    of: Collection, each: Property, language: str, *, asked: bool = False
) -> dict[str, Any]:
    made: dict[str, Any] = _plain(each.schema(language))
    if each.kind == "codes" and asked:
        codes = [*land_use.CURRENT, *land_use.LEGACY]
        made["items"] = {"type": "string", "enum": codes}
    if each.unit:
        made["x-ogc-unitLang"] = "UCUM"
    if each.column == of.key:
        made["x-ogc-role"] = "id"
    # a table of the deployment may call anything so; both ends must be times, or both dates
    ends = {end.kind for end in of.properties if end.name in _ROLES}
    if each.name in _ROLES and ends in ({"time"}, {"date"}):
        made["x-ogc-role"] = _ROLES[each.name]
    return made


def _plain(node: Any) -> Any:
    """Write OpenAPI 3.0's `nullable` as JSON Schema does."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: _plain(each) for key, each in node.items() if key != "nullable"}
    if node.get("nullable"):
        made["type"] = [made["type"], "null"]
    return made
