"""The neighbourhood of a survey: what is official around it, and the locks for writing there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import shapely
from sqlalchemy.orm import Session

from landdata.settings import Settings
from landdata.store import locks
from landdata.store.database import composed
from landdata.store.locks import Kind
from landdata.survey import Survey
from landdata.topology import Limits, Neighbours

_NEAR = 50.0  # metres around scattered parcels in which an official one is their neighbour
_SQUARE = 500.0  # metres; scattered parcels are searched square by square
_SMALL_AREA = 2e6  # m²; a smaller area holds few parcels anyway
_MANY_ROWS = 10_000  # a survey with more rows consists of whole sheets

_CELL = 10_000.0  # metres; parcels in different cells can't touch
_MAX_CELLS = 1000  # that one transaction locks; the server has room for a few thousand locks


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Where official parcels may be neighbours of a survey, and what is official there.

    `windows`: boxes [xmin, ymin, xmax, ymax] in metres of the storage CRS. `sheets`: the map sheets
    of the survey. `fingerprint`: equal for equal official parcels. `verdict`: that of the check,
    as one value.
    """

    windows: list[list[float]]
    sheets: list[str]
    fingerprint: str = ""
    verdict: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as a batch's summary keeps it, under `around`."""
        return {
            "windows": self.windows,
            "sheets": self.sheets,
            "official": self.fingerprint,
            "verdict": self.verdict,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Neighbourhood:
        """Return the neighbourhood of a dict from `as_dict`."""
        return cls(
            windows=stored["windows"],
            sheets=stored["sheets"],
            fingerprint=stored["official"],
            verdict=stored.get("verdict"),
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A neighbourhood with its official parcels; `version_ids` are those of their rows."""

    neighbourhood: Neighbourhood
    parcels: Neighbours
    version_ids: list[int]


def fetch(session: Session, settings: Settings, commune: str | None, survey: Survey) -> Fetched:
    """Return the official parcels around a survey."""
    area = Neighbourhood(
        windows=_windows(survey, Limits.load(settings.rules).island),
        sheets=sorted(survey.attributes["sheet"].unique().drop_null().to_pylist()),
    )
    area = replace(area, fingerprint=fingerprint(session, settings, commune, area))
    parameters = {**_parameters(settings, commune, area), **_numbers(survey, area.sheets)}
    rows = session.execute(composed("neighbours", near="near"), parameters).all()
    parcels = Neighbours(
        parcels=np.array([row.parcel for row in rows], dtype=object),
        geometry=shapely.from_wkb(np.array([row.geom for row in rows], dtype=object)),
        seen=shapely.union_all(shapely.box(*np.array(area.windows).T)),
    )
    return Fetched(area, parcels, [row.id for row in rows])


def fetcher(
    session: Session, settings: Settings, commune: str | None
) -> Callable[[Survey], Neighbours]:
    """Return a function from a survey to the official parcels around it."""
    return lambda survey: fetch(session, settings, commune, survey).parcels


def fingerprint(
    session: Session, settings: Settings, commune: str | None, area: Neighbourhood
) -> str:
    """Return the fingerprint of what is official in a neighbourhood now."""
    statement = composed("neighbourhood", near="near")
    return str(session.scalar(statement, _parameters(settings, commune, area)))


def lock(session: Session, commune: str, windows: list[list[float]]) -> None:
    """Lock the commune's numbers and the cells of its neighbourhood until the transaction ends.

    Two writers that each check and then insert would both find no overlap and store one. The
    locks are of cells, because two communes' batches may meet where neither has a parcel or a
    boundary yet. `windows` hold all parcels, with more around them than parcels that touch are
    apart.
    """
    cells = _cells(windows)
    locks.lock(session, Kind.COMMUNE, [int(commune)])
    if cells is None:
        locks.lock(session, Kind.CELL, [locks.ALL])
        return
    locks.share(session, Kind.CELL, locks.ALL)
    locks.lock(session, Kind.CELL, cells)


def _cells(windows: list[list[float]]) -> list[int] | None:
    """Number the cells that boxes touch, in order; None where they are too many to lock.

    A parcel that was drawn across the globe is rejected, but only under the locks.
    """
    corners = np.unique(np.floor(np.array(windows, np.float64) / _CELL), axis=0)
    sides = corners[:, 2:] - corners[:, :2] + 1
    if sides.prod(axis=1).sum() > _MAX_CELLS:
        return None
    return sorted(
        {
            (x & 0x7FFF) << 16 | y & 0xFFFF
            for left, low, right, top in corners.astype(np.int64).tolist()
            for x, y in product(range(left, right + 1), range(low, top + 1))
        }
    )


def _parameters(settings: Settings, commune: str | None, area: Neighbourhood) -> dict[str, Any]:
    """Return a neighbourhood as the statements take it."""
    columns = zip(*area.windows, strict=True)
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(list, columns), strict=True))
    return {**corners, "srid": settings.srid, "commune": commune, "sheets": area.sheets}


def _windows(survey: Survey, island: float) -> list[list[float]]:
    """Return the boxes in which official parcels are searched, [xmin, ymin, xmax, ymax], metres.

    One around the whole survey, wide enough to recognise an island; for few, scattered parcels, of
    whose surroundings it would be many times the area, one for each square of 500 m with parcels.
    """
    bounds = shapely.bounds(survey.geometry)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    if not len(bounds):
        return [[0.0, 0.0, 0.0, 0.0]]
    square = np.floor((bounds[:, :2] + bounds[:, 2:]) / 2 / _SQUARE).astype(np.int64)
    # squares as single numbers: sorting a million of them takes a tenth of sorting pairs
    _, group = np.unique(square[:, 0] << 32 | square[:, 1] & 0xFFFFFFFF, return_inverse=True)
    low = np.full((group.max() + 1, 2), np.inf)
    np.minimum.at(low, group, bounds[:, :2])
    high = np.full((group.max() + 1, 2), -np.inf)
    np.maximum.at(high, group, bounds[:, 2:])
    scattered = np.hstack([np.floor(low - _NEAR), np.ceil(high + _NEAR)])
    far = max(island, _NEAR)
    one = np.hstack([np.floor(low.min(axis=0) - far), np.ceil(high.max(axis=0) + far)])[None]
    whole, parts = (
        float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum()) for boxes in (one, scattered)
    )
    windows: list[list[float]] = (
        one if whole < max(_SMALL_AREA, 4 * parts) else scattered
    ).tolist()
    return windows


def _numbers(survey: Survey, sheets: list[str]) -> dict[str, Any]:
    """Return the sheets and numbers of a survey, side by side; of a large one the sheets alone."""
    if len(survey) > _MANY_ROWS:
        return {"sheets": sheets, "numbers": [None] * len(sheets)}
    pairs = zip(*(survey.attributes[name].to_pylist() for name in ("sheet", "number")), strict=True)
    numbered = sorted({(sheet, number) for sheet, number in pairs if sheet and number})
    return {"sheets": [pair[0] for pair in numbered], "numbers": [pair[1] for pair in numbered]}
