"""The OGC API as a Flask blueprint at `/ogc`: which address is answered by what.

What is told of the service is `ogc.shell`'s, features are `ogc.items`'s, and so on; here they
become answers. Every answer is right behind any host name: links begin with the address that was
asked.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, request, send_file
from werkzeug.exceptions import HTTPException

from landdata.errors import LandDataError, NotFound
from landdata.features import (
    changes,
    crs,
    custom_collections,
    pages,
    parameters,
    schemas,
    tile_matrix_sets,
    tiles,
)
from landdata.features import collections as config
from landdata.features.collections import Collection
from landdata.features.exports import formats, stream
from landdata.features.extents import Extents
from landdata.features.media_types import GEOJSON, HTML, JSON, MVT, OPENAPI, SCHEMA, TILEJSON
from landdata.features.pages import Page
from landdata.features.query import Query
from landdata.jobs import exports
from landdata.settings import Settings
from landdata.store import database
from landdata.store.read_connections import Reader, Steps
from ogc import descriptions, html, openapi, short
from ogc.conformance import CONFORMANCE
from ogc.errors import READ, WRITES, error_response, nothing
from ogc.negotiation import (
    FEATURE_FORMS,
    KEPT_LENGTH,
    LEFT,
    OPEN,
    PREFIX,
    VARY,
    Answer,
    Asked,
    alternate,
    answer,
    arguments,
    dump,
    link,
    validators,
)
from ogc.negotiation import links as write_links

_SERVICE_PARAMETERS = ("f", "lang")
_LOG = logging.getLogger(__name__)


def create_blueprint(settings: Settings, *, strict: bool = True) -> Blueprint:
    """Return the blueprint, to be registered as it is; it answers below `/ogc`.

    `strict` raises `BadRequest` where the file of more collections makes no sense; else that is
    told in the log, and the others are served.

    It reads through connections of its own, read-only and with a time limit, to
    `db.reading_url`. `blueprint.service.close()` ends them.
    """
    url = database.reading_url(settings)
    service = Service(settings, url, strict=strict)
    made = Blueprint(
        "ogc",
        __name__,
        url_prefix=PREFIX,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    made.service = service  # type: ignore[attr-defined]
    views: tuple[tuple[str, str, Callable[..., Response]], ...] = (
        ("/", "landing", service.landing),
        ("/conformance", "conformance", service.conformance),
        ("/openapi", "openapi", service.openapi),
        ("/collections", "collections", service.collections),
        ("/collections/<collection>", "collection", service.collection),
        ("/collections/<collection>/schema", "schema", service.schema),
        ("/collections/<collection>/queryables", "queryables", service.queryables),
        ("/collections/<collection>/sortables", "sortables", service.sortables),
        ("/collections/<collection>/items", "items", service.items),
        ("/collections/<collection>/items/<path:key>", "item", service.item),
        ("/collections/<collection>/export", "export", service.export),
        ("/exports/<job>", "export_job", service.export_job),
        ("/exports/<job>/<file>", "export_file", service.export_file),
        ("/collections/<collection>/changes", "changes", service.changes),
        ("/tileMatrixSets", "matrix_sets", service.matrix_sets),
        ("/tileMatrixSets/<tiling>", "matrix_set", service.matrix_set),
        ("/tiles", "map_tilesets", service.tilesets),
        ("/tiles/<tiling>", "map_tileset", service.tileset),
        ("/tiles/<tiling>/<z>/<y>/<x>", "map_tile", service.tile),
        ("/collections/<collection>/tiles", "tilesets", service.tilesets),
        ("/collections/<collection>/tiles/<tiling>", "tileset", service.tileset),
        ("/collections/<collection>/tiles/<tiling>/<z>/<y>/<x>", "tile", service.tile),
    )
    for rule, name, view in views:
        made.add_url_rule(rule, name, view, strict_slashes=False)
    # What no rule above takes: a wrong path, or a right one with a method that is not for it.
    # Without it both would be the whole application's errors, in its own form.
    made.add_url_rule("/", "other_root", nothing, methods=WRITES, strict_slashes=False)
    made.add_url_rule("/<path:rest>", "other", nothing, methods=("GET", *WRITES))

    made.before_request(_failed)
    made.before_request(_options)
    made.after_request(_open_to_all)
    made.register_error_handler(LandDataError, error_response)
    made.register_error_handler(HTTPException, error_response)
    made.register_error_handler(Exception, error_response)
    return made


class Service:
    """What the views share: settings, collections, the reader, extents."""

    def __init__(self, settings: Settings, url: sa.URL, *, strict: bool) -> None:
        self.settings = settings
        self.reader = reader = Reader(url.set(drivername="postgresql+psycopg"))
        self._own = config.collections(settings)
        self._configured = custom_collections.CustomCollections(
            settings.collections, settings.srid, frozenset(self._own)
        )
        try:
            self._configured.collections(reader, strict=strict)
        except BaseException:
            reader.close()
            raise
        self.tiles = tiles.Tiles(settings.srid, cache_mb=settings.tile_cache_mb)
        self.url = url
        self.export_jobs = exports.Jobs(settings)
        self._extents = Extents(reader, settings.srid, frozenset(self._own))
        self._shell = descriptions.Shell(settings, self._own)

    @property
    def offer(self) -> dict[str, Collection]:
        """The collections by id: ours, and those of the deployment's file as it stands."""
        return {**self._own, **self._configured.collections(self.reader)}

    def close(self) -> None:
        """End the connections to the database, and look after nothing any more."""
        self.reader.close()
        self.export_jobs.close()

    # -- views: the service --

    def landing(self) -> Response:
        """The landing page."""
        form, language = self._asked((JSON, HTML))
        offer = self.offer
        told = self._shell.landing(offer, _base(), language)
        if form == HTML:
            return self._html("landing.html", language, told=told, offer=offer)
        return _json(told, language=language)

    def conformance(self) -> Response:
        """The conformance classes that hold."""
        form, language = self._asked((JSON, HTML))
        told = {"conformsTo": list(CONFORMANCE)}
        if form == HTML:
            return self._html("conformance.html", language, told=told)
        return _json(told, language=language)

    def openapi(self) -> Response:
        """The API definition."""
        form, language = self._asked((OPENAPI, JSON, HTML))
        told = openapi.document(
            self.offer, storage=self.settings.srid, url=_base(), language=language
        )
        if form == HTML:
            return self._html("openapi.html", language, told=told)
        return _json(told, OPENAPI, language=language)

    def collections(self) -> Response:
        """All collections."""
        form, language = self._asked((JSON, HTML))
        told = self._shell.collections(self.offer, self.extents, _base(), language)
        if form == HTML:
            return self._html("collections.html", language, told=told)
        return _json(told, language=language)

    def collection(self, collection: str) -> Response:
        """One collection."""
        of = self._collection(collection)
        form, language = self._asked((JSON, HTML))
        extent = self._extents.of(of)
        told = self._shell.collection(of, extent.told, _base(), language)
        if form == HTML:
            return self._html("collection.html", language, told=told, of=of)
        return _json(told, language=language, stamp=extent.stamp)

    def schema(self, collection: str) -> Response:
        """The schema of a collection's features."""
        return self._schema(collection, "schema", schemas.schema)

    def queryables(self, collection: str) -> Response:
        """The properties of a collection that can be asked for."""
        return self._schema(collection, "queryables", schemas.queryables)

    def sortables(self, collection: str) -> Response:
        """The properties of a collection that its features can be sorted by."""
        return self._schema(collection, "sortables", schemas.sortables)

    def _schema(
        self,
        collection: str,
        name: str,
        make: Callable[[Collection, str, str], dict[str, Any]],
    ) -> Response:
        of = self._collection(collection)
        form, language = self._asked((SCHEMA, JSON, HTML))
        told = make(of, language, f"{_base()}/collections/{of.id}/{name}")
        if form == HTML:
            return self._html("schema.html", language, told=told, of=of, kind=name)
        return _json(told, SCHEMA, language=language)

    # -- views: features --

    def items(self, collection: str) -> Response:
        """A page of features."""
        asked = Asked(request.environ)
        if asked.form(FEATURE_FORMS) != HTML:
            return _response(self.reader.follow(self.page(asked, collection)))
        of = self._collection(collection)
        query, page, links = self.reader.follow(self._page(asked, of, HTML))
        told = {
            "features": [json.loads(each) for each in page.features],
            "links": links,
            "numberMatched": page.matched,
        }
        shown = of.properties if query.properties is None else query.properties
        language = self._language()
        made = self._html("items.html", language, told=told, of=of, query=query, shown=shown)
        made.headers["Content-Crs"] = f"<{query.crs.uri}>"
        return made

    def item(self, collection: str, key: str) -> Response:
        """One feature."""
        asked = Asked(request.environ)
        if asked.form(FEATURE_FORMS) != HTML:
            return _response(self.reader.follow(self.feature(asked, collection, key)))
        of = self._collection(collection)
        query, feature, _, links = self.reader.follow(self._feature(asked, of, key, HTML))
        told = {**json.loads(feature), "links": links}
        made = self._html("item.html", self._language(), told=told, of=of)
        made.headers["Content-Crs"] = f"<{query.crs.uri}>"
        return made

    def export(self, collection: str) -> Response:
        """A file of all that matches."""
        of = self._collection(collection)
        name = formats.read_format(request.args.get("f"))
        arguments = [*request.args.items(multi=True)]
        query = formats.read_query(of, arguments, self.settings.srid)
        self._language()  # a file has none, but what makes no sense is said
        known = formats.FORMATS[name]
        headers = {
            "Content-Type": known.media,
            "Content-Disposition": f'attachment; filename="{formats.filename(of, name)}"',
            "Cache-Control": "no-store",
        }
        if name == "jsonfg" or not query.crs.north_first:  # else its axes are not in that order
            headers["Content-Crs"] = f"<{query.crs.uri}>"
        if request.method == "HEAD":
            return Response(iter(()), headers=headers)  # how long it is nobody knows yet
        if _wants_a_job():
            return self._export_job(of, name, arguments)
        export = stream.Export(formats.ExportReader(self.url), query, name)
        left: Future[None] | None = request.environ.get(LEFT)
        if left is not None:
            left.add_done_callback(lambda _: export.stop())
        export.begin()
        made = Response(export.blocks(), headers=headers)
        made.call_on_close(export.close)
        return made

    def _export_job(self, of: Collection, name: str, asked: list[tuple[str, str]]) -> Response:
        """A file of all that matches, later."""
        state = None
        if of.id in ("parcels", "sheets"):
            state = self.reader.rows("SELECT coalesce(max(number), 0) FROM publications", {})[0][0]
        number = self.export_jobs.ask(of, name, asked, state)
        made = self._job(number)
        made.status_code = 202
        made.headers["Location"] = f"{_base()}/exports/{number}"
        made.headers["Preference-Applied"] = "respond-async"
        return made

    def export_job(self, job: str) -> Response:
        """How an export that is made as a job is, with a link to its file when it is whole."""
        self._asked((JSON,))
        return self._job(job)

    def _job(self, job: str) -> Response:
        told = self.export_jobs.told(job)
        file = told.pop("file")
        here = f"{_base()}/exports/{job}"
        links = [{"href": here, "rel": "self", "type": JSON, "title": "This document"}]
        if told["status"] == "successful":
            known = formats.FORMATS[told["format"]]
            media = known.media.partition(";")[0]
            file_link = {"href": f"{here}/{file}", "rel": "enclosure", "type": media}
            links.append({**file_link, "title": known.title})
        made = Response(dump({**told, "links": links}), mimetype=JSON)
        made.headers["Cache-Control"] = "no-store"
        if told["status"] in ("accepted", "running"):
            made.headers["Retry-After"] = "2"
        return made

    def export_file(self, job: str, file: str) -> Response:
        """The file of an export that was made as a job; in parts too (Range)."""
        parameters.unique_values(request.args.items(multi=True), ())
        path = self.export_jobs.file(job, file)
        name = self.export_jobs.told(job)["format"]
        made = send_file(
            path, mimetype=formats.FORMATS[name].media, as_attachment=True, conditional=True
        )
        made.headers["Cache-Control"] = "no-cache"
        return made

    def changes(self, collection: str) -> Response:
        """What became official since a token."""
        of = self._collection(collection)
        if of.id != "parcels":
            raise NotFound(f"The changes of {of.id} are not kept.", hint="Those of parcels are.")
        form = _form((JSON,))
        values = parameters.unique_values(request.args.items(multi=True), changes.PARAMETERS)
        language = self._language()
        page = changes.read(self.reader, of, self.settings.srid, values)
        links = [link(Asked(request.environ).here, "self", form)]
        token = page.end.token()
        if page.more:
            links.append(link(_with(since=token), "next", form))
        told = f'{{"changes":[{",".join(page.changes)}],"numberReturned":{len(page.changes)}'
        uri = crs.parse(values.get("crs", crs.CRS84), self.settings.srid, "crs").uri
        return _answer(
            f'{told},"token":"{token}","links":{dump(links)}'.encode(),
            JSON,
            tail=f',"timeStamp":"{_now()}"}}'.encode(),
            language=language,
            headers=[("Content-Crs", f"<{uri}>")],
        )

    # -- views: tiles --

    def matrix_sets(self) -> Response:
        """All tile matrix sets."""
        form, language = self._asked((JSON, HTML))
        told = tile_matrix_sets.matrix_set_list(_base(), self.settings.srid)
        if form == HTML:
            return self._html("tiles.html", language, told=told)
        return _json(told, language=language)

    def matrix_set(self, tiling: str) -> Response:
        """The definition of one tile matrix set."""
        form, language = self._asked((JSON, HTML))
        told = tile_matrix_sets.matrix_set(self.settings.srid, tiling).describe(_base())
        if form == HTML:
            return self._html("tiles.html", language, told=told)
        return _json(told, language=language)

    def tilesets(self, collection: str | None = None) -> Response:
        """The tilesets of a collection, or of the whole service."""
        name = self._collection(collection).id if collection else None
        form, language = self._asked((JSON, HTML))
        told = tile_matrix_sets.tilesets(
            _base(), self.offer, name, self.settings.srid, self.extents
        )
        if form == HTML:
            return self._html("tiles.html", language, told=told)
        return _json(told, language=language)

    def tileset(self, tiling: str, collection: str | None = None) -> Response:
        """One tileset; as TileJSON too."""
        name = self._collection(collection).id if collection else None
        of = tile_matrix_sets.matrix_set(self.settings.srid, tiling)
        forms = (JSON, HTML, TILEJSON) if of.id == tile_matrix_sets.WEB_MERCATOR else (JSON, HTML)
        form, language = self._asked(forms)
        base, offer, extents = _base(), self.offer, self.extents
        if form == TILEJSON:
            told = tile_matrix_sets.tilejson(base, offer, name, of, extents, language)
        else:
            told = tile_matrix_sets.tileset(
                base, offer, name, of, self.settings.srid, extents, language
            )
        if form == HTML:
            return self._html("tiles.html", language, told=told)
        return _json(told, form, language=language)

    def tile(self, tiling: str, z: str, y: str, x: str, collection: str | None = None) -> Response:
        """One tile."""
        asked = Asked(request.environ)
        wanted = self._wanted(asked, collection, tiling, z, y, x)
        return _response(_drawn(asked, self.reader.follow(self.tiles.tile(wanted))))

    # -- answers that are asked for most; `ogc.short` gives them without Flask --

    @property
    def is_current(self) -> bool:
        """Whether the collections are known without asking the database."""
        return self._configured.is_current

    def page(self, asked: Asked, collection: str) -> Steps[Answer]:
        """A page of features as GeoJSON."""
        of = self._collection(collection)
        query, page, links = yield from self._page(asked, of, GEOJSON)
        matched = "" if page.matched is None else f'"numberMatched":{page.matched},'
        if page.estimated is not None:
            matched = f'"numberEstimated":{page.estimated},'
        told = f'],"numberReturned":{len(page.features)},{matched}"links":[{write_links(links)}]'
        return answer(
            asked,
            [b'{"type":"FeatureCollection","features":[', b",".join(page.features), told.encode()],
            GEOJSON,
            tail=f',"timeStamp":"{_now()}"}}'.encode(),
            language=asked.language(self.settings.language),
            headers=[("Content-Crs", f"<{query.crs.uri}>")],
            stamp=page.stamp,
        )

    def _page(
        self, asked: Asked, of: Collection, form: str
    ) -> Steps[tuple[Query, Page, list[dict[str, str]]]]:
        reading = _read if len(asked.query) > KEPT_LENGTH else _known
        query = reading(of, asked.query, self.settings.srid)
        asked.language(self.settings.language)  # before the database is asked
        page = yield from pages.page(query)
        here = f"{asked.base}/collections/{of.id}"
        links = [link(asked.here, "self", form), alternate(asked, form)]
        links.append(link(here, "collection", JSON))
        for rel, cursor in (("next", page.next), ("prev", page.prev)):
            if cursor is not None:
                href = asked.changed(offset=None, cursor=cursor.token())
                links.append(link(href, rel, form))
        return query, page, links

    def feature(self, asked: Asked, collection: str, key: str) -> Steps[Answer]:
        """One feature as GeoJSON."""
        of = self._collection(collection)
        query, feature, stamp, links = yield from self._feature(asked, of, key, GEOJSON)
        return answer(
            asked,
            [feature[:-1], f',"links":[{write_links(links)}]}}'.encode()],
            GEOJSON,
            language=asked.language(self.settings.language),
            headers=[("Content-Crs", f"<{query.crs.uri}>")],
            stamp=stamp,
        )

    def _feature(
        self, asked: Asked, of: Collection, key: str, form: str
    ) -> Steps[tuple[Query, bytes, int | None, list[dict[str, str]]]]:
        query = parameters.read_item(of, asked.arguments, self.settings.srid, key)
        asked.language(self.settings.language)  # before the database is asked
        feature, stamp = yield from pages.item(query)
        here = f"{asked.base}/collections/{of.id}"
        links = [link(asked.here, "self", form), alternate(asked, form)]
        return query, feature, stamp, [*links, link(here, "collection", JSON)]

    def kept_tile(
        self, asked: Asked, collection: str | None, tiling: str, z: str, y: str, x: str
    ) -> Steps[Answer | None]:
        """One tile, if it was made before."""
        kept = yield from self.tiles.kept(self._wanted(asked, collection, tiling, z, y, x))
        return None if kept is None else _drawn(asked, kept)

    def _wanted(
        self, asked: Asked, collection: str | None, tiling: str, z: str, y: str, x: str
    ) -> tiles.Wanted:
        name = self._collection(collection).id if collection else None
        parameters.unique_values(asked.arguments, _SERVICE_PARAMETERS)
        asked.form((MVT,))
        asked.language(self.settings.language)
        of = tile_matrix_sets.matrix_set(self.settings.srid, tiling)
        place = of.place(z, y, x)
        shown = tile_matrix_sets.layers(self.offer, name, of, place[0])
        return self.tiles.wanted(shown, of, place, packed=asked.takes_gzip)

    # -- what they need --

    def _collection(self, name: str) -> Collection:
        found = self._own.get(name) or self.offer.get(name)
        if found is None:
            raise NotFound(
                f"There is no collection {name[:100]!r}.",
                hint=f"There are: {', '.join(self.offer)}.",
            )
        return found

    def _asked(self, forms: Sequence[str]) -> tuple[str, str]:
        parameters.unique_values(request.args.items(multi=True), _SERVICE_PARAMETERS)
        return _form(forms), self._language()

    def _language(self) -> str:
        return Asked(request.environ).language(self.settings.language)

    @property
    def extents(self) -> Mapping[str, dict[str, Any]]:
        """What is told of each collection's extent."""
        return self._extents.over(self.offer)

    def _html(self, template: str, language: str, **context: Any) -> Response:
        body = html.page(template, language, self.settings.srid, **context)
        return _answer(body, f"{HTML}; charset=utf-8", language=language)


