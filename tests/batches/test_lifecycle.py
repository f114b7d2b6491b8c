"""A batch's life in a real store: received, checked, accepted; never half, never twice."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import shapely
import shapely.affinity
import sqlalchemy as sa
from shapely.geometry.base import BaseGeometry
from support.surveys import parcel, plot, write

from landdata.batches import acceptance, checking, lifecycle, queries, receiving, source_files
from landdata.batches.validation import ReadOptions
from landdata.batches.validation import check as check_file
from landdata.errors import BadRequest, BadSurvey, Conflict, NotFound
from landdata.settings import Settings
from landdata.store import communes, database, parcels
from landdata.survey import reader

COMMUNE = "99901"


@pytest.fixture(autouse=True)
def commune(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        for code in (COMMUNE, "99902"):
            communes.add(session, code, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))


def receive(engine: sa.Engine, settings: Settings, path: Path, code: str = COMMUNE) -> int:
    with database.session(engine) as session:
        return receiving.receive(session, settings, path, commune=code, by="surveyor")[0].id


def check(engine: sa.Engine, settings: Settings, number: int) -> dict[str, Any]:
    with database.session(engine) as session:
        checking.check(session, settings, number)
        return queries.show(session, number)


def accept(engine: sa.Engine, settings: Settings, number: int, **options: Any) -> dict[str, Any]:
    with database.session(engine) as session:
        return acceptance.accept(session, settings, number, by="officer", **options)


def submit(
    engine: sa.Engine, settings: Settings, path: Path, code: str = COMMUNE
) -> dict[str, Any]:
    number = receive(engine, settings, path, code)
    check(engine, settings, number)
    return accept(engine, settings, number)


def count(engine: sa.Engine, what: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(f"SELECT count(*) FROM {what}")))


def rules(result: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in result["findings"]}


def test_a_clean_batch_becomes_official(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", [parcel(n, plot(n, 0)) for n in range(1, 6)])
    number = receive(engine, settings, path)
    result = check(engine, settings, number)
    assert result["findings"] == []
    assert result["summary"]["acceptable"] == 5
    assert count(engine, "parcel_versions") == 0  # nothing is official before an officer says so
    summary = accept(engine, settings, number, reason="field-checked")
    assert (summary["read"], summary["accepted"]) == (5, 5)
    with database.session(engine) as session:
        official = parcels.resolve(session, f"{COMMUNE}/1/3")
        assert queries.show(session, number)["batch"]["decided_by"] == "officer"
    geometry = official.geometry
    assert geometry.equals_exact(plot(3, 0), 0.0005) or geometry.equals(plot(3, 0))
    assert (official.area, official.version, official.label) == (
        400.0,
        1,
        "3/400.0 CLN",
    )
    assert official.id.version == 7
    assert count(engine, "holders") == 5


def test_versions_are_equal_whether_checked_in_this_transaction_or_not(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    for turn in range(1, 5):
        # number 9 is new each time, the others are drawn anew
        rows = [parcel(n, plot(n, 0, width=20 - turn / 8)) for n in range(1, 4)]
        rows.append(parcel(f"9{turn}", plot(turn, 5)))
        path = write(tmp_path / f"{turn}.zip", rows)
        if turn % 2:
            assert submit(engine, settings, path)["accepted"] == 4
        else:
            with database.session(engine) as session:
                taken = checking.receive_and_check(
                    session, settings, path, commune=COMMUNE, by="surveyor"
                )
                assert acceptance.accept(session, settings, taken.id, by="x")["accepted"] == 4
    versions = """
        SELECT v.batch_id, v.batch_row, v.version, h.name, v.feature = parcel_feature(
          v.parcel_id, v.version, v.valid_from, v.valid_to, v.commune, v.sheet, v.number, v.scale,
          v.area, v.legal_area, v.land_use, v.label, v.national_id, v.surveyed_on, v.geom
        ), v.valid_to IS NOT DISTINCT FROM (
          SELECT n.valid_from FROM parcel_versions AS n
          WHERE (n.parcel_id, n.version) = (v.parcel_id, v.version + 1)
        )
        FROM parcel_versions AS v JOIN holders AS h ON h.version_id = v.id ORDER BY v.id
    """
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(sa.text(versions))]
    number = [*(f"{n}" for n in range(1, 4)), "9"]
    assert found == [
        (turn, row, 1 if row == 3 else turn, f"Chủ sử dụng {number[row]}{turn if row == 3 else ''}",
         True, True)
        for turn in range(1, 5)
        for row in range(4)
    ]  # fmt: skip


def test_a_publication_is_equal_whether_precomputed_or_not(
    engine: sa.Engine, settings: Settings, make_store: Callable[..., Settings], tmp_path: Path
) -> None:
    other = make_store()
    others = database.engine(other)
    with database.session(others) as session:
        communes.add(session, COMMUNE, "Xã Suối Mẫu", valid_from=dt.date(2025, 7, 1))
    surveys = [
        [parcel(n, plot(n, 0)) for n in range(1, 4)] + [parcel(1, plot(0, 9), SHBANDO="2")],
        # smaller, as it is, new; on a sheet where all are replaced; on a new one; and an overlap
        [
            parcel(1, plot(1, 0, width=15)), parcel(2, plot(2, 0)), parcel(9, plot(40, 30)),
            parcel(1, plot(0, 9, height=5), SHBANDO="2"), parcel(1, plot(5, 5), SHBANDO="3"),
            parcel(2, plot(3.5, 0), SHBANDO="4"),
        ],
        [parcel(7, plot(1, 20)), parcel(3, plot(3, 0, height=12))],
    ]  # fmt: skip
    changed = """
        SELECT (
          SELECT json_agg((s.id, s.parcels, ST_AsText(ST_Normalize(s.geom))) ORDER BY s.id)::text
          FROM sheets AS s
        ), (
          SELECT json_agg((c.level, c.x, c.y, c.turn) ORDER BY c.level, c.x, c.y)::text
          FROM (SELECT *, dense_rank() OVER (ORDER BY stamp) AS turn FROM changed_cells) AS c
          WHERE c.level >= 0
        ), (SELECT json_agg(parcels ORDER BY number)::text FROM publications)
    """
    hulls = """
        SELECT count(*) FROM sheets AS s WHERE (s.parcels, ST_AsText(ST_Normalize(s.geom))) <> (
          SELECT count(*), ST_AsText(ST_Normalize(ST_ConvexHull(ST_Collect(v.geom))))
          FROM parcel_versions AS v
          WHERE (v.commune, v.sheet) = (s.commune, s.sheet) AND v.valid_to IS NULL
        )
    """
    for turn, rows in enumerate(surveys):
        path = write(tmp_path / f"{turn}.zip", rows)
        submit(engine, settings, path)
        with database.session(others) as session:
            taken = checking.receive_and_check(session, other, path, commune=COMMUNE, by="surveyor")
            acceptance.accept(session, other, taken.id, by="x")
        with engine.connect() as beside, others.connect() as afterwards:
            found = beside.execute(sa.text(changed)).one()
            assert found == afterwards.execute(sa.text(changed)).one()
            assert beside.scalar(sa.text(hulls)) == 0
    others.dispose()
    assert found[2] == "[4, 6, 7]"
    assert [each["f1"] for each in json.loads(found[0])] == [f"{COMMUNE}-{n}" for n in range(1, 4)]


def test_the_same_file_is_the_same_batch(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", [parcel(1, plot(1, 0))])
    first = receive(engine, settings, path)
    assert receive(engine, settings, path) == first
    assert receive(engine, settings, path, "99902") != first
    with database.session(engine) as session:
        kept = source_files.path_of(settings, lifecycle.get(session, first))
    assert kept.read_bytes() == path.read_bytes()
    assert (settings.home / "surveys").stat().st_mode & 0o077 == 0  # it names people
    check(engine, settings, first)
    accept(engine, settings, first)
    assert accept(engine, settings, first)["accepted"] == 1  # asked twice, done once
    assert count(engine, "parcel_versions") == 1


def test_a_bad_parcel_is_rejected_and_the_others_are_accepted(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    rows = [
        parcel(1, plot(0, 0)),
        parcel(2, plot(1, 0, width=20.5)),  # half a metre into parcel 3
        parcel(3, plot(2, 0)),
        parcel(4, plot(3, 0)),
        parcel(4, plot(3, 0)),  # the row again
    ]
    number = receive(engine, settings, write(tmp_path / "a.zip", rows))
    result = check(engine, settings, number)
    summary = result["summary"]
    assert summary["read"] == 5
    assert (summary["acceptable"], summary["rejected"], summary["duplicate"]) == (2, 2, 1)
    overlap = next(f for f in result["findings"] if f["rule"] == "overlap")
    assert {overlap["parcel"], overlap["other_parcel"]} == {f"{COMMUNE}/1/2", f"{COMMUNE}/1/3"}
    assert overlap["measured"] == pytest.approx(10.0)
    assert accept(engine, settings, number)["accepted"] == 2
    assert count(engine, "parcel_versions") == 2


def test_a_batch_is_checked_against_its_official_neighbours(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    submit(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    path = write(tmp_path / "b.zip", [parcel(1, plot(0.5, 0)), parcel(2, plot(1.5, 0))])
    result = check(engine, settings, receive(engine, settings, path, "99902"))
    seam = next(f for f in result["findings"] if f["rule"] == "overlap")
    assert (seam["row"], seam["other_row"]) == (0, None)
    assert seam["other_parcel"] == f"{COMMUNE}/1/1"
    assert result["summary"]["acceptable"] == 1


def test_a_scattered_batch_is_checked_against_the_neighbours_of_each_parcel(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    # Ten kilometres apart, and official number 3 is where nothing else is surveyed.
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(500, 500)), parcel(3, plot(100, 300))]
    submit(engine, settings, write(tmp_path / "a.zip", rows))
    rows = [parcel(8, plot(0.5, 0)), parcel(9, plot(500.5, 500)), parcel(3, plot(503, 500))]
    number = receive(engine, settings, write(tmp_path / "b.zip", rows))
    result = check(engine, settings, number)
    seams = {(f["row"], f["other_parcel"]) for f in result["findings"] if f["rule"] == "overlap"}
    assert seams == {(0, f"{COMMUNE}/1/1"), (1, f"{COMMUNE}/1/2")}
    replaced = [f["row"] for f in result["findings"] if f["rule"] == "replaces-official"]
    assert replaced == [2]
    # What becomes official beside any of them is noticed when it is to be accepted.
    submit(engine, settings, write(tmp_path / "c.zip", [parcel(5, plot(503.5, 500))]), "99902")
    with pytest.raises(Conflict, match="changed"):
        accept(engine, settings, number)


@pytest.mark.parametrize("far", [9e7, 1e38, 3e160])
def test_a_parcel_with_a_stray_vertex_does_not_affect_the_others(
    engine: sa.Engine, settings: Settings, tmp_path: Path, far: float
) -> None:
    x, y = plot(0, 50).centroid.coords[0]
    bow = shapely.Polygon([(x, y), (far, far), (x, y + 20), (far, y)])
    rows = [parcel(n, plot(n % 20, n // 20)) for n in range(1, 300)]
    path = write(tmp_path / "a.zip", [*rows, parcel(999, bow, DIENTICH=1.0)])
    summary = submit(engine, settings, path)
    assert (summary["read"], summary["accepted"], summary["rejected"]) == (300, 299, 1)


def test_a_new_survey_replaces_versions_and_keeps_the_past(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(1, 0))]
    submit(engine, settings, write(tmp_path / "a.zip", rows))
    between = dt.datetime.now(dt.UTC)
    moved = [
        parcel(1, plot(0, 0, width=21), DIENTICH=420.0),
        parcel(2, plot(1.05, 0, width=19), DIENTICH=380.0),
    ]
    result = submit(engine, settings, write(tmp_path / "b.zip", moved))
    assert result["accepted"] == 2
    assert result["findings"]["info"] == {"replaces-official": 2}
    with database.session(engine) as session:
        now = parcels.resolve(session, f"{COMMUNE}/1/1")
        then = parcels.resolve(session, f"{COMMUNE}/1/1", between)
        history = parcels.history(session, now.id)
    assert (now.area, now.version, then.area, then.version) == (420.0, 2, 400.0, 1)
    assert now.id == then.id
    assert then.valid_to == now.valid_from
    assert [row.version for row in history] == [2, 1]


def test_a_row_that_is_official_already_is_a_duplicate(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    rows = [parcel(1, plot(0, 0)), parcel(2, plot(1, 0))]
    submit(engine, settings, write(tmp_path / "a.zip", rows))
    more = [*rows, parcel(3, plot(2, 0))]
    number = receive(engine, settings, write(tmp_path / "b.zip", more))
    result = check(engine, settings, number)
    assert rules(result) == {"already-official"}
    assert (result["summary"]["acceptable"], result["summary"]["duplicate"]) == (1, 2)
    assert accept(engine, settings, number)["accepted"] == 1
    assert count(engine, "parcel_versions") == 3
    other = [{**rows[0], "KHLOAIDAT": "ONT"}]  # another use is another version
    assert submit(engine, settings, write(tmp_path / "c.zip", other))["accepted"] == 1
    assert count(engine, "parcel_versions") == 4


def test_a_new_survey_says_how_parcels_change_before_it_is_accepted(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    rows = [parcel(n, plot(2 * n, 0), TYLE="500") for n in range(1, 6)]
    submit(engine, settings, write(tmp_path / "a.zip", rows))
    rows[0]["geometry"] = shapely.affinity.translate(rows[0]["geometry"], 0.04)  # within 7 cm
    rows[1]["geometry"] = shapely.affinity.translate(rows[1]["geometry"], 0.5)
    rows[1]["TENCHU"] = "Chủ mới"
    rows[2]["KHLOAIDAT"] = "ONT"
    rows[4] = parcel(9, plot(20, 0), TYLE="500")
    number = receive(engine, settings, write(tmp_path / "b.zip", rows))
    result = check(engine, settings, number)
    assert [(f["rule"], f["row"]) for f in result["findings"]] == [
        ("replaces-official", 1),
        ("moved-within-accuracy", 0),
        ("already-official", 3),
        ("replaces-official", 2),
    ]
    reshaped, moved, _, kept = (f["message"]["en"] for f in result["findings"])
    assert reshaped.endswith("its boundary moves by up to 0.500 m; changed: owner.")
    assert "moves by up to 0.04 m, within the accuracy of 0.07 m" in moved
    assert kept.endswith("its boundary moves by up to 0 m; changed: land use.")
    assert result["summary"]["official"] == {
        "new": 1, "reshaped": 1, "moved_within_accuracy": 1, "attributes_only": 1, "same": 1,
    }  # fmt: skip
    assert "Chủ mới" not in json.dumps(result["findings"], ensure_ascii=False)
    assert accept(engine, settings, number)["accepted"] == 4


def test_co_owners_with_a_row_each_are_joined(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    rows = [parcel(1, plot(0, 0), TENCHU=owner) for owner in ("Bà A", "Ông B", "Bà A")]
    number = receive(engine, settings, write(tmp_path / "a.zip", [*rows, parcel(2, plot(1, 0))]))
    result = check(engine, settings, number)
    assert [f["rule"] for f in result["findings"]] == ["duplicate-row", "co-owner"]
    assert "Ông B" not in json.dumps(result, default=str, ensure_ascii=False)
    assert accept(engine, settings, number)["accepted"] == 2
    assert count(engine, "holders WHERE name = 'Bà A; Ông B'") == 1


def test_a_ring_taken_apart_is_official_as_shell_and_hole(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    around, touching = plot(0, 0), [(10, 0), (14, 8), (6, 8), (10, 0)]
    x, y = around.bounds[:2]
    ring = [(x, y), (x, y + 20), (x + 20, y + 20), (x + 20, y)]
    inverted = shapely.Polygon([*ring, *((x + dx, y + dy) for dx, dy in touching)])
    rows = [parcel(1, inverted, DIENTICH=368.0), parcel(2, plot(1, 0))]
    assert submit(engine, settings, write(tmp_path / "a.zip", rows))["accepted"] == 2
    with database.session(engine) as session:
        geometry = parcels.resolve(session, f"{COMMUNE}/1/1").geometry
    assert geometry.is_valid
    assert geometry.area == pytest.approx(368)
    # the same ring again is no new version
    again = write(tmp_path / "b.zip", [*rows, parcel(3, plot(2, 0))])
    summary = submit(engine, settings, again)
    assert (summary["accepted"], summary["duplicate"]) == (1, 2)


def test_a_changed_verdict_is_not_accepted_unseen(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    late = receive(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    check(engine, settings, late)
    other = write(tmp_path / "b.zip", [parcel(9, plot(0.5, 0))])
    submit(engine, settings, other, "99902")
    with pytest.raises(Conflict, match="has changed since its check"):
        accept(engine, settings, late)
    assert count(engine, "parcel_versions") == 1
    assert "overlap" in rules(check(engine, settings, late))
    assert accept(engine, settings, late)["accepted"] == 0


def test_a_parcel_that_got_its_number_after_the_check_is_not_replaced_unseen(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    # two crews number their parcels alike, far apart: neither overlaps the other
    late = receive(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    check(engine, settings, late)
    submit(engine, settings, write(tmp_path / "b.zip", [parcel(1, plot(40, 40))]))
    with pytest.raises(Conflict, match="has changed since its check"):
        accept(engine, settings, late)
    assert rules(check(engine, settings, late)) == {"replaces-official"}
    assert accept(engine, settings, late)["accepted"] == 1


def test_a_neighbour_that_changes_nothing_does_not_stop_a_batch(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    late = receive(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    check(engine, settings, late)
    submit(engine, settings, write(tmp_path / "b.zip", [parcel(2, plot(1, 0))]))
    assert accept(engine, settings, late)["accepted"] == 1


def test_a_rejected_batch_stays_rejected(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    number = receive(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    with pytest.raises(Conflict, match="has not been checked"):
        accept(engine, settings, number)
    check(engine, settings, number)
    with database.session(engine) as session:
        lifecycle.reject(session, number, by="officer", reason="wrong commune")
    with pytest.raises(Conflict, match="is rejected already, by officer"):
        accept(engine, settings, number)
    assert count(engine, "parcel_versions") == 0


def test_nothing_is_stored_of_a_refused_file(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    good = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    with pytest.raises(BadRequest, match="no commune 11111"):
        receive(engine, settings, good, "11111")
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(BadSurvey), database.session(engine) as session:
        checking.receive_and_check(session, settings, bad, commune=COMMUNE, by="surveyor")
    assert count(engine, "batches") == 0
    assert not list(settings.home.rglob("*.zip"))
    with database.session(engine) as session, pytest.raises(NotFound, match="no batch 7"):
        queries.show(session, 7)


def staged(engine: sa.Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [
            tuple(row)
            for row in connection.execute(
                sa.text(
                    "SELECT row, status, sheet, number, scale, area, legal_area, measured_area,"
                    " land_use::text, label, address, owner, owner_type, old_sheet, old_number,"
                    " national_id, surveyed_on, ST_AsText(geom), ST_SRID(geom)"
                    " FROM staged_parcels ORDER BY row"
                )
            )
        ]


def test_rows_are_staged_as_they_are_read(
    engine: sa.Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {
        "TYLE": "500", "DTPL": 399.5, "SOTOCU": "1c", "SOTHUACU": "7b", "DIACHI": "Thôn \"1\", x",
        "KHDOITUONG": "GDC", "NGAYDODAC": "20/05/2025", "KHLOAIDAT": "ONT: 100; CLN",
    }  # fmt: skip
    rows = [parcel(i + 1, plot(i, 0), **values) for i in range(3)]
    rows += [parcel("", plot(3, 0), **dict.fromkeys(values, "") | {"DTPL": 0.0, "TENCHU": ""})]
    number = receive(engine, settings, write(tmp_path / "a.zip", rows))
    check(engine, settings, number)
    whole = staged(engine)
    assert whole[0][:-2] == (
        0, 0, "1", "1", 500, 400.0, 399.5, 400.0,
        '[{"area": 100.0, "code": "ONT"}, {"area": null, "code": "CLN"}]', "1/400.0 ONT+CLN",
        'Thôn "1", x', "Chủ sử dụng 1", "GDC", "1c", "7b", None, dt.date(2025, 5, 20),
    )  # fmt: skip
    assert shapely.from_wkt(whole[0][-2]).equals(plot(0, 0))
    assert whole[0][-1] == 9212
    assert (whole[3][3], whole[3][4], whole[3][8], whole[3][11]) == (None,) * 4
    for size in (1, 3):
        monkeypatch.setattr(reader, "BLOCK", size)
        check(engine, settings, number)
        assert staged(engine) == whole


def test_staged_rows_of_a_refused_file_are_removed(
    engine: sa.Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.zip", [parcel(i + 1, plot(i, 0)) for i in range(4)])
    number = receive(engine, settings, path)
    check(engine, settings, number)
    before = staged(engine)

    def lose(*_: Any) -> None:
        raise BadSurvey("Rows are lost.", hint="", code="lost")

    monkeypatch.setattr(reader, "BLOCK", 1)
    monkeypatch.setattr(reader, "_check_count", lose)
    with database.session(engine) as session:  # which goes on, and is committed
        with pytest.raises(BadSurvey):
            checking.check(session, settings, number)
        assert lifecycle.get(session, number).state == "checked"
    assert staged(engine) == before


def test_the_error_of_staging_is_raised_and_not_its_consequence(
    engine: sa.Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = receive(engine, settings, write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE staged_parcels ADD CHECK (row > 0)"))
    for size in (1, reader.BLOCK):
        monkeypatch.setattr(reader, "BLOCK", size)
        with pytest.raises(psycopg.errors.CheckViolation):
            check(engine, settings, number)


def test_nothing_is_kept_of_an_interrupted_check(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    def stop(stage: str, _: float) -> None:
        if stage == "coverage":
            raise KeyboardInterrupt

    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    with pytest.raises(KeyboardInterrupt), database.session(engine) as session:
        checking.receive_and_check(session, settings, path, commune=COMMUNE, by="x", progress=stop)
    assert not [each for each in settings.home.rglob("*") if each.is_file()]
    assert submit(engine, settings, path)["accepted"] == 1


def test_a_file_is_kept_while_another_batch_receives_it(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zip", [parcel(1, plot(0, 0))])
    with database.session(engine) as session:
        ours, new = receiving.receive(session, settings, path, commune=COMMUNE, by="us")
        assert new
        degrees = ReadOptions(crs=4326)
        with pytest.raises(BadSurvey), database.session(engine) as other:
            checking.receive_and_check(
                other, settings, path, commune=COMMUNE, by="them", options=degrees
            )
    assert check(engine, settings, ours.id)["summary"]["acceptable"] == 1


def test_a_file_with_a_name_that_is_not_unicode_is_received(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe1n.zip"))
    write(tmp_path / "a.zip", [parcel(1, plot(0, 0))]).rename(named)
    number = receive(engine, settings, named)
    shown = check(engine, settings, number)
    assert (shown["summary"]["acceptable"], shown["batch"]["source"]) == (1, "b�n.zip")
    assert check_file(named, settings, commune=COMMUNE).summary["source"] == "b�n.zip"


@pytest.mark.slow
@pytest.mark.parametrize("codes", [(COMMUNE, COMMUNE), (COMMUNE, "99902")])
def test_two_writers_at_once_never_store_an_overlap(
    engine: sa.Engine, settings: Settings, tmp_path: Path, codes: tuple[str, str]
) -> None:
    for pair in range(4):
        shapes: tuple[BaseGeometry, ...] = (plot(5 * pair, 0), plot(5 * pair + 0.5, 0))
        numbers = []
        for side, (code, shape) in enumerate(zip(codes, shapes, strict=True)):
            row = parcel(10 * pair + side + 1, shape)
            path = write(tmp_path / f"{pair}-{side}.zip", [row])
            numbers.append(receive(engine, settings, path, code))
            check(engine, settings, numbers[-1])
        start = threading.Barrier(2)
        outcomes: list[str] = []

        def run(
            number: int, start: threading.Barrier = start, outcomes: list[str] = outcomes
        ) -> None:
            start.wait()
            try:
                accept(engine, settings, number)
                outcomes.append("accepted")
            except Conflict as error:
                outcomes.append(error.code)

        threads = [threading.Thread(target=run, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["accepted", "verdict-changed"]
    overlaps = (
        "parcel_versions a JOIN parcel_versions b ON a.id < b.id"
        " AND ST_Area(ST_Intersection(a.geom, b.geom)) > 0"
    )
    assert count(engine, overlaps) == 0
    assert count(engine, "parcel_versions") == 4
