"""Where the bulk of a survey's coordinates lies, from a sample of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 400_000  # coordinates
_GLOBE = 1e8  # metres, or degrees; twice around the Earth, and more


def on_globe(coordinates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which coordinates, shape (n, 2), can lie on the Earth in any CRS; shape (n,).

    The others are stray vertices, whose squares may overflow.
    """
    near: NDArray[np.bool_] = np.abs(coordinates) <= _GLOBE
    return near[:, 0] & near[:, 1]  # a fifth of what `all` takes along rows of two


class Sample:
    """Every n-th coordinate of a survey read in pieces; at most 400,000.

    Which ones are kept does not depend on the size of the pieces.
    """

    def __init__(self) -> None:
        self._step, self._seen = 1, 0
        self._kept: NDArray[np.float64] = np.empty((0, 2))

    def add(self, coordinates: NDArray[np.float64]) -> None:
        """Sample more coordinates, shape (n, 2)."""
        new = coordinates[-self._seen % self._step :: self._step]
        self._seen += len(coordinates)
        self._kept = np.concatenate([self._kept, new])
        while len(self._kept) > _SAMPLE:
            self._kept = self._kept[::2]
            self._step *= 2

    def bounds(self) -> Bounds | None:
        """Return the bounds without 0.5 % of the values at either end; null without coordinates."""
        if not len(self._kept):
            return None
        low, high = np.quantile(self._kept, (0.005, 0.995), axis=0)
        return Bounds(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the bulk of the coordinates, without stray vertices; in the unit of their CRS."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, (x, y)."""
        return (self.xmin + self.xmax) / 2, (self.ymin + self.ymax) / 2

    def within(self, x: tuple[float, float], y: tuple[float, float]) -> bool:
        """Tell whether the bounds lie in the ranges (lowest, highest) of x and of y."""
        return x[0] <= self.xmin <= self.xmax <= x[1] and y[0] <= self.ymin <= self.ymax <= y[1]

    def __str__(self) -> str:
        """Write `x from–to, y from–to`."""
        digits = 4 if self.within((-361, 361), (-91, 91)) else 0
        return (
            f"x {self.xmin:.{digits}f}–{self.xmax:.{digits}f},"
            f" y {self.ymin:.{digits}f}–{self.ymax:.{digits}f}"
        )
