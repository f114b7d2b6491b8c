"""Findings as tables: CSV, XLSX and a GeoPackage that QGIS opens with its styles.

The same findings give the same bytes. No file needs a library of its own: an XLSX is a zip of
XML, a GeoPackage an SQLite database.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from landdata.findings import Finding

if TYPE_CHECKING:
    from landdata.survey import SurveyPoints

#: What a finding is in a table: X is the northing and Y the easting, as Vietnamese sheets have it.
COLUMNS = (
    "no", "rule", "severity", "row", "other_row", "parcel", "other_parcel", "measured", "limit",
    "unit", "source", "x_north", "y_east", "message_vi", "message_en",
)  # fmt: skip
_NUMBERS = {"no", "row", "other_row", "measured", "limit", "x_north", "y_east"}


def rows(findings: Iterable[Finding]) -> Iterator[tuple[Any, ...]]:
    """Yield each finding as its values in the order of `COLUMNS`."""
    for number, finding in enumerate(findings, 1):
        said = finding.as_dict()
        east, north = finding.point or (None, None)
        yield (
            number, *(said[name] for name in COLUMNS[1:11]),
            None if north is None else float(north), None if east is None else float(east),
            said["message"]["vi"], said["message"]["en"],
        )  # fmt: skip


def report_csv(findings: Iterable[Finding]) -> bytes:
    """Return CSV (RFC 4180) in UTF-8 with the mark by which spreadsheets know it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows(findings):
        writer.writerow(["" if v is None else _plain(v) for v in row])
    return text.getvalue().encode("utf-8-sig")


def points_csv(points: Iterable[dict[str, Any]]) -> str:
    """Return survey points (`batches.points`) as CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("line", "name", "x_north", "y_east", "srid", "x", "y", "parcels"))
    for each in points:
        writer.writerow(
            (each["line"], _plain(each["name"]), each["x_north"], each["y_east"], each["srid"],
             *each["point"], " ".join(each["parcels"]))
        )  # fmt: skip
    return text.getvalue()


def _plain(value: Any) -> Any:
    """Keep a spreadsheet from taking text of a stranger's file for a formula."""
    return "'" + value if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


# -- XLSX

_TYPES = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">\
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>\
<Default Extension="xml" ContentType="application/xml"/>\
<Override PartName="/xl/workbook.xml" ContentType="\
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>\
<Override PartName="/xl/worksheets/sheet1.xml" ContentType="\
application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>\
<Override PartName="/xl/styles.xml" ContentType="\
application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"""
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}\
</Relationships>"""
_WORKBOOK = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>\
<sheet name="findings" sheetId="1" r:id="rId1"/></sheets></workbook>"""
_STYLES = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<styleSheet xmlns="{_MAIN}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>\
<font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill>\
<patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>\
<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>\
<cellXfs count="2"><xf/><xf fontId="1" applyFont="1"/></cellXfs></styleSheet>"""
_WIDTHS = (6, 20, 10, 8, 10, 18, 18, 12, 10, 6, 40, 14, 13, 70, 70)
#: An XLSX sheet ends here; what is more goes to the CSV, and is never cut off silently.
MAX_ROWS = 1_048_575


