"""The changes of parcels."""

from __future__ import annotations

from landdata.errors import NotFound
from landdata.features import changes as features_changes
from landdata.features import crs, parameters
from landdata.features.media_types import JSON
from ogc.features import timestamp
from ogc.negotiation import Request
from ogc.responses import Response, cacheable, dump, link
from ogc.service import Service


async def changes(service: Service, request: Request, collection: str) -> Response:
    """What became official since a token."""
    of = await service.collection(collection)
    if of.id != "parcels":
        raise NotFound("The changes of {id} are not kept.", hint="Those of parcels are.", id=of.id)
    form = request.media_type((JSON,))
    storage = service.settings.srid
    values = parameters.unique_values(request.arguments, features_changes.PARAMETERS)
    language = service.language(request)
    page = await features_changes.read(service.pool, of, storage, values)
    links = [link(request.url, "self", form, language)]
    token = page.end.token()
    if page.more:
        links.append(link(request.url_with(since=token), "next", form, language))
    begin = f'{{"changes":[{",".join(page.changes)}],"numberReturned":{len(page.changes)}'
    uri = crs.parse(values.get("crs", crs.CRS84), storage, "crs").uri
    return cacheable(
        request,
        [f'{begin},"token":"{token}","links":{dump(links)}'.encode()],
        JSON,
        tail=f',"timeStamp":"{timestamp()}"}}'.encode(),
        language=language,
        headers=[("Content-Crs", f"<{uri}>")],
    )
