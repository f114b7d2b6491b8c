"""Which format a file has, told from its first bytes and never from its name.

A driver guesses from contents too, and guesses wide. So each file gets exactly one driver, and
only after its bytes were found to be that driver's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from landdata.errors import BadSurvey

_HEAD = 65_536  # bytes in which a format shows itself
_TAIL = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format that is accepted.

    `driver` is GDAL's (null: read without GDAL), `suffix` the one that the file gets from us,
    `suffixes` those under which it comes. `kind` says what its rows are: polygons, or lines
    and labels of which polygons are made, or points.
    """

    name: str
    driver: str | None
    suffix: str
    suffixes: tuple[str, ...]
    kind: Literal["polygons", "linework", "points"] = "polygons"
    layered: bool = False  # one file may hold several layers
    options: Mapping[str, str] = field(default_factory=dict)  # GDAL's, at opening


SHAPEFILE = Format(
    name="shapefile", driver="ESRI Shapefile", suffix=".shp", suffixes=(".shp",)
)  # its parts are gathered and checked by `archive`
GEOPACKAGE = Format(
    name="GeoPackage", driver="GPKG", suffix=".gpkg", suffixes=(".gpkg",), layered=True,
    # Without it SQLite would look for, and obey, journals beside the file.
    options={"IMMUTABLE": "YES"},
)  # fmt: skip
GEOJSON = Format(
    name="GeoJSON", driver="GeoJSON", suffix=".geojson", suffixes=(".geojson", ".json")
)
FLATGEOBUF = Format(name="FlatGeobuf", driver="FlatGeobuf", suffix=".fgb", suffixes=(".fgb",))
GML = Format(
    name="GML", driver="GML", suffix=".gml", suffixes=(".gml", ".xml"), layered=True,
    options={"DOWNLOAD_SCHEMA": "NO"},
)  # fmt: skip

POINTS = Format(
    name="text of survey points", driver=None, suffix=".csv", suffixes=(".csv", ".txt"),
    kind="points",
)  # fmt: skip

#: Told apart by their first bytes; the shapefile, which is several files, is not among them.
FORMATS = (GEOPACKAGE, GEOJSON, FLATGEOBUF, GML, POINTS)
#: The drivers that GDAL has in its process: of these the one that the file needs.
DRIVERS = tuple(f.driver for f in (SHAPEFILE, *FORMATS) if f.driver is not None)
SUFFIXES: Mapping[str, Format] = MappingProxyType({s: f for f in FORMATS for s in f.suffixes})
#: Suffixes of much else too: counted only where a zip holds nothing better.
COMMON_SUFFIXES = frozenset({".json", ".xml", ".txt", ".csv"})

_XML_ROOT = re.compile(rb"<(?![?!])(?:[\w.-]+:)?([\w.-]+)([^>]*)>", re.DOTALL)
_GML_ROOT = re.compile(rb"http://www\.opengis\.net/(?:gml|wfs)")
# What is not accepted, but can be called by its name.
_KNOWN = (
    (b"\xd0\xcf\x11\xe0", "a DGN of version 8", "Save it as DGN V7, DXF or a shapefile.", "dgn-v8"),
    (b"AC10", "a DWG", "Save it as DXF or a shapefile.", "dwg"),
    (b"Rar!", "a RAR archive", "Send a zip.", "unknown-format"),
    (b"7z\xbc\xaf", "a 7z archive", "Send a zip.", "unknown-format"),
    (b"\x1f\x8b", "a gzip archive", "Send a zip.", "unknown-format"),
)


def recognise(path: Path, name: str) -> Format:
    """Return the format of a file by its bytes; `name` is what the sender calls it.

    Raises `BadSurvey` for what is not accepted.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for magic, called, hint, code in _KNOWN:
        if head.startswith(magic):
            raise BadSurvey(f"{name} is {called}, which is not read.", hint=hint, code=code)
    if head.startswith(b"SQLite format 3\0"):
        return GEOPACKAGE
    if head.startswith(b"fgb\x03fgb"):
        return FLATGEOBUF
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return GEOJSON
    if text.startswith(b"<"):
        _check_xml(text, name)
        return GML
    if _is_table(head):
        return POINTS
    raise _unknown(name)


def _is_table(head: bytes) -> bool:
    """Tell whether text is delimited lines: the first two have the same four columns or more."""
    if head.startswith(b"\xff\xfe"):
        head = head[2:].replace(b"\0", b"")
    lines = [line for line in head.splitlines() if line.strip()][:2]
    if len(lines) < 2 or b"\0" in head:
        return False
    return any(lines[0].count(d) == lines[1].count(d) >= 3 for d in (b"\t", b";", b",", b"|"))


def _check_xml(head: bytes, name: str) -> None:
    """Refuse XML that is no GML, or that defines entities."""
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise BadSurvey(
            f"{name} has a document type of its own, which no GML needs.",
            hint="Export it again as plain GML.",
            code="unsafe-xml",
        )
    root = _XML_ROOT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    if root is None or b"\0" in head or not _GML_ROOT.search(root[2]):
        raise _unknown(name)


def _unknown(name: str) -> BadSurvey:
    return BadSurvey(
        f"{name} is of no format that is read here.",
        hint="Send a zipped shapefile, or another of the formats in docs/survey-files.md.",
        code="unknown-format",
    )
