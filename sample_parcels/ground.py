"""The ground of the made-up commune: roads, lanes, a canal, a stream, and the plots between.

The commune is a grid of four main lines each way (two of each are its border), bent and of
different widths. What lies between is cut by lanes into blocks, small near the two hamlets,
and the blocks into plots by what grows there. Lines are not plots: they stay unparcelled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from mesh import Mesh, Point, area, axes, centroid

ORIGIN = (546_000, 1_280_000)  # E, N of the local origin, in m, EPSG:9212

HAMLETS = ((1230.0, 1210.0, 330.0), (2120.0, 600.0, 215.0))  # x, y, radius in m


@dataclass(frozen=True)
class Line:
    """A road, canal, stream or border: where it runs, in m, and how wide it is."""

    name: str
    width: float
    course: Callable[[float], float]


def _wave(
    base: float, slope: float, *waves: tuple[float, float, float]
) -> Callable[[float], float]:
    """Return a course: a straight line and waves of (height, length, shift), in m."""

    def course(at: float) -> float:
        return base + slope * at + sum(h * math.sin(math.tau * at / w + s) for h, w, s in waves)

    return course


# x of the lines that run south to north, by y.
MERIDIANS = (
    Line("western border", 0, _wave(20, 0.03, (35, 1700, 0.4), (9, 310, 2.0))),
    Line("main road", 12, _wave(1205, 0.025, (24, 2300, 1.1))),
    Line("district road", 8, _wave(2090, 0.04, (18, 1500, 2.6))),
    Line("eastern border", 0, _wave(2985, -0.02, (40, 2100, 5.0), (8, 270, 0.3))),
)
# y of the lines that run west to east, by x.
PARALLELS = (
    Line("southern border", 0, _wave(15, 0.02, (30, 1900, 3.0), (7, 230, 1.0))),
    Line("stream", 7, _wave(545, 0.03, (26, 620, 0.5), (7, 190, 0.0))),
    Line("village road", 10, _wave(1225, -0.015, (20, 2600, 0.9))),
    Line("canal", 9, _wave(1795, 0.02, (15, 900, 2.2), (4, 260, 0.7))),
    Line("northern border", 0, _wave(2450, 0.01, (38, 2300, 1.7), (9, 340, 4.0))),
)


@dataclass
class Plot:
    """A plot of the ground: its face in the mesh and what it is used for."""

    face: int
    use: str
    place: str


def lay_out(seed: int) -> tuple[Mesh, list[Plot]]:
    """Make the commune; return its mesh and its plots, the same ones for the same seed."""
    chance = random.Random(seed)
    mesh = Mesh(chance)
    plots: list[Plot] = []
    blocks: list[int] = []
    for west, east in pairwise(MERIDIANS):
        for south, north in pairwise(PARALLELS):
            face = mesh.add(_between_lines(chance, west, east, south, north))
            blocks += _lanes(mesh, face)
    publics = _publics(mesh, blocks)
    for block in blocks:
        plots += _divide(mesh, block, publics.get(block))
    _mix(mesh, plots)
    for use, radius, least, count in (("NTS", 11_000, 3500, 2), ("NTD", 8_000, 3000, 1)):
        gardens = [p for p in plots if p.use == "CLN" and area(mesh.rings[p.face]) > least]
        round_ones = [p for p in gardens if axes(mesh.rings[p.face])[2] > 40_000]
        for plot in round_ones[7 :: max(1, len(round_ones) // count)][:count]:
            if plot.face not in mesh.holes:
                plots.append(Plot(mesh.pond(plot.face, radius), use, plot.place))
    return mesh, plots


def border(margin: float) -> list[tuple[float, float]]:
    """Return the commune's border, open and counter-clockwise, `margin` m outside its plots."""
    west, east, south, north = MERIDIANS[0], MERIDIANS[-1], PARALLELS[0], PARALLELS[-1]
    sides = (
        (_corner(west, -margin, south, -margin), _corner(east, margin, south, -margin)),
        (_corner(east, margin, south, -margin), _corner(east, margin, north, margin)),
        (_corner(east, margin, north, margin), _corner(west, -margin, north, margin)),
        (_corner(west, -margin, north, margin), _corner(west, -margin, south, -margin)),
    )
    ring: list[tuple[float, float]] = []
    for (a, b), line, off in zip(
        sides, (south, east, north, west), (-margin, margin, margin, -margin), strict=True
    ):
        for k in range(100):
            if line in PARALLELS:
                x = a[0] + (b[0] - a[0]) * k / 100
                ring.append((x, line.course(x) + off))
            else:
                y = a[1] + (b[1] - a[1]) * k / 100
                ring.append((line.course(y) + off, y))
    return ring


