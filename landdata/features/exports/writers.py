"""The files of exports: PostGIS writes text, a child process what GDAL or Arrow must write.

The child (`gdal_process.py`) is fed with CSV, so that no process of the server loads GDAL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyproj
import sqlalchemy as sa

from landdata.errors import BadRequest, LandDataError, Unavailable
from landdata.features import crs, custom_collections, parameters, sql
from landdata.features.collections import WRITABLE_YEAR, Property
from landdata.features.exports.formats import FORMATS, filename
from landdata.features.exports.reader import ExportCancelled, ExportReader, Sink
from landdata.features.query import Query
from landdata.settings import Settings

#: Names of ten letters, which is all that a shapefile has room for.
_SHORT_NAMES = {"national_id": "natl_id", "surveyed_on": "surveyed"}


def export_to_file(
    settings: Settings,
    url: sa.URL,
    target: Path,
    name: str,
    *,
    collection: str,
    arguments: Sequence[tuple[str, str]],
) -> int:
    """Write a collection, or what `arguments` (as over HTTP) select of it, to a file.

    `name` is that of the format. The file appears when it is whole. Returns how many features
    matched at the beginning; raises `BadRequest`, `NotFound`, `Unavailable`.
    """
    served = custom_collections.find(settings, url, collection)
    query = parameters.read_export_query(served, arguments, settings.srid)
    reader = ExportReader(url)
    matched = reader.count(query)
    if not target.parent.is_dir():
        raise BadRequest(
            "There is no folder {parent}.", hint="Create it first.", parent=target.parent
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".landdata-", dir=target.parent) as folder:
            part = Path(folder) / filename(query.collection, name)  # GDAL goes by the extension
            write(reader, query, name, part)
            part.replace(target)
    except OSError as error:
        raise Unavailable(
            "The file can't be written to {target}: {strerror}.",
            hint="Name a folder that can be written to and has room.",
            code="unwritable",
            target=target,
            strerror=error.strerror,
        ) from None
    return matched


def write(reader: ExportReader, query: Query, name: str, target: Path) -> None:
    """Write all that a query matches to a file. Raises `Unavailable`, `LandDataError`."""
    if FORMATS[name].text:
        with target.open("wb") as file:
            write_text(reader, query, name, file)
    else:
        write_file(reader, query, name, target)


# -- text ------------------------------------------------------------------------------------


def write_text(reader: ExportReader, query: Query, name: str, sink: Sink) -> None:
    """Write all that a query matches in a text format. Raises `BadRequest`, `Unavailable`."""
    if name != "jsonfg":
        query = _east_first(query)
    if name == "csv":
        statement, bound = sql.all_statement(query, _select_list(_columns(query, name)))
        reader.copy(statement, bound, "HEADER", sink)
        return
    feature = _jsonfg(query) if name == "jsonfg" else sql.feature_json(query)
    statement, bound = sql.all_statement(query, feature)
    # JSON text has no control characters: with them as quote and delimiter, CSV leaves it alone
    raw = "QUOTE E'\\x01', DELIMITER E'\\x02'"
    if name == "geojsonl":
        reader.copy(statement, bound, raw, sink)
        return
    head = '{"type":"FeatureCollection",'
    if name == "jsonfg":
        feature_type = query.collection.item["en"].replace(" ", "_")
        head += (
            '"conformsTo":["http://www.opengis.net/spec/json-fg-1/1.0/conf/core"],'
            f'"featureType":"{feature_type}","coordRefSys":"{query.crs.uri}",'
        )
    elif query.crs.srid != 4326:
        # RFC 7946 knows only WGS 84. GDAL and QGIS read the older member `crs`; without it they
        # would take metres for degrees, and VN-2000 for WGS 84.
        urn = f"urn:ogc:def:crs:EPSG::{query.crs.srid}"
        head += f'"crs":{{"type":"name","properties":{{"name":"{urn}"}}}},'
    headed = _HeadedSink(sink, (head + '"features":[\n').encode())
    reader.copy(statement, bound, raw, headed, between=b",")
    sink.write((b"" if headed.has_begun else headed.head) + b"]}\n")


class _HeadedSink:
    """Writes a head before the first row.

    Not earlier: an export that fails before its first row is refused instead of broken off.
    """

    def __init__(self, sink: Sink, head: bytes) -> None:
        self._sink = sink
        self.head = head
        self.has_begun = False

    def write(self, data: bytes) -> None:
        """Write whole rows."""
        self._sink.write(data if self.has_begun else self.head + data)
        self.has_begun = True


def _jsonfg(query: Query) -> str:
    """SQL of a JSON-FG feature: geometry in WGS 84, place in the CRS of the query, and time."""
    wgs84 = replace(query, crs=crs.supported(query.storage)[crs.CRS84])
    place = "'null'"
    if query.crs.uri != crs.CRS84:
        place = f"coalesce(ST_AsGeoJSON({_polygon(query)}, {query.crs.digits:d}, 0), 'null')"
    time = "''"
    json_sql = {prop.name: prop.json_sql for prop in query.collection.properties}
    if "valid_from" in json_sql and "valid_to" in json_sql:
        until = f"replace({json_sql['valid_to']}, 'null', '\"..\"')"
        since = json_sql["valid_from"]
        time = f"',\"time\":{{\"interval\":[' || {since} || ',' || {until} || ']}}'"
    return f"left({sql.feature_json(wgs84)}, -1) || ',\"place\":' || {place} || {time} || '}}'"


def _east_first(query: Query) -> Query:
    """Return the query with longitude or easting first, as readers of files expect it.

    Only JSON-FG names a CRS whose axis order its readers look up.
    """
    return replace(query, crs=replace(query.crs, north_first=False))


def _polygon(query: Query) -> str:
    return crs.output_sql("ST_ForcePolygonCCW(geom)", query.storage, query.crs)


# -- files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table of features: its name, its kind in `gdal_process`, and its SQL."""

    name: str
    kind: str
    sql: str


