"""Make the sample batches: `python sample_parcels/make.py [FOLDER]`.

The commune 99901 "Xã Suối Mẫu" is made up, and so is everything in it; no code of a real commune
begins so. Each batch is a zipped shapefile as a surveyor would hand it in, beside an
`expected.json` that says what a correct check finds. The same bytes come out at each run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ground
import shapefile
from mesh import Mesh, Point, area, centroid, distance, edges

COMMUNE = "99901"
NAME = "Xã Suối Mẫu"
SEED = 99901

# Sheet, map scale, and its box (west, south, east, north) in local metres; the first box that
# holds a plot's centre takes it, so that sheets meet along plots and not along their frames.
SHEETS = (
    (1, 1000, (700, 1235, 1190, 1580)),
    (2, 1000, (1190, 1235, 1640, 1580)),
    (3, 1000, (1190, 860, 1640, 1235)),
    (6, 1000, (700, 860, 1190, 1235)),
    (7, 1000, (1860, 330, 2420, 880)),
    (4, 2000, (-200, 1580, 1500, 2900)),
    (5, 2000, (1500, 1580, 3400, 2900)),
    (8, 2000, (1640, 880, 3400, 2900)),
    (9, 2000, (1190, -200, 3400, 880)),
    (10, 2000, (-200, -200, 3400, 2900)),
)

# fmt: off
TCVN3 = dict(zip(
    "ĂÂÊÔƠƯĐăâêôơưđàảãáạằẳẵắặầẩẫấậèẻẽéẹềểễếệìỉĩíịòỏõóọồổỗốộờởỡớợùủũúụừửữứựỳỷỹýỵ",
    bytes.fromhex(
        "A1A2A3A4A5A6A7A8A9AAABACADAEB5B6B7B8B9BBBCBDBEC6C7C8C9CACBCCCECFD0D1D2D3D4D5D6D7D8DCDDDEDF"
        "E1E2E3E4E5E6E7E8E9EAEBECEDEEEFF1F2F3F4F5F6F7F8F9FAFBFCFDFE"
    ),
    strict=True,
))
# fmt: on

_PRJ = (
    'PROJCS["{name}",GEOGCS["GCS_VN_2000",DATUM["D_Vietnam_2000",SPHEROID["WGS_1984",'
    '6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",{meridian}],'
    'PARAMETER["Scale_Factor",0.9999],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]'
)

# VN-2000 to WGS 84 by EPSG:6960, the operation that landdata pins.
_TO_WGS84 = (
    "+proj=pipeline +step +inv +proj=tmerc +lat_0=0 +lon_0=106.25 +k=0.9999 +x_0=500000 +y_0=0"
    " +ellps=WGS84 +step +proj=push +v_3 +step +proj=cart +ellps=WGS84 +step +proj=helmert"
    " +x=-191.90441429 +y=-39.30318279 +z=-111.45032835 +rx=-0.00928836 +ry=0.01975479"
    " +rz=-0.00427372 +s=0.252906278 +convention=coordinate_frame +step +inv +proj=cart"
    " +ellps=WGS84 +step +proj=pop +v_3 +step +proj=unitconvert +xy_in=rad +xy_out=deg"
)
_TO_5899 = (
    "+proj=pipeline +step +inv +proj=tmerc +lat_0=0 +lon_0=106.25 +k=0.9999 +x_0=500000 +y_0=0"
    " +ellps=WGS84 +step +proj=tmerc +lat_0=0 +lon_0=107.75 +k=0.9999 +x_0=500000 +y_0=0"
    " +ellps=WGS84"
)


@dataclass
class Parcel:
    """A parcel as surveyed: what a row of a survey file says of it.

    `rings` are closed by no repeated point, in mm from the local origin: the outer ring
    counter-clockwise, then holes clockwise. None is a row without a shape.
    """

    sheet: int
    number: int
    use: str
    place: str
    rings: list[list[Point]] | None
    face: int = -1
    stated: str | None = None  # what stands in the place of the area
    blank: bool = False  # no parcel number
    commune: str = COMMUNE
    nan: bool = False  # one vertex is not a number

    @property
    def key(self) -> str:
        """Return `commune/sheet/number`."""
        return f"{COMMUNE}/{self.sheet}/{self.number}"


@dataclass
class Batch:
    """A survey batch: its rows, how they are written, and what a check shall find."""

    name: str
    stem: str
    rows: list[Parcel]
    columns: Sequence[tuple[shapefile.Field, Callable[[Parcel, str], str]]]
    encoding: str = "UTF-8"
    cpg: bool = True
    crs: int = 9212
    prj: str = "VN-2000_TM-3_106-15"
    accept: bool = True
    findings: list[dict[str, Any]] = field(default_factory=list)
    rejected: int = 0
    duplicate: int = 0


def main(folder: Path) -> None:
    """Write every batch, the commune's border and nothing else into `folder`."""
    mesh, plots = ground.lay_out(SEED)
    parcels = number(mesh, plots)
    for batch in batches(mesh, parcels):
        target = folder / batch.name
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{batch.stem}.zip").write_bytes(written(batch))
        _write_json(target / "expected.json", expected(batch))
    _write_json(folder / "communes.geojson", commune())


