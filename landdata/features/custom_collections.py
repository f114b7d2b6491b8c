"""More collections: tables and views of the deployment, named in a file that is read anew.

`LANDDATA_COLLECTIONS` names a TOML file. What stands in it becomes a `Collection` like ours, served
through the same statements: rows are wrapped so that they look like a table of ours. The types of
columns come from the database. Names from the file are checked, and quoted; no SQL is taken.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from landdata.errors import BadRequest, NotFound, Unavailable
from landdata.features import collections as config
from landdata.features import crs, parameters
from landdata.features.collections import LANGUAGES, TIMELESS, Collection, Kind, Property
from landdata.settings import Settings
from landdata.store.read_connections import fetch_rows

_ID = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_NAME = re.compile(r"[^\W\d]\w{0,62}")
#: Tables of ours that name people or what is not official.
_OURS = {"batches", "findings", "holders", "staged_parcels", "survey_points"}
_KEYS = {"key", "table", "geometry", "title", "description", "widest", "properties"}
_PROPERTY_KEYS = {"column", "title", "unit", "queryable"}

#: Names that mean something else in a request or in a feature.
_TAKEN = {*parameters.PARAMETERS, "geometry"}
_NARROWEST = 10  # metres: about a tile of the web's last level
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
_SHAPES = {
    each.upper(): each
    for each in (
        "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    )
}  # fmt: skip

_COLUMNS = """
SELECT a.attname::text, t.typname::text, a.attnotnull
FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%(name)s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_GEOMETRY = """
SELECT srid, type FROM geometry_columns
WHERE format('%%I.%%I', f_table_schema, f_table_name)::regclass = to_regclass(%(name)s)
  AND f_geometry_column = %(column)s
"""

_LOG = logging.getLogger(__name__)


