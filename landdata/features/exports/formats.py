"""Files of any query: text formats stream from PostGIS as they are made, the others are written.

PostGIS writes the rows (COPY, one statement, so one snapshot). What GDAL or Arrow must write is
written by a child process (`export_child.py`), which this one only feeds with bytes. Over HTTP they
are sent at once (`export_stream.py`) or made as jobs (`export_jobs.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import psycopg
import pyproj
import sqlalchemy as sa

from landdata.errors import BadRequest, LandDataError, Unavailable
from landdata.features import collections, crs, custom_collections, parameters, sql
from landdata.features.collections import Collection, Property
from landdata.features.query import Query
from landdata.settings import Settings
from landdata.store.errors import Phase, as_public_error

_SECONDS = 900
CHUNK = 1 << 20  # bytes
_OFTEN = 0.5  # seconds after which less than a chunk is sent too
_PAGING = frozenset({"limit", "offset", "cursor", "count", "sortby", "skipGeometry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A form of file. `driver`: GDAL's name, where GDAL writes it; `text`: PostGIS does."""

    title: str
    extension: str
    media: str
    text: bool = False
    driver: str | None = None
    zipped: bool = False
    dataset_options: dict[str, str] = field(default_factory=dict)


FORMATS = {
    "geojson": Format(
        title="GeoJSON", extension="geojson", media="application/geo+json", text=True
    ),
    "geojsonl": Format(
        title="GeoJSON, a feature a line",
        extension="geojsonl",
        media="application/x-ndjson",
        text=True,
    ),
    "jsonfg": Format(title="JSON-FG", extension="fg.json", media="application/fg+json", text=True),
    "csv": Format(title="CSV", extension="csv", media="text/csv; charset=utf-8", text=True),
    "gpkg": Format(
        title="GeoPackage",
        extension="gpkg",
        media="application/geopackage+sqlite3",
        driver="GPKG",
    ),
    "fgb": Format(
        title="FlatGeobuf",
        extension="fgb",
        media="application/vnd.flatgeobuf",
        driver="FlatGeobuf",
    ),
    "parquet": Format(
        title="GeoParquet", extension="parquet", media="application/vnd.apache.parquet"
    ),
    "shp": Format(
        title="Shapefile, zipped",
        extension="shp",
        media="application/zip",
        driver="ESRI Shapefile",
        zipped=True,
    ),
    "gml": Format(
        title="GML 3.2 with its schema, zipped",
        extension="gml",
        media="application/zip",
        driver="GML",
        zipped=True,
        dataset_options={"FORMAT": "GML3.2"},
    ),
}

#: Names of ten letters, which is all that a shapefile has room for.
_SHORT = {"national_id": "natl_id", "surveyed_on": "surveyed"}


def filename(of: Collection, name: str) -> str:
    """Return what a file of this form is called."""
    known = FORMATS[name]
    return f"{of.id}.{known.extension}{'.zip' if known.zipped else ''}"


def links(collection: str) -> list[dict[str, str]]:
    """Return the links from a collection to its files."""
    return [
        {
            "href": f"{collection}/export?f={name}",
            "rel": "enclosure",
            "type": known.media.partition(";")[0],
            "title": known.title,
        }
        for name, known in FORMATS.items()
    ]


def read_format(name: str | None) -> str:
    """Return a format's name as it was asked for. Raises `BadRequest` for one there is not."""
    if name is None or name not in FORMATS:
        why = "is missing" if name is None else f"is not usable: there is no format {name[:100]!r}"
        raise BadRequest(f"Parameter f {why}.", hint=f"Give one of {', '.join(FORMATS)}.")
    return name


def read_query(of: Collection, arguments: Sequence[tuple[str, str]], storage: int) -> Query:
    """Read what is to be exported, as for `items` but without pages. Raises `BadRequest`."""
    for name, _ in arguments:
        if name in _PAGING:
            raise BadRequest(
                f"There is no parameter {name!r} here.", hint="An export is all that matches."
            )
    return parameters.read_query(of, arguments, storage)


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> Any:
        """Take them."""


