"""Custom collections: tables and views of the deployment, named in a file that may change.

`LANDDATA_COLLECTIONS` names a TOML file. Its entries become `Collection`s like ours, served through
the same statements: their rows are wrapped to look like a table of ours. The types of columns come
from the database. Names from the file are checked and quoted; it can't hold SQL.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from landdata.errors import BadRequest, NotFound, Unavailable
from landdata.features import crs, parameters
from landdata.features.collections import (
    LANGUAGES,
    TIMELESS,
    Collection,
    Kind,
    Property,
    collections,
)
from landdata.settings import Settings
from landdata.store.read_connections import fetch_rows
from landdata.translations import sentence

_ID = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_NAME = re.compile(r"[^\W\d]\w{0,62}")
#: Our tables that name people, or hold what is not official.
_PRIVATE_TABLES = {"batches", "findings", "holders", "staged_parcels", "survey_points"}
_ENTRY_KEYS = {"key", "table", "geometry", "title", "description", "widest", "properties"}
_PROPERTY_KEYS = {"column", "title", "unit", "queryable"}

#: Names that mean something else in a request or a feature.
_RESERVED = {*parameters.PARAMETERS, "geometry"}
_MIN_WIDEST = 10  # metres: about a tile of the web's last level
_KEY_KINDS = ("integer", "uuid", "string")

_KINDS: dict[str, Kind] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "number",
    "float8": "number",
    "numeric": "number",
    "bool": "boolean",
    "uuid": "uuid",
    "date": "date",
    "timestamptz": "time",
    "timestamp": "time",
}
_GEOMETRY_TYPES = {
    name.upper(): name
    for name in (
        "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    )
}  # fmt: skip

_COLUMNS_SQL = """
SELECT a.attname::text, t.typname::text, a.attnotnull
FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%(name)s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_GEOMETRY_SQL = """
SELECT srid, type FROM geometry_columns
WHERE format('%%I.%%I', f_table_schema, f_table_name)::regclass = to_regclass(%(name)s)
  AND f_geometry_column = %(column)s
"""

_LOG = logging.getLogger(__name__)


