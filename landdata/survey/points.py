"""Text of survey points: a line a point, of which parcels are made.

A line names its parcel (sheet and number), the point's place in the boundary, and its
coordinates: X is the northing and Y the easting, as Vietnamese surveys write them. GDAL has no
part in it.
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

#: What a column of coordinates may be called. Case, accents and underscores do not count.
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
#: As many points as a parcel has on average, at most.
PER_PARCEL = 20
_NUMBERED = 0.9  # of the parcels; in the others a point may be missing
_DELIMITERS = "\t;,|"
_UNCLEAR = (
    "hai điểm có cùng thứ tự trên ranh giới",
    "two of its points claim the same place in the boundary",
)
_TOO_FEW = ("có ít hơn ba điểm", "it has under three points")
_MAX_LINE = 65_536  # letters


#: What is kept of a point: the first line that has it (1-based, as editors count), its name, its
#: coordinates as written, and the parcels (by index) that it bounds.
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

    `edge` is the text of the length to the next point, empty where it is not stated.
    """

    index: int
    values: list[str]
    rings: dict[str, list[tuple[float, float, float, str]]] = field(default_factory=dict)
    differing: set[int] = field(default_factory=set)  # columns in which its lines disagree

    def is_numbered(self) -> bool:
        """Tell whether the points of each ring are numbered from 1, without a gap."""
        return all(
            {point[0] for point in ring} == set(map(float, range(1, len({p[0] for p in ring}) + 1)))
            for ring in self.rings.values()
        )

    def unnumbered(self) -> None:
        """Take the points as they stand in the file."""
        self.rings = {
            name: [(float(k), x, y, edge) for k, (_, x, y, edge) in enumerate(ring)]
            for name, ring in self.rings.items()
        }

    def why_not(self) -> tuple[str, str] | None:
        """Say why no polygon can be made of the points, in Vietnamese and English, if none can."""
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
    """Read a text of at most `most` points into parcels, in the order in which it names them.

    `name` is what the sender calls it, and `columns` name its columns if no header does. A
    parcel whose points are no numbers or too few has a shape that later stages refuse, each with
    its finding. Raises `BadSurvey` where the columns are not understood or a line has not as many
    as the first.
    """
    lines = _lines(path, name)
    header = list(columns) if columns else next(lines, (0, []))[1]
    places = _places(header, name)
    special = {places[each] for each in NAMES if each in places}
    kept = [at for at in range(len(header)) if at not in special]
    ordered = places.get("order", places.get("point"))
    parcels: dict[tuple[str, str], _Parcel] = {}
    found: dict[tuple[str, float, float], tuple[int, dict[int, None]]] = {}
    for count, (line, row) in enumerate(lines):
        if len(row) != len(header):
            raise BadSurvey(
                f"Line {line} of {name} has {len(row)} columns, not {len(header)}.",
                hint="Export the points again; every line needs every column.",
                code="bad-line",
            )
        if count >= most:
            raise BadSurvey(
                f"{name} has over {count} points.",
                hint="Split the survey, or raise LANDDATA_MAX_ROWS.",
                code="too-many-rows",
            )
        sheet = row[places["sheet"]].strip() if "sheet" in places else ""
        key = (sheet, row[places["number"]].strip())
        parcel = parcels.setdefault(key, _Parcel(len(parcels), list(row)))
        for at in kept:
            known, value = parcel.values[at].strip(), row[at].strip()
            if not known:
                parcel.values[at] = value
            elif value and value != known:
                parcel.differing.add(at)
        ring = parcel.rings.setdefault(row[places["ring"]].strip() if "ring" in places else "", [])
        order = float(len(ring)) if ordered is None else _number(row[ordered])
        east, north = _number(row[places["y"]]), _number(row[places["x"]])
        edge = row[places["edge"]].strip() if "edge" in places else ""
        ring.append((order, east, north, edge))
        if math.isfinite(east) and math.isfinite(north):
            point = row[places["point"]].strip() if "point" in places else ""
            _, users = found.setdefault((point, east, north), (line, {}))
            users[parcel.index] = None
    if not parcels:
        raise BadSurvey(f"{name} has no points.", hint="Send them.", code="empty-layer")
    made = list(parcels.values())
    # A point's number is its place where each parcel counts its own; else it is only a name.
    own = sum(parcel.is_numbered() for parcel in made)
    if "order" not in places and ordered is not None and own < _NUMBERED * len(made):
        for parcel in made:
            parcel.unnumbered()
    findings = [
        Finding("bad-value", row=row, detail={"field": _readable(header[at]), "value": "…"})
        for row, parcel in enumerate(made)
        for at in sorted(parcel.differing)
    ]
    reasons = [parcel.why_not() for parcel in made]
    findings += [
        Finding("missing-geometry", row=row, detail={"why": why[0], "why_en": why[1]})
        for row, why in enumerate(reasons)
        if why is not None
    ]
    shapes = [None if why else _wkb(p) for p, why in zip(made, reasons, strict=True)]
    texts = {header[at]: [p.values[at] for p in made] for at in kept}
    if "edge" in places:
        texts.setdefault("edges", [_edges(parcel) for parcel in made])
    return ConstructedParcels(
        wkb=pa.chunked_array([pa.array(shapes, pa.binary())]),
        columns={
            name: pa.chunked_array([pa.array(values, pa.string())])
            for name, values in texts.items()
        },
        findings=tuple(findings),
        points=pa.Table.from_arrays(
            [
                pa.array(values, kind)
                for values, kind in zip(
                    (
                        [line for line, _ in found.values()],
                        [point or None for point, _, _ in found],
                        [north for _, _, north in found],
                        [east for _, east, _ in found],
                        [list(users) for _, users in found.values()],
                    ),
                    POINTS.types,
                    strict=True,
                )
            ],
            schema=POINTS,
        ),
    )


