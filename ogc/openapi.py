"""The API definition: OpenAPI 3.0, made from the collections, with every reference inside it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from landdata.features import changes, cql2, crs, parameters, tile_matrix_sets
from landdata.features import query as queries
from landdata.features.collections import Collection
from landdata.features.exports import formats
from landdata.features.media_types import MVT, TILEJSON

_ERRORS = {
    "400": "BadRequest",
    "404": "NotFound",
    "406": "NotAcceptable",
    "414": "TooLong",
    "503": "Unavailable",
}


def document(
    offer: dict[str, Collection], *, storage: int, url: str, language: str
) -> dict[str, Any]:
    """Return the definition of the service whose landing page is at `url`."""
    vi = language == "vi"
    paths: dict[str, Any] = {
        "/": _get("landing", "Trang đầu" if vi else "Landing page", "LandingPage"),
        "/conformance": _get("conformance", "Tuân thủ" if vi else "Conformance", "Conformance"),
        "/openapi": _get(
            "openapi",
            "Định nghĩa API" if vi else "API definition",
            None,
            media="application/vnd.oai.openapi+json;version=3.0",
        ),
        "/collections": _get("collections", "Bộ dữ liệu" if vi else "Collections", "Collections"),
    }
    for each in offer.values():
        paths |= _paths(each, vi=vi)
        paths |= _tile_paths(each, storage, vi=vi)
    paths |= _tile_paths(None, storage, vi=vi)
    paths["/collections/parcels/changes"] = _changes(vi=vi)
    paths |= _export_jobs(vi=vi)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Dữ liệu đất đai" if vi else "Land data",
            "description": (
                "Thửa đất và đơn vị hành chính theo OGC API - Features."
                if vi
                else "Cadastral parcels and administrative units as OGC API - Features."
            ),
            "version": version("landdata"),
        },
        "servers": [{"url": url}],
        "tags": [
            {"name": "service"},
            *(
                {"name": each.id, "description": each.description[language]}
                for each in offer.values()
            ),
        ],
        "paths": paths,
        "components": {
            "parameters": _parameters(storage, vi=vi),
            "responses": {
                name: {
                    "description": text,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Exception"}}
                    },
                }
                for name, text in (
                    (
                        "BadRequest",
                        "Tham số không có, hoặc giá trị không hợp lệ."
                        if vi
                        else "A parameter is unknown or its value makes no sense.",
                    ),
                    (
                        "NotFound",
                        "Không có bộ dữ liệu hoặc đối tượng này."
                        if vi
                        else "There is no such collection or feature.",
                    ),
                    (
                        "NotAcceptable",
                        "Không có câu trả lời ở các kiểu nội dung được yêu cầu."
                        if vi
                        else "There is no answer in the media types asked for.",
                    ),
                    (
                        "Unavailable",
                        "Cơ sở dữ liệu không sẵn sàng, hoặc câu hỏi mất quá nhiều thời gian."
                        if vi
                        else "The database is not there, or too slow for this question.",
                    ),
                )
            }
            | {
                "NotModified": {
                    "description": "Không thay đổi so với bản mà máy khách đang có"
                    " (If-None-Match, If-Modified-Since)."
                    if vi
                    else "It is as the client has it (If-None-Match, If-Modified-Since)."
                },
                # refused by the server before anything here sees it
                "TooLong": {
                    "description": "Địa chỉ dài hơn 65.534 byte."
                    if vi
                    else "The address has more than 65,534 bytes."
                },
            },
            "schemas": _schemas(offer.values(), language),
        },
    }


def _paths(of: Collection, *, vi: bool) -> dict[str, Any]:
    language = "vi" if vi else "en"
    title = of.title[language]
    base = f"/collections/{of.id}"
    feature, many = _model(of), _model(of) + "Collection"
    own = ("f", "lang", "sortby", "properties")
    filters = [
        {
            "name": known.name,
            "in": "query",
            "required": False,
            "description": known.vi if vi else known.en,
            "schema": known.parameter(language),
            "style": "form",
            "explode": False,
        }
        for known in of.queryables.values()
    ]
    key: dict[str, Any] = {"type": "integer" if of.key_kind == "integer" else "string"}
    if of.key_kind == "uuid":
        key["format"] = "uuid"
    media = "application/geo+json"
    return {
        base: _get(f"{of.id}.collection", title, "Collection", tag=of.id, missing=True),
        f"{base}/queryables": _get(
            f"{of.id}.queryables",
            f"{title}: queryables",
            "Schema",
            tag=of.id,
            media="application/schema+json",
        ),
        f"{base}/sortables": _get(
            f"{of.id}.sortables",
            f"{title}: sortables",
            "Schema",
            tag=of.id,
            media="application/schema+json",
        ),
        f"{base}/schema": _get(
            f"{of.id}.schema",
            f"{title}: schema",
            "Schema",
            tag=of.id,
            media="application/schema+json",
        ),
        f"{base}/items": _get(
            f"{of.id}.items",
            title,
            many,
            tag=of.id,
            media=media,
            parameters=[
                *(_reference(name) for name in parameters.PARAMETERS if name not in own),
                *_sortby(of, vi=vi),
                _properties(of, vi=vi),
                *filters,
            ],
        ),
        f"{base}/export": _export(of, language, filters),
        f"{base}/items/{{featureId}}": _get(
            f"{of.id}.item",
            of.item[language],
            feature,
            tag=of.id,
            media=media,
            missing=True,
            parameters=[
                {"name": "featureId", "in": "path", "required": True, "schema": key},
                _reference("crs"),
                _properties(of, vi=vi),
                _reference("skipGeometry"),
                {**_instant(vi=vi), "name": "datetime", "in": "query", "required": False},
            ],
        ),
    }


def _export(of: Collection, language: str, filters: list[dict[str, Any]]) -> dict[str, Any]:
    """The files of a collection."""
    vi = language == "vi"
    title = f"{of.title[language]}: {'tệp' if vi else 'file'}"
    asked = ("bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs")
    kinds = {"type": "string", "enum": [*formats.FORMATS]}
    form = {
        "name": "f",
        "in": "query",
        "required": True,
        "schema": kinds,
        "example": "geojson",
    }
    made = _get(
        f"{of.id}.export",
        title,
        None,
        tag=of.id,
        parameters=[*map(_reference, asked), *filters],
    )
    made["get"]["description"] = (
        "Với tiêu đề `Prefer: respond-async`, tệp được tạo dần: câu trả lời là 202, và"
        " `Location` cho biết đã tạo đến đâu."
        if vi
        else "With the header `Prefer: respond-async` the file is made as a job: the answer is 202,"
        " and its `Location` tells how far it is."
    )
    made["get"]["responses"]["202"] = {
        "description": "Tệp đang được tạo dần." if vi else "It is made as a job.",
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExportJob"}}},
    }
    made["get"]["parameters"][0] = form
    features = {"type": "array", "items": {"$ref": f"#/components/schemas/{_model(of)}"}}
    whole = {
        "type": "object",
        "required": ["type", "features"],
        "properties": {"features": features},
    }
    made["get"]["responses"]["200"]["content"] = {
        known.media.partition(";")[0]: {
            "schema": whole
            if name in ("geojson", "jsonfg")
            else {"type": "string", "format": "binary"}
        }
        for name, known in formats.FORMATS.items()
    }
    return made


def _export_jobs(*, vi: bool) -> dict[str, Any]:
    """The exports that are made as jobs."""
    title = "Tệp được tạo dần" if vi else "A file that is made as a job"
    number, file = (
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("jobID", "file")
    )
    told = _get("export.job", title, "ExportJob", missing=True)
    made = _get("export.file", title, None, missing=True)
    form = {"name": "f", "in": "query", "schema": {"type": "string", "enum": ["json"]}}
    told["get"]["parameters"] = [number, form, _reference("lang")]
    made["get"]["parameters"] = [number, file]
    del told["get"]["responses"]["200"]["content"]["text/html"]
    made["get"]["responses"]["200"]["content"] = {
        known.media.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
        for known in formats.FORMATS.values()
    }
    return {"/exports/{jobID}": told, "/exports/{jobID}/{file}": made}


def _changes(*, vi: bool) -> dict[str, Any]:
    """The feed of changes."""
    numbers = {
        "limit": (
            "Nhiều nhất bấy nhiêu thay đổi; quá mức tối đa thì lấy mức tối đa."
            if vi
            else "At most so many changes; more than the maximum gives the maximum.",
            1,
            changes.MAX_LIMIT,
            changes.DEFAULT_LIMIT,
        ),
        "wait": (
            "Chờ bấy nhiêu giây cho đến thay đổi đầu tiên."
            if vi
            else "Wait so many seconds for the first change.",
            0,
            changes.MAX_WAIT,
            0,
        ),
    }
    form = {"name": "f", "in": "query", "schema": {"type": "string", "enum": ["json"]}}
    made = _get(
        "parcels.changes",
        "Thay đổi của thửa đất" if vi else "Changes of parcels",
        "Changes",
        tag="parcels",
        parameters=[
            {
                "name": "since",
                "in": "query",
                "required": False,
                "description": "`token` của câu trả lời trước, hoặc `now`; không có thì từ đầu."
                if vi
                else "The `token` of an earlier answer, or `now`; else from the first.",
                "schema": {"type": "string"},
            },
            *(
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": text,
                    "schema": {
                        "type": "integer",
                        "minimum": least,
                        "maximum": most,
                        "default": default,
                    },
                }
                for name, (text, least, most, default) in numbers.items()
            ),
            _reference("crs"),
        ],
    )
    made["get"]["parameters"][0] = form
    del made["get"]["responses"]["200"]["content"]["text/html"]
    return made


def _tile_paths(of: Collection | None, storage: int, *, vi: bool) -> dict[str, Any]:
    """The tilesets of a collection; without one those of the service, and how tiles are cut."""
    base, tag, kind = "", "service", "dataset"
    title = "Bản đồ dạng ô" if vi else "Tiles"
    if of is not None:
        base, tag, kind = f"/collections/{of.id}", of.id, f"{of.id}.collection"
        title = f"{of.title['vi' if vi else 'en']}: {title}"
    tiling = {
        "name": "tileMatrixSetId",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": [*tile_matrix_sets.matrix_sets(storage)]},
    }
    numbers = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": "0"}
        for name in ("tileMatrix", "tileRow", "tileCol")
    ]
    one = _get(
        f"{kind}.vector.getTile", title, None, tag=tag, missing=True, parameters=[tiling, *numbers]
    )
    one["get"]["parameters"] = [tiling, *numbers]
    one["get"]["responses"]["200"]["content"] = {
        MVT: {"schema": {"type": "string", "format": "binary"}}
    }
    one["get"]["responses"]["204"] = {
        "description": "Ở đó không có gì để vẽ." if vi else "Nothing is drawn there."
    }
    made = {
        f"{base}/tiles": _get(f"{kind}.vector.getTileSetsList", title, None, tag=tag),
        f"{base}/tiles/{{tileMatrixSetId}}": _get(
            f"{kind}.vector.getTileSet", title, None, tag=tag, missing=True, parameters=[tiling]
        ),
        f"{base}/tiles/{{tileMatrixSetId}}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}": one,
    }
    made[f"{base}/tiles/{{tileMatrixSetId}}"]["get"]["responses"]["200"]["content"][TILEJSON] = {
        "schema": {"type": "object"}
    }
    if of is None:
        sets = "Cách chia ô" if vi else "Tile matrix sets"
        made["/tileMatrixSets"] = _get("getTileMatrixSetsList", sets, None)
        made["/tileMatrixSets/{tileMatrixSetId}"] = _get(
            "getTileMatrixSet", sets, None, missing=True, parameters=[tiling]
        )
    return made


def _get(
    operation: str,
    summary: str,
    schema: str | None,
    *,
    media: str = "application/json",
    tag: str = "service",
    missing: bool = False,
    parameters: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    body = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    errors = {
        status: {"$ref": f"#/components/responses/{name}"}
        for status, name in _ERRORS.items()
        if status != "404" or missing
    }
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": [tag],
            "parameters": [_reference("f"), _reference("lang"), *parameters],
            "responses": {
                "200": {
                    "description": summary,
                    "content": {
                        media: {"schema": body},
                        "text/html": {"schema": {"type": "string"}},
                    },
                },
                "304": {"$ref": "#/components/responses/NotModified"},
                **errors,
            },
        }
    }


def _reference(parameter: str) -> dict[str, Any]:
    return {"$ref": f"#/components/parameters/{parameter}"}


def _list(name: str, description: str, choices: list[str]) -> dict[str, Any]:
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


def _sortby(of: Collection, *, vi: bool) -> list[dict[str, Any]]:
    text = (
        "Thứ tự: các thuộc tính, có dấu - là giảm dần. Giá trị null là lớn nhất."
        if vi
        else "The order: properties, each with - for descending. Null is the greatest."
    )
    choices = [sign + name for name in of.sortables for sign in ("", "-")]
    return [_list("sortby", text, choices)] if choices else []


def _properties(of: Collection, *, vi: bool) -> dict[str, Any]:
    names = [each.name for each in of.properties]
    text = (
        "Các thuộc tính trong câu trả lời; không nêu thì là tất cả."
        if vi
        else "The properties in the answer; all unless told."
    )
    return _list("properties", text, names)


def _instant(*, vi: bool) -> dict[str, Any]:
    return {
        "description": "Một thời điểm (RFC 3339) hoặc một ngày (thời điểm cuối ngày ở Việt Nam)."
        if vi
        else "A time (RFC 3339) or a date (its last moment in Vietnam).",
        "schema": {"type": "string"},
        "style": "form",
        "explode": False,
    }


def _parameters(storage: int, *, vi: bool) -> dict[str, Any]:
    uris = list(crs.supported(storage))
    offered = {"type": "string", "format": "uri", "enum": uris, "default": uris[0]}
    made: dict[str, dict[str, Any]] = {
        "f": {
            "description": "Dạng của câu trả lời; không nêu thì theo tiêu đề Accept."
            if vi
            else "The form of the answer; else by the Accept header.",
            "schema": {"type": "string", "enum": ["json", "html"]},
        },
        "lang": {
            "description": "Ngôn ngữ của các tiêu đề; không nêu thì theo Accept-Language."
            if vi
            else "The language of titles; else by Accept-Language.",
            "schema": {"type": "string", "enum": ["vi", "en"]},
        },
        "bbox": {
            "description": (
                "Các đối tượng giao với khung này: giá trị nhỏ nhất và lớn nhất của hai trục, theo"
                " thứ tự trục của bbox-crs. Sáu số, với độ cao được bỏ qua, chỉ trong CRS84."
                " Đối tượng không có hình học thuộc mọi khung."
                if vi
                else "Features that intersect this box: minimum and maximum of both axes, in the"
                " axis order of bbox-crs. Six numbers, with heights that are ignored, in CRS84"
                " alone. What has no geometry is in every box."
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
            "description": "Hệ quy chiếu của bbox." if vi else "The reference system of bbox.",
            "schema": offered,
        },
        "crs": {
            "description": "Hệ quy chiếu của câu trả lời."
            if vi
            else "The reference system of the answer.",
            "schema": offered,
            "example": f"{crs.EPSG}{storage}",
        },
        "datetime": {
            **_instant(vi=vi),
            "example": "2025-07-01/2026-01-31T08:00:00Z",
            "description": (
                "Tại một thời điểm, hoặc mọi trạng thái trong một khoảng: thời điểm hoặc ngày theo"
                " RFC 3339, `đầu/cuối`, `..` là không giới hạn. Không nêu thì là hiện tại."
                if vi
                else "As of a time, or all states within an interval: RFC 3339 times or dates,"
                " `start/end`, `..` for an open end. Without it, the state of now."
            ),
        },
        "limit": {
            "description": "Nhiều nhất bấy nhiêu đối tượng; quá mức tối đa thì lấy mức tối đa."
            if vi
            else "At most so many features; more than the maximum gives the maximum.",
            "schema": {
                "type": "integer",
                "minimum": 1,
                "maximum": queries.MAX_LIMIT,
                "default": queries.DEFAULT_LIMIT,
            },
        },
        "offset": {
            "description": "Bỏ qua các đối tượng đầu. Các liên kết dùng cursor, nhanh hơn."
            if vi
            else "Leave out the first features. Links use cursor, which is faster.",
            "schema": {"type": "integer", "minimum": 0, "default": 0},
        },
        "cursor": {
            "description": "Chỗ bắt đầu của trang: lấy nguyên từ liên kết next hoặc prev."
            if vi
            else "Where a page begins: opaque, from a next or prev link.",
            "schema": {"type": "string"},
        },
        "skipGeometry": {
            "description": "Bỏ hình thể của từng đối tượng (null)."
            if vi
            else "Whether the geometry of each feature is left out (null).",
            "schema": {"type": "boolean", "default": False},
        },
        "filter": {
            "description": "Điều kiện viết bằng CQL2 trên các thuộc tính hỏi được."
            if vi
            else "A condition in CQL2 on the collection's queryables.",
            "schema": {"type": "string"},
            "example": "S_INTERSECTS(geometry, BBOX(106.6, 11.5, 106.7, 11.6))",
        },
        "filter-lang": {
            "description": "Cách viết của filter." if vi else "The encoding of filter.",
            "schema": {
                "type": "string",
                "enum": [*cql2.LANGUAGES],
                "default": cql2.LANGUAGES[0],
            },
        },
        "filter-crs": {
            "description": "Hệ quy chiếu của hình thể trong filter."
            if vi
            else "The reference system of geometries in filter.",
            "schema": offered,
        },
        "count": {
            "description": "Có cần numberMatched dù phải đếm (exact), hay chỉ ước lượng"
            " numberEstimated (estimate). Không phải đếm thì numberMatched luôn có."
            if vi
            else "Whether numberMatched is wanted where it must be counted (exact), or just"
            " numberEstimated (estimate). Where nothing must be counted it is always there.",
            "schema": {"type": "string", "enum": [*parameters.COUNTS], "default": "none"},
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
        for name, values in made.items()
    }


def _model(of: Collection) -> str:
    ours = of.id in ("parcels", "communes", "sheets")
    return of.id.removesuffix("s").capitalize() if ours else f"{of.id}.feature"


def _schemas(offer: Iterable[Collection], language: str) -> dict[str, Any]:
    text = {"type": "string"}
    links = {"type": "array", "items": {"$ref": "#/components/schemas/Link"}}
    made: dict[str, Any] = {
        "Exception": {
            "type": "object",
            "required": ["code", "description"],
            "properties": {
                "code": text,
                "description": text,
                "error": {
                    "type": "object",
                    "properties": {
                        "code": text,
                        "message": text,
                        "hint": {"type": "string", "nullable": True},
                    },
                },
            },
        },
        "Link": {
            "type": "object",
            "required": ["href", "rel"],
            "properties": {
                "href": text,
                "rel": text,
                "type": text,
                "title": text,
                "hreflang": text,
            },
        },
        "LandingPage": {
            "type": "object",
            "required": ["links"],
            "properties": {"title": text, "description": text, "links": links},
        },
        "Conformance": {
            "type": "object",
            "required": ["conformsTo"],
            "properties": {"conformsTo": {"type": "array", "items": text}},
        },
        "Collection": {
            "type": "object",
            "required": ["id", "links"],
            "properties": {
                "id": text,
                "title": text,
                "description": text,
                "itemType": text,
                "storageCrs": text,
                "crs": {"type": "array", "items": text},
                "keywords": {"type": "array", "items": text},
                "extent": {"type": "object"},
                "links": links,
            },
        },
        "Collections": {
            "type": "object",
            "required": ["links", "collections"],
            "properties": {
                "links": links,
                "collections": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Collection"},
                },
            },
        },
        "Schema": {
            "type": "object",
            "required": ["type", "properties"],
            "properties": {"type": text, "title": text, "properties": {"type": "object"}},
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
                            "published": {"type": "string", "format": "date-time"},
                            "feature": {"$ref": "#/components/schemas/Parcel"},
                        },
                    },
                },
                "numberReturned": {"type": "integer", "minimum": 0},
                "token": text,
                "timeStamp": {"type": "string", "format": "date-time"},
                "links": links,
            },
        },
        "ExportJob": {
            "type": "object",
            "required": ["jobID", "status", "progress", "links"],
            "properties": {
                "jobID": text,
                "status": {
                    "type": "string",
                    "enum": ["accepted", "running", "successful", "failed"],
                },
                "progress": {"type": "integer", "minimum": 0, "maximum": 100},
                "numberMatched": {"type": "integer", "nullable": True},
                "numberWritten": {"type": "integer", "minimum": 0},
                "secondsLeft": {"type": "number", "nullable": True},
                "message": {"type": "string", "nullable": True},
                **{
                    name: {"type": "string", "format": "date-time", "nullable": True}
                    for name in ("created", "finished", "expires")
                },
                "collection": text,
                "format": text,
                "size": {"type": "integer", "nullable": True},
                "links": links,
            },
        },
        "Geometry": {
            "type": "object",
            "nullable": True,
            "required": ["type"],
            "properties": {"type": text},
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
    for of in offer:
        name = _model(of)
        identifier = {"type": "integer" if of.key_kind == "integer" else "string"}
        shape = "MultiPolygon" if of.geometry.endswith("Polygon") else "Geometry"
        made[name] = {
            "type": "object",
            "required": ["type", "id", "geometry", "properties"],
            "properties": {
                "type": {"type": "string", "enum": ["Feature"]},
                "id": identifier,
                "geometry": {"$ref": f"#/components/schemas/{shape}"},
                "properties": {
                    "type": "object",
                    "properties": {
                        each.name: each.schema(language)
                        | ({"nullable": True} if each.nullable else {})
                        for each in of.properties
                    },
                },
                "links": links,
            },
        }
        made[f"{name}Collection"] = {
            "type": "object",
            "required": ["type", "features", "numberReturned", "links", "timeStamp"],
            "properties": {
                "type": {"type": "string", "enum": ["FeatureCollection"]},
                "features": {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/{name}"},
                },
                "numberReturned": {"type": "integer", "minimum": 0},
                "numberMatched": {"type": "integer", "minimum": 0},
                "numberEstimated": {"type": "integer", "minimum": 0},
                "timeStamp": {"type": "string", "format": "date-time"},
                "links": links,
            },
        }
    return made