def _corner(meridian: Line, dx: float, parallel: Line, dy: float) -> tuple[float, float]:
    """Return where two lines meet, each moved by an offset, in m."""
    x = y = 0.0
    for _ in range(60):
        x, y = meridian.course(y) + dx, parallel.course(x) + dy
    return x, y


def _between_lines(
    chance: random.Random, west: Line, east: Line, south: Line, north: Line
) -> list[Point]:
    """Return the ring between four lines, with a vertex every 22 to 38 m."""
    w, e, s, n = west.width / 2, -east.width / 2, south.width / 2, -north.width / 2
    corners = (
        _corner(west, w, south, s),
        _corner(east, e, south, s),
        _corner(east, e, north, n),
        _corner(west, w, north, n),
    )
    ring: list[tuple[float, float]] = []
    for k, (line, off) in enumerate(((south, s), (east, e), (north, n), (west, w))):
        a, b = corners[k], corners[(k + 1) % 4]
        ring.append(a)
        axis = k % 2
        at, end = a[axis], b[axis]
        step = 1 if end > at else -1
        while abs(end - at) > 60:
            at += step * (22 + 16 * chance.random())
            # The bank was measured by a person with a rod: a few cm to either side.
            across = line.course(at) + off + 0.08 * (2 * chance.random() - 1)
            ring.append((at, across) if axis == 0 else (across, at))
    return [(round(1000 * x), round(1000 * y)) for x, y in ring]


def hamlet(x: float, y: float) -> float:
    """Return how far (m) a point given in mm is outside the nearest hamlet, below 0 inside."""
    return min(math.hypot(x / 1000 - hx, y / 1000 - hy) - r for hx, hy, r in HAMLETS)


def _lanes(mesh: Mesh, face: int) -> list[int]:
    """Cut a face by lanes until its blocks are small enough; return them."""
    ring = mesh.rings[face]
    outside = min(hamlet(x, y) for x, y in [*ring, centroid(ring)])
    near = hamlet(*centroid(ring)) < 0
    limit = 14_000 if near else 45_000 if outside < 0 else 90_000
    if area(ring) < limit:
        return [face]
    width = 3000 + 2200 * mesh.chance.random() if outside < 0 else 3600
    for _ in range(25):
        (ux, uy), long, _wide = axes(ring)
        cx, cy = centroid(ring)
        shift = 0.12 * long * (2 * mesh.chance.random() - 1)
        turn = math.radians(90 + 7 * (2 * mesh.chance.random() - 1))
        along = (
            ux * math.cos(turn) - uy * math.sin(turn),
            ux * math.sin(turn) + uy * math.cos(turn),
        )
        start = (cx + ux * shift, cy + uy * shift)
        parts = mesh.cut(face, start, along, least=2000)
        if parts is None:
            continue
        left, right = parts
        # The lane is the strip between this line and the next, taken from the right part.
        aside = (start[0] + along[1] * width, start[1] - along[0] * width)
        strip = mesh.cut(right, aside, along, least=100)
        if strip is None:
            # Put the two parts together again and try another line.
            whole = mesh.merge(left, right)
            assert whole is not None
            face, ring = whole, mesh.rings[whole]
            continue
        lane, right = strip
        mesh.remove(lane)
        return _lanes(mesh, left) + _lanes(mesh, right)
    return [face]