# -- requests and answers --------------------------------------------------------------------


def _form(forms: Sequence[str]) -> str:
    return Asked(request.environ).form(tuple(forms))


def _wants_a_job() -> bool:
    """Tell whether the client would rather come back later (RFC 7240)."""
    given = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in given)


def _options() -> Response | None:
    """Answer OPTIONS for every address alike: nothing here changes anything."""
    if request.method == "OPTIONS":
        return Response(status=204, headers={"Allow": READ})
    return None


def _failed() -> None:
    """Tell what went wrong on the short way."""
    error = request.environ.get(short.ERROR)
    if error is not None:
        raise error


def _open_to_all(response: Response) -> Response:
    for name, value in OPEN.items():
        response.headers[name] = value
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = READ
        response.headers["Access-Control-Allow-Headers"] = (
            "Accept, Accept-Language, If-Modified-Since, If-None-Match, Prefer, Range"
        )
    response.vary.update(VARY)
    return response


def _json(
    told: dict[str, Any], media: str = JSON, *, language: str, stamp: int | None = None
) -> Response:
    return _answer(dump(told).encode(), media, language=language, stamp=stamp)


def _answer(
    body: bytes,
    media: str,
    *,
    language: str,
    tail: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    stamp: int | None = None,
) -> Response:
    asked = Asked(request.environ)
    return _response(
        answer(asked, [body], media, language=language, tail=tail, headers=headers, stamp=stamp)
    )


def _read(of: Collection, text: str, storage: int) -> Query:
    return parameters.read_query(of, arguments(text), storage)


#: Maps and pollers ask the same again.
_known = functools.lru_cache(1000)(_read)


def _drawn(asked: Asked, tile: tiles.Tile) -> Answer:
    """The answer with a tile; 204 where nothing is drawn."""
    headers = validators(tile.tag, tile.stamp)
    if asked.has(tile.tag, tile.stamp):
        return Answer(304, headers, b"")
    if not tile.body:
        return Answer(204, headers, b"")
    if asked.takes_gzip:
        headers.append(("Content-Encoding", "gzip"))
    headers += [("Content-Type", MVT), ("Content-Length", str(len(tile.body)))]
    return Answer(200, headers, tile.body)


def _response(made: Answer) -> Response:
    response = Response(made.body, made.status)
    response.headers.clear()  # what is empty has no type
    response.headers.extend(made.headers)
    return response


def _now() -> str:
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@functools.lru_cache(2)
def _second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}"


def _base() -> str:
    """The address of the landing page, as the client knows us."""
    return Asked(request.environ).base


def _with(**changes: str) -> str:
    return Asked(request.environ).changed(**changes)