def _columns(query: Query, name: str) -> list[_Column]:
    properties = query.properties or query.collection.properties
    columns = [
        _Column(
            _SHORT_NAMES.get(p.name, p.name)[:10] if name == "shp" else p.name, *_column(p, name)
        )
        for p in properties
    ]
    shape = f"ST_AsText({_polygon(query)}, {query.crs.digits:d})"
    if name != "csv":
        shape = f"encode(ST_AsBinary({_polygon(query)}), 'hex')"
    return [*columns, _Column("geometry", "geometry", shape)]


def _select_list(columns: Sequence[_Column]) -> str:
    return ", ".join(f'{column.sql} AS "{column.name}"' for column in columns)


def _column(prop: Property, name: str) -> tuple[str, str]:  # noqa: PLR0911  # one a kind
    """Kind and SQL of a property in a format."""
    column = prop.column
    writable = f"CASE WHEN {WRITABLE_YEAR} THEN {{}} END".replace("{}", column)
    match prop.kind:
        case "integer":
            return "integer" if prop.bits == 32 else "long", column
        case "boolean":
            return "boolean", f"({column})::text"
        case "number":
            return "number", f"CASE WHEN {column} BETWEEN -1e15 AND 1e15 THEN {column} END"
        case "date":
            return "date", writable
        case "time":
            utc = f"(({writable}) AT TIME ZONE 'UTC')"
            if name in ("csv", "shp"):  # a dbf has no times
                return "string", f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'
            # GDAL has no finer times: the end of a version and the beginning of the next are cut
            # off alike
            digits = "US" if name == "parquet" else "MS"
            return "time", f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.{digits}"Z"\')'
        case "codes" if name == "shp":
            codes = f"jsonb_path_query_array({column}, '$[*].code')::text"
            return "string", f"replace(translate({codes}, '[]\" ', ''), ',', '+')"
        case "codes":
            return "string", f"coalesce({column}::text, '[]')"
    return "string", f"({column})::text"


def write_file(
    reader: ExportReader,
    query: Query,
    name: str,
    target: Path,
    *,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Write all that a query matches by a child process, as long as it is `wanted`.

    Raises `BadRequest` where the format can't hold the features, `ExportCancelled`, `Unavailable`,
    `LandDataError`.
    """
    query = _east_first(query)
    columns = _columns(query, name)
    statement, bound = sql.all_statement(query, _select_list(columns))
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, os.fspath(Path(__file__).with_name("gdal_process.py")),
             json.dumps(_task(query, name, target, columns))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )  # fmt: skip
        pipe = cast("BinaryIO", child.stdin)
        try:
            with suppress(BrokenPipeError):  # the child has ended; its errors say why
                reader.copy(statement, bound, "FORCE_QUOTE *", _CancellablePipe(pipe, wanted))
                pipe.close()
            has_failed = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            with suppress(BrokenPipeError):
                pipe.close()
        if has_failed:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 2000))
            lines = errors.read().decode("utf-8", "replace").strip().splitlines() or ["killed"]
            raise _not_written(name, lines[-1].replace(f"{target.parent}{os.sep}", ""))


def _task(query: Query, name: str, target: Path, columns: Sequence[_Column]) -> dict[str, Any]:
    """The argument of the child process."""
    file_format, collection = FORMATS[name], query.collection
    system = pyproj.CRS.from_epsg(query.crs.srid)
    # FlatGeobuf's index has no room for features without geometry; only these always have one
    unindexed = name == "fgb" and collection.id not in ("parcels", "sheets")
    return {
        "format": name,
        "driver": file_format.driver,
        "zipped": file_format.zipped,
        "extension": file_format.extension,
        "target": os.fspath(target),
        "layer": collection.id,
        "columns": [(column.name, column.kind) for column in columns],
        "geometry_type": collection.geometry,
        "crs": f"EPSG:{query.crs.srid}",
        "projjson": json.loads(system.to_json()) if name == "parquet" else None,
        "dataset_options": file_format.dataset_options,
        "layer_options": {"SPATIAL_INDEX": "NO"} if unindexed else {},
    }


def _not_written(name: str, reason: str) -> LandDataError:
    """Return the error for what the child process has said last."""
    if name == "shp" and "Attempt to write non-" in reason:
        return BadRequest(
            "These geometries are of several types, and a shapefile holds one.",
            hint="Try another format.",
            code="not-written",
        )
    return LandDataError(
        "The {title} could not be written: {reason}",
        hint="Try another format; a shapefile ends at 2 GB." if name == "shp" else None,
        code="not-written",
        title=FORMATS[name].title,
        reason=reason[:300],
    )


class _CancellablePipe:
    """A pipe that raises `ExportCancelled` once the file is not wanted any more."""

    def __init__(self, pipe: BinaryIO, wanted: Callable[[], bool]) -> None:
        self._pipe = pipe
        self._wanted = wanted

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if not self._wanted():
            raise ExportCancelled
        self._pipe.write(data)