def _publics(mesh: Mesh, blocks: list[int]) -> dict[int, str]:
    """Choose the blocks that hold a school, a park and the like: block to use."""
    wanted = (
        ("DGD", 1330, 1290),
        ("DVH", 1140, 1290),
        ("DKV", 1320, 1110),
        ("DYT", 2160, 650),
        ("NTD", 480, 2050),
        ("NTS", 760, 480),
        ("NTS", 2600, 560),
        ("CNT", 2700, 2200),
        ("SKC", 1010, 1000),
        ("TMD", 1140, 1120),
    )
    chosen: dict[int, str] = {}
    for use, x, y in wanted:
        free = [b for b in blocks if b not in chosen]
        block = min(free, key=lambda b: math.dist(centroid(mesh.rings[b]), (1000 * x, 1000 * y)))
        chosen[block] = use
    return chosen


def _divide(mesh: Mesh, block: int, public: str | None) -> list[Plot]:
    """Cut a block into plots by what it is used for."""
    chance = mesh.chance
    x, y = centroid(mesh.rings[block])
    place = _place(x, y)
    if public:
        size = {"NTS": 6000.0, "CNT": 9000.0, "NTD": 9000.0}.get(public, 3500.0)
        return [Plot(face, public, place) for face in _quarter(mesh, block, size)]
    if hamlet(x, y) < 25:
        return _strips(mesh, block, place)
    wet = min(
        abs(y / 1000 - PARALLELS[1].course(x / 1000)), abs(y / 1000 - PARALLELS[3].course(x / 1000))
    )
    if wet < 190:
        use, size = ("LUC" if chance.random() < 0.8 else "LUK"), 2300.0
    elif chance.random() < 0.16:
        use, size = "HNK", 3600.0
    elif chance.random() < 0.08:
        use, size = "RSX", 14_000.0
    else:
        use, size = "CLN", 6000.0
    return [
        Plot(face, use if chance.random() < 0.94 else "HNK", place)
        for face in _quarter(mesh, block, size)
    ]


def _quarter(mesh: Mesh, face: int, size: float) -> list[int]:
    """Cut a face in two, and the halves again, until each is about `size` m²."""
    chance = mesh.chance
    ring = mesh.rings[face]
    if area(ring) < size * (1.25 + 0.9 * chance.random()):
        return [face]
    for attempt in range(14):
        (ux, uy), long, wide = axes(ring)
        if attempt % 5 == 4 or (long < 1.3 * wide and chance.random() < 0.35):
            ux, uy, long = -uy, ux, wide
        cx, cy = centroid(ring)
        shift = 0.14 * long * (2 * chance.random() - 1)
        turn = math.radians(90 + 8 * (2 * chance.random() - 1))
        parts = mesh.cut(
            face,
            (cx + ux * shift, cy + uy * shift),
            (ux * math.cos(turn) - uy * math.sin(turn), ux * math.sin(turn) + uy * math.cos(turn)),
            least=size * 0.22,
            bend=0.02,
        )
        if parts:
            return _quarter(mesh, parts[0], size) + _quarter(mesh, parts[1], size)
    return [face]


def _strips(mesh: Mesh, block: int, place: str) -> list[Plot]:
    """Cut a village block into two rows of deep, narrow plots, back to back."""
    (ux, uy), _long, wide = axes(mesh.rings[block])
    rows = [block]
    if wide > 34_000:
        rows = list(mesh.cut(block, centroid(mesh.rings[block]), (ux, uy), least=200) or rows)
    plots: list[Plot] = []
    for row in rows:
        rest = row
        while True:
            along = [ux * x + uy * y for x, y in mesh.rings[rest]]
            front = 5200 + 3600 * mesh.chance.random() ** 1.5
            if mesh.chance.random() < 0.05:
                front *= 2.4
            if max(along) - min(along) < 2.2 * front:
                break
            parts = None
            for attempt in range(6):
                at = min(along) + front * (1 + 0.25 * attempt)
                cx, cy = centroid(mesh.rings[rest])
                shift = at - (ux * cx + uy * cy)
                turn = math.radians(90 + 1.6 * (2 * mesh.chance.random() - 1))
                parts = mesh.cut(
                    rest,
                    (cx + ux * shift, cy + uy * shift),
                    (
                        ux * math.cos(turn) - uy * math.sin(turn),
                        ux * math.sin(turn) + uy * math.cos(turn),
                    ),
                    least=45,
                    bend=0.006,
                )
                if parts:
                    break
            if parts is None:
                break
            # The line runs 90° left of the axis: what is behind it lies on its left.
            done, rest = parts
            plots += _front_and_back(mesh, done, place)
        plots.append(Plot(rest, "ONT+CLN", place))
    return plots