class CustomCollections:
    """The collections of a file, as it stands; a file that makes no sense changes nothing."""

    def __init__(self, path: Path | None, storage: int, taken: frozenset[str], url: sa.URL) -> None:
        self._path = path
        self._url = url
        self._storage = storage
        self._taken = taken
        self._stamp = (-1, -1) if path is not None else self._now()
        self._known: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def collections(self, *, strict: bool = False) -> dict[str, Collection]:
        """Return them, read anew if the file has changed.

        `strict` raises `BadRequest` where the file makes no sense; else what was before stays,
        and the reason goes to the log.
        """
        stamp = self._now()
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    try:
                        self._known = self._read()
                    except BadRequest as error:
                        if strict:
                            raise
                        _LOG.error("%s %s", error.message, error.hint or "")
                    self._stamp = stamp
        return self._known

    @property
    def known(self) -> dict[str, Collection]:
        """The collections as the file was read last."""
        return self._known

    @property
    def is_current(self) -> bool:
        """Whether the file is as it was when it was read."""
        return self._stamp == self._now()

    def _now(self) -> tuple[int, int]:
        try:
            state = self._path.stat() if self._path else None
        except OSError:
            state = None
        return (state.st_mtime_ns, state.st_size) if state else (0, 0)

    def _read(self) -> dict[str, Collection]:
        assert self._path is not None
        try:
            told = tomllib.loads(self._path.read_text("utf-8"))
        except OSError as error:
            raise _bad(f"it can't be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise _bad(f"it is no TOML: {error}") from None
        made = {}
        for name, entry in told.items():
            if not _ID.fullmatch(name) or name in self._taken:
                raise _bad(f"{name!r} can't be a collection's name (a-z, 0-9, - and _; not ours)")
            try:
                made[name] = self._collection(name, entry)
            except Unavailable as error:
                if error.code == "database-down":
                    raise
                raise _bad(f"[{name}]: {error.message}") from None
        return made

    def _collection(self, name: str, told: Any) -> Collection:
        _only(told, _KEYS, name)
        table, key, shape = (_text(told, each, name) for each in ("table", "key", "geometry"))
        widest = told.get("widest", math.inf)
        if type(widest) not in (int, float) or not widest >= _NARROWEST:
            raise _bad(f"[{name}]: widest is a number of metres, at least {_NARROWEST}")
        parts = table.split(".")
        if not 1 <= len(parts) <= 2 or not all(map(_NAME.fullmatch, parts)):
            raise _bad(f"[{name}] names no table: {table!r} (write schema.table)")
        if parts[-1] in _OURS and parts[0] in {parts[-1], "public"}:
            raise _bad(f"[{name}]: {table} is not for readers")
        quoted = ".".join(map(_quote, parts))
        known = fetch_rows(self._url, _COLUMNS, {"name": quoted})
        columns = {column: kind for column, kind, _ in known}
        required = {column for column, _, needed in known if needed}
        if not columns:
            raise _bad(f"[{name}]: there is no table or view {table}, or nobody may read it")

        def kind_of(column: str) -> str:
            if column not in columns:
                raise _bad(f"[{name}]: {table} has no column {column!r}")
            return str(columns[column])

        key_type = kind_of(key)
        if kind_of(shape) != "geometry":
            raise _bad(f"[{name}]: the column {shape!r} of {table} is no geometry")
        integer, unique = _KINDS.get(key_type) == "integer", key_type == "uuid"
        selected = [f"t.{_quote(key)}{'' if integer or unique else '::text'} AS k"]
        properties = []
        every: dict[str, Any] = {each: {} for each, kind in columns.items() if kind != "geometry"}
        given = told.get("properties", every)
        _only(given, given, f"{name}.properties")
        if not given:  # all columns would be more than was meant
            raise _bad(f"[{name}]: there is no property; name one, or leave out all of properties")
        for place, (each, about) in enumerate(given.items()):
            here = f"{name}.properties.{each}"
            _only(about, _PROPERTY_KEYS, here)
            queryable = about.get("queryable", True)
            if not isinstance(queryable, bool):
                raise _bad(f"[{here}]: queryable is true or false, without quotes")
            column = _text({"column": each, **about}, "column", here)
            if not _NAME.fullmatch(each) or each in _TAKEN:
                raise _bad(
                    f"[{name}]: {each!r} can't be a property's name; give the column another one"
                    " under properties"
                )
            kind, sql = _typed(f"t.{_quote(column)}", kind_of(column))
            selected.append(f"{sql} AS c{place:d}")
            title = _titles(about.get("title", each), here)
            properties.append(
                Property(
                    name=each,
                    column="k" if column == key and kind in _KEY_KINDS else f"c{place:d}",
                    kind=kind,
                    bits=64 if columns[column] == "int8" else 32,
                    vi=title["vi"],
                    en=title["en"],
                    unit=_text(about, "unit", here) if "unit" in about else None,
                    queryable=queryable,
                )
            )
        moved, type_name, declared = self._geometry(name, quoted, shape)
        title = _titles(told.get("title", name), name)
        return Collection(
            id=name,
            table=f"(SELECT {', '.join(selected)}, {moved} AS geom, {TIMELESS}"  # noqa: S608
            f" FROM {quoted} AS t WHERE t.{_quote(key)} IS NOT NULL) AS t",
            key="k",
            key_kind="integer" if integer else "uuid" if unique else "string",
            order="version",
            order_kind="integer",
            valid="time",
            open_ended=True,
            title=title,
            item={"vi": title["vi"].lower(), "en": title["en"].lower()},
            description=_titles(told.get("description", title), name),
            keywords={"vi": [], "en": []},
            properties=tuple(properties),
            geometry=type_name,
            geometry_required=declared and shape in required,
            max_tile_width_m=float(widest),
        )

    def _geometry(self, name: str, quoted: str, column: str) -> tuple[str, str, bool]:
        """SQL of the geometry in the storage CRS, its type, and whether its CRS is declared."""
        known = fetch_rows(self._url, _GEOMETRY, {"name": quoted, "column": column})
        declared, shape = known[0] if known else (0, "GEOMETRY")
        srid, other = declared, declared
        if not declared:
            of = f"ST_SRID({_quote(column)})"
            srid, other = fetch_rows(self._url, f"SELECT min({of}), max({of}) FROM {quoted}", {})[0]  # noqa: S608  # checked, quoted
        if not srid:
            raise _bad(f"[{name}]: the reference system of {column!r} is not known (SRID 0)")
        if srid != other:
            raise _bad(f"[{name}]: {column!r} has several reference systems (SRID {srid}, {other})")
        sql = f"t.{_quote(column)}"
        if not declared:  # a row of another one may come later, and would be told in a wrong place
            sql = f"CASE WHEN ST_SRID({sql}) = {srid:d} THEN {sql} END"
        storage = self._storage
        if srid != storage:
            # through the pinned operation, like everything that enters or leaves VN-2000
            if storage in crs.VN2000 and srid not in crs.VN2000:
                sql = f"ST_SetSRID(ST_Transform({sql}, {crs.PINNED + storage:d}), {storage:d})"
            else:
                source = f"ST_SetSRID({sql}, {crs.PINNED + srid:d})" if (
                    srid in crs.VN2000 and storage not in crs.VN2000) else sql  # fmt: skip
                sql = f"ST_Transform({source}, {storage:d})"
        return sql, _SHAPES.get(shape, "Unknown"), bool(declared)


def find(settings: Settings, url: sa.URL, name: str) -> Collection:
    """Return a collection by its id, ours or the deployment's, for who asks once.

    Raises `NotFound`, and `BadRequest` where the file makes no sense.
    """
    own = config.collections(settings)
    if name in own:
        return own[name]
    more = CustomCollections(settings.collections, settings.srid, frozenset(own), url)
    offer = {**own, **more.collections(strict=True)}
    if name not in offer:
        raise NotFound(
            f"There is no collection {name[:100]!r}.", hint=f"There are: {', '.join(offer)}."
        )
    return offer[name]


def _typed(column: str, kind: str) -> tuple[Kind, str]:
    """Kind and SQL of a property over a column of the table."""
    known = _KINDS.get(kind, "string")
    if kind == "timestamp":
        return known, f"({column} AT TIME ZONE 'Asia/Ho_Chi_Minh')"
    if known == "number":
        return known, f"{column}::double precision"
    return known, f"{column}::text" if known == "string" else column


def _text(told: Mapping[str, Any], what: str, where: str) -> str:
    value = told.get(what)
    if not isinstance(value, str):
        raise _bad(f"[{where}] must say {what}, as text in quotes")
    return value


def _titles(told: Any, where: str) -> dict[str, str]:
    if isinstance(told, str):
        return {"vi": told, "en": told}
    if not isinstance(told, dict) or not all(isinstance(told.get(n), str) for n in LANGUAGES):
        raise _bad(f'[{where}]: a title or description is "…" or {{vi = "…", en = "…"}}')
    return {name: told[name] for name in LANGUAGES}


def _only(told: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(told, dict):
        raise _bad(f"[{where}] is no table of TOML")
    unknown = set(told).difference(known)
    if unknown:
        raise _bad(f"[{where}] has {', '.join(sorted(unknown))}, which is not known")


def _quote(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _bad(f"{name!r} is no name of a column or table that is taken")
    return f'"{name}"'


def _bad(why: str) -> BadRequest:
    return BadRequest(
        f"The file of LANDDATA_COLLECTIONS is not usable: {why}.",
        hint="docs/operating.md tells what it holds.",
        code="bad-collections",
    )
