"""The formats that are accepted, recognised by a file's first bytes and never by its name.

Drivers guess from contents too, and accept too much. So a file is opened by exactly one driver,
and only after its bytes have been checked to be of that driver's format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from landdata.errors import BadSurvey
from landdata.translations import sentence

_HEAD = 65_536  # bytes by which to recognise a format
_TAIL = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format that is accepted.

    `driver` is GDAL's (null: read without GDAL), `suffix` the one of our copy, `suffixes` those of
    files in this format. `kind` is what its rows are: polygons, or lines and labels or points, of
    which polygons are constructed.
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
)  # `archive` and `shapefile` check its parts
GEOPACKAGE = Format(
    name="GeoPackage", driver="GPKG", suffix=".gpkg", suffixes=(".gpkg",), layered=True,
    # Without it SQLite would use journals beside the file.
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

DXF = Format(name="DXF", driver="DXF", suffix=".dxf", suffixes=(".dxf",), kind="linework")
DGN = Format(name="DGN", driver="DGN", suffix=".dgn", suffixes=(".dgn",), kind="linework")
POINTS = Format(
    name="text of survey points", driver=None, suffix=".csv", suffixes=(".csv", ".txt"),
    kind="points",
)  # fmt: skip

#: Recognised by their first bytes; the shapefile, which is several files, is not.
FORMATS = (GEOPACKAGE, GEOJSON, FLATGEOBUF, GML, DXF, DGN, POINTS)
#: GDAL's drivers for them; the child process loads the one that the file needs.
DRIVERS = tuple(f.driver for f in (SHAPEFILE, *FORMATS) if f.driver is not None)
SUFFIXES: Mapping[str, Format] = MappingProxyType({s: f for f in FORMATS for s in f.suffixes})
#: Suffixes of many other files too: used only if a zip holds no others.
COMMON_SUFFIXES = frozenset({".json", ".xml", ".txt", ".csv"})

_XML_ROOT = re.compile(rb"<(?![?!])(?:[\w.-]+:)?([\w.-]+)([^>]*)>", re.DOTALL)
_GML_ROOT = re.compile(rb"http://www\.opengis\.net/(?:gml|wfs)")
_DXF_HEAD = re.compile(rb"(?:999\r?\n[^\n]*\n\s*)*0\s*\r?\n\s*SECTION\s*\r?\n")
_EXPORT = sentence("Export the parcels as a shapefile or a GeoPackage.")
_OFFICE = sentence("Save points as text (.csv); export parcels as a shapefile or a GeoPackage.")
#: Members that show what a zip without a survey is: suffix, description, hint.
FOREIGN = (
    ("[content_types].xml", sentence("an Office document"), _OFFICE),
    (".xlsx", sentence("an Office document"), _OFFICE),
    (".xls", sentence("an Office document"), _OFFICE),
    (".gdbtable", sentence("a file geodatabase"), _EXPORT),
    (".tab", sentence("a MapInfo table"), _EXPORT),
    (".mif", sentence("a MapInfo file"), _EXPORT),
    (".kml", sentence("a KML"), _EXPORT),
    (".mdb", sentence("a personal geodatabase"), _EXPORT),
)
# Formats that are not accepted: magic bytes, description, hint, error code.
_REJECTED = (
    (
        b"\xd0\xcf\x11\xe0",
        sentence("a DGN of version 8"),
        sentence("Save it as DGN V7, DXF or a shapefile."),
        "dgn-v8",
    ),
    (b"!table", sentence("a MapInfo table"), _EXPORT, "unknown-format"),
    (b"Version 300\n", sentence("a MapInfo file"), _EXPORT, "unknown-format"),
    (b"Version 300\r\n", sentence("a MapInfo file"), _EXPORT, "unknown-format"),
    (b"AC10", sentence("a DWG"), sentence("Save it as DXF or a shapefile."), "dwg"),
    (
        b"AutoCAD Binary DXF",
        sentence("a binary DXF"),
        sentence("Save it as DXF in text."),
        "binary-dxf",
    ),
    (b"Rar!", sentence("a RAR archive"), sentence("Send a zip."), "unknown-format"),
    (b"7z\xbc\xaf", sentence("a 7z archive"), sentence("Send a zip."), "unknown-format"),
    (b"\x1f\x8b", sentence("a gzip archive"), sentence("Send a zip."), "unknown-format"),
)


def recognise(path: Path, name: str) -> Format:
    """Return the format of a file by its bytes; `name` is the sender's.

    Raises `BadSurvey` for a format that is not accepted.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"\xd0\xcf\x11\xe0") and name.lower().endswith((".xls", ".doc", ".mdb")):
        raise _rejected(name, sentence("an Office document"), _OFFICE, "unknown-format")
    for magic, description, hint, code in _REJECTED:
        if head.startswith(magic):
            raise _rejected(name, description, hint, code)
    if head.startswith(b"SQLite format 3\0"):
        return GEOPACKAGE
    if head.startswith(b"fgb\x03fgb"):
        return FLATGEOBUF
    if head[:1] in (b"\x08", b"\xc8") and head[1:4] == b"\x09\xfe\x02":
        _check_elements(path, name)
        return DGN
    return _recognise_text(head, path, name)


