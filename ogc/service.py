"""What the endpoints share: settings, connections, collections and caches."""

from __future__ import annotations

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from landdata.errors import BadRequest, NotFound
from landdata.features import collections, parameters
from landdata.features.collections import Collection
from landdata.features.custom_collections import CustomCollections
from landdata.features.extents import Extents
from landdata.features.tiles import Tiles
from landdata.jobs import exports
from landdata.settings import Settings
from landdata.store.read_pool import ReadPool
from ogc.descriptions import Descriptions
from ogc.negotiation import Request

SERVICE_PARAMETERS = ("f", "lang")


class Service:
    """The state of the OGC API, for one event loop."""

    def __init__(self, settings: Settings, url: sa.URL, *, strict: bool) -> None:
        """Read the file of more collections; raises `BadRequest` for it where `strict`."""
        self.settings = settings
        self.url = url
        self._own = collections.collections(settings)
        own = frozenset(self._own)
        self._custom = CustomCollections(settings.collections, settings.srid, own, url)
        self._custom.collections(strict=strict)
        self.pool = ReadPool(url)
        self.tiles = Tiles(self.pool, settings.srid, cache_mb=settings.tile_cache_mb)
        # a pool of their own: a table that is slow to read keeps no page waiting
        self._extents_pool = ReadPool(url)
        self.extents = Extents(self._extents_pool, settings.srid, own)
        self.descriptions = Descriptions(settings, self._own)
        self.export_jobs = exports.Jobs(settings)

    async def collections(self) -> dict[str, Collection]:
        """Return the collections by id: ours, and those of the deployment's file as it stands."""
        if not self._custom.is_current:
            await run_in_threadpool(self._custom.collections)
        return {**self._own, **self._custom.known}

    async def collection(self, name: str) -> Collection:
        """Return a collection; one of ours without looking at the file. Raises `NotFound`."""
        if name in self._own:
            return self._own[name]
        offer = await self.collections()
        if name not in offer:
            raise NotFound(
                "There is no collection {name!r}.",
                hint="There are: {offer}.",
                name=name[:100],
                offer=", ".join(offer),
            )
        return offer[name]

    def negotiate(self, request: Request, forms: tuple[str, ...]) -> tuple[str, str]:
        """Return media type and language of a response; there may be no other parameter."""
        parameters.unique_values(request.arguments, SERVICE_PARAMETERS)
        return request.media_type(forms), self.language(request)

    def language(self, request: Request) -> str:
        """Return the language of a response: requested, or the deployment's."""
        return request.language(self.settings.language)

    def error_language(self, request: Request) -> str:
        """Return the language of an error: as of a response, but an unusable one is ignored."""
        try:
            return self.language(request)
        except BadRequest:
            return self.settings.language

    def close(self) -> None:
        """Close the connections, and stop looking after exports."""
        self.pool.close()
        self._extents_pool.close()
        self.export_jobs.close()
