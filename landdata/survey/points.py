"""Text of survey points, one per line, from which parcels are constructed.

A line holds its parcel (sheet and number), the point's position in the boundary, and its
coordinates: X is the northing and Y the easting, as in Vietnamese surveys. It is read without
GDAL.
"""

from __future__ import annotations

import csv
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from landdata.errors import BadSurvey
from landdata.findings import Finding
from landdata.survey import fields
from landdata.survey.model import ConstructedParcels

#: Names of the columns. Case, accents and underscores do not count.
NAMES: dict[str, tuple[str, ...]] = {
    "x": ("X", "XN", "N", "NORTH", "NORTHING", "TOADOX", "XM", "BAC", "TOADOXM"),
    "y": ("Y", "YE", "E", "EAST", "EASTING", "TOADOY", "YM", "DONG", "TOADOYM"),
    "order": ("ORDER", "POINTORDER", "THUTU", "THUTUDIEM", "STTDIEM", "STT"),
    "point": (
        "POINTNAME", "TENDIEM", "MADIEM", "SOHIEUDIEM", "SHDIEM", "SODIEM", "DIEM", "POINT",
        "SOHIEUDINHTHUA", "SOHIEUDINH", "SHDINH", "DINHTHUA", "DINH",
    ),
    "ring": ("RING", "VONG"),
    "edge": ("EDGE", "CANH", "CHIEUDAICANH", "DODAICANH", "CHIEUDAICANHM"),
}  # fmt: skip
#: The largest average number of points per parcel.
PER_PARCEL = 20
_NUMBERED = 0.9  # share of the parcels; in the others a point may be missing
_DELIMITERS = "\t;,|"
_UNCLEAR = (
    "hai điểm có cùng thứ tự trên ranh giới",
    "two of its points claim the same place in the boundary",
)
_TOO_FEW = ("có ít hơn ba điểm", "it has under three points")
_MAX_LINE = 65_536  # letters

#: A point: its first line (from 1), its name, its coordinates in the file, and the indices of the
#: parcels that it bounds.
POINTS = pa.schema(
    [
        ("line", pa.int64()),
        ("name", pa.string()),
        ("north", pa.float64()),
        ("east", pa.float64()),
        ("parcels", pa.list_(pa.int64())),
    ]
)


@dataclass(slots=True)
class _Parcel:
    """The points of a parcel by ring, as `(order, easting, northing, edge)`, and its values.

    `edge` is the text of the length to the next point, empty if not stated.
    """

    index: int
    values: list[str]
    rings: dict[str, list[tuple[float, float, float, str]]] = field(default_factory=dict)
    differing: set[int] = field(default_factory=set)  # columns in which its lines disagree

    def is_numbered(self) -> bool:
        """Tell whether the points of all rings are numbered from 1 without a gap."""
        return all(
            {point[0] for point in ring} == set(map(float, range(1, len({p[0] for p in ring}) + 1)))
            for ring in self.rings.values()
        )

    def use_file_order(self) -> None:
        """Order the points as in the file."""
        self.rings = {
            name: [(float(k), x, y, edge) for k, (_, x, y, edge) in enumerate(ring)]
            for name, ring in self.rings.items()
        }

    def defect(self) -> tuple[str, str] | None:
        """Return in Vietnamese and English why the points form no polygon; null if they do."""
        for ring in self.rings.values():
            distinct = {point[0] for point in ring if math.isfinite(point[0])}
            if distinct and len(distinct) < len(set(ring)):
                return _UNCLEAR
            if len({point[1:3] for point in ring}) < 3:
                return _TOO_FEW
        return None