def report_xlsx(findings: Sequence[Finding]) -> bytes:
    """Return an XLSX workbook with one sheet, its first row fixed and filterable."""
    relation = f'<Relationship Id="rId{{}}" Type="{_OFFICE}/{{}}" Target="{{}}"/>'
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _RELATIONS.format(relation.format(1, "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": _WORKBOOK,
        "xl/_rels/workbook.xml.rels": _RELATIONS.format(
            relation.format(1, "worksheet", "worksheets/sheet1.xml")
            + relation.format(2, "styles", "styles.xml")
        ),
        "xl/styles.xml": _STYLES,
        "xl/worksheets/sheet1.xml": _sheet(findings),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            # A date of its own would make other bytes each time.
            archive.writestr(
                zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED
            )
    return out.getvalue()


def _sheet(findings: Sequence[Finding]) -> str:
    last = f"{chr(64 + len(COLUMNS))}{len(findings) + 1}"
    lines = [
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<worksheet xmlns="{_MAIN}">'
        '<sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2"'
        ' state="frozen"/></sheetView></sheetViews><cols>',
        *(
            f'<col min="{k}" max="{k}" width="{wide}" customWidth="1"/>'
            for k, wide in enumerate(_WIDTHS, 1)
        ),
        "</cols><sheetData>",
        _cells(COLUMNS, ' s="1"'),
        *(_cells(row, "") for row in rows(findings)),
        f'</sheetData><autoFilter ref="A1:{last}"/></worksheet>',
    ]
    return "".join(lines)


def _cells(row: Iterable[Any], style: str) -> str:
    written = []
    for value in row:
        if value is None:
            written.append("<c/>")
        elif isinstance(value, str):
            text = escape("".join(c for c in value if c >= " " or c in "\t\n"))
            written.append(
                f'<c t="inlineStr"{style}><is><t xml:space="preserve">{text}</t></is></c>'
            )
        else:
            written.append(f"<c{style}><v>{value!r}</v></c>")
    return f"<row>{''.join(written)}</row>"


# -- GeoPackage

_CORE = """
PRAGMA application_id = 1196444487;
PRAGMA user_version = 10300;
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY,
  organization TEXT NOT NULL, organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL,
  description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL,
  identifier TEXT UNIQUE, description TEXT DEFAULT '', last_change DATETIME NOT NULL,
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
  srs_id INTEGER REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL,
  m TINYINT NOT NULL, CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name));
CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT,
  f_table_schema TEXT, f_table_name TEXT, f_geometry_column TEXT, styleName TEXT, styleQML TEXT,
  styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT, ui TEXT,
  update_time DATETIME);
"""
_THEN = "2000-01-01T00:00:00.000Z"  # the same bytes each time
_COLOURS = {"error": "179,38,30", "warning": "220,154,34", "info": "47,102,144"}


def report_gpkg(
    findings: Sequence[Finding],
    parcels: NDArray[np.object_],
    geometry: NDArray[np.object_],
    status: NDArray[np.int8],
    srid: int,
    points: SurveyPoints | None = None,
) -> bytes:
    """Return a GeoPackage: parcels with their verdict, places and shapes of the findings.

    `parcels`, `geometry` and `status` are (n,) of the survey; all is in the CRS `srid`.
    Layers: `parcels`, `finding_shapes` (polygons), `findings` (points), each with its style, and
    `survey_points`, with the coordinates as measured, where the survey is of points.
    """
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        path = Path(scratch) / "report.gpkg"
        base = sqlite3.connect(path)
        try:
            base.executescript(_CORE)
            _reference_systems(base, srid)
            words = np.array(["acceptable", "rejected", "duplicate"])
            _layer(
                base, "parcels", "MULTIPOLYGON", srid, ("parcel", "verdict"),
                (
                    (_multi(shape), (key, str(words[verdict])))
                    for shape, key, verdict in zip(geometry, parcels, status, strict=True)
                    if shape is not None and not shapely.is_empty(shape)
                ),
                _qml("polygon", "verdict", {"acceptable": "126,156,136", "rejected": "179,38,30",
                                            "duplicate": "122,111,156"}, 40),
            )  # fmt: skip
            listed = list(zip(findings, rows(findings), strict=True))
            _layer(
                base, "finding_shapes", "MULTIPOLYGON", srid, COLUMNS,
                (
                    (_multi(found.geometry), row)
                    for found, row in listed
                    if found.geometry is not None
                    and found.geometry.geom_type in ("Polygon", "MultiPolygon")
                ),
                _qml("polygon", "severity", _COLOURS, 110),
            )  # fmt: skip
            _layer(
                base, "findings", "POINT", srid, COLUMNS,
                ((shapely.Point(f.point) if f.point else None, row) for f, row in listed),
                _qml("point", "severity", _COLOURS, 255),
            )  # fmt: skip
            if points is not None:
                _layer(
                    base, "survey_points", "POINT", srid, ("name", "x_north", "y_east", "rows"),
                    (
                        (shapely.Point(at), (name, float(y), float(x), " ".join(map(str, rows))))
                        for at, name, (x, y), rows in zip(
                            points.stored, points.names.to_pylist(), points.measured,
                            points.parcels.to_pylist(), strict=True,
                        )
                    ),
                    _qml("point", "name", {"": "70,70,70"}, 255),
                )  # fmt: skip
            base.commit()
            base.execute("VACUUM")
        finally:
            base.close()
        return path.read_bytes()


def _reference_systems(base: sqlite3.Connection, srid: int) -> None:
    crs = pyproj.CRS.from_epsg(srid)
    known = {
        -1: ("Undefined cartesian SRS", "NONE", -1, "undefined"),
        0: ("Undefined geographic SRS", "NONE", 0, "undefined"),
        4326: ("WGS 84", "EPSG", 4326, pyproj.CRS.from_epsg(4326).to_wkt("WKT1_GDAL")),
        srid: (crs.name, "EPSG", srid, crs.to_wkt("WKT1_GDAL")),
    }
    base.executemany(
        "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
        [(name, key, org, code, text) for key, (name, org, code, text) in known.items()],
    )


def _layer(
    base: sqlite3.Connection,
    name: str,
    kind: str,
    srid: int,
    columns: Sequence[str],
    features: Iterable[tuple[BaseGeometry | None, Sequence[Any]]],
    style: str,
) -> None:
    types = ", ".join(
        f'"{column}" {"INTEGER" if column in ("no", "row", "other_row") else "DOUBLE"}'
        if column in _NUMBERS
        else f'"{column}" TEXT'
        for column in columns
    )
    base.execute(
        f"CREATE TABLE {name} (fid INTEGER PRIMARY KEY AUTOINCREMENT, geom {kind}, {types})"
    )
    marks = ", ".join("?" * (len(columns) + 1))
    names = ", ".join(f'"{column}"' for column in columns)
    box = [np.inf, np.inf, -np.inf, -np.inf]
    for shape, values in features:
        if shape is not None:
            low = shape.bounds
            box = [
                min(box[0], low[0]),
                min(box[1], low[1]),
                max(box[2], low[2]),
                max(box[3], low[3]),
            ]
        base.execute(
            f"INSERT INTO {name} (geom, {names}) VALUES ({marks})",  # noqa: S608  # names of ours
            (_blob(shape, srid), *values),
        )
    extent = box if np.isfinite(box).all() else [None] * 4
    base.execute(
        "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', ?, ?, ?, ?, ?, ?)",
        (name, name, _THEN, *extent, srid),
    )
    base.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (name, kind, srid)
    )
    base.execute(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"
        " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner,"
        " update_time) VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '', ?)",
        (name, name, style, _THEN),
    )


def _multi(shape: BaseGeometry | None) -> BaseGeometry:
    return shapely.MultiPolygon(list(shapely.get_parts(shape)))


def _blob(shape: BaseGeometry | None, srid: int) -> bytes | None:
    if shape is None:
        return None
    return struct.pack("<2sBBi", b"GP", 0, 1, srid) + shapely.to_wkb(shape, byte_order=1)


def _qml(kind: str, column: str, colours: dict[str, str], alpha: int) -> str:
    """Write a QGIS style: one colour for each value of a column."""
    symbols, categories = [], []
    for k, (value, colour) in enumerate(colours.items()):
        options = (
            f'<Option type="QString" name="color" value="{colour},{alpha}"/>'
            f'<Option type="QString" name="outline_color" value="{colour},255"/>'
            '<Option type="QString" name="outline_width" value="0.3"/>'
        )
        if kind == "point":
            options += (
                '<Option type="QString" name="name" value="circle"/>'
                '<Option type="QString" name="size" value="3"/>'
            )
        layer = "SimpleMarker" if kind == "point" else "SimpleFill"
        symbols.append(
            f'<symbol type="{"marker" if kind == "point" else "fill"}" name="{k}" alpha="1">'
            f'<layer class="{layer}" enabled="1" pass="0"><Option type="Map">{options}</Option>'
            "</layer></symbol>"
        )
        categories.append(
            f'<category render="true" symbol="{k}" value="{value}" label="{value}" type="string"/>'
        )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
        '<qgis version="3.22" styleCategories="Symbology">'
        f'<renderer-v2 type="categorizedSymbol" attr="{column}" enableorderby="0">'
        f"<categories>{''.join(categories)}</categories><symbols>{''.join(symbols)}</symbols>"
        "</renderer-v2></qgis>"
    )