def number(mesh: Mesh, plots: Iterable[ground.Plot]) -> dict[int, list[Parcel]]:
    """Number the plots from 1 in each sheet, in rows from north-west to south-east."""
    sheets: dict[int, list[tuple[tuple[int, float], ground.Plot]]] = {s: [] for s, *_ in SHEETS}
    for plot in plots:
        x, y = centroid(mesh.rings[plot.face])
        for sheet, scale, (west, south, east, north) in SHEETS:
            if west <= x / 1000 < east and south <= y / 1000 < north:
                sheets[sheet].append(((-round(y / (scale * 60)), x), plot))
                break
    return {
        sheet: [
            Parcel(
                sheet, k, plot.use, plot.place,
                [list(mesh.rings[plot.face]), *map(list, mesh.holes.get(plot.face, ()))],
                plot.face,
            )
            for k, (_, plot) in enumerate(sorted(found, key=lambda item: item[0]), 1)
        ]
        for sheet, found in sorted(sheets.items())
    }  # fmt: skip


def batches(mesh: Mesh, parcels: dict[int, list[Parcel]]) -> Iterator[Batch]:
    """Give the batches in the order in which they are handed in."""

    def of(*sheets: int) -> list[Parcel]:
        return [parcel for sheet in sheets for parcel in parcels[sheet]]

    yield Batch("01-clean", "suoi_mau_to_1-3", of(1, 2, 3), FAMIS)
    yield Batch(
        "02-tcvn3", "suoi_mau_to_4-5", of(4, 5), NATIONAL, encoding="TCVN3", cpg=False,
        prj="VN_2000_Binh_Phuoc_106_15",
    )  # fmt: skip
    yield Batch("03-neighbour", "suoi_mau_to_6-7", of(6, 7), OLDER)
    yield Batch(
        "04-zone-5899", "suoi_mau_to_8-9", of(8, 9), NATIONAL, crs=5899, prj="VN-2000_TM-3_107-45"
    )
    yield defects(mesh, parcels)
    yield resurvey(mesh, parcels)


# -- how a row is written


def _stated(parcel: Parcel, measured: str) -> str:
    return measured if parcel.stated is None else parcel.stated


def _legal(parcel: Parcel, measured: str) -> str:
    """Return the certificate's area: of older papers, a little off, for some parcels."""
    if parcel.number % 7:
        return measured
    return f"{float(measured or 0) * (1 + ((parcel.number * 37) % 11 - 5) / 1000):.1f}"


def _address(parcel: Parcel, _: str) -> str:
    address = f"{parcel.place}, xã Suối Mẫu"
    # Some clerks type with a capital font, whose letters TCVN3 cannot tell from small ones.
    return address.upper() if parcel.sheet == 4 and parcel.use == "LUC" else address


def _owner(parcel: Parcel, _: str) -> str:
    kind = "Hộ gia đình" if parcel.use.startswith("ONT") else "Chủ sử dụng"
    return f"{kind} {parcel.sheet:02d}{parcel.number:04d}"


def _number(parcel: Parcel, _: str) -> str:
    return "" if parcel.blank else str(parcel.number)


def _double(parcel: Parcel, _: str) -> str:
    return f"{parcel.sheet:.11f}"


