"""The landing page and the collections, described by pygeoapi.

pygeoapi gets a configuration made of our collections, anew for each address by which a client may
reach the service. Only descriptions come from it: it reads the fields of a collection, never a row.
Its list of conformance classes is not used, since it claims more than is served.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from pygeoapi import api
from pygeoapi.provider.base import BaseProvider, ProviderQueryError

from landdata.errors import LandDataError
from landdata.features import crs, tile_matrix_sets
from landdata.features.collections import LANGUAGES, Collection
from landdata.features.exports import formats
from landdata.features.extents import WORLD
from landdata.features.media_types import GEOJSON, HTML, JSON, OPENAPI, SCHEMA
from landdata.settings import Settings
from landdata.translations import sentence, translator

Extents = Mapping[str, Mapping[str, Any]]

#: pygeoapi links to these in any configuration, and they are not served here.
_NOT_SERVED = ("/processes", "/job-list", "/tiling-schemes")
_SERVED_TYPES = (JSON, GEOJSON, HTML, OPENAPI, SCHEMA)  # no JSON-LD
#: Titles of pygeoapi's links, for the catalogue; they are translated as they are sent.
TITLES = (
    sentence("This document as JSON"),
    sentence("This document as HTML"),
    sentence("The OpenAPI definition as JSON"),
    sentence("The OpenAPI definition as HTML"),
    sentence("The landing page of this server as JSON"),
    sentence("The landing page of this server as HTML"),
    sentence("Schema of collection in JSON"),
    sentence("Schema of collection in HTML"),
    sentence("Queryables for this collection as JSON"),
    sentence("Queryables for this collection as HTML"),
    sentence("Items as GeoJSON"),
    sentence("Items as HTML"),
)
_SORTABLES = "http://www.opengis.net/def/rel/ogc/1.0/sortables"


class Descriptions:
    """Describes the service and its collections."""

    def __init__(self, settings: Settings, offer: Mapping[str, Collection]) -> None:
        self._settings = settings
        everywhere = dict.fromkeys(offer, WORLD)
        configuration = self._configuration(offer, everywhere, "http://localhost", "en")
        with _root_logger_kept():
            self._api = api.API(configuration, {})

    def landing(self, offer: Mapping[str, Collection], base: str, language: str) -> dict[str, Any]:
        """Return the landing page at `base`; it holds no extents."""
        everywhere = dict.fromkeys(offer, WORLD)
        document = self._describe(api.landing_page, offer, everywhere, base, language)
        document["links"] += tile_matrix_sets.links(base, None)
        return document

    def collections(
        self, offer: Mapping[str, Collection], extents: Extents, base: str, language: str
    ) -> dict[str, Any]:
        """Return the description of all collections."""
        return self._describe(api.describe_collections, offer, extents, base, language)

    def collection(
        self, collection: Collection, extent: Mapping[str, Any], base: str, language: str
    ) -> dict[str, Any]:
        """Return the description of one collection."""
        name = collection.id
        return self._describe(
            api.describe_collections, {name: collection}, {name: extent}, base, language, name
        )

    def _describe(
        self,
        endpoint: Callable[..., tuple[Any, Any, str]],
        offer: Mapping[str, Collection],
        extents: Extents,
        base: str,
        language: str,
        *arguments: str,
    ) -> dict[str, Any]:
        pygeoapi = copy.copy(self._api)
        pygeoapi.base_url = base
        pygeoapi.config = self._configuration(offer, extents, base, language)
        request = api.APIRequest(_JsonRequest(language), [*LANGUAGES])
        _, status, content = endpoint(pygeoapi, request, *arguments)
        if int(status) != 200:
            raise LandDataError("The description failed with status {status}.", status=int(status))
        document: dict[str, Any] = json.loads(content)
        described = [document] if "id" in document else document.get("collections", [])
        for collection in described:
            # configured, pygeoapi would request each file to learn its length
            collection["links"] += formats.links(f"{base}/collections/{collection['id']}")
        for part in (document, *described):
            part["links"] = [link for link in part["links"] if _is_served(link)]
        return document

    def _configuration(
        self, offer: Mapping[str, Collection], extents: Extents, url: str, language: str
    ) -> dict[str, Any]:
        """Return pygeoapi's configuration for a service whose landing page is at `url`.

        `extents` gives each collection its extent in pygeoapi's form (CRS84 degrees, UTC).
        """
        settings = self._settings
        return {
            "server": {
                "bind": {"host": settings.host, "port": settings.port},
                "url": url,
                "mimetype": "application/json; charset=UTF-8",
                "encoding": "utf-8",
                "languages": sorted(LANGUAGES, key=lambda name: name != settings.language),
                "limits": {"default_items": 10, "max_items": 10_000},
                "map": {"url": "", "attribution": ""},
            },
            "logging": {"level": "ERROR"},
            "metadata": {
                "identification": {
                    "title": {"vi": "Dữ liệu đất đai", "en": "Land data"},
                    "description": {
                        "vi": "Thửa đất địa chính và đơn vị hành chính, theo OGC API - Features.",
                        "en": "Cadastral parcels and administrative units, as OGC API - Features.",
                    },
                    "keywords": {"vi": ["địa chính", "thửa đất"], "en": ["cadastre", "parcel"]},
                    "keywords_type": "theme",
                    "terms_of_service": None,
                    "url": url,
                },
                "license": {"name": None, "url": None},
                "provider": {"name": "landdata", "url": url},
                "contact": {"name": "landdata", "url": url},
            },
            "resources": {
                name: self._resource(collection, extents[name], url, language)
                for name, collection in offer.items()
            },
        }

    def _resource(
        self, collection: Collection, extent: Mapping[str, Any], url: str, language: str
    ) -> dict[str, Any]:
        return {
            "type": "collection",
            "title": collection.title,
            "description": collection.description,
            "keywords": collection.keywords,
            "links": _links(url, collection.id, language),
            "extents": extent,
            "providers": [
                {
                    "type": "feature",
                    "name": f"{__name__}.{Fields.__name__}",
                    "data": collection.id,
                    "id_field": "id" if collection.key_kind == "uuid" else collection.key,
                    "collection": collection,
                    "language": language,
                    "crs": list(crs.supported(self._settings.srid)),
                    "storage_crs": f"{crs.EPSG}{self._settings.srid}",
                }
            ],
        }


class Fields(BaseProvider):  # type: ignore[misc]
    """The fields of a collection, in pygeoapi's form; reading rows a second way is refused."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.collection: Collection = provider_def["collection"]
        self.language: str = provider_def["language"]
        self.time_field = "valid_from"

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """Return the JSON Schema of each property, by name."""
        return {field.name: field.schema(self.language) for field in self.collection.properties}

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        """A copy for each use, since pygeoapi writes into it."""
        return self.get_fields()

    def query(self, **_: Any) -> NoReturn:
        """Refuse: `ogc.features` reads rows."""
        raise ProviderQueryError("Rows are read at /ogc/collections/{id}/items.")

    def get(self, identifier: str, **_: Any) -> NoReturn:
        """Refuse: `ogc.features` reads rows."""
        raise ProviderQueryError("Rows are read at /ogc/collections/{id}/items.")


class _JsonRequest:
    """A request for JSON in one language, with the attributes that pygeoapi reads."""

    path_info = ""

    def __init__(self, language: str) -> None:
        self.args = {"f": "json", "lang": language}
        self.headers: dict[str, str] = {}


def _is_served(link: Mapping[str, Any]) -> bool:
    if link["rel"] == "enclosure":
        return True
    return link["type"] in _SERVED_TYPES and not link["rel"].endswith(_NOT_SERVED)


def _links(base: str, name: str, language: str) -> list[dict[str, Any]]:
    """Return the links of a collection to what pygeoapi does not know."""
    _ = translator(language)
    url = f"{base}/collections/{name}"
    links = tile_matrix_sets.links(base, name)
    if name == "parcels":
        title = _("Changes")
        links.append(
            {"type": JSON, "rel": "version-history", "title": title, "href": f"{url}/changes"}
        )
    title = _("Sortables")
    for form, media in (("json", SCHEMA), ("html", HTML)):
        href = f"{url}/sortables?f={form}"
        links.append({"type": media, "rel": _SORTABLES, "title": title, "href": href})
    return links


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Undo what pygeoapi does to the root logger: logging is the application's to set up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
