"""Our tables as pygeoapi sees them: it reads the fields here, and never a row.

Rows are served by `ogc.items`, which pygeoapi's own handlers would only slow down; so reading
through this provider is refused rather than done a second way.
"""

from __future__ import annotations

from typing import Any, NoReturn

from pygeoapi.provider.base import BaseProvider, ProviderQueryError

from ogc.config import Collection


class StoreProvider(BaseProvider):  # type: ignore[misc]
    """The fields of a collection, in pygeoapi's form."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.collection: Collection = provider_def["collection"]
        self.language: str = provider_def.get("language", "en")
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
