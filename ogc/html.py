"""The OGC API in a browser: HTML by our own templates, which load nothing from afar."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import jinja2
from starlette.concurrency import run_in_threadpool

from landdata.features import collections
from landdata.features import crs as systems
from landdata.features.collections import Collection, Property
from landdata.features.crs import Crs
from landdata.features.media_types import HTML
from landdata.reference.calendar import VIETNAM
from ogc.negotiation import Request
from ogc.responses import Response, cacheable
from ogc.service import Service

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("ogc"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def page(
    service: Service, request: Request, template: str, *, crs: Crs | None = None, **context: Any
) -> Response:
    """Return a page from `templates/ogc`, which gets `context`; `crs`: that of its coordinates."""
    language = service.language(request)
    text = await run_in_threadpool(
        _render, template, request, language, service.settings.srid, context
    )
    headers = [("Content-Crs", f"<{crs.uri}>")] if crs is not None else []
    media = f"{HTML}; charset=utf-8"
    return cacheable(request, [text.encode()], media, language=language, headers=headers)


def _render(
    template: str, request: Request, language: str, storage: int, context: dict[str, Any]
) -> str:
    def translate(vi: str, en: str) -> str:
        return vi if language == "vi" else en

    return _templates.get_template(f"ogc/{template}").render(
        t=translate,
        language=language,
        languages=collections.LANGUAGES,
        base=request.base,
        json_here=request.url_with(f="json"),
        map_here=request.url_with(f="json", crs=f"{systems.EPSG}3857"),
        map_assets=request.root + "/static/vendor",
        show=functools.partial(_show, language=language),
        named=_named,
        crs_name=lambda uri: systems.supported(storage)[uri].name,
        other_language=request.url_with(lang="en" if language == "vi" else "vi"),
        **context,
    )


def _show(value: Any, known: Property, language: str) -> str:
    """Write a property for people: times as in Vietnam, codes with their areas, null as nothing."""
    if value is None:
        return ""
    if known.kind == "codes":
        return ", ".join(
            each["code"] + (f" {each['area']:g} m²" if each.get("area") is not None else "")
            for each in value
        )
    if known.kind == "time":
        time = dt.datetime.fromisoformat(value).astimezone(VIETNAM)
        return f"{time:%d/%m/%Y %H:%M:%S}" if language == "vi" else f"{time:%Y-%m-%d %H:%M:%S}"
    if known.kind == "date" and language == "vi":
        return f"{dt.date.fromisoformat(value):%d/%m/%Y}"
    return str(value)


def _named(of: Collection, feature: dict[str, Any], language: str) -> str:
    """Return the heading of a feature: what people call it."""
    told = feature["properties"]
    if told.get("number") and told.get("sheet"):
        if language == "vi":
            return f"Thửa {told['number']}, tờ {told['sheet']}, xã {told.get('commune', '')}"
        return f"Parcel {told['number']}, sheet {told['sheet']}, commune {told.get('commune', '')}"
    return str(told.get("name") or f"{of.item[language].capitalize()} {feature['id']}")
