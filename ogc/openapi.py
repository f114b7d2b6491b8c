"""The API definition: OpenAPI 3.0, made from the collections, with every reference inside it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from landdata.features import changes, parameters, tile_matrix_sets
from landdata.features.collections import Collection
from landdata.features.exports import formats
from landdata.features.media_types import GEOJSON, HTML, JSON, MVT, OPENAPI, SCHEMA, TILEJSON
from landdata.translations import Translator, translator
from ogc import openapi_components as components

_ERRORS = {
    "400": "BadRequest",
    "404": "NotFound",
    "406": "NotAcceptable",
    "414": "TooLong",
    "503": "Unavailable",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JSON_ONLY = {"name": "f", "in": "query", "schema": {"type": "string", "enum": ["json"]}}


def document(
    offer: dict[str, Collection], *, storage: int, url: str, language: str
) -> dict[str, Any]:
    """Return the definition of the service whose landing page is at `url`.

    `storage` is the EPSG code of the storage CRS.
    """

    _ = translator(language)
    paths: dict[str, Any] = {
        "/": _get("landing", _("Landing page"), "LandingPage"),
        "/conformance": _get("conformance", _("Conformance"), "Conformance"),
        "/openapi": _get("openapi", _("API definition"), None, media_type=OPENAPI),
        "/collections": _get("collections", _("Collections"), "Collections"),
    }
    for collection in offer.values():
        paths |= _collection_paths(collection, language, _)
        paths |= _tile_paths(collection, storage, language, _)
    paths |= _tile_paths(None, storage, language, _)
    paths["/collections/parcels/changes"] = _changes(_)
    paths |= _export_job_paths(_)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": _("Land data"),
            "description": _("Cadastral parcels and administrative units as OGC API - Features."),
            "version": version("landdata"),
        },
        "servers": [{"url": url}],
        "tags": [
            {"name": "service"},
            *(
                {"name": collection.id, "description": collection.description[language]}
                for collection in offer.values()
            ),
        ],
        "paths": paths,
        "components": {
            "parameters": components.parameters(storage, _),
            "responses": components.responses(_),
            "schemas": components.schemas(offer.values(), language),
        },
    }


def _collection_paths(collection: Collection, language: str, _: Translator) -> dict[str, Any]:
    title, tag = collection.title[language], collection.id
    base = f"/collections/{tag}"
    schema = components.schema_name(collection)
    own = ("f", "lang", "sortby", "properties")
    filters = [
        {
            "name": prop.name,
            "in": "query",
            "required": False,
            "description": prop.vi if language == "vi" else prop.en,
            "schema": prop.parameter_schema(language),
            "style": "form",
            "explode": False,
        }
        for prop in collection.queryables.values()
    ]
    key: dict[str, Any] = {"type": "integer" if collection.key_kind == "integer" else "string"}
    if collection.key_kind == "uuid":
        key["format"] = "uuid"
    properties = components.list_parameter(
        "properties",
        _("The properties in the response; all by default."),
        [prop.name for prop in collection.properties],
    )
    items_parameters = [
        *(_reference(name) for name in parameters.PARAMETERS if name not in own),
        *_sortby(collection, _),
        properties,
        *filters,
    ]
    item_parameters = [
        {"name": "featureId", "in": "path", "required": True, "schema": key},
        _reference("crs"),
        properties,
        _reference("skipGeometry"),
        {**components.instant(_), "name": "datetime", "in": "query", "required": False},
    ]
    return {
        base: _get(f"{tag}.collection", title, "Collection", tag=tag, has_404=True),
        **{
            f"{base}/{name}": _get(
                f"{tag}.{name}", f"{title}: {name}", "Schema", tag=tag, media_type=SCHEMA
            )
            for name in ("queryables", "sortables", "schema")
        },
        f"{base}/items": _get(
            f"{tag}.items", title, f"{schema}Collection", tag=tag, media_type=GEOJSON,
            parameters=items_parameters,
        ),
        f"{base}/export": _export(collection, language, _, filters),
        f"{base}/items/{{featureId}}": _get(
            f"{tag}.item", collection.item[language], schema, tag=tag, media_type=GEOJSON,
            has_404=True, parameters=item_parameters,
        ),
    }  # fmt: skip


def _export(
    collection: Collection, language: str, _: Translator, filters: list[dict[str, Any]]
) -> dict[str, Any]:
    names = ("bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs")
    path = _get(
        f"{collection.id}.export",
        f"{collection.title[language]}: {_('file')}",
        None,
        tag=collection.id,
    )
    operation = path["get"]
    operation["description"] = _(
        "With the header `Prefer: respond-async` the file is made as a job: the response is 202,"
        " and its `Location` shows the progress."
    )
    operation["parameters"] = [
        {
            "name": "f",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "enum": [*formats.FORMATS]},
            "example": "geojson",
        },
        _reference("lang"),
        *map(_reference, names),
        *filters,
    ]
    operation["responses"]["202"] = {
        "description": _("The file is made as a job."),
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/ExportJob"}}},
    }
    feature = {"$ref": f"#/components/schemas/{components.schema_name(collection)}"}
    features = {
        "schema": {
            "type": "object",
            "required": ["type", "features"],
            "properties": {"features": {"type": "array", "items": feature}},
        }
    }
    operation["responses"]["200"]["content"] = {
        file_format.media_type: features if name in ("geojson", "jsonfg") else _BINARY
        for name, file_format in formats.FORMATS.items()
    }
    return path


def _export_job_paths(_: Translator) -> dict[str, Any]:
    title = _("A file that is made as a job")
    number, name = (
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("jobID", "file")
    )
    job = _get("export.job", title, "ExportJob", has_404=True)
    job["get"]["parameters"] = [number, _JSON_ONLY, _reference("lang")]
    del job["get"]["responses"]["200"]["content"][HTML]
    file = _get("export.file", title, None, has_404=True)
    file["get"]["parameters"] = [number, name]
    file["get"]["responses"]["200"]["content"] = {
        file_format.media_type: _BINARY for file_format in formats.FORMATS.values()
    }
    return {"/exports/{jobID}": job, "/exports/{jobID}/{file}": file}


def _changes(_: Translator) -> dict[str, Any]:
    def number(name: str, least: int, most: int, default: int, text: str) -> dict[str, Any]:
        limits = {"type": "integer", "minimum": least, "maximum": most, "default": default}
        return {
            "name": name, "in": "query", "required": False, "description": text, "schema": limits
        }  # fmt: skip

    path = _get(
        "parcels.changes",
        _("Changes of parcels"),
        "Changes",
        tag="parcels",
    )
    path["get"]["parameters"] = [
        _JSON_ONLY,
        _reference("lang"),
        {
            "name": "since",
            "in": "query",
            "required": False,
            "description": _(
                "The `token` of an earlier response, or `now`; default: the first change."
            ),
            "schema": {"type": "string"},
        },
        number(
            "limit", 1, changes.MAX_LIMIT, changes.DEFAULT_LIMIT,
            _("The maximum number of changes; a larger number means the largest allowed."),
        ),
        number(
            "wait", 0, changes.MAX_WAIT, 0,
            _("Seconds to wait for the first change."),
        ),
        _reference("crs"),
    ]  # fmt: skip
    del path["get"]["responses"]["200"]["content"][HTML]
    return path


def _tile_paths(
    collection: Collection | None, storage: int, language: str, _: Translator
) -> dict[str, Any]:
    """The tilesets of a collection; without one those of the service, and the matrix sets."""
    base, tag, operation = "", "service", "dataset"
    title = _("Tiles")
    if collection is not None:
        base, tag, operation = (
            f"/collections/{collection.id}", collection.id, f"{collection.id}.collection",
        )  # fmt: skip
        title = f"{collection.title[language]}: {title}"
    matrix_set = {
        "name": "tileMatrixSetId",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": [*tile_matrix_sets.matrix_sets(storage)]},
    }
    numbers = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": "0"}
        for name in ("tileMatrix", "tileRow", "tileCol")
    ]
    tile = _get(f"{operation}.vector.getTile", title, None, tag=tag, has_404=True)
    tile["get"]["parameters"] = [matrix_set, *numbers]
    tile["get"]["responses"]["200"]["content"] = {MVT: _BINARY}
    tile["get"]["responses"]["204"] = {"description": _("The tile is empty.")}
    tileset = _get(
        f"{operation}.vector.getTileSet", title, None, tag=tag, has_404=True,
        parameters=[matrix_set],
    )  # fmt: skip
    tileset["get"]["responses"]["200"]["content"][TILEJSON] = {"schema": {"type": "object"}}
    paths = {
        f"{base}/tiles": _get(f"{operation}.vector.getTileSetsList", title, None, tag=tag),
        f"{base}/tiles/{{tileMatrixSetId}}": tileset,
        f"{base}/tiles/{{tileMatrixSetId}}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}": tile,
    }
    if collection is None:
        title = _("Tile matrix sets")
        paths["/tileMatrixSets"] = _get("getTileMatrixSetsList", title, None)
        paths["/tileMatrixSets/{tileMatrixSetId}"] = _get(
            "getTileMatrixSet", title, None, has_404=True, parameters=[matrix_set]
        )
    return paths


def _get(
    operation: str,
    summary: str,
    schema: str | None,
    *,
    media_type: str = JSON,
    tag: str = "service",
    has_404: bool = False,
    parameters: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    body = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    errors = {
        status: {"$ref": f"#/components/responses/{name}"}
        for status, name in _ERRORS.items()
        if status != "404" or has_404
    }
    content = {media_type: {"schema": body}, HTML: {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": [tag],
            "parameters": [_reference("f"), _reference("lang"), *parameters],
            "responses": {
                "200": {"description": summary, "content": content},
                "304": {"$ref": "#/components/responses/NotModified"},
                **errors,
            },
        }
    }


def _reference(parameter: str) -> dict[str, Any]:
    return {"$ref": f"#/components/parameters/{parameter}"}


def _sortby(collection: Collection, _: Translator) -> list[dict[str, Any]]:
    text = _("The order: properties, each with - for descending. Null is the greatest.")
    choices = [sign + name for name in collection.sortables for sign in ("", "-")]
    return [components.list_parameter("sortby", text, choices)] if choices else []
