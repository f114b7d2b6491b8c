"""Vector tiles, tilesets and tile matrix sets."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from landdata.features import parameters, tile_matrix_sets
from landdata.features.collections import Collection
from landdata.features.media_types import HTML, JSON, MVT, TILEJSON
from ogc import html
from ogc.negotiation import Request
from ogc.responses import Response, json_response, validators
from ogc.service import SERVICE_PARAMETERS, Service


async def matrix_sets(service: Service, request: Request) -> Response:
    """All tile matrix sets."""
    form, language = service.negotiate(request, (JSON, HTML))
    document = tile_matrix_sets.matrix_set_list(request.base, service.settings.srid)
    if form == HTML:
        return await html.page(service, request, "tiles.html", document=document)
    return json_response(request, document, language=language)


async def matrix_set(service: Service, request: Request, tiling: str) -> Response:
    """The definition of one tile matrix set."""
    form, language = service.negotiate(request, (JSON, HTML))
    matrix = tile_matrix_sets.matrix_set(service.settings.srid, tiling)
    document = matrix.describe(request.base)
    if form == HTML:
        return await html.page(service, request, "tiles.html", document=document)
    return json_response(request, document, language=language)


async def tilesets(service: Service, request: Request, collection: str | None = None) -> Response:
    """The tilesets of a collection, or of the whole service."""
    of = await service.collection(collection) if collection else None
    form, language = service.negotiate(request, (JSON, HTML))
    offer = await service.collections()
    extents = await service.extents.of_all(_shown(offer, of))
    document = await run_in_threadpool(
        tile_matrix_sets.tilesets,
        request.base,
        offer,
        of.id if of else None,
        service.settings.srid,
        extents,
    )
    if form == HTML:
        return await html.page(service, request, "tiles.html", document=document)
    return json_response(request, document, language=language)


async def tileset(
    service: Service, request: Request, tiling: str, collection: str | None = None
) -> Response:
    """One tileset; as TileJSON too."""
    of = await service.collection(collection) if collection else None
    name, storage = of.id if of else None, service.settings.srid
    matrix = tile_matrix_sets.matrix_set(storage, tiling)
    is_web = matrix.id == tile_matrix_sets.WEB_MERCATOR
    form, language = service.negotiate(request, (JSON, HTML, TILEJSON) if is_web else (JSON, HTML))
    base, offer = request.base, await service.collections()
    extents = await service.extents.of_all(_shown(offer, of))
    if form == TILEJSON:
        document = tile_matrix_sets.tilejson(base, offer, name, matrix, extents, language)
    else:
        document = await run_in_threadpool(
            tile_matrix_sets.tileset, base, offer, name, matrix, storage, extents, language
        )
    if form == HTML:
        return await html.page(service, request, "tiles.html", document=document)
    return json_response(request, document, form, language=language)


async def tile(
    service: Service,
    request: Request,
    tiling: str,
    z: str,
    y: str,
    x: str,
    collection: str | None = None,
) -> Response:
    """One tile; 204 where nothing is drawn."""
    name = (await service.collection(collection)).id if collection else None
    parameters.unique_values(request.arguments, SERVICE_PARAMETERS)
    request.media_type((MVT,))
    service.language(request)
    matrix = tile_matrix_sets.matrix_set(service.settings.srid, tiling)
    place = matrix.place(z, y, x)
    offer = await service.collections()
    layers = tile_matrix_sets.layers(offer, name, matrix, place[0])
    packed = request.accepts_gzip
    wanted = service.tiles.request(layers, matrix, place, packed=packed)
    drawn = await service.tiles.tile(wanted)
    headers = validators(drawn.tag, drawn.stamp)
    if request.has_current(drawn.tag, drawn.stamp):
        return Response(304, headers)
    if not drawn.body:
        return Response(204, headers)
    if packed:
        headers.append(("Content-Encoding", "gzip"))
    headers += [("Content-Type", MVT), ("Content-Length", str(len(drawn.body)))]
    return Response(200, headers, drawn.body)


def _shown(offer: dict[str, Collection], of: Collection | None) -> list[Collection]:
    """The collections that a tileset may show: one of the deployment's is alone on its tiles."""
    own = [offer[name] for name in ("parcels", "sheets", "communes")]
    return own if of is None or of in own else [of]