FAMIS: Sequence[tuple[shapefile.Field, Callable[[Parcel, str], str]]] = (
    (("SHBANDO", "N", 5, 0), lambda p, _: str(p.sheet)),
    (("SHTHUA", "N", 6, 0), _number),
    (("DIENTICH", "N", 12, 1), _stated),
    (("DIENTICHPL", "N", 12, 1), _legal),
    (("KHLOAIDAT", "C", 12, 0), lambda p, _: p.use),
    (("DIADANH", "C", 32, 0), lambda p, _: p.place),
    (("DIACHI", "C", 50, 0), _address),
    (("TENCHU", "C", 28, 0), _owner),
    (("XAID", "C", 5, 0), lambda p, _: p.commune),
)
NATIONAL: Sequence[tuple[shapefile.Field, Callable[[Parcel, str], str]]] = (
    (("MaXa", "C", 5, 0), lambda p, _: p.commune),
    (("SoHieuToBa", "C", 5, 0), lambda p, _: str(p.sheet)),
    (("SoThuTuThu", "N", 6, 0), _number),
    (("SoHieuTo_1", "C", 5, 0), lambda p, _: str(p.sheet + 20)),
    (("SoThuTuT_1", "N", 6, 0), lambda p, _: str(p.number * 3)),
    (("DienTich", "N", 19, 11), lambda p, m: f"{float(_stated(p, m)):.11f}"),
    (("DienTichPh", "N", 12, 1), _legal),
    (("KyHieuMucD", "C", 12, 0), lambda p, _: p.use),
    (("TenChu", "C", 28, 0), _owner),
    (("DiaChi", "C", 50, 0), _address),
)
OLDER: Sequence[tuple[shapefile.Field, Callable[[Parcel, str], str]]] = (
    (("SOTO", "N", 19, 11), _double),
    (("SOTHUA", "C", 10, 0), _number),
    (("DIENTICH", "N", 12, 1), _stated),
    (("LOAIDAT", "C", 12, 0), lambda p, _: p.use),
    (("DIACHI", "C", 50, 0), _address),
    (("HOTEN", "C", 28, 0), _owner),
    (("MAXA", "N", 9, 0), lambda p, _: p.commune),
)
# Areas as text, as hand-kept tables have them, so that a cell can hold what is no number.
TYPED = tuple(
    (("DIENTICH", "C", 12, 0) if column[0] == "DIENTICH" else column, value)
    for column, value in FAMIS
)


def written(batch: Batch) -> bytes:
    """Return the batch's zip."""
    place = _placed(batch.crs)
    shapes: list[list[list[tuple[float, float]]] | None] = []
    records = []
    for parcel in batch.rows:
        rings = None
        measured = ""
        if parcel.rings:
            rings = [[place(point) for point in ring] for ring in parcel.rings]
            measured = f"{sum(_area(ring) for ring in rings):.1f}"
            # A shapefile's outer rings run clockwise, its holes counter-clockwise.
            rings = [[ring[0], *ring[:0:-1], ring[0]] for ring in rings]
            if parcel.nan:
                rings[0][1] = (math.nan, math.nan)
        shapes.append(rings)
        records.append([_encoded(value(parcel, measured), batch) for _, value in batch.columns])
    shp, shx = shapefile.shp(shapes)
    prj = _PRJ.format(name=batch.prj, meridian={9212: 106.25, 5899: 107.75}[batch.crs])
    members = {
        ".shp": shp,
        ".shx": shx,
        ".dbf": shapefile.dbf([column for column, _ in batch.columns], records),
        ".prj": prj.encode("ascii"),
    }
    if batch.cpg:
        members[".cpg"] = batch.encoding.encode("ascii")
    return shapefile.zipped({batch.stem + suffix: content for suffix, content in members.items()})


def _encoded(value: str, batch: Batch) -> bytes:
    if batch.encoding != "TCVN3":
        return value.encode(batch.encoding)
    # A capital without a byte of its own is written by its small letter and a capital font.
    return bytes(TCVN3.get(c) or TCVN3.get(c.lower()) or ord(c) for c in value)


