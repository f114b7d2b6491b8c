"""The ground of a survey: what is official around it, and who may write there now.

    neighbours    the official parcels around a survey
    fingerprint   what is official on a ground, as one value: the same value, the same neighbours
    lock          hold a ground and a commune's numbers until the transaction ends

A ground is the boxes (`windows`, metres, storage CRS) in which official parcels are looked for,
and the map sheets (`sheets`) of a commune.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from landdata.settings import Settings
from landdata.store.database import composed
from landdata.survey import Survey
from landdata.topology import Limits, Neighbours

_NEAR = 50.0  # metres around a few parcels in which an official one is their neighbour
_SQUARE = 500.0  # metres; few parcels are looked at square by square
_LITTLE = 2e6  # m²; on so little ground there are not many parcels anyway
_MANY = 10_000  # rows; so many are whole sheets

# The kinds of advisory lock that are used here; `publications` has 3 and `originals` 4.
_COMMUNE, _GROUND = 1, 2
_CELL = 10_000.0  # metres; transactions whose cells differ can't touch each other's parcels
_ALL = -1  # the key of all ground; that of a cell is never negative
_MOST_CELLS = 1000  # that one transaction locks; the server has room for some thousand locks in all


def neighbours(
    session: Session, settings: Settings, commune: str | None, around: dict[str, Any] | None = None
) -> Callable[[Survey], Neighbours]:
    """Return what fetches the official parcels around a survey.

    Into `around` go the ground (its `windows` and `sheets`), what was `official` on it, as one
    value, and the numbers of the `states` that were fetched.
    """

    def fetch(survey: Survey) -> Neighbours:
        ground = {} if around is None else around
        ground["sheets"] = sorted(survey.attributes["sheet"].unique().drop_null().to_pylist())
        ground["windows"] = _windows(survey, Limits.load(settings.rules).island)
        ground["official"] = fingerprint(session, settings, commune, ground)
        asked = {**_asked(settings, commune, ground), **_numbers(survey, ground["sheets"])}
        found = session.execute(composed("neighbours", near="near"), asked).all()
        ground["states"] = [row.id for row in found]
        return Neighbours(
            parcels=np.array([row.parcel for row in found], dtype=object),
            geometry=shapely.from_wkb(np.array([row.geom for row in found], dtype=object)),
            seen=shapely.union_all(shapely.box(*np.array(ground["windows"]).T)),
        )

    return fetch


def fingerprint(
    session: Session, settings: Settings, commune: str | None, ground: dict[str, Any]
) -> str:
    """Return what is official on a ground as one value."""
    found = composed("neighbourhood", near="near")
    return str(session.scalar(found, _asked(settings, commune, ground)))


def lock(session: Session, commune: str, windows: list[list[float]]) -> None:
    """Take the commune's lock and those of the ground, until the transaction ends.

    Two writers that each check and then insert would both find no overlap and store one. The
    locks are of cells of the ground, because two communes' batches may meet where neither has
    a parcel or a boundary yet. `windows` hold all parcels, with more around them than parcels
    that touch are apart. All take the locks in the same order, so none waits in a circle.
    """
    cells = _cells(windows)
    alone = sa.text("SELECT pg_advisory_xact_lock(:kind, :key)")
    session.execute(alone, {"kind": _COMMUNE, "key": int(commune)})
    if cells is None:
        session.execute(alone, {"kind": _GROUND, "key": _ALL})
        return
    shared = sa.text("SELECT pg_advisory_xact_lock_shared(:kind, :key)")
    session.execute(shared, {"kind": _GROUND, "key": _ALL})
    for cell in cells:
        session.execute(alone, {"kind": _GROUND, "key": cell})


def _cells(windows: list[list[float]]) -> list[int] | None:
    """Number the cells that boxes touch, in order; null: too many, so it is all the ground.

    A parcel that was drawn across the globe is rejected, but not before the ground is locked.
    """
    corners = np.unique(np.floor(np.array(windows, np.float64) / _CELL), axis=0)
    sides = corners[:, 2:] - corners[:, :2] + 1
    if sides.prod(axis=1).sum() > _MOST_CELLS:
        return None
    return sorted(
        {
            (x & 0x7FFF) << 16 | y & 0xFFFF
            for left, low, right, top in corners.astype(np.int64).tolist()
            for x, y in product(range(left, right + 1), range(low, top + 1))
        }
    )


def _asked(settings: Settings, commune: str | None, ground: dict[str, Any]) -> dict[str, Any]:
    """Return a ground as the statements take it."""
    windows = zip(*ground["windows"], strict=True)
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(list, windows), strict=True))
    return {**corners, "srid": settings.srid, "commune": commune, "sheets": ground["sheets"]}


def _windows(survey: Survey, island: float) -> list[list[float]]:
    """Return the boxes in which official parcels are looked for, [xmin, ymin, xmax, ymax], metres.

    One around all that is surveyed, so far that an island is known for one. Where that is far
    more than what lies near the parcels, since they are few and scattered, one around those of
    each square of half a kilometre.
    """
    bounds = shapely.bounds(survey.geometry)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    if not len(bounds):
        return [[0.0, 0.0, 0.0, 0.0]]
    square = np.floor((bounds[:, :2] + bounds[:, 2:]) / 2 / _SQUARE).astype(np.int64)
    # as one number each: to sort a million of them takes a tenth of sorting pairs
    _, of = np.unique(square[:, 0] << 32 | square[:, 1] & 0xFFFFFFFF, return_inverse=True)
    low = np.full((of.max() + 1, 2), np.inf)
    np.minimum.at(low, of, bounds[:, :2])
    high = np.full((of.max() + 1, 2), -np.inf)
    np.maximum.at(high, of, bounds[:, 2:])
    few = np.hstack([np.floor(low - _NEAR), np.ceil(high + _NEAR)])
    far = max(island, _NEAR)
    one = np.hstack([np.floor(low.min(axis=0) - far), np.ceil(high.max(axis=0) + far)])[None]
    size, little = (float(np.prod(each[:, 2:] - each[:, :2], axis=1).sum()) for each in (one, few))
    windows: list[list[float]] = (one if size < max(_LITTLE, 4 * little) else few).tolist()
    return windows


def _numbers(survey: Survey, sheets: list[str]) -> dict[str, Any]:
    """Return the sheets and numbers of a survey, side by side; of a large one the sheets alone."""
    if len(survey) > _MANY:
        return {"sheets": sheets, "numbers": [None] * len(sheets)}
    pairs = zip(*(survey.attributes[name].to_pylist() for name in ("sheet", "number")), strict=True)
    known = sorted({(sheet, number) for sheet, number in pairs if sheet and number})
    return {"sheets": [sheet for sheet, _ in known], "numbers": [number for _, number in known]}