def _recognise_text(head: bytes, path: Path, name: str) -> Format:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return GEOJSON
    if text.startswith(b"<"):
        _check_xml(text, name)
        return GML
    if _DXF_HEAD.match(text):
        _check_end(path, name)
        return DXF
    if _is_table(head):
        return POINTS
    raise _unknown(name)


def _is_table(head: bytes) -> bool:
    """Tell whether the first two lines have the same number of columns, four or more."""
    if head.startswith(b"\xff\xfe"):
        head = head[2:].replace(b"\0", b"")
    lines = [line for line in head.splitlines() if line.strip()][:2]
    if len(lines) < 2 or b"\0" in head:
        return False
    return any(lines[0].count(d) == lines[1].count(d) >= 3 for d in (b"\t", b";", b",", b"|"))


def _check_end(path: Path, name: str) -> None:
    """Raise `BadSurvey` for a DXF without its end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        if not file.read().rstrip(b"\0\x1a \t\r\n").endswith(b"EOF"):
            raise _cut_off(name)


def _check_elements(path: Path, name: str) -> None:
    """Raise `BadSurvey` for a DGN whose chain of elements breaks off; the driver would not."""
    with path.open("rb") as file:
        while (head := file.read(4))[:2] != b"\xff\xff":
            if len(head) < 4:
                raise _cut_off(name)
            file.seek(2 * int.from_bytes(head[2:], "little"), 1)


def _cut_off(name: str) -> BadSurvey:
    return BadSurvey(
        "{name} is cut off: its end is missing.",
        hint="Send it again, whole.",
        code="cut-off",
        name=name,
    )


def _check_xml(head: bytes, name: str) -> None:
    """Raise `BadSurvey` for XML that is not GML or defines entities."""
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise BadSurvey(
            "{name} has a document type of its own, which no GML needs.",
            hint="Export it again as plain GML.",
            code="unsafe-xml",
            name=name,
        )
    root = _XML_ROOT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    if root is not None and root[1] == b"kml":
        raise _rejected(name, sentence("a KML"), _EXPORT, "unknown-format")
    if root is None or b"\0" in head or not _GML_ROOT.search(root[2]):
        raise _unknown(name)


def _rejected(name: str, description: str, hint: str, code: str) -> BadSurvey:
    return BadSurvey(
        "{name} is {description}, which is not read.",
        hint=hint,
        code=code,
        name=name,
        description=description,
    )


def _unknown(name: str) -> BadSurvey:
    return BadSurvey(
        "{name} has a format that is not supported.",
        hint="Send a zipped shapefile, or another of the formats in docs/survey-files.md.",
        code="unknown-format",
        name=name,
    )
