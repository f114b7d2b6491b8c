"""The literals of a filter: text, dates, times and geometries, checked."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landdata.features import crs
from landdata.features.cql2.parsing import bad_filter
from landdata.translations import sentence

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?\d*(Z|[+-]\d{2}:\d{2})", re.ASCII
)


def shown(node: Any) -> str:
    """Return the beginning of a node for an error message."""
    return repr(json.dumps(node, ensure_ascii=False)[:100])


def text(value: str) -> str:
    """Return a text that the database can store; JSON can hold others. Raises `BadRequest`."""
    if "\0" in value:
        raise bad_filter(sentence("it holds a null character"))
    if not value.isprintable() and re.search("[\ud800-\udfff]", value):
        raise bad_filter(sentence("it holds half of a surrogate pair, which is no character"))
    return value


def date(value: Any) -> dt.date:
    """Read a date (RFC 3339). Raises `BadRequest`."""
    try:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise ValueError(value)
        return dt.date.fromisoformat(value)
    except ValueError:
        raise bad_filter(
            sentence("{value!r} is not a date (2026-01-31)", value=str(value)[:100])
        ) from None


def time(value: Any) -> dt.datetime:
    """Read a time with its offset (RFC 3339). Raises `BadRequest`."""
    try:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ValueError(value)
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise bad_filter(
            sentence(
                "{value!r} is not a time with its offset (2026-01-31T01:00:00Z)",
                value=str(value)[:100],
            )
        ) from None


def geometry(node: dict[str, Any], filter_crs: crs.Crs, storage: int) -> BaseGeometry:
    """Return a geometry in `filter_crs` (its axis order) in the storage CRS. Raises `BadRequest`.

    Its edges are straight in `filter_crs`; in the store they follow that, as those of a box do.
    """
    if "bbox" in node:
        numbers = node["bbox"]
        if not isinstance(numbers, list) or not all(type(n) in (int, float) for n in numbers):
            raise bad_filter(sentence("a BBOX is four numbers"))
        return crs.bbox_polygon(",".join(map(repr, numbers)), filter_crs, storage, "filter")
    try:
        shape = shapely.force_2d(shapely.from_geojson(json.dumps(node)))
    except (shapely.errors.ShapelyError, ValueError, TypeError):
        raise bad_filter(sentence("{node} is not a GeoJSON geometry", node=shown(node))) from None
    if shape is None or shape.is_empty or not np.isfinite(shapely.get_coordinates(shape)).all():
        raise bad_filter(sentence("a geometry in it is empty"))
    limits = (90.0, 180.0) if filter_crs.north_first else (180.0, 90.0)
    if filter_crs.geographic and (np.abs(shapely.get_coordinates(shape)) > limits).any():
        raise bad_filter(
            sentence(
                "a geometry in it is not on the globe: in the axis order of filter-crs"
                " (CRS84: longitude first) longitudes are from -180 to 180, latitudes"
                " from -90 to 90"
            )
        )
    reason = shapely.is_valid_reason(shape).partition("[")[0].lower()
    if reason != "valid geometry":
        raise bad_filter(sentence("a geometry in it is not valid: {reason}", reason=reason))
    parts = shapely.get_parts(shape)
    if shape.geom_type == "GeometryCollection" and len({p.geom_type for p in parts}) == 1:
        shape = shapely.union_all(parts)
    return crs.to_storage(shape, filter_crs, storage)
