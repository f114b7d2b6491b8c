"""A vertex-exact coverage that is cut, bent and merged, on the 1 mm grid.

Coordinates are whole millimetres from a local origin. Every edge belongs to one face, and its
reverse to the neighbour, if there is one: a vertex put on an edge is put into both rings, so
that neighbours share every vertex by construction. Only the standard library is used and no
geometry engine, so that the same faces come out under any version of one.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

Point = tuple[int, int]
Vector = tuple[float, float]


class Mesh:
    """Faces as counter-clockwise rings of points, and the face at each directed edge."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rings: dict[int, list[Point]] = {}
        self.holes: dict[int, list[list[Point]]] = {}
        self.at: dict[tuple[Point, Point], int] = {}
        self._next = 0

    def add(self, ring: list[Point]) -> int:
        """Add a face; return its number."""
        face = self._next
        self._next += 1
        self.rings[face] = ring
        for edge in edges(ring):
            if edge in self.at:
                raise ValueError(f"edge {edge} has a face already")
            self.at[edge] = face
        return face

    def remove(self, face: int) -> list[Point]:
        """Take a face away (a lane, a plot that becomes another); return its ring."""
        ring = self.rings.pop(face)
        for edge in edges(ring):
            del self.at[edge]
        return ring

    def insert(self, a: Point, b: Point, new: list[Point]) -> None:
        """Put `new` between `a` and `b`, in the rings on both sides of that edge."""
        for start, end, between in ((a, b, new), (b, a, new[::-1])):
            face = self.at.pop((start, end), None)
            if face is None:
                continue
            ring = self.rings[face]
            place = ring.index(start) + 1
            ring[place:place] = between
            chain = [start, *between, end]
            for edge in pairwise(chain):
                self.at[edge] = face

    def neighbours(self, face: int) -> list[int]:
        """Return the faces that share an edge with `face`, in the order of its ring."""
        found = (self.at.get((b, a)) for a, b in edges(self.rings[face]))
        return list(dict.fromkeys(other for other in found if other is not None))

    def cut(
        self, face: int, through: Vector, along: Vector, *, least: float, bend: float = 0.0
    ) -> tuple[int, int] | None:
        """Cut a face by a line into the part on its left and the part on its right.

        `least` is the smallest part in m²; `bend` the part of the cut's length by which its
        middle may leave the line. Returns None, and changes nothing, where the cut would leave
        a part too small, too acute or too close to another vertex to be a survey's.
        """
        ring = self.rings[face]
        size = math.hypot(*along)
        ux, uy = along[0] / size, along[1] / size
        side = [ux * (y - through[1]) - uy * (x - through[0]) for x, y in ring]
        ends: list[tuple[Point, tuple[Point, Point] | None]] = []
        for (a, b), s, t in zip(edges(ring), side, side[1:] + side[:1], strict=True):
            if (s < 0) == (t < 0):
                continue
            part = s / (s - t)
            length = math.dist(a, b)
            # A vertex that is nearly there already is used: surveys have no 20 cm edges.
            if part * length < 600:
                ends.append((a, None))
            elif (1 - part) * length < 600:
                ends.append((b, None))
            else:
                ends.append((_between(a, b, part), (a, b)))
        if len(ends) != 2 or ends[0][0] == ends[1][0]:
            return None
        whole = list(ring)
        for end, edge in ends:
            if edge:
                whole.insert(whole.index(edge[0]) + 1, end)
        i, j = sorted(whole.index(end) for end, _ in ends)
        path = self._path(whole[i], whole[j], bend)
        parts = (
            whole[i : j + 1] + path[1:-1][::-1],
            whole[j:] + whole[: i + 1] + path[1:-1],
        )
        if not all(_sound(part, path, least) for part in parts):
            return None
        for end, edge in ends:
            if edge:
                self.insert(*edge, [end])
        self.remove(face)
        middle = path[len(path) // 2] if len(path) > 2 else None
        one, two = self.add(parts[0]), self.add(parts[1])
        # The part left of the direction `along` comes first.
        centre = centroid(self.rings[one])
        seen = middle or through
        left = ux * (centre[1] - seen[1]) - uy * (centre[0] - seen[0]) > 0
        return (one, two) if left else (two, one)

    def _path(self, a: Point, b: Point, bend: float) -> list[Point]:
        """Return the cut's vertices: straight, or with one bend of up to 1.2 m."""
        length = math.dist(a, b)
        if not bend or length < 25_000 or self.chance.random() < 0.45:
            return [a, b]
        off = min(bend * length, 1200) * (2 * self.chance.random() - 1)
        part = 0.35 + 0.3 * self.chance.random()
        x = a[0] + (b[0] - a[0]) * part - (b[1] - a[1]) / length * off
        y = a[1] + (b[1] - a[1]) * part + (b[0] - a[0]) / length * off
        return [a, (round(x), round(y)), b]

    def merge(self, face: int, other: int) -> int | None:
        """Make one face of two that share one chain of edges; None where they do not."""
        ring = self.rings[face]
        shared = [self.at.get((b, a)) == other for a, b in edges(ring)]
        starts = [i for i, is_shared in enumerate(shared) if is_shared and not shared[i - 1]]
        if len(starts) != 1 or all(shared) or face in self.holes or other in self.holes:
            return None
        start = starts[0]
        count = sum(shared)
        turned = ring[start:] + ring[:start]
        first, last = turned[0], turned[count]
        theirs = self.rings[other]
        place = theirs.index(first)
        around = theirs[place:] + theirs[:place]
        if around.index(last) != len(around) - count:
            return None
        merged = [*around[: len(around) - count + 1], *turned[count + 1 :]]
        if len(set(merged)) != len(merged):
            return None
        self.remove(face)
        self.remove(other)
        return self.add(merged)

    def pond(self, face: int, radius: float) -> int:
        """Put a face of about eight sides into the middle of another; return its number."""
        cx, cy = centroid(self.rings[face])
        ring = []
        for k in range(9):
            angle = math.tau * k / 9
            r = radius * (0.8 + 0.35 * self.chance.random())
            ring.append((round(cx + r * math.cos(angle)), round(cy + r * math.sin(angle))))
        self.holes.setdefault(face, []).append(ring[::-1])
        return self.add(ring)


def edges(ring: list[Point]) -> list[tuple[Point, Point]]:
    """Return the edges of a ring that does not repeat its first point."""
    return list(zip(ring, ring[1:] + ring[:1], strict=True))


def area(ring: list[Point]) -> float:
    """Return the signed area in m², positive for counter-clockwise."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in edges(ring)) / 2e6


def centroid(ring: list[Point]) -> Vector:
    """Return the centre of gravity of a ring, in mm."""
    # Relative to the first vertex, so that the products stay small and exact.
    ox, oy = ring[0]
    twice = x = y = 0
    for (ax, ay), (bx, by) in edges([(px - ox, py - oy) for px, py in ring]):
        cross = ax * by - bx * ay
        twice += cross
        x += (ax + bx) * cross
        y += (ay + by) * cross
    return ox + x / (3 * twice), oy + y / (3 * twice)


def axes(ring: list[Point]) -> tuple[Vector, float, float]:
    """Return the direction of a ring's longest extent, that extent and the one across, in mm.

    The direction is that of the edge whose bounding rectangle is smallest.
    """
    best: tuple[float, Vector, float, float] | None = None
    for a, b in edges(ring):
        length = math.dist(a, b)
        ux, uy = (b[0] - a[0]) / length, (b[1] - a[1]) / length
        along = [ux * x + uy * y for x, y in ring]
        across = [uy * x - ux * y for x, y in ring]
        long, wide = max(along) - min(along), max(across) - min(across)
        if best is None or long * wide < best[0] - 1:
            turned = (ux, uy) if long >= wide else (-uy, ux)
            best = (long * wide, turned, max(long, wide), min(long, wide))
    assert best is not None
    return best[1], best[2], best[3]


def _between(a: Point, b: Point, part: float) -> Point:
    return round(a[0] + (b[0] - a[0]) * part), round(a[1] + (b[1] - a[1]) * part)


def _sound(part: list[Point], path: list[Point], least: float) -> bool:
    """Tell whether a part of a cut face is large, blunt and clear enough to be a parcel."""
    if len(part) < 3 or len(set(part)) != len(part) or area(part) < least:
        return False
    ends = {path[0], path[-1]}
    for before, corner, after in zip(part[-1:] + part[:-1], part, part[1:] + part[:1], strict=True):
        if corner in ends and _angle(before, corner, after) < 25:
            return False
    for vertex in part:
        if vertex in path:
            continue
        for a, b in pairwise(path):
            if distance(vertex, a, b) < 500:
                return False
    return True


def _angle(before: Point, corner: Point, after: Point) -> float:
    """Return the inner angle at a corner of a counter-clockwise ring, in degrees."""
    into = math.atan2(before[1] - corner[1], before[0] - corner[0])
    out = math.atan2(after[1] - corner[1], after[0] - corner[0])
    return math.degrees((into - out) % math.tau)


def distance(point: Point, a: Point, b: Point) -> float:
    """Return the distance of a point from a segment, in mm."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / (dx * dx + dy * dy)
    t = min(1.0, max(0.0, t))
    return math.hypot(point[0] - a[0] - t * dx, point[1] - a[1] - t * dy)