class ExportCancelled(Unavailable):
    """Nobody wants it any more."""

    def __init__(self) -> None:
        super().__init__("Nobody waits for this export any more.")


class ExportReader:
    """Reads whole queries, one at a time, on a connection of its own that only reads."""

    def __init__(self, url: sa.URL, *, seconds: int = _SECONDS) -> None:
        self.rows = 0  # read so far
        self._seconds = seconds
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._running: psycopg.Connection[Any] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Cancel what is being read, from another thread; nothing more is begun."""
        self._stopped = True
        running = self._running
        if running is not None:
            with suppress(psycopg.Error):  # it ends by itself then, or by its time limit
                running.cancel_safe(timeout=5)

    def count(self, query: Query) -> int:
        """Return how many features match."""
        statement, parameters = sql.count_statement(query)
        with self._open() as connection:
            row = connection.execute(cast("Any", statement), parameters).fetchone()
        return int(row[0]) if row else 0

    def copy(
        self,
        statement: str,
        parameters: dict[str, Any],
        options: str,
        sink: Sink,
        between: bytes = b"",
    ) -> None:
        """Write what COPY gives for a query, with `between` after each row but the last.

        Where `sink` raises, the query is cancelled.
        """
        with self._open() as connection, connection.cursor() as cursor:
            copying = cast("Any", f"COPY ({statement}) TO STDOUT (FORMAT csv, {options})")
            with cursor.copy(copying, parameters) as copy:
                held: list[bytes] = []
                size = 0
                self.rows = -1 if "HEADER" in options else 0
                due = time.monotonic() + _OFTEN
                for block in copy:  # a row
                    held.append(bytes(block))
                    self.rows += 1
                    size += len(block)
                    # where rows are slow to come, it is learnt with each that the client has left
                    if size > CHUNK or time.monotonic() > due:
                        sink.write(between.join(held))
                        held, size = [b""], 0
                        due = time.monotonic() + _OFTEN
                if size:
                    sink.write(between.join(held))

    @contextmanager
    def _open(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with psycopg.connect(
                self._url,
                application_name="landdata-export",
                connect_timeout=10,
                options="-c timezone=UTC -c default_transaction_read_only=on"
                f" -c statement_timeout={self._seconds * 1000}",
            ) as connection:
                self._running = connection
                try:
                    if self._stopped:
                        raise ExportCancelled
                    yield connection
                finally:
                    self._running = None
        except psycopg.Error as error:
            raise as_public_error(error, Phase.READ) from None


def write(source: ExportReader, query: Query, name: str, target: Path) -> None:
    """Write all that a query matches to a file. Raises `Unavailable`, `LandDataError`."""
    if FORMATS[name].text:
        with target.open("wb") as file:
            write_text(source, query, name, file)
    else:
        write_file(source, query, name, target)


def export_to_file(
    settings: Settings,
    url: sa.URL,
    target: Path,
    name: str,
    *,
    collection: str,
    arguments: Sequence[tuple[str, str]],
) -> int:
    """Write a collection, or what `arguments` (as over HTTP) leave of it, to a file.

    The file is there when it is whole. Returns how many features matched when it began; raises
    `BadRequest`, `NotFound`, `Unavailable`.
    """
    query = read_query(custom_collections.find(settings, url, collection), arguments, settings.srid)
    source = ExportReader(url)
    matched = source.count(query)
    if not target.parent.is_dir():
        raise BadRequest(f"There is no folder {target.parent}.", hint="Make it first.")
    try:
        with tempfile.TemporaryDirectory(prefix=".landdata-", dir=target.parent) as folder:
            made = Path(folder) / filename(query.collection, name)  # GDAL goes by the ending
            write(source, query, name, made)
            made.replace(target)
    except OSError as error:
        raise Unavailable(
            f"The file can't be written to {target}: {error.strerror}.",
            hint="Name a folder that can be written to and has room.",
            code="unwritable",
        ) from None
    return matched


# -- text ------------------------------------------------------------------------------------


def write_text(source: ExportReader, query: Query, name: str, sink: Sink) -> None:
    """Write all that a query matches in a form of text. Raises `BadRequest`, `Unavailable`."""
    if name != "jsonfg":
        query = _east_first(query)
    if name == "csv":
        names = ", ".join(
            f'{expression} AS "{column}"' for column, _, expression in _columns(query, name)
        )
        statement, parameters = sql.all_statement(query, names)
        source.copy(statement, parameters, "HEADER", sink)
        return
    text = _jsonfg(query) if name == "jsonfg" else sql.feature_json(query)
    statement, parameters = sql.all_statement(query, text)
    # JSON text has no control characters: quoted and cut by them, a row is as it is
    raw = "QUOTE E'\\x01', DELIMITER E'\\x02'"
    if name == "geojsonl":
        source.copy(statement, parameters, raw, sink)
        return
    head = '{"type":"FeatureCollection",'
    if name == "jsonfg":
        kind = query.collection.item["en"].replace(" ", "_")
        head += (
            '"conformsTo":["http://www.opengis.net/spec/json-fg-1/1.0/conf/core"],'
            f'"featureType":"{kind}","coordRefSys":"{query.crs.uri}",'
        )
    elif query.crs.srid != 4326:
        # RFC 7946 knows WGS 84 alone; GDAL and QGIS read what GeoJSON had before it, and would
        # else take metres for degrees, and VN-2000 for WGS 84
        urn = f"urn:ogc:def:crs:EPSG::{query.crs.srid}"
        head += f'"crs":{{"type":"name","properties":{{"name":"{urn}"}}}},'
    listed = _Listed(sink, (head + '"features":[\n').encode())
    source.copy(statement, parameters, raw, listed, between=b",")
    sink.write((b"" if listed.begun else listed.head) + b"]}\n")


class _Listed:
    """Puts a head before the first row.

    With it and not earlier: what fails before it is refused instead of broken off.
    """

    def __init__(self, sink: Sink, head: bytes) -> None:
        self._sink = sink
        self.head = head
        self.begun = False

    def write(self, data: bytes) -> None:
        """Take whole rows."""
        self._sink.write(data if self.begun else self.head + data)
        self.begun = True


def _jsonfg(query: Query) -> str:
    """SQL of a JSON-FG feature: geometry in WGS 84, place in the CRS asked for, and time."""
    of = query.collection
    plain = replace(query, crs=crs.supported(query.storage)[crs.CRS84])
    place = "'null'"
    if query.crs.uri != crs.CRS84:
        moved = crs.output_sql("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
        place = f"coalesce(ST_AsGeoJSON({moved}, {query.crs.digits:d}, 0), 'null')"
    time = "''"
    known = {each.name: each.json_sql for each in of.properties}
    if "valid_from" in known and "valid_to" in known:
        until = f"replace({known['valid_to']}, 'null', '\"..\"')"
        time = f"',\"time\":{{\"interval\":[' || {known['valid_from']} || ',' || {until} || ']}}'"
    return f"left({sql.feature_json(plain)}, -1) || ',\"place\":' || {place} || {time} || '}}'"


def _east_first(query: Query) -> Query:
    """What is asked for with longitude or easting first, as who opens a file expects it.

    Only JSON-FG names a system whose axes a reader must look up.
    """
    return replace(query, crs=replace(query.crs, north_first=False))


# -- files -----------------------------------------------------------------------------------


def _columns(query: Query, name: str) -> list[tuple[str, str, str]]:
    """Name, kind and SQL of each column of a table."""
    chosen = query.collection.properties if query.properties is None else query.properties
    short = name == "shp"
    made = [
        (_SHORT.get(each.name, each.name)[:10] if short else each.name, *_column(each, name))
        for each in chosen
    ]
    moved = crs.output_sql("ST_ForcePolygonCCW(geom)", query.storage, query.crs)
    shape = f"ST_AsText({moved}, {query.crs.digits:d})"
    if name != "csv":
        shape = f"encode(ST_AsBinary({moved}), 'hex')"
    return [*made, ("geometry", "geometry", shape)]


def _select_list(columns: list[tuple[str, str, str]]) -> str:
    return ", ".join(f'{expression} AS "{name}"' for name, _, expression in columns)


def _column(of: Property, name: str) -> tuple[str, str]:  # noqa: PLR0911  # one a kind
    """Kind and SQL of a property."""
    match of.kind:
        case "integer":
            return "integer" if of.bits == 32 else "long", of.column
        case "boolean":
            return "boolean", f"({of.column})::text"
        case "number":
            return "number", f"CASE WHEN {of.column} BETWEEN -1e15 AND 1e15 THEN {of.column} END"
        case "date":
            return "date", f"CASE WHEN {collections.WRITABLE_YEAR} THEN {{}} END".replace(
                "{}", of.column
            )
        case "time":
            known = f"CASE WHEN {collections.WRITABLE_YEAR} THEN {{}} END".replace("{}", of.column)
            utc = f"(({known}) AT TIME ZONE 'UTC')"
            if name in ("csv", "shp"):  # a dbf has no times
                return "string", f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'
            # GDAL has no finer times; the end of a state is cut off as the next one's beginning is
            digits = "US" if name == "parquet" else "MS"
            return "time", f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.{digits}"Z"\')'
        case "codes" if name == "shp":
            codes = f"jsonb_path_query_array({of.column}, '$[*].code')::text"
            return "string", f"replace(translate({codes}, '[]\" ', ''), ',', '+')"
        case "codes":
            return "string", f"coalesce({of.column}::text, '[]')"
    return "string", f"({of.column})::text"


def write_file(
    source: ExportReader,
    query: Query,
    name: str,
    target: Path,
    *,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Feed the child that writes a file, as long as it is `wanted`.

    Raises `BadRequest` where the format can't hold it, `ExportCancelled`, `Unavailable`,
    `LandDataError`.
    """
    known = FORMATS[name]
    of = query.collection
    query = _east_first(query)
    columns = _columns(query, name)
    statement, parameters = sql.all_statement(query, _select_list(columns))
    system = pyproj.CRS.from_epsg(query.crs.srid)
    task = {
        "format": name,
        "driver": known.driver,
        "zipped": known.zipped,
        "extension": known.extension,
        "target": os.fspath(target),
        "layer": of.id,
        "columns": [(column, kind) for column, kind, _ in columns],
        "geometry_type": of.geometry,
        "crs": f"EPSG:{query.crs.srid}",
        "projjson": json.loads(system.to_json()) if name == "parquet" else None,
        "dataset_options": known.dataset_options,
        # FlatGeobuf's index has no room for a feature without geometry, which only these never are
        "layer_options": {"SPATIAL_INDEX": "NO"}
        if name == "fgb" and of.id not in ("parcels", "sheets")
        else {},
    }
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, os.fspath(Path(__file__).with_name("gdal_process.py")),
             json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )  # fmt: skip
        pipe = cast("BinaryIO", child.stdin)
        try:
            with suppress(BrokenPipeError):  # the child has ended, and says why
                source.copy(statement, parameters, "FORCE_QUOTE *", _Feeding(pipe, wanted))
                pipe.close()
            failed = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            with suppress(BrokenPipeError):
                pipe.close()
        if failed:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
            reason = said.read().decode("utf-8", "replace").strip().splitlines() or ["killed"]
            told = reason[-1].replace(f"{target.parent}{os.sep}", "")  # no path of the server
            if name == "shp" and "Attempt to write non-" in told:
                raise BadRequest(
                    "These geometries are of several kinds, and a shapefile holds one.",
                    hint="Try another format.",
                    code="not-written",
                )
            raise LandDataError(
                f"The {known.title} could not be written: {told[:300]}",
                hint="Try another format; a shapefile ends at 2 GB." if name == "shp" else None,
                code="not-written",
            )


class _Feeding:
    """A pipe that is given up when nobody wants the file any more."""

    def __init__(self, pipe: BinaryIO, wanted: Callable[[], bool]) -> None:
        self._pipe = pipe
        self._wanted = wanted

    def write(self, data: bytes) -> None:
        """Pass bytes on."""
        if not self._wanted():
            raise ExportCancelled
        self._pipe.write(data)