def _front_and_back(mesh: Mesh, face: int, place: str) -> list[Plot]:
    """Leave a strip as it is, or part the house at the lane from the garden behind."""
    chance = mesh.chance
    if chance.random() < 0.82:
        return [Plot(face, "ONT+CLN" if chance.random() < 0.7 else "ONT", place)]
    (ux, uy), long, _wide = axes(mesh.rings[face])
    cx, cy = centroid(mesh.rings[face])
    shift = long * (0.2 * chance.random() - 0.1)
    parts = mesh.cut(face, (cx + ux * shift, cy + uy * shift), (-uy, ux), least=60)
    if parts is None:
        return [Plot(face, "ONT+CLN", place)]
    return [Plot(parts[0], "ONT", place), Plot(parts[1], "CLN", place)]


def _mix(mesh: Mesh, plots: list[Plot]) -> None:
    """Merge a few plots with a neighbour, which makes L shapes and double fronts."""
    chance = mesh.chance
    by_face = {plot.face: plot for plot in plots}
    for plot in list(plots):
        if plot.face not in by_face or chance.random() > 0.035:
            continue
        size = area(mesh.rings[plot.face])
        for other in mesh.neighbours(plot.face):
            if area(mesh.rings[other]) > 1.6 * size or other not in by_face:
                continue
            merged = mesh.merge(plot.face, other)
            if merged is not None:
                plots.remove(by_face.pop(other))
                del by_face[plot.face]
                plot.face = merged
                by_face[merged] = plot
                break


def _place(x: float, y: float) -> str:
    """Return the made-up name of the locality at a point given in mm."""
    if hamlet(x, y) < 25:
        if x > 1_750_000:
            return "ấp Suối Mẫu"
        return f"Thôn {1 + (x > 1_230_000) + 2 * (y < 1_215_000)}"
    columns = (400_000, 800_000, 1_210_000, 1_700_000, 2_130_000, 2_550_000)
    rows = (280_000, 560_000, 900_000, 1_225_000, 1_500_000, 1_815_000, 2_150_000)
    column, row = sum(x > c for c in columns), sum(y > r for r in rows)
    return PLACES[(column + 7 * row) % len(PLACES)]


# Ordinary words, every tone among them. No word begins with a capital that TCVN3 lacks
# (it has one byte for both cases of an accented vowel).
PLACES = (
    "Đồng Ruộng Dưới", "Bờ Kênh", "Rẫy Cũ", "Gò Cỏ Tranh", "Bàu Sậy", "Vườn Điều",
    "Lô Cao Su", "Ngã Ba Cây Khế", "Đập Nước", "Rừng Lồ Ô", "Xóm Giữa", "Bãi Cát",
    "Đất Đỏ", "Trảng Lớn", "Ruộng Bậc Trên", "Hố Mỡ", "Lũng Sâu", "Giếng Đá",
    "Vũng Bẫy", "Cầu Gỗ", "Lò Gạch", "Mỏ Sỏi", "Nghĩa Địa Cũ", "Bến Phà",
    "Hàng Dương", "Nổng Cát", "Kho Lúa", "Chợ Chiều", "Dốc Ngựa", "Ao Tĩnh",
    "Thửa Chữ Nhật", "Mương Ngập", "Trũng Nhỏ", "Cồn Bưởi",
)  # fmt: skip