def read(
    path: Path, name: str, most: int, *, columns: Sequence[str] | None = None
) -> ConstructedParcels:
    """Return the parcels of a text of at most `most` points, in the order of the text.

    `name` is the sender's name of the file, `columns` the names of its columns if it has no
    header. A parcel whose points are too few or not numbers has no usable shape, and a finding.
    Raises `BadSurvey` for unknown columns, or a line with another number of columns.
    """
    lines = _lines(path, name)
    header = list(columns) if columns else next(lines, (0, []))[1]
    places = _places(header, name)
    special = {places[meaning] for meaning in NAMES if meaning in places}
    attributes = [at for at in range(len(header)) if at not in special]
    parcels, points = _group(lines, name, most, header, places, attributes)
    # Points numbered per parcel are in that order; else their numbers are only names.
    numbered = sum(parcel.is_numbered() for parcel in parcels)
    if "order" not in places and "point" in places and numbered < _NUMBERED * len(parcels):
        for parcel in parcels:
            parcel.use_file_order()
    findings = [
        Finding("bad-value", row=row, detail={"field": _readable(header[at]), "value": "…"})
        for row, parcel in enumerate(parcels)
        for at in sorted(parcel.differing)
    ]
    defects = [parcel.defect() for parcel in parcels]
    findings += [
        Finding("missing-geometry", row=row, detail={"why": why[0], "why_en": why[1]})
        for row, why in enumerate(defects)
        if why is not None
    ]
    shapes = [None if why else _wkb(p) for p, why in zip(parcels, defects, strict=True)]
    texts = {header[at]: [p.values[at] for p in parcels] for at in attributes}
    if "edge" in places:
        texts.setdefault("edges", [_edges(parcel) for parcel in parcels])
    return ConstructedParcels(
        wkb=pa.chunked_array([pa.array(shapes, pa.binary())]),
        columns={
            name: pa.chunked_array([pa.array(values, pa.string())])
            for name, values in texts.items()
        },
        findings=tuple(findings),
        points=_table(points),
    )


#: (name, easting, northing) → the point's first line and the indices of its parcels, in order.
_Points = dict[tuple[str, float, float], tuple[int, dict[int, None]]]


def _group(
    lines: Iterator[tuple[int, list[str]]],
    name: str,
    most: int,
    header: list[str],
    places: dict[str, int],
    attributes: list[int],
) -> tuple[list[_Parcel], _Points]:
    """Return the parcels of the lines, and their distinct points."""
    ordered = places.get("order", places.get("point"))
    parcels: dict[tuple[str, str], _Parcel] = {}
    points: _Points = {}
    for count, (line, row) in enumerate(lines):
        if len(row) != len(header):
            raise BadSurvey(
                "Line {line} of {name} has {count} columns, not {count2}.",
                hint="Export the points again; every line needs every column.",
                code="bad-line",
                line=line,
                name=name,
                count=len(row),
                count2=len(header),
            )
        if count >= most:
            raise BadSurvey(
                "{name} has over {count} points.",
                hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
                code="too-many-rows",
                name=name,
                count=count,
            )
        sheet = row[places["sheet"]].strip() if "sheet" in places else ""
        key = (sheet, row[places["number"]].strip())
        parcel = parcels.setdefault(key, _Parcel(len(parcels), list(row)))
        for at in attributes:
            first, value = parcel.values[at].strip(), row[at].strip()
            if not first:
                parcel.values[at] = value
            elif value and value != first:
                parcel.differing.add(at)
        ring = parcel.rings.setdefault(row[places["ring"]].strip() if "ring" in places else "", [])
        order = float(len(ring)) if ordered is None else _number(row[ordered])
        east, north = _number(row[places["y"]]), _number(row[places["x"]])
        edge = row[places["edge"]].strip() if "edge" in places else ""
        ring.append((order, east, north, edge))
        if math.isfinite(east) and math.isfinite(north):
            point = row[places["point"]].strip() if "point" in places else ""
            _, users = points.setdefault((point, east, north), (line, {}))
            users[parcel.index] = None
    if not parcels:
        raise BadSurvey(
            "{name} has no points.", hint="Send the points.", code="empty-layer", name=name
        )
    return list(parcels.values()), points


