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
from landdata.translations import localize, translator
from ogc.negotiation import Request
from ogc.responses import Response, cacheable, localize_titles
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
    localize_titles(context["document"], language)
    text = await run_in_threadpool(
        _render, template, request, language, service.settings.srid, context
    )
    headers = [("Content-Crs", f"<{crs.uri}>")] if crs is not None else []
    media = f"{HTML}; charset=utf-8"
    return cacheable(request, [text.encode()], media, language=language, headers=headers)


def _render(
    template: str, request: Request, language: str, storage: int, context: dict[str, Any]
) -> str:
    return _templates.get_template(f"ogc/{template}").render(
        _=translator(language),
        language=language,
        languages=collections.LANGUAGES,
        base=request.base,
        json_here=request.url_with(f="json"),
        map_here=request.url_with(f="json", crs=f"{systems.EPSG}3857"),
        map_assets=request.root + "/static/vendor",
        show=functools.partial(_show, language=language),
        number=functools.partial(localize, language=language),
        heading=_heading,
        crs_name=lambda uri: systems.supported(storage)[uri].name,
        other_language=request.url_with(lang="en" if language == "vi" else "vi"),
        **context,
    )


def _show(value: Any, described: Property, language: str) -> str:
    """Return a property as people write it: times of Vietnam, codes with areas, null as nothing."""
    if value is None:
        return ""
    if described.kind == "codes":
        return ", ".join(
            use["code"]
            + (
                f" {localize(float(use['area']), language)} m²"
                if use.get("area") is not None
                else ""
            )
            for use in value
        )
    if described.kind == "time":
        time = dt.datetime.fromisoformat(value).astimezone(VIETNAM)
        return f"{time:%d/%m/%Y %H:%M:%S}" if language == "vi" else f"{time:%Y-%m-%d %H:%M:%S}"
    if described.kind == "date":
        return localize(dt.date.fromisoformat(value), language)
    return localize(value, language)


def _heading(collection: Collection, feature: dict[str, Any], language: str) -> str:
    """Return the heading of a feature: how people refer to it."""
    properties = feature["properties"]
    if properties.get("number") and properties.get("sheet"):
        _ = translator(language)
        return _(
            "Parcel {number}, sheet {sheet}, commune {commune}",
            number=properties["number"],
            sheet=properties["sheet"],
            commune=properties.get("commune", ""),
        )
    item = collection.item[language].capitalize()
    return str(properties.get("name") or f"{item} {feature['id']}")
