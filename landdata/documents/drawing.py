"""Parcels as inline SVG: from metres to units, y downwards, in whole numbers to stay small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from markupsafe import Markup
from shapely.geometry.base import BaseGeometry

Box = tuple[float, float, float, float]  # min E, min N, max E, max N


@dataclass(frozen=True, slots=True)
class Frame:
    """From metres to whole SVG units, y downwards: `scale` units per metre."""

    left: float
    top: float
    scale: float
    width: int
    height: int

    @classmethod
    def around(cls, box: Box, width: int, height: int, margin: float) -> Frame:
        """Fit `box` and its margin, a share of its size, into `width` by `height` units."""
        e, n = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        across = max(box[2] - box[0], 1e-3) * (1 + 2 * margin)
        up = max(box[3] - box[1], 1e-3) * (1 + 2 * margin)
        scale = min(width / across, height / up)
        return cls(e - width / scale / 2, n + height / scale / 2, scale, width, height)

    @property
    def box(self) -> Box:
        """What the frame shows, in metres."""
        return (
            self.left,
            self.top - self.height / self.scale,
            self.left + self.width / self.scale,
            self.top,
        )

    def units(self, xy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Turn (n, 2) metres into whole units."""
        moved = np.column_stack([xy[:, 0] - self.left, self.top - xy[:, 1]])
        return np.rint(moved * self.scale).astype(np.int64)

    def at(self, point: Sequence[float]) -> tuple[int, int]:
        """Turn one point into whole units."""
        x, y = self.units(np.array([point]))[0]
        return int(x), int(y)

    def path(self, geometry: BaseGeometry) -> str:
        """Return the path data of polygons, lines and points (a point as a stroke of nothing)."""
        written = []
        for part in shapely.get_parts(geometry, return_index=False):
            if part.geom_type == "Polygon":
                rings = [part.exterior, *part.interiors]
                written += [self._line(ring, "z") for ring in rings if not ring.is_empty]
            elif part.geom_type in ("LineString", "LinearRing"):
                written.append(self._line(part, ""))
            elif part.geom_type == "GeometryCollection":
                written.append(self.path(part))
            elif not part.is_empty:
                x, y = self.at((part.x, part.y))
                written.append(f"M{x} {y}h0")
        return "".join(written)

    def dots(self, geometry: BaseGeometry) -> str:
        """Return path data with a stroke of nothing at every vertex inside the frame."""
        xy = shapely.get_coordinates(geometry)
        box = self.box
        inside = (
            (xy[:, 0] >= box[0])
            & (xy[:, 0] <= box[2])
            & (xy[:, 1] >= box[1])
            & (xy[:, 1] <= box[3])
        )
        return "".join(f"M{x} {y}h0" for x, y in np.unique(self.units(xy[inside]), axis=0))

    def _line(self, line: BaseGeometry, end: str) -> str:
        units = self.units(shapely.get_coordinates(line))
        steps = np.diff(units, axis=0)
        steps = steps[np.any(steps != 0, axis=1)]
        start = f"M{units[0][0]} {units[0][1]}"
        if not len(steps):
            return start + "h0"
        if end:
            steps = steps[:-1]
        return start + "l" + " ".join(f"{dx} {dy}" for dx, dy in steps) + end


def bounds(geometry: Any) -> Box | None:
    """Return the bounds of all the shapes, null where none has any."""
    bounds = shapely.bounds(geometry)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    if not len(bounds):
        return None
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def nice(metres: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `metres`."""
    power = float(10.0 ** np.floor(np.log10(metres)))
    return max(step * power for step in (1, 2, 5) if step * power <= metres * (1 + 1e-9))


def scale_bar(frame: Frame, size: int) -> str:
    """Draw a scale bar of a round length, at most a third of the frame."""
    metres = nice(frame.width / frame.scale / 3)
    length = round(metres * frame.scale)
    x, y = frame.width // 40, frame.height - frame.height // 40
    text = f"{metres:g} m" if metres >= 1 else f"{metres * 100:g} cm"
    return (
        f'<path class="bar" d="M{x} {y - size // 3}v{size // 3}h{length}v{-(size // 3)}"/>'
        f'<text class="bar" font-size="{size}" x="{x + length + size // 3}" y="{y}">{text}</text>'
    )


@dataclass(frozen=True, slots=True)
class Corner:
    """A boundary point: its number, northing and easting, and the length to the next, metres."""

    number: int
    x: float
    y: float
    length: float


def corners(geometry: BaseGeometry) -> Iterator[list[Corner]]:
    """Yield the corners of each ring, numbered on through the rings, in the order of the ring."""
    number = 0
    for ring in _rings(geometry):
        xy = shapely.get_coordinates(ring)
        lengths = np.hypot(*np.diff(xy, axis=0).T)
        yield [
            Corner(number + place, float(n), float(e), float(length))
            for place, ((e, n), length) in enumerate(zip(xy[:-1], lengths, strict=True), 1)
        ]
        number += len(lengths)


def parcel(geometry: BaseGeometry) -> Markup:
    """Draw one parcel with its corners, numbered as `corners` numbers them where there is room."""
    box = bounds(np.array([geometry], dtype=object)) or (0.0, 0.0, 1.0, 1.0)
    frame = Frame.around(box, 1600, 1200, 0.12)
    drawn = f'<path class="parcel" d="{frame.path(geometry)}"/>'
    drawn += f'<path class="corner" d="{frame.dots(geometry)}"/>'
    taken: list[tuple[int, int]] = []
    for ring in corners(geometry):
        middle = np.mean([(c.y, c.x) for c in ring], axis=0)
        for corner in ring:
            out = np.array([corner.y, corner.x]) - middle
            away = out / max(float(np.hypot(*out)), 1e-9) * 44
            x, y = frame.at((corner.y, corner.x))
            spot = (round(x + away[0]), round(y - away[1]))
            if all(abs(spot[0] - a) > 60 or abs(spot[1] - b) > 40 for a, b in taken):
                taken.append(spot)
                drawn += f'<text class="corner" x="{spot[0]}" y="{spot[1]}">{corner.number}</text>'
    return Markup(  # noqa: S704  # numbers of ours alone
        f'<svg class="figure" aria-hidden="true" viewBox="0 0 {frame.width} {frame.height}">'
        f"{drawn}{scale_bar(frame, 44)}</svg>"
    )


def _rings(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    for part in shapely.get_parts(geometry):
        yield part.exterior
        yield from part.interiors
