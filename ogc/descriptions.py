"""The landing page and the collections, as pygeoapi tells them and as we want them told.

All that knows pygeoapi is here. It is asked anew for each address by which a client may know us,
with a configuration made of our collections; links to what we do not serve go, and ours are added.
It reads the fields of a collection, and never a row: those are served by `ogc.items`, which its
own handlers would only slow down.
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

Extents = Mapping[str, Mapping[str, Any]]


class Shell:
    """Tells of the service and its collections."""

    def __init__(self, settings: Settings, offer: Mapping[str, Collection]) -> None:
        self._settings = settings
        nowhere = dict.fromkeys(offer, WORLD)
        known = self._configuration(offer, nowhere, "http://localhost", "en")
        with _root_logger_kept():
            self._api = api.API(known, {})

    def landing(self, offer: Mapping[str, Collection], base: str, language: str) -> dict[str, Any]:
        """Return the landing page, whose address is `base`; it tells no extents."""
        nowhere = dict.fromkeys(offer, WORLD)
        told = self._told(api.landing_page, offer, nowhere, base, language)
        told["links"] += tile_matrix_sets.links(base, None)
        return told

    def collections(
        self, offer: Mapping[str, Collection], extents: Extents, base: str, language: str
    ) -> dict[str, Any]:
        """Return the description of all collections."""
        told = self._told(api.describe_collections, offer, extents, base, language)
        for each in told["collections"]:
            each["links"] = _ours(each["links"]) + _added(base, each["id"], language)
        return told

    def collection(
        self, of: Collection, extent: Mapping[str, Any], base: str, language: str
    ) -> dict[str, Any]:
        """Return the description of one collection."""
        only = {of.id: of}
        told = self._told(api.describe_collections, only, {of.id: extent}, base, language, of.id)
        told["links"] += _added(base, of.id, language)
        return told

    def _told(
        self,
        about: Callable[..., tuple[Any, Any, str]],
        offer: Mapping[str, Collection],
        extents: Extents,
        base: str,
        language: str,
        *arguments: str,
    ) -> dict[str, Any]:
        asked = copy.copy(self._api)
        asked.base_url = base
        asked.config = self._configuration(offer, extents, base, language)
        asking = api.APIRequest(_Plain(language), [*LANGUAGES])
        _, status, content = about(asked, asking, *arguments)
        if int(status) != 200:
            raise LandDataError(f"The description failed with status {int(status)}.")
        told: dict[str, Any] = json.loads(content)
        told["links"] = _ours(told["links"])
        return told

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
                "languages": sorted(LANGUAGES, key=lambda each: each != settings.language),
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
                each.id: {
                    "type": "collection",
                    "title": each.title,
                    "description": each.description,
                    "keywords": each.keywords,
                    "links": [],
                    "extents": extents[each.id],
                    "providers": [
                        {
                            "type": "feature",
                            "name": f"{__name__}.{Fields.__name__}",
                            "data": each.id,
                            "id_field": "id" if each.key_kind == "uuid" else each.key,
                            "collection": each,
                            "language": language,
                            "crs": list(crs.supported(settings.srid)),
                            "storage_crs": f"{crs.EPSG}{settings.srid}",
                        }
                    ],
                }
                for each in offer.values()
            },
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
        return {each.name: each.schema(self.language) for each in self.collection.properties}

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        """The same, made anew each time: pygeoapi writes into what it gets."""
        return self.get_fields()

    def query(self, **_: Any) -> NoReturn:
        """Refuse: `ogc.items` reads rows."""
        raise ProviderQueryError("Rows are read at /ogc/collections/{id}/items.")

    def get(self, identifier: str, **_: Any) -> NoReturn:
        """Refuse: `ogc.items` reads rows."""
        raise ProviderQueryError("Rows are read at /ogc/collections/{id}/items.")


class _Plain:
    """A request as pygeoapi reads one: always for JSON, in one language."""

    path_info = ""

    def __init__(self, language: str) -> None:
        self.args = {"f": "json", "lang": language}
        self.headers: dict[str, str] = {}


def _ours(links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those links of pygeoapi's that lead to something that is served here."""
    ends = ("/processes", "/job-list", "/tiling-schemes")
    served = (JSON, GEOJSON, HTML, OPENAPI, SCHEMA)
    return [each for each in links
            if each.get("type") in served and not each["rel"].endswith(ends)]  # fmt: skip


def _added(base: str, name: str, language: str) -> list[dict[str, Any]]:
    """Return the links of a collection that pygeoapi knows nothing of."""
    here = f"{base}/collections/{name}"
    made = [*tile_matrix_sets.links(base, name), *formats.links(here)]
    if name == "parcels":
        title = "Thay đổi" if language == "vi" else "Changes"
        link = {"type": JSON, "rel": "version-history", "title": title, "href": f"{here}/changes"}
        made.append(link)
    return made + [
        {
            "type": media,
            "rel": "http://www.opengis.net/def/rel/ogc/1.0/sortables",
            "title": "Sắp xếp được theo" if language == "vi" else "Sortables",
            "href": f"{here}/sortables?f={form}",
        }
        for form, media in (("json", SCHEMA), ("html", HTML))
    ]


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
