"""A survey of a commune without a boundary: how far it lies from what the store holds."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import shapely
import sqlalchemy as sa
from support.surveys import parcel, plot, write

from landdata.batches import acceptance, checking, queries
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import communes, database

BOUNDED, UNBOUNDED = "99901", "99902"


def converted(column: int, drawn: int, as_if: int) -> shapely.Polygon:
    """Return a plot in degrees of WGS 84, drawn in one zone and converted as if in another."""

    def move(xy: Any) -> Any:
        numbers = transformer(9212, drawn).transform(*xy.T)
        return shapely.get_coordinates(
            shapely.linestrings(
                list(zip(*transformer(as_if, 4326).transform(*numbers), strict=True))
            )
        )

    return shapely.transform(plot(column, 0), move)


def submit(
    engine: sa.Engine, settings: Settings, path: Path, *, accept: bool = False
) -> list[dict[str, Any]]:
    """Check a file for the commune without a boundary; return the findings about its place."""
    with database.session(engine) as session:
        batch = checking.receive_and_check(
            session, settings, path, commune=UNBOUNDED, by="surveyor"
        )
        number = batch.id
        if accept:
            acceptance.accept(session, settings, number, by="officer")
        findings: list[dict[str, Any]] = queries.show(session, number)["findings"]
        return [finding for finding in findings if finding["rule"] == "far-from-all"]


@pytest.fixture
def boundary(engine: sa.Engine) -> None:
    around = shapely.MultiPolygon([plot(-50, -50, width=2000, height=2000)])
    with database.session(engine) as session:
        for code, shape in ((BOUNDED, shapely.set_srid(around, 9212)), (UNBOUNDED, None)):
            communes.add(
                session, code, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1), boundary=shape
            )


def rows(drawn: int, as_if: int) -> list[dict[str, Any]]:
    return [parcel(i, converted(i, drawn, as_if), DIENTICH=400.0) for i in range(1, 4)]


@pytest.mark.usefixtures("boundary")
def test_degrees_from_the_wrong_zone_lie_far_from_the_nearest_commune(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    far = write(tmp_path / "xa.zip", rows(9212, 9214), srid=4326)
    (finding,) = submit(engine, settings, far)
    assert finding["severity"] == "warning"
    for language, words in (("en", "commune 99901 Xã Suối Mẫu"), ("vi", "xã 99901 Xã Suối Mẫu")):
        assert words in finding["message"][language]
        assert "EPSG:4326" in finding["message"][language]
    assert "80.9" in finding["message"]["en"].split("km")[0]
    near = write(tmp_path / "gan.zip", rows(9212, 9212), srid=4326)
    assert submit(engine, settings, near) == []


def test_without_any_boundary_the_nearest_survey_is_named(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    with database.session(engine) as session:
        communes.add(session, UNBOUNDED, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
    first = write(tmp_path / "dau.zip", rows(9212, 9212), srid=4326)
    assert submit(engine, settings, first, accept=True) == []
    far = write(tmp_path / "xa.zip", rows(9212, 9214), srid=4326)
    (finding,) = submit(engine, settings, far)
    assert f"parcel {UNBOUNDED}/1/" in finding["message"]["en"]