def _placed(crs: int) -> Callable[[Point], tuple[float, float]]:
    """Return what turns local millimetres into metres of a projected zone."""
    east, north = ground.ORIGIN

    def local(point: Point) -> tuple[float, float]:
        # Whole millimetres divided once: the double nearest to the decimal number.
        return (east * 1000 + point[0]) / 1000, (north * 1000 + point[1]) / 1000

    if crs == 9212:
        return local
    from pyproj import Transformer  # noqa: PLC0415  only this batch needs it

    transformer = Transformer.from_pipeline(_TO_5899)

    def zone(point: Point) -> tuple[float, float]:
        # A tenth of a millimetre is enough to come back to the same millimetre, and coarse
        # enough that the last bit of a library's sine does not show.
        x, y = transformer.transform(*local(point))
        return round(x, 4), round(y, 4)

    return zone


def _area(ring: Sequence[tuple[float, float]]) -> float:
    ox, oy = ring[0]
    moved = [(x - ox, y - oy) for x, y in ring]
    return (
        sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(moved, moved[1:] + moved[:1], strict=True))
        / 2
    )


# -- the batch with every defect


def defects(mesh: Mesh, parcels: dict[int, list[Parcel]]) -> Batch:  # noqa: PLR0915  one list
    """Return sheet 10 with one of every defect, each among parcels that have no other."""
    rows = [replace(p, rings=[list(r) for r in p.rings or ()]) for p in parcels[10]]
    by_face = {p.face: p for p in rows}
    official = {p.face: p for sheet in (1, 2, 3) for p in parcels[sheet]}
    batch = Batch("05-defects", "suoi_mau_to_10", rows, TYPED, accept=False)
    rejected: list[int] = []
    used: set[int] = set()

    def take(*taken: Parcel) -> None:
        for parcel in taken:
            used.update([parcel.face, *mesh.neighbours(parcel.face)])

    def free(parcel: Parcel) -> bool:
        around = [parcel.face, *mesh.neighbours(parcel.face)]
        return (
            not used.intersection(around)
            and not mesh.holes.get(parcel.face)
            and all(face in by_face for face in around[1:])
            and len(around) > 3
        )

    def found(
        rule: str, severity: str, parcel: Parcel | None, other: Parcel | None, at: Point
    ) -> None:
        batch.findings.append(_finding(rule, severity, parcel, other, at))

    def single() -> Parcel:
        parcel = next(p for p in rows if free(p))
        take(parcel)
        return parcel

    def pair(neighbours: dict[int, Parcel]) -> tuple[Parcel, Parcel, Point, Point]:
        """Return two parcels and an edge of 20 m or more between them, free of defects."""
        for parcel in rows:
            for a, b in edges(mesh.rings[parcel.face]):
                face = mesh.at.get((b, a))
                other = None if face is None else neighbours.get(face)
                inside = neighbours is by_face
                if other is None or math.dist(a, b) < 20_000 or parcel.face in used:
                    continue
                if inside and not (free(parcel) and free(other)):
                    continue
                take(parcel, other)
                return parcel, other, a, b
        raise LookupError("no free pair of parcels is left in the sheet")

    # One parcel alone.
    bow, middle = next(
        (p, (b, c))
        for p in rows
        if free(p)
        for a, b, c, d in _fours(mesh.rings[p.face])
        # Only where these four make a convex figure do its swapped sides cross.
        if math.dist(b, c) > 15_000 and min(map(area, ([a, b, c], [b, c, d], [c, d, a]))) > 50
    )
    take(bow)
    ring = _of(bow)[0]
    i, j = map(ring.index, middle)
    ring[i], ring[j] = middle[::-1]
    found("invalid-ring", "error", bow, None, _middle(*middle))
    bow.stated = ""
    rejected.append(id(bow))
    for nan in (False, True):
        lost = single()
        at = _inside(lost)
        if nan:
            lost.nan = True
        else:
            lost.rings = None
        found("missing-geometry", "error", lost, None, at)
        rejected.append(id(lost))

    # Two parcels and the edge between them.
    one, other, a, b = pair(by_face)
    _replace_edge(one, a, b, _dent(a, b, 200))
    found("overlap", "error", one, other, _middle(a, b))
    rejected += [id(one), id(other)]
    one, other, a, b = pair(by_face)
    _replace_edge(one, a, b, _dent(a, b, -150))
    found("gap", "warning", one, other, _middle(a, b))
    one, other, a, b = pair(by_face)
    # One vertex 3 cm off: the gap says it, and needs no unmatched vertex beside it.
    _replace_edge(one, a, b, _dent(a, b, -30)[:1])
    found("gap", "warning", one, other, _middle(a, b))
    one, other, a, b = pair(by_face)
    at = _middle(a, b)
    _replace_edge(one, a, b, [at])
    found("unmatched-vertex", "warning", one, other, at)
    one, other, a, b = pair(by_face)
    # Both have the vertex, but 3 cm apart along the edge.
    at, along = _middle(a, b), math.dist(a, b)
    near = round(at[0] + 30 * (b[0] - a[0]) / along), round(at[1] + 30 * (b[1] - a[1]) / along)
    _replace_edge(one, a, b, [at])
    _replace_edge(other, b, a, [near])
    found("unmatched-vertex", "warning", one, other, at)
    found("unmatched-vertex", "warning", other, one, near)
    whole, sides, at = _tee(mesh, by_face, free)
    take(whole)
    _of(whole)[0].remove(at)
    # One vertex that one parcel lacks, though two have it: told of the first of them.
    found("unmatched-vertex", "warning", min(sides, key=lambda p: p.number), whole, at)
    one, other, a, b = pair(official)
    _replace_edge(one, a, b, _dent(a, b, 200))
    found("overlap", "error", one, other, _middle(a, b))
    rejected.append(id(one))

    # Numbers, and rows that should not be there.
    highest = len(rows)
    kept, renumbered = single(), single()
    renumbered.number = kept.number
    for parcel in (kept, renumbered):
        found("duplicate-number", "error", parcel, parcel, _inside(parcel))
        rejected.append(id(parcel))
    nameless = single()
    nameless.blank = True
    found("missing-number", "error", None, None, _inside(nameless))
    rejected.append(id(nameless))
    elsewhere = single()
    elsewhere.commune = "99902"
    found("commune-differs", "error", elsewhere, None, _inside(elsewhere))
    rejected.append(id(elsewhere))
    twice = single()
    again = replace(twice)
    found("duplicate-row", "info", twice, twice, _inside(twice))
    same = single()
    copy = replace(same, number=highest + 1)
    found("duplicate-geometry", "error", same, copy, _inside(same))
    rejected += [id(same), id(copy)]
    outer = next(p for p in rows if free(p) and area(mesh.rings[p.face]) > 4000)
    take(outer)
    x, y = _inside(outer)
    hut = [(x - 4000, y - 3000), (x + 3500, y - 3600), (x + 4100, y + 3100), (x - 3300, y + 3500)]
    inner = Parcel(10, highest + 2, "ONT", outer.place, [hut])
    found("containment", "error", inner, outer, (x, y))
    rejected += [id(inner), id(outer)]
    rows += [again, copy, inner]

    # What a parcel says of itself.
    large = single()
    large.stated = f"{area(mesh.rings[large.face]) * 1.1 + 30:.1f}"
    found("area-differs", "warning", large, None, _inside(large))
    for code in ("XYZ", "BHK", "LUA"):
        parcel = single()
        parcel.use = code
        found("unknown-land-use", "warning", parcel, None, _inside(parcel))
    unread = single()
    unread.stated = "12o4,5x"
    found("bad-value", "warning", unread, None, _inside(unread))
    mixed = single()
    mixed.place = "Đđng Ruộng Dưới"  # of "Đồng", and no rule brings it back
    found("half-converted-text", "warning", mixed, None, _inside(mixed))

    batch.rejected, batch.duplicate = len(set(rejected)), 1
    return batch