def _lines(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read delimited lines that are not empty, each with its number from 1, as editors count.

    Text is latin-1, one character a byte.
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
                began, number = number + 1, rows.line_num  # a quoted value may go over lines
                if "\0" in "".join(row):  # no text has it, and no database takes it for one
                    raise csv.Error
                if any(map(str.strip, row)):
                    texts = [v.encode().decode("latin-1") for v in row] if wide else row
                    texts[0] = texts[0].removeprefix("ï»¿").strip('"') if began == 1 else texts[0]
                    yield began, texts
        except (csv.Error, UnicodeError):
            raise BadSurvey(
                f"{name} is not whole as delimited text.",
                hint="Export the points again.",
                code="bad-line",
            ) from None


def _places(header: Sequence[str], name: str) -> dict[str, int]:
    """Find the columns that make the parcels."""
    wanted = {**NAMES, "sheet": fields.NAMES["sheet"], "number": fields.NAMES["number"]}
    known: dict[str, int] = {}
    plain = [fields.plain(_readable(text)) for text in header]
    for meaning, names in wanted.items():
        found = [plain.index(n) for n in map(fields.plain, names) if n in plain]
        if found:
            known[meaning] = found[0]
    missing = [meaning for meaning in ("number", "x", "y") if meaning not in known]
    if missing:
        headless = len(header) > 3 and sum(map(math.isfinite, map(_number, header))) >= 3
        raise BadSurvey(
            f"{name} has {len(header)} columns and no line that names them."
            if headless
            else f"{name} has no column for {', '.join(missing)} among {len(header)}.",
            hint="Name them in the first line (sheet, number, order, x, y), or in a profile with"
            " --profile.",
            code="no-header" if headless else "unknown-columns",
        )
    return known


def _readable(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _number(text: str) -> float:
    """Read a number, with a decimal point or comma; NaN where it is none."""
    text = text.strip().replace(" ", "").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan


def _lines_of(parcel: _Parcel) -> Iterator[list[tuple[float, float, float, str]]]:
    """Yield each ring's points; one without a place in its ring leaves it in the file's order."""
    for _, points in sorted(parcel.rings.items()):
        ordered = all(math.isfinite(point[0]) for point in points)
        yield sorted(points, key=lambda point: point[0]) if ordered else points


def _edges(parcel: _Parcel) -> str:
    """Return the stated lengths in the order of the points, as `fields.edges` reads them."""
    told = []
    for line in _lines_of(parcel):
        closed = len(line) > 1 and line[0][1:3] == line[-1][1:3]
        told += [point[3] for point in (line[:-1] if closed else line)]
    return ";".join(told) if any(told) else ""


def _wkb(parcel: _Parcel) -> bytes:
    """Write a parcel's rings, closed."""
    rings = []
    for line in _lines_of(parcel):
        ring = [(x, y) for _, x, y, _ in line]
        if ring[0] != ring[-1]:
            ring.append(ring[0])
        rings.append(struct.pack(f"<I{2 * len(ring)}d", len(ring), *(n for p in ring for n in p)))
    return struct.pack("<BII", 1, 3, len(rings)) + b"".join(rings)