class CustomCollections:
    """The collections of a file; while the file is not valid, those of the last valid one."""

    def __init__(self, path: Path | None, storage: int, taken: frozenset[str], url: sa.URL) -> None:
        self._path = path
        self._url = url
        self._storage = storage
        self._taken = taken
        self._stamp = (-1, -1) if path is not None else self._file_stamp()
        self._collections: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def collections(self, *, strict: bool = False) -> dict[str, Collection]:
        """Return the collections by id, read again if the file has changed.

        Where the file is not valid, `strict` raises `BadRequest`; else the reason is logged.
        """
        stamp = self._file_stamp()
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    try:
                        self._collections = self._read()
                    except BadRequest as error:
                        if strict:
                            raise
                        _LOG.error("%s %s", error.message, error.hint or "")
                    self._stamp = stamp
        return self._collections

    @property
    def known(self) -> dict[str, Collection]:
        """The collections as the file was read last."""
        return self._collections

    @property
    def is_current(self) -> bool:
        """Whether the file is unchanged since it was read."""
        return self._stamp == self._file_stamp()

    def _file_stamp(self) -> tuple[int, int]:
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            status = None
        return (status.st_mtime_ns, status.st_size) if status else (0, 0)

    def _read(self) -> dict[str, Collection]:
        assert self._path is not None
        try:
            entries = tomllib.loads(self._path.read_text("utf-8"))
        except OSError as error:
            raise _bad(sentence("it can't be read: {strerror}", strerror=error.strerror)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _bad(sentence("it is no TOML: {error}", error=error)) from None
        custom = {}
        for name, entry in entries.items():
            if not _ID.fullmatch(name) or name in self._taken:
                raise _bad(
                    sentence(
                        "{name!r} can't be a collection's name (a-z, 0-9, - and _; not ours)",
                        name=name,
                    )
                )
            try:
                custom[name] = _Definition(self._url, self._storage, name, entry).collection()
            except Unavailable as error:
                if error.code == "database-down":
                    raise
                raise _bad(
                    sentence("[{name}]: {message}", name=name, message=error.message)
                ) from None
        return custom


class _Definition:
    """An entry of the file, and the table that it names. Its methods raise `BadRequest`."""

    def __init__(self, url: sa.URL, storage: int, name: str, entry: Any) -> None:
        _only(entry, _ENTRY_KEYS, name)
        self._url = url
        self._storage = storage
        self._name = name
        self._entry: dict[str, Any] = entry
        self._table, self._key, self._geometry_column = (
            _text(entry, field, name) for field in ("table", "key", "geometry")
        )

    def collection(self) -> Collection:
        """Return the collection that the entry defines."""
        name, entry = self._name, self._entry
        widest = entry.get("widest", math.inf)
        if type(widest) not in (int, float) or not widest >= _MIN_WIDEST:
            raise _bad(
                sentence(
                    "[{name}]: widest is a number of metres, at least {least}",
                    name=name,
                    least=_MIN_WIDEST,
                )
            )
        quoted = self._quoted_table()
        columns = fetch_rows(self._url, _COLUMNS_SQL, {"name": quoted})
        types = {column: str(kind) for column, kind, _ in columns}
        required = {column for column, _, not_null in columns if not_null}
        if not types:
            raise _bad(
                sentence(
                    "[{name}]: there is no table or view {table}, or nobody may read it",
                    name=name,
                    table=self._table,
                )
            )
        key_type = self._type(types, self._key)
        if self._type(types, self._geometry_column) != "geometry":
            raise _bad(
                sentence(
                    "[{name}]: the column {geometry_column!r} of {table} is no geometry",
                    name=name,
                    geometry_column=self._geometry_column,
                    table=self._table,
                )
            )
        key_kind: Literal["uuid", "string", "integer"] = "string"
        if key_type == "uuid" or _KINDS.get(key_type) == "integer":
            key_kind = "uuid" if key_type == "uuid" else "integer"
        key = f"t.{_quote(self._key)}"
        selected, properties = self._properties(types)
        geometry, geometry_type, declared = self._geometry(quoted)
        key_column = f"{key}{'::text' if key_kind == 'string' else ''} AS k"
        selected = [key_column, *selected, f"{geometry} AS geom"]
        title = _titles(entry.get("title", name), name)
        return Collection(
            id=name,
            table=f"(SELECT {', '.join(selected)}, {TIMELESS}"  # noqa: S608
            f" FROM {quoted} AS t WHERE {key} IS NOT NULL) AS t",
            key="k",
            key_kind=key_kind,
            order="version",
            order_kind="integer",
            valid="time",
            open_ended=True,
            title=title,
            item={"vi": title["vi"].lower(), "en": title["en"].lower()},
            description=_titles(entry.get("description", title), name),
            keywords={"vi": [], "en": []},
            properties=tuple(properties),
            geometry=geometry_type,
            geometry_required=declared and self._geometry_column in required,
            max_tile_width_m=float(widest),
        )

    def _quoted_table(self) -> str:
        parts = self._table.split(".")
        if not 1 <= len(parts) <= 2 or not all(map(_NAME.fullmatch, parts)):
            raise _bad(
                sentence(
                    "[{name}] names no table: {table!r} (write schema.table)",
                    name=self._name,
                    table=self._table,
                )
            )
        if parts[-1] in _PRIVATE_TABLES and parts[0] in {parts[-1], "public"}:
            raise _bad(
                sentence("[{name}]: {table} is not for readers", name=self._name, table=self._table)
            )
        return ".".join(map(_quote, parts))

    def _type(self, types: Mapping[str, str], column: str) -> str:
        if column not in types:
            raise _bad(
                sentence(
                    "[{name}]: {table} has no column {column!r}",
                    name=self._name,
                    table=self._table,
                    column=column,
                )
            )
        return types[column]

    def _properties(self, types: Mapping[str, str]) -> tuple[list[str], list[Property]]:
        """Return the select list of the properties, and the properties."""
        default: dict[str, Any] = {name: {} for name, kind in types.items() if kind != "geometry"}
        entries = self._entry.get("properties", default)
        _only(entries, entries, f"{self._name}.properties")
        if not entries:  # all columns would be more than the entry meant
            raise _bad(
                sentence(
                    "[{name}]: there is no property; name one, or leave out all of properties",
                    name=self._name,
                )
            )
        selected, properties = [], []
        for number, (name, entry) in enumerate(entries.items()):
            where = f"{self._name}.properties.{name}"
            _only(entry, _PROPERTY_KEYS, where)
            queryable = entry.get("queryable", True)
            if not isinstance(queryable, bool):
                raise _bad(
                    sentence("[{where}]: queryable is true or false, without quotes", where=where)
                )
            column = _text({"column": name, **entry}, "column", where)
            if not _NAME.fullmatch(name) or name in _RESERVED:
                raise _bad(
                    sentence(
                        "[{name}]: {name2!r} can't be a property's name; give the column another"
                        " one under properties",
                        name=self._name,
                        name2=name,
                    )
                )
            kind, sql = _typed(f"t.{_quote(column)}", self._type(types, column))
            selected.append(f"{sql} AS c{number:d}")
            title = _titles(entry.get("title", name), where)
            is_key = column == self._key and kind in _KEY_KINDS
            properties.append(
                Property(
                    name,
                    kind,
                    title["vi"],
                    title["en"],
                    column="k" if is_key else f"c{number:d}",
                    bits=64 if types[column] == "int8" else 32,
                    unit=_text(entry, "unit", where) if "unit" in entry else None,
                    queryable=queryable,
                )
            )
        return selected, properties

    def _geometry(self, table: str) -> tuple[str, str, bool]:
        """SQL of the geometry in the storage CRS, its type, and whether its CRS is declared."""
        name, column = self._name, self._geometry_column
        declarations = fetch_rows(self._url, _GEOMETRY_SQL, {"name": table, "column": column})
        declared, geometry_type = declarations[0] if declarations else (0, "GEOMETRY")
        srid, other = declared, declared
        if not declared:
            srids = f"ST_SRID({_quote(column)})"
            statement = f"SELECT min({srids}), max({srids}) FROM {table}"  # noqa: S608  # quoted
            srid, other = fetch_rows(self._url, statement, {})[0]
        if not srid:
            raise _bad(
                sentence(
                    "[{name}]: the reference system of {column!r} is not known (SRID 0)",
                    name=name,
                    column=column,
                )
            )
        if srid != other:
            raise _bad(
                sentence(
                    "[{name}]: {column!r} has several reference systems (SRID {srid}, {other})",
                    name=name,
                    column=column,
                    srid=srid,
                    other=other,
                )
            )
        sql = f"t.{_quote(column)}"
        if not declared:  # a later row may have another SRID, and would be in a wrong place
            sql = f"CASE WHEN ST_SRID({sql}) = {srid:d} THEN {sql} END"
        storage = self._storage
        if srid != storage:
            # through the pinned operation, like all transformations from and to VN-2000
            if storage in crs.VN2000 and srid not in crs.VN2000:
                sql = f"ST_SetSRID(ST_Transform({sql}, {crs.PINNED + storage:d}), {storage:d})"
            else:
                if srid in crs.VN2000 and storage not in crs.VN2000:
                    sql = f"ST_SetSRID({sql}, {crs.PINNED + srid:d})"
                sql = f"ST_Transform({sql}, {storage:d})"
        return sql, _GEOMETRY_TYPES.get(geometry_type, "Unknown"), bool(declared)


def find(settings: Settings, url: sa.URL, name: str) -> Collection:
    """Return one collection by its id, ours or a custom one.

    Raises `NotFound`, and `BadRequest` where the file makes no sense.
    """
    own = collections(settings)
    if name in own:
        return own[name]
    more = CustomCollections(settings.collections, settings.srid, frozenset(own), url)
    offer = {**own, **more.collections(strict=True)}
    if name not in offer:
        raise NotFound(
            "There is no collection {name!r}.",
            hint="There are: {offer}.",
            name=name[:100],
            offer=", ".join(offer),
        )
    return offer[name]


def _typed(column: str, column_type: str) -> tuple[Kind, str]:
    """Return kind and SQL of a property over a column of a PostgreSQL type."""
    kind = _KINDS.get(column_type, "string")
    if column_type == "timestamp":
        return kind, f"({column} AT TIME ZONE 'Asia/Ho_Chi_Minh')"
    if kind == "number":
        return kind, f"{column}::double precision"
    return kind, f"{column}::text" if kind == "string" else column


def _text(entry: Mapping[str, Any], field: str, where: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str):
        raise _bad(
            sentence("[{where}] must say {field}, as text in quotes", where=where, field=field)
        )
    return value


def _titles(title: Any, where: str) -> dict[str, str]:
    if isinstance(title, str):
        return dict.fromkeys(LANGUAGES, title)
    if not isinstance(title, dict) or not all(isinstance(title.get(n), str) for n in LANGUAGES):
        raise _bad(
            sentence(
                '[{where}]: a title or description is "…" or {vi = "…", en = "…"}', where=where
            )
        )
    return {language: title[language] for language in LANGUAGES}


def _only(entry: Any, allowed: Iterable[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise _bad(sentence("[{where}] is no table of TOML", where=where))
    unknown = set(entry).difference(allowed)
    if unknown:
        raise _bad(
            sentence(
                "[{where}] has {unknown}, which is not known",
                where=where,
                unknown=", ".join(sorted(unknown)),
            )
        )


def _quote(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _bad(sentence("{name!r} is no name of a column or table that is allowed", name=name))
    return f'"{name}"'


def _bad(reason: str) -> BadRequest:
    return BadRequest(
        "The file of LANDDATA_COLLECTIONS is not usable: {reason}.",
        hint="docs/operating.md describes its contents.",
        code="bad-collections",
        reason=reason,
    )