def _of(parcel: Parcel) -> list[list[Point]]:
    assert parcel.rings is not None
    return parcel.rings


def _inside(parcel: Parcel) -> Point:
    x, y = centroid(_of(parcel)[0])
    return round(x), round(y)


def _fours(ring: list[Point]) -> Iterator[tuple[Point, Point, Point, Point]]:
    """Give every four vertices in a row."""
    turned = [ring[k:] + ring[:k] for k in range(4)]
    return zip(*turned, strict=True)


def _middle(a: Point, b: Point) -> Point:
    return round((a[0] + b[0]) / 2), round((a[1] + b[1]) / 2)


def _dent(a: Point, b: Point, out: int) -> list[Point]:
    """Return two vertices on the quarters of an edge, `out` mm to its right (outwards)."""
    length = math.dist(a, b)
    nx, ny = (b[1] - a[1]) / length, -(b[0] - a[0]) / length
    return [
        (round(a[0] + (b[0] - a[0]) * t + nx * out), round(a[1] + (b[1] - a[1]) * t + ny * out))
        for t in (0.25, 0.75)
    ]


def _replace_edge(parcel: Parcel, a: Point, b: Point, between: list[Point]) -> None:
    """Put vertices on the edge from `a` to `b` of this parcel alone."""
    ring = _of(parcel)[0]
    place = ring.index(a) + 1
    assert ring[place % len(ring)] == b
    ring[place:place] = between