def _table(points: _Points) -> pa.Table:
    """Return the points as a table (`POINTS`)."""
    columns = (
        [line for line, _ in points.values()],
        [point or None for point, _, _ in points],
        [north for _, _, north in points],
        [east for _, east, _ in points],
        [list(users) for _, users in points.values()],
    )
    arrays = [pa.array(values, kind) for values, kind in zip(columns, POINTS.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=POINTS)


def _lines(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the delimited lines that are not empty, with their numbers from 1.

    Text is latin-1, one character per byte.
    """
    with path.open("rb") as file:
        wide = file.read(2) == b"\xff\xfe"
    with path.open(encoding="utf-16" if wide else "latin-1", newline="") as file:
        first = file.readline(_MAX_LINE).removeprefix("ï»¿")
        delimiter = max(_DELIMITERS, key=first.count)
        file.seek(0)
        try:
            rows, number = csv.reader(file, delimiter=delimiter, strict=True), 0
            for row in rows:
                began, number = number + 1, rows.line_num  # a quoted value may span lines
                if "\0" in "".join(row):  # neither text nor the database has it
                    raise csv.Error
                if any(map(str.strip, row)):
                    texts = [v.encode().decode("latin-1") for v in row] if wide else row
                    texts[0] = texts[0].removeprefix("ï»¿").strip('"') if began == 1 else texts[0]
                    yield began, texts
        except (csv.Error, UnicodeError):
            raise BadSurvey(
                "{name} is not whole as delimited text.",
                hint="Export the points again.",
                code="bad-line",
                name=name,
            ) from None


def _places(header: Sequence[str], name: str) -> dict[str, int]:
    """Return meaning → index of the columns for coordinates, order, sheet and number."""
    wanted = {**NAMES, "sheet": fields.NAMES["sheet"], "number": fields.NAMES["number"]}
    places: dict[str, int] = {}
    plain = [fields.plain(_readable(text)) for text in header]
    for meaning, names in wanted.items():
        columns = [plain.index(n) for n in map(fields.plain, names) if n in plain]
        if columns:
            places[meaning] = columns[0]
    missing = [meaning for meaning in ("number", "x", "y") if meaning not in places]
    if missing:
        headless = len(header) > 3 and sum(map(math.isfinite, map(_number, header))) >= 3
        raise BadSurvey(
            "{name} has {count} columns and no header line."
            if headless
            else "{name} has no column for {missing} among {count}.",
            hint="Name them in the first line (sheet, number, order, x, y), or in a profile with"
            " --profile.",
            code="no-header" if headless else "unknown-columns",
            name=name,
            count=len(header),
            missing=", ".join(missing),
        )
    return places


def _readable(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _number(text: str) -> float:
    """Return a number with a decimal point or comma; NaN for other text."""
    text = text.strip().replace(" ", "").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan


def _ordered_rings(parcel: _Parcel) -> Iterator[list[tuple[float, float, float, str]]]:
    """Yield the points of rings; in the file's order if a point has no position in its ring."""
    for _, points in sorted(parcel.rings.items()):
        ordered = all(math.isfinite(point[0]) for point in points)
        yield sorted(points, key=lambda point: point[0]) if ordered else points


def _edges(parcel: _Parcel) -> str:
    """Return the stated lengths in the order of the points, as `attributes.edges` reads them."""
    stated = []
    for line in _ordered_rings(parcel):
        closed = len(line) > 1 and line[0][1:3] == line[-1][1:3]
        stated += [point[3] for point in (line[:-1] if closed else line)]
    return ";".join(stated) if any(stated) else ""


def _wkb(parcel: _Parcel) -> bytes:
    """Return the WKB of a parcel, with its rings closed."""
    rings = []
    for line in _ordered_rings(parcel):
        ring = [(x, y) for _, x, y, _ in line]
        if ring[0] != ring[-1]:
            ring.append(ring[0])
        rings.append(struct.pack(f"<I{2 * len(ring)}d", len(ring), *(n for p in ring for n in p)))
    return struct.pack("<BII", 1, 3, len(rings)) + b"".join(rings)
