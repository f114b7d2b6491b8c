"""Pages of features, and single ones."""

from __future__ import annotations

import datetime as dt
import json
import time
from functools import lru_cache

from starlette.concurrency import run_in_threadpool

from landdata.features import pages, parameters
from landdata.features.collections import Collection
from landdata.features.media_types import GEOJSON, HTML, JSON
from landdata.features.pages import Page
from landdata.features.query import Query
from ogc import html
from ogc.negotiation import CACHED_LENGTH, FEATURE_FORMS, Request, parse_arguments
from ogc.responses import Response, alternate, cacheable, dump_links, link
from ogc.service import Service


async def items(service: Service, request: Request, collection: str) -> Response:
    """A page of features."""
    form = request.media_type(FEATURE_FORMS)
    of = await service.collection(collection)
    parse = _parse if len(request.query) > CACHED_LENGTH else _parse_cached
    query = parse(of, request.query, service.settings.srid)
    language = service.language(request)  # a wrong one is refused before the database is read
    page = await pages.page(service.pool, query)
    links = [link(request.url, "self", form, language), alternate(request, form, language)]
    links.append(link(f"{request.base}/collections/{of.id}", "collection", JSON, language))
    for rel, cursor in (("next", page.next), ("prev", page.prev)):
        if cursor is not None:
            href = request.url_with(offset=None, cursor=cursor.token())
            links.append(link(href, rel, form, language))
    if form == HTML:
        features = await run_in_threadpool(lambda: [json.loads(text) for text in page.features])
        document = {"features": features, "links": links, "numberMatched": page.matched}
        shown = of.properties if query.properties is None else query.properties
        context = {"document": document, "of": of, "query": query, "shown": shown}
        return await html.page(service, request, "items.html", crs=query.crs, **context)
    if len(page.features) > pages.SHORT_PAGE:  # to hash and pack megabytes would stop all others
        return await run_in_threadpool(_page, request, query, page, links, language)
    return _page(request, query, page, links, language)


def _page(
    request: Request, query: Query, page: Page, links: list[dict[str, str]], language: str
) -> Response:
    matched = "" if page.matched is None else f'"numberMatched":{page.matched},'
    if page.estimated is not None:
        matched = f'"numberEstimated":{page.estimated},'
    end = f'],"numberReturned":{len(page.features)},{matched}"links":[{dump_links(links)}]'
    return cacheable(
        request,
        [b'{"type":"FeatureCollection","features":[', b",".join(page.features), end.encode()],
        GEOJSON,
        tail=f',"timeStamp":"{timestamp()}"}}'.encode(),
        language=language,
        headers=[("Content-Crs", f"<{query.crs.uri}>")],
        stamp=page.stamp,
    )


async def item(service: Service, request: Request, collection: str, key: str) -> Response:
    """One feature."""
    form = request.media_type(FEATURE_FORMS)
    of = await service.collection(collection)
    query = parameters.read_item(of, request.arguments, service.settings.srid, key)
    language = service.language(request)  # a wrong one is refused before the database is read
    feature, stamp = await pages.item(service.pool, query)
    links = [link(request.url, "self", form, language), alternate(request, form, language)]
    links.append(link(f"{request.base}/collections/{of.id}", "collection", JSON, language))
    if form == HTML:
        document = {**json.loads(feature), "links": links}
        return await html.page(
            service, request, "item.html", crs=query.crs, document=document, of=of
        )
    return cacheable(
        request,
        [feature[:-1], f',"links":[{dump_links(links)}]}}'.encode()],
        GEOJSON,
        language=language,
        headers=[("Content-Crs", f"<{query.crs.uri}>")],
        stamp=stamp,
    )


def timestamp() -> str:
    """Return now, to the millisecond, as RFC 3339 has it."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(2)
def _second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}"


def _parse(of: Collection, text: str, storage: int) -> Query:
    return parameters.read_query(of, parse_arguments(text), storage)


#: Maps and pollers repeat their queries.
_parse_cached = lru_cache(1000)(_parse)
