"""Surveys of every format in a real store, and the commune's boundary against the wrong zone."""

from __future__ import annotations

import datetime as dt
import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
import shapely
import sqlalchemy as sa
from support.drawings import lattice, write_dxf
from support.surveys import NAMED_POINTS, parcel, plot, write_layer

from landdata.batches import acceptance, checking, queries
from landdata.batches.validation import ReadOptions
from landdata.errors import BadSurvey
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import communes, database
from landdata.survey import profiles

COMMUNE = "99901"
MENDED = ReadOptions(crs=9212, mend_text=True)
ROWS = [parcel(i, plot(i, 0)) for i in range(1, 4)]


@pytest.fixture(autouse=True)
def commune(engine: sa.Engine) -> None:
    around = shapely.MultiPolygon([plot(-50, -50, width=2000, height=2000)])
    with database.session(engine) as session:
        communes.add(
            session,
            COMMUNE,
            "Xã Suối Mẫu",
            valid_from=dt.date(2025, 7, 1),
            boundary=shapely.set_srid(around, 9212),
        )


def take(engine: sa.Engine, settings: Settings, path: Path, **options: Any) -> dict[str, Any]:
    with database.session(engine) as session:
        batch = checking.receive_and_check(
            session, settings, path, commune=COMMUNE, by="surveyor", options=ReadOptions(**options)
        )
        return acceptance.accept(session, settings, batch.id, by="officer")


def official(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(
            sa.text("SELECT count(*) FROM parcel_versions WHERE valid_to IS NULL")
        )


def test_a_file_with_a_long_profile_is_one_batch(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    drawn = random.Random(1)
    names = ["".join(drawn.choices(string.ascii_uppercase, k=25)) for _ in range(200)]
    said = {"name": "x", "version": 1, "fields": {"address": names, "owner": ["TENCHU"]}}
    path = write_layer(tmp_path / "thua.gpkg", ROWS)
    assert take(engine, settings, path, profile=said)["accepted"] == 3
    assert take(engine, settings, path, profile=said)["accepted"] == 3
    assert take(engine, settings, path)["duplicate"] == 3
    with database.session(engine) as session:
        assert len(queries.list_all(session)) == 2


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".gml"])
def test_a_survey_of_another_format_becomes_official(
    engine: sa.Engine, settings: Settings, tmp_path: Path, suffix: str
) -> None:
    summary = take(engine, settings, write_layer(tmp_path / f"thua{suffix}", ROWS))
    assert (summary["read"], summary["accepted"], official(engine)) == (3, 3, 3)


def test_a_drawing_becomes_official_with_its_profile(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    profile = profiles.parse(
        {"name": "to-25", "version": 1, "crs": 9212, "fields": {"sheet": "=25"}}
    )
    path = write_dxf(tmp_path / "a.dxf", lattice(3, 2))
    summary = take(engine, settings, path, profile=profile.as_dict())
    assert (summary["read"], summary["accepted"], official(engine)) == (6, 6, 6)


def test_the_neighbouring_zone_is_refused_and_nothing_is_stored(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    move: Any = transformer(9212, 9211).transform
    moved = [
        {**row, "geometry": shapely.transform(row["geometry"], move, interleaved=False)}
        for row in ROWS
    ]
    path = write_layer(tmp_path / "thua.gpkg", moved, srid=9212)
    with pytest.raises(BadSurvey) as caught:
        take(engine, settings, path)
    assert caught.value.code == "crs-neighbour-zone"
    assert official(engine) == 0
    assert take(engine, settings, path, crs=9211)["accepted"] == 3


def test_a_batch_of_a_damaged_file_balances(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = write_layer(tmp_path / "a.geojson", ROWS)
    made = json.loads(path.read_text("utf-8"))
    made["features"][1]["geometry"] = None
    path.write_text(json.dumps(made))
    summary = take(engine, settings, path)
    assert (summary["read"], summary["accepted"], summary["rejected"]) == (3, 2, 1)


@pytest.mark.parametrize(
    ("field", "value", "findings"),
    [
        ("DIENTICH", 1e18, ["bad-value"]),
        ("DienTichPhapLy", -1e300, ["bad-value"]),
        ("MaDinhDanhThuaDat", "".join(random.Random(1).choices(string.ascii_letters, k=9000)),
         ["bad-value"]),
        ("SoThuTuThuaCu", "9" * 9000, ["bad-value"]),
        ("NgayDoDac", "0001-01-01", []),
    ],
    ids=["area", "legal area", "identifier", "digits", "date"],
)  # fmt: skip
def test_a_value_beyond_reason_breaks_no_batch(
    engine: sa.Engine,
    settings: Settings,
    tmp_path: Path,
    field: str,
    value: float | str,
    findings: list[str],
) -> None:
    rows = [{**row, field: None} for row in ROWS]
    path = write_layer(tmp_path / "a.geojson", rows)
    made = json.loads(path.read_text("utf-8"))
    made["features"][1]["properties"][field] = value
    path.write_text(json.dumps(made))
    summary = take(engine, settings, path)
    assert (summary["read"], summary["accepted"]) == (3, 3)
    with database.session(engine) as session:
        assert [each["rule"] for each in queries.show(session, 1)["findings"]] == findings


def test_survey_points_are_kept_with_the_batch(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "diem.csv"
    path.write_text(NAMED_POINTS.format("TenDiem"))
    summary = take(engine, settings, path, crs=9212)
    assert (summary["read"], summary["accepted"], summary["points"]) == (2, 2, 6)
    with database.session(engine) as session:
        found = queries.survey_points(session, 1)
        shared = [each for each in found if each["rows"] == [0, 1]]
        assert [each["name"] for each in shared] == ["M2", "M3"]
        assert shared[0]["parcels"] == [f"{COMMUNE}/25/1", f"{COMMUNE}/25/2"]
        assert [shared[0]["y_east"], shared[0]["x_north"]] == shared[0]["point"]
        assert (shared[0]["srid"], shared[0]["line"]) == (9212, 3)
    with database.session(engine) as session:  # checked again, they are there once
        other = checking.receive_and_check(
            session, settings, path, commune=COMMUNE, by="b", options=MENDED
        )
        checking.check(session, settings, other.id)
        assert len(queries.survey_points(session, other.id)) == 6
