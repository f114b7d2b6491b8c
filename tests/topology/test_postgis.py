"""Overlaps, containments, duplicates and gaps are those that PostGIS finds, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import shapely
import sqlalchemy as sa
from support import coverages, differential

from landdata.topology import coverage


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[Any]:
    raw = engine.raw_connection()
    try:
        yield raw.driver_connection
    finally:
        raw.close()


@pytest.mark.parametrize("seed", range(4))
def test_made_up_coverages(connection: psycopg.Connection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 40, 40, extra=seed % 3)
    spoilt = coverages.inject(rng, clean, 60, sizes=(0.002, 0.5))
    found = differential.compare(connection, spoilt.polygons)
    assert found.disagreements == []
    assert found.overlaps > 10
    assert found.within > 3
    assert found.equal > 3
    assert found.holes > 0


# The one left out takes PostGIS a minute; bench/differential.py compares it too.
@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in differential.REAL if "walnut" not in each])
def test_real_surveys(
    connection: psycopg.Connection, shared: Path, tmp_path: Path, name: str
) -> None:
    found = differential.compare(connection, differential.real(shared / name, tmp_path))
    assert found.disagreements == []


def test_a_missed_overlap_and_a_missed_gap_would_be_noticed(connection: psycopg.Connection) -> None:
    boxes = [(0, 0, 20, 30), (19, 0, 40, 30), (60, 0, 80, 30)]
    polygons = np.array([shapely.box(*each) for each in boxes])
    assert differential.compare(connection, polygons).pairs == 1
    none = coverage.Defects([], [], [], [], [])
    pair = [(0, 1, shapely.to_wkb(shapely.box(19, 0, 20, 30)), True, False,
             False, False)]  # fmt: skip
    assert len(differential._overlaps(pair, none)) == 1
    hole = shapely.box(40, 0, 40.2, 30)
    assert len(differential._gaps(np.array([hole]), none, polygons)) == 1
