"""A feature provider for anyone's own pygeoapi, which publishes a collection of landdata by it.

docs/api.md shows the configuration. Boxes, times, CQL2, order, selected properties and every CRS
that landdata offers are answered by the same SQL as landdata's own `/ogc`, so coordinates are
those of the pinned datum operation. pygeoapi numbers pages by offset: the cursor at the end of a
page is remembered, so a client that reads page after page pages by key.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from cachetools import TTLCache
from psycopg.pq.abc import PGresult
from psycopg_pool import ConnectionPool
from pygeoapi.provider.base import (
    BaseProvider,
    ProviderConnectionError,
    ProviderInvalidQueryError,
    ProviderItemNotFoundError,
    ProviderQueryError,
)
from pygeofilter import ast, values
from pygeofilter.backends.cql2_json.evaluate import CQL2Evaluator, json_serializer

from landdata.errors import BadRequest, LandDataError, NotFound
from landdata.features import collections, crs, pages, parameters
from landdata.features.collections import Collection
from landdata.settings import Settings
from landdata.store.errors import Phase, as_public_error
from landdata.store.read_connections import Statement

T = TypeVar("T")

_STATEMENT_SECONDS = 30
#: Where the page that follows a page begins: (what is queried, offset) to cursor.
_cursors: TTLCache[tuple[str, int], str] = TTLCache(maxsize=10_000, ttl=600)
_cursors_lock = Lock()


class LandDataProvider(BaseProvider):  # type: ignore[misc]
    """A collection of a landdata store.

    `data` is the PostgreSQL URL of a role that reads; `collection` names the collection, parcels
    unless given; `id_field` is its key. `storage_crs` must be the store's own.
    """

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self._database = _database(self.data)
        self._storage = _storage_srid(self.data)
        settings = Settings(database_url=self.data, srid=self._storage)
        name = provider_def.get("collection", "parcels")
        offered = collections.collections(settings)
        if name not in offered:
            raise ProviderConnectionError(
                f"There is no collection {name!r}; there are {', '.join(offered)}."
            )
        self._collection: Collection = offered[name]
        self.get_fields()

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """Return the JSON Schema of each property, by name."""
        language = self.language or "en"
        self._fields: dict[str, dict[str, Any]] = {
            field.name: field.schema(language) for field in self._collection.properties
        }
        return self._fields

    @property
    def language(self) -> str | None:
        """The language of titles, as the configuration names it."""
        named: str | None = self.options and self.options.get("language")
        return named

    def query(
        self,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        bbox: Sequence[float] = (),
        datetime_: str | None = None,
        properties: Sequence[tuple[str, str]] = (),
        sortby: Sequence[Mapping[str, str]] = (),
        select_properties: Sequence[str] = (),
        skip_geometry: bool = False,
        filterq: ast.Node | None = None,
        crs_transform_spec: Any = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Return a page as a GeoJSON FeatureCollection, with `numberMatched` where it is known.

        `bbox` and the geometries of `filterq` are in the storage CRS. Raises
        `ProviderInvalidQueryError` and `ProviderQueryError`.
        """
        storage = f"{crs.EPSG}{self._storage}"
        arguments = [*properties, ("crs", self._target(crs_transform_spec))]
        if bbox:
            corners = ",".join(map(str, _flat(bbox)))
            arguments += [("bbox", corners), ("bbox-crs", storage)]
        if datetime_:
            arguments.append(("datetime", datetime_))
        if sortby:
            order = ",".join(
                ("-" if step["order"] == "-" else "") + step["property"] for step in sortby
            )
            arguments.append(("sortby", order))
        if select_properties:
            arguments.append(("properties", ",".join(select_properties)))
        if skip_geometry:
            arguments.append(("skipGeometry", "true"))
        if filterq is not None:
            text = json.dumps(_Cql2Writer(None, None).evaluate(filterq), default=json_serializer)
            arguments += [("filter", text), ("filter-lang", "cql2-json"), ("filter-crs", storage)]
        if resulttype == "hits":
            hits = self._page([*arguments, ("limit", "1"), ("count", "exact")])
            return {"type": "FeatureCollection", "features": [], "numberMatched": hits.matched or 0}
        page = self._page([*arguments, ("limit", str(limit))], offset)
        collection: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": [json.loads(feature) for feature in page.features],
            "numberReturned": len(page.features),
        }
        if page.matched is not None:
            collection["numberMatched"] = page.matched
        return collection

    def get(self, identifier: str, crs_transform_spec: Any = None, **_: Any) -> dict[str, Any]:
        """Return one feature as GeoJSON. Raises `ProviderItemNotFoundError`."""
        arguments = [("crs", self._target(crs_transform_spec))]
        try:
            query = parameters.read_item(self._collection, arguments, self._storage, identifier)
            feature = self._run(lambda pool: pages.item(pool, query))[0]
        except NotFound as error:
            raise ProviderItemNotFoundError(error.message) from None
        return json.loads(feature)  # type: ignore[no-any-return]

    def _page(self, arguments: list[tuple[str, str]], offset: int = 0) -> pages.Page:
        """Read a page by the cursor of the page before it, or by its offset."""
        key = f"{self.data} {self._collection.id} {json.dumps(arguments)}"
        with _cursors_lock:
            cursor = _cursors.get((key, offset))
        start = ("cursor", cursor) if cursor else ("offset", str(offset))
        try:
            query = parameters.read_query(self._collection, [*arguments, start], self._storage)
        except BadRequest as error:
            raise ProviderInvalidQueryError(error.message, user_msg=error.message) from None
        page = self._run(lambda pool: pages.page(pool, query))
        if page.next is not None:
            with _cursors_lock:
                _cursors[key, offset + len(page.features)] = page.next.token()
        return page

    def _run(self, read: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        try:
            with self._database.connection() as connection:
                return _finished(read(_Blocking(connection)))
        except NotFound:
            raise
        except LandDataError as error:
            raise ProviderQueryError(error.message, user_msg=error.message) from None
        except psycopg.Error:
            raise ProviderConnectionError("The database does not answer.") from None

    def _target(self, spec: Any) -> str:
        """Return the URI of the CRS of the response; pygeoapi names none for the storage CRS."""
        return str(spec.target_crs_uri) if spec else f"{crs.EPSG}{self._storage}"


class _Blocking:
    """A connection as `landdata.features` reads by one, without an event loop."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    async def fetch(self, statement: Statement) -> PGresult:
        """Return the rows of a statement. Raises as `ReadPool.fetch`."""
        cursor = self._connection.cursor(binary=statement.binary)
        try:
            cursor.execute(statement.sql, statement.parameters)
        except psycopg.Error as error:
            raise as_public_error(error, Phase.READ) from None
        assert cursor.pgresult is not None
        return cursor.pgresult


class _Cql2Writer(CQL2Evaluator):  # type: ignore[misc]
    """pygeofilter's tree as CQL2 JSON, where its own writer leaves the standard or writes less."""

    def negation(self, _: ast.Not, condition: Any) -> Any:
        """`NOT`."""
        return {"op": "not", "args": [condition]}

    def between(self, node: ast.Between, value: Any, low: Any, high: Any) -> Any:
        """`[NOT] BETWEEN`."""
        return _unless(node.not_, {"op": "between", "args": [value, low, high]})

    def in_(self, node: ast.In, value: Any, *options: Any) -> Any:
        """`[NOT] IN`."""
        return _unless(node.not_, {"op": "in", "args": [value, list(options)]})

    def like(self, node: ast.Like, value: Any) -> Any:
        """`[NOT] LIKE` and `ILIKE`."""
        pattern: Any = node.pattern
        if node.nocase:
            value, pattern = ({"op": "casei", "args": [part]} for part in (value, pattern))
        return _unless(node.not_, {"op": "like", "args": [value, pattern]})

    def bbox(self, node: ast.BBox, value: Any) -> Any:
        """`BBOX`."""
        box = [node.minx, node.miny, node.maxx, node.maxy]
        return {"op": "s_intersects", "args": [value, {"bbox": box}]}

    def timestamp(self, node: dt.datetime) -> Any:
        """A time; one without offset is UTC."""
        time = node if node.tzinfo else node.replace(tzinfo=dt.UTC)
        return {"timestamp": time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}

    def date(self, node: dt.date) -> Any:
        """A day."""
        return {"date": node.isoformat()}

    def geometry(self, node: values.Geometry) -> Any:
        """A geometry, in the storage CRS."""
        return {key: node.geometry[key] for key in ("type", "coordinates")}


#: pygeofilter finds what writes a node by the node's class.
_Cql2Writer.handler_map.update(
    {
        ast.Not: _Cql2Writer.negation,
        ast.Between: _Cql2Writer.between,
        ast.In: _Cql2Writer.in_,
        ast.Like: _Cql2Writer.like,
        ast.BBox: _Cql2Writer.bbox,
        dt.datetime: _Cql2Writer.timestamp,
        dt.date: _Cql2Writer.date,
        values.Geometry: _Cql2Writer.geometry,
    }
)


def _unless(negated: bool, condition: dict[str, Any]) -> dict[str, Any]:
    return {"op": "not", "args": [condition]} if negated else condition


def _finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("a blocking read must not wait")


def _flat(bbox: Sequence[Any]) -> list[float]:
    """Return the four numbers of a box, which pygeoapi passes flat or as two corners."""
    return [
        float(value) for part in bbox for value in (part if hasattr(part, "__iter__") else [part])
    ]


@lru_cache(8)
def _database(url: str) -> ConnectionPool:
    """Return the pool of a database: read-only, with a time limit for each statement."""
    address = sa.make_url(url).set(drivername="postgresql")
    return ConnectionPool(
        address.render_as_string(hide_password=False),
        kwargs={
            "autocommit": True,
            "application_name": "landdata-pygeoapi",
            "options": "-c timezone=UTC -c default_transaction_read_only=on"
            f" -c statement_timeout={_STATEMENT_SECONDS * 1000}",
        },
        min_size=1,
        max_size=4,
        open=True,
    )


@lru_cache(8)
def _storage_srid(url: str) -> int:
    """Return the EPSG code of a store's coordinates. Raises `ProviderConnectionError`."""
    try:
        with _database(url).connection(timeout=10) as connection:
            row = connection.execute("SELECT srid FROM deployment").fetchone()
    except psycopg.Error:
        raise ProviderConnectionError("The landdata store does not answer.") from None
    assert row is not None
    return int(row[0])