def _tee(
    mesh: Mesh, by_face: dict[int, Parcel], free: Callable[[Parcel], bool]
) -> tuple[Parcel, list[Parcel], Point]:
    """Return a parcel, the two whose border meets its straight side, and where."""
    for parcel in by_face.values():
        if not free(parcel):
            continue
        ring = mesh.rings[parcel.face]
        for before, at, after in zip(ring[-1:] + ring[:-1], ring, ring[1:] + ring[:1], strict=True):
            sides = [mesh.at.get((at, before)), mesh.at.get((after, at))]
            if None not in sides and sides[0] != sides[1] and distance(at, before, after) < 0.7:
                return parcel, [by_face[face] for face in sides if face is not None], at
    raise LookupError("no T-junction is left in the sheet")


def _finding(
    rule: str, severity: str, parcel: Parcel | None, other: Parcel | None, at: Point
) -> dict[str, Any]:
    east, north = ground.ORIGIN
    return {
        "rule": rule,
        "severity": severity,
        "parcel": parcel.key if parcel else None,
        "other_parcel": other.key if other else None,
        "point": [round(east + at[0] / 1000, 1), round(north + at[1] / 1000, 1)],
    }


# -- the batch that replaces


def resurvey(mesh: Mesh, parcels: dict[int, list[Parcel]]) -> Batch:
    """Return five parcels of sheet 2 side by side, the borders between them measured anew."""
    by_face = {p.face: p for p in parcels[2]}
    for first in by_face:
        chain, borders = [first], []
        while len(chain) < 5:
            for a, b in edges(mesh.rings[chain[-1]]):
                face = mesh.at.get((b, a))
                if face in by_face and face not in chain and math.dist(a, b) > 18_000:
                    chain.append(face)
                    borders.append((a, b))
                    break
            else:
                break
        if len(chain) == 5:
            break
    else:
        raise LookupError("no row of five parcels in sheet 2")
    rows = [replace(by_face[f], rings=[list(r) for r in _of(by_face[f])]) for f in chain]
    moved = zip(pairwise(rows), borders, (240, -310, 180, 350), strict=True)
    for (one, other), (a, b), off in moved:
        bend = _dent(a, b, off)[:1]
        _replace_edge(one, a, b, bend)
        _replace_edge(other, b, a, bend)
    batch = Batch("06-resurvey", "suoi_mau_do_lai_to_2", rows, FAMIS)
    batch.findings = [_finding("replaces-official", "info", p, p, _inside(p)) for p in rows]
    return batch


# -- what is beside the zips


def expected(batch: Batch) -> dict[str, Any]:
    """Return what a check of the batch shall say, given the batches before it."""
    read = len(batch.rows)
    return {
        "commune": COMMUNE,
        "accept": batch.accept,
        "crs": batch.crs,
        "encoding": batch.encoding,
        "read": read,
        "acceptable": read - batch.rejected - batch.duplicate,
        "rejected": batch.rejected,
        "duplicate": batch.duplicate,
        "addresses": sorted({_address(parcel, "") for parcel in batch.rows}),
        "findings": batch.findings,
    }


def commune() -> dict[str, Any]:
    """Return the commune as GeoJSON (WGS 84, RFC 7946), its border 6 m outside all parcels."""
    from pyproj import Transformer  # noqa: PLC0415  as above

    transformer = Transformer.from_pipeline(_TO_WGS84)
    east, north = ground.ORIGIN
    ring = []
    for x, y in ground.border(6.0):
        longitude, latitude = transformer.transform(east + round(x, 2), north + round(y, 2))
        ring.append([round(longitude, 7), round(latitude, 7)])
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"code": COMMUNE, "name": NAME, "valid_from": "2025-07-01"},
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            }
        ],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    path.write_bytes(text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
