"""The OGC API in a browser: answers as HTML, by our own templates, which load nothing from afar."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

from flask import render_template, request

from landdata.features import collections, crs
from landdata.features.collections import Collection, Property
from landdata.reference.calendar import VIETNAM
from ogc.negotiation import Asked


def page(template: str, language: str, storage: int, **context: Any) -> bytes:
    """Return a page of the request that is being answered, from `ogc/<template>`.

    `storage`: the EPSG code of the store. What a template needs besides comes as `context`.
    """
    asked = Asked(request.environ)

    def translate(vi: str, en: str) -> str:
        return vi if language == "vi" else en

    text = render_template(
        f"ogc/{template}",
        t=translate,
        language=language,
        languages=collections.LANGUAGES,
        base=asked.base,
        json_here=asked.changed(f="json"),
        map_here=asked.changed(f="json", crs=f"{crs.EPSG}3857"),
        map_assets=asked.root + "/static/vendor",
        show=functools.partial(_show, language=language),
        named=_named,
        crs_name=lambda uri: crs.supported(storage)[uri].name,
        other_language=asked.changed(lang="en" if language == "vi" else "vi"),
        **context,
    )
    return text.encode()


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
