"""A checked request for features: collection, box, time, filter, order and page."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from landdata.errors import NotFound
from landdata.features import cql2, crs
from landdata.features.collections import Collection, Property
from landdata.features.crs import BBox
from landdata.translations import sentence

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000

Count = Literal["none", "exact", "estimate"]

_write = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """The times from `since` to `until`, both included; None is an open end."""

    since: dt.datetime | None
    until: dt.datetime | None

    @property
    def is_instant(self) -> bool:
        """Whether it is a single time, at which a feature has one version at most."""
        return self.since is not None and self.since == self.until


@dataclass(frozen=True, slots=True)
class Sort:
    """A property to sort by; null is greater than every value."""

    by: Property
    descending: bool

    @property
    def name(self) -> str:
        """Its spelling in `sortby`."""
        return f"{'-' if self.descending else ''}{self.by.name}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after (or before) the feature of this key.

    `order` names its version, where the query covers an interval. `by` holds the values that the
    feature is sorted by, as PostgreSQL writes them; `sort` is the `sortby` that they belong to.
    """

    direction: Literal["next", "prev"]
    key: str
    order: str | None = None
    sort: str = ""
    by: tuple[str | None, ...] = ()

    def token(self) -> str:
        """Return the cursor as the opaque text of a link."""
        parts: list[Any] = [self.direction[0], self.key, self.order]
        if self.sort:
            parts += [self.sort, self.by]
        return base64.urlsafe_b64encode(_write(parts).encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked request for features of a collection; no text of a client in it becomes SQL."""

    collection: Collection
    crs: crs.Crs
    storage: int  # EPSG code of the storage CRS
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    cursor: Cursor | None = None
    key: uuid.UUID | int | str | None = None  # of a request for one feature
    bbox: BBox | None = None
    time: TimeInterval | None = None  # current versions, where None
    filters: Mapping[str, Any] = field(default_factory=dict)
    filter: cql2.Condition | None = None
    sort: tuple[Sort, ...] = ()
    properties: tuple[Property, ...] | None = None  # all, where None
    geometry: bool = True
    count: Count = "none"

    @property
    def has_generic_plan(self) -> bool:
        """Whether one plan for all values keeps the page fast.

        Other queries are planned for their values and run apart from the fast ones: a plan made
        for any box is wrong for large ones; an order, an offset or a value without an index may
        read the whole table.
        """
        if self.sort or self.offset:
            return False
        if self.bbox is not None or self.filter is not None:
            return self.is_selective
        of = self.collection
        return (
            not self.filters
            or of.always_counted
            or not self.filters.keys().isdisjoint(of.selective_properties)
        )

    @property
    def is_selective(self) -> bool:
        """Whether its box or filter is so small that the spatial index is always best."""
        return any(part is not None and part.is_selective for part in (self.bbox, self.filter))

    @property
    def covers_interval(self) -> bool:
        """Whether several versions of a feature may match."""
        return self.time is not None and not self.time.is_instant

    @property
    def sorted_by(self) -> str:
        """The order, as `sortby` spells it."""
        return ",".join(step.name for step in self.sort)


def not_found(collection: Collection, key: str, when: TimeInterval | None) -> NotFound:
    """Return the error for a feature that does not exist at a time."""
    as_of = sentence("now")
    if when and when.since:
        as_of = sentence("as of {time}", time=when.since.isoformat())
    return NotFound(
        "There is no feature {key!r} in {collection} {as_of}.",
        hint="Give `datetime` to ask as of another time.",
        collection=collection.id,
        key=key[:100],
        as_of=as_of,
    )
