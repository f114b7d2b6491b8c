"""What `topology.check` makes of a survey: rules on the record, status, seam, order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support import coverages, surveys
from support.survey_models import COMMUNE, cell, finding_rules, official, survey

from landdata import topology
from landdata.batches import validation
from landdata.cli import cli
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.topology import (
    ACCEPTABLE,
    DUPLICATE,
    REJECTED,
    Checked,
    Neighbours,
    coverage,
    parallel,
    rules,
    shape,
)
from landdata.topology.coverage import edges, proximity


def told(checked: Checked) -> list[tuple]:
    return [(each.rule, each.row, each.other_row, each.other_parcel) for each in checked.findings]


def test_clean_survey_is_acceptable() -> None:
    checked = topology.check(survey([cell(0), cell(20), cell(40)]), commune=COMMUNE)
    assert checked.findings == []
    assert checked.status.tolist() == [ACCEPTABLE] * 3
    assert checked.parcels.tolist() == [f"{COMMUNE}/1/{k}" for k in (1, 2, 3)]
    assert checked.unchanged.tolist() == checked.replaces.tolist() == [-1] * 3


def test_what_may_not_have_been_seen_is_not_told() -> None:
    # Half of what encloses a court is official; beyond x = 60 nobody has looked.
    half = shapely.box(0, 0, 100, 30), shapely.box(0, 30, 10, 90)
    rest = official(p8=shapely.box(10, 60, 100, 90), p9=shapely.box(90, 30, 100, 60))
    found = topology.check(survey(half), rest, commune=COMMUNE).findings
    (court,) = (each for each in found if each.rule == "unparcelled-area")
    assert (court.row, court.measured) == (0, 2400)
    seen = Neighbours(rest.parcels, rest.geometry, shapely.box(-50, -50, 60, 140))
    assert "unparcelled-area" not in finding_rules(topology.check(survey(half), seen))
    row = [cell(20 * k) for k in range(10)]
    far = survey([*row, cell(500)])
    assert finding_rules(topology.check(far, official(), commune=COMMUNE)) == ["island"]
    none = np.empty(0, dtype=object)
    for edge, rules_expected in ((700, []), (720, ["island"])):
        seen = Neighbours(none, none, shapely.box(-200, -200, edge, 220))
        assert finding_rules(topology.check(far, seen, commune=COMMUNE)) == rules_expected


def test_empty_survey() -> None:
    checked = topology.check(survey([]), official(p1=cell(0)))
    assert checked.findings == []
    assert len(checked.status) == 0


def test_rows_are_the_source_ids() -> None:
    checked = topology.check(survey([cell(0), cell(19)], rows=[70, 35]))
    (found,) = checked.findings
    assert (found.row, found.other_row) == (35, 70)
    assert checked.status.tolist() == [REJECTED, REJECTED]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)]), "it crosses itself"),
        (
            shapely.Polygon([(0, 0), (20, 0), (20, 20), (0, 20)], [[(30, 30), (31, 30), (31, 31)]]),
            "a hole lies outside it",
        ),
        (
            shapely.Polygon([(0, 0), (20, 0), (20, 20), (10, 0), (0, 20)]),
            "it touches itself",
        ),
    ],
)
def test_invalid_ring_is_reported_with_its_place_and_leaves_the_coverage(
    shape: shapely.Polygon, why: str
) -> None:
    checked = topology.check(survey([shape, cell(5, 5)]))
    (found,) = checked.findings
    assert (found.rule, found.row) == ("invalid-ring", 0)
    assert why in found.message["en"]
    assert found.point is not None
    assert checked.status.tolist() == [REJECTED, ACCEPTABLE]


def test_missing_geometry_is_reported_once() -> None:
    said = Finding(rule="missing-geometry", row=0, detail={"why": "rỗng", "why_en": "null"})
    checked = topology.check(survey([None, None, shapely.Polygon()], findings=[said]))
    assert [(each.rule, each.row, each.parcel) for each in checked.findings] == [
        ("missing-geometry", k, f"{COMMUNE}/1/{k + 1}") for k in range(3)
    ]
    assert checked.status.tolist() == [REJECTED] * 3


def test_repeated_row_counts_as_duplicate() -> None:
    turned = shapely.reverse(shapely.Polygon([(20, 0), (20, 20), (0, 20), (0, 0)]))
    checked = topology.check(survey([cell(0), turned], number=["7", "7"]))
    assert told(checked) == [("duplicate-row", 1, 0, f"{COMMUNE}/1/7")]
    assert checked.status.tolist() == [ACCEPTABLE, DUPLICATE]


def test_duplicate_number_names_every_row() -> None:
    checked = topology.check(survey([cell(0), cell(20), cell(40), cell(60)], number=list("7872")))
    assert [(f.rule, f.row, f.other_row) for f in checked.findings] == [
        ("duplicate-number", 0, 2),
        ("duplicate-number", 2, 0),
    ]
    assert checked.status.tolist() == [REJECTED, ACCEPTABLE, REJECTED, ACCEPTABLE]


def test_duplicate_shape_under_another_number() -> None:
    checked = topology.check(survey([cell(0), cell(0), cell(0)]))
    assert [(f.rule, f.row, f.other_row) for f in checked.findings] == [
        ("duplicate-geometry", 0, 1),
        ("duplicate-geometry", 0, 2),
    ]
    assert checked.status.tolist() == [REJECTED] * 3


@pytest.mark.parametrize("number", [None, "", "0", "-1", "a/b"])
def test_number_that_is_none(number: str | None) -> None:
    checked = topology.check(survey([cell(0), cell(20)], number=[number, "2"]))
    assert finding_rules(checked) == ["missing-number"]
    assert checked.findings[0].row == 0
    assert checked.status.tolist() == [REJECTED, ACCEPTABLE]


def test_commune_of_the_file_counts_where_none_is_given() -> None:
    given_ = survey([cell(0), cell(20)], commune=["00001", None])
    checked = topology.check(given_)
    assert checked.parcels.tolist() == ["00001/1/1", None]
    assert finding_rules(checked) == ["missing-number"]
    checked = topology.check(given_, commune="00002")
    assert checked.parcels.tolist() == ["00002/1/1", "00002/1/2"]
    assert [(f.rule, f.row, f.detail["value"]) for f in checked.findings] == [
        ("commune-differs", 0, "00001")
    ]


def test_stated_area_is_held_to_the_measured_one() -> None:
    # 400 m² at 1:1000: 0.35 + 260 · 0.008 + 100 · 0.005 = 2.93 m²
    checked = topology.check(
        survey(
            [cell(20 * k) for k in range(4)],
            area=[402.9, 403.1, 396.0, None],
            scale=[1000] * 4,
        )
    )
    assert [(f.rule, f.row) for f in checked.findings] == [("area-differs", 1), ("area-differs", 2)]
    assert checked.findings[0].measured == pytest.approx(3.1)
    assert checked.findings[0].limit == pytest.approx(2.93)
    assert (checked.status == ACCEPTABLE).all()


def test_land_use_codes() -> None:
    def uses(*codes: Any) -> str:
        return json.dumps([{"code": code, "area": None} for code in codes])

    checked = topology.check(
        survey(
            [cell(20 * k) for k in range(4)],
            land_use=[uses("ONT", "CLN"), uses("ONT", "BHK"), uses("LUA", "QQQ"), None],
        )
    )
    assert [(f.row, f.detail["value"]) for f in checked.findings] == [
        (1, "BHK"),
        (2, "LUA"),
        (2, "QQQ"),
    ]
    assert "LUC / LUK" in checked.findings[1].message["vi"]
    assert "HNK" in checked.findings[0].message["vi"]


def test_row_of_containment_is_the_inner_one() -> None:
    checked = topology.check(survey([cell(0), cell(5, 5, 3, 3)]))
    (found,) = checked.findings
    assert (found.rule, found.row, found.other_row) == ("containment", 1, 0)
    assert found.measured == pytest.approx(9)


def test_every_finding_can_be_written_and_lies_where_it_says() -> None:
    shapes = [cell(0), cell(19.8), cell(40.1), cell(0, 20, 30, 20), cell(0), cell(70, 0, 3, 3)]
    shapes.append(shapely.Polygon([(80, 0), (90, 9), (90, 0), (80, 9)]))
    checked = topology.check(
        survey(shapes, number=["1", "2", "3", "4", "5", "0", "7"], area=[9.0] * 7),
        official(p90=cell(-19.5), p91=cell(90, 90)),
        commune=COMMUNE,
    )
    assert set(finding_rules(checked)) == {
        "invalid-ring", "duplicate-geometry", "overlap", "gap", "unmatched-vertex",
        "missing-number", "area-differs",
    }  # fmt: skip
    for each in checked.findings:
        written = json.loads(json.dumps(each.as_dict()))
        assert "{" not in written["message"]["vi"] + written["message"]["en"]
        assert written["point"] is not None
        if each.rule in ("overlap", "gap", "duplicate-geometry"):
            assert shapely.dwithin(shapely.Point(each.point), each.geometry, 1e-3)


# -- the seam and what is official


def test_official_neighbours_take_part() -> None:
    checked = topology.check(
        survey([cell(0)]),
        official(p10=cell(19.8), p11=cell(-20.2), p12=cell(0, 20, 10, 9), p13=cell(10, 20, 10, 9)),
    )
    assert told(checked) == [
        ("overlap", 0, None, f"{COMMUNE}/1/10"),
        ("gap", 0, None, f"{COMMUNE}/1/11"),
        ("unmatched-vertex", 0, None, f"{COMMUNE}/1/12"),
    ]
    assert checked.status.tolist() == [REJECTED]


def test_defects_between_official_parcels_are_not_reported() -> None:
    checked = topology.check(survey([cell(100)]), official(p10=cell(0), p11=cell(10)))
    assert checked.findings == []


def test_official_state_gives_way_to_its_row() -> None:
    checked = topology.check(survey([cell(0, w=25), cell(25)]), official(p1=cell(0), p9=cell(45)))
    assert [(f.rule, f.row) for f in checked.findings] == [("replaces-official", 0)]
    assert checked.findings[0].measured == pytest.approx(100)
    assert checked.replaces.tolist() == [0, -1]
    assert checked.unchanged.tolist() == [-1, -1]
    assert (checked.status == ACCEPTABLE).all()


def test_unchanged_row_says_so() -> None:
    turned = shapely.Polygon([(20, 20), (0, 20), (0, 0), (20, 0)])
    checked = topology.check(survey([turned]), official(p9=cell(20), p1=cell(0)))
    assert checked.findings == []
    assert checked.replaces.tolist() == checked.unchanged.tolist() == [1]


def test_official_state_of_a_rejected_row_stays_and_rejects_others() -> None:
    # 1 draws back, 2 takes the room, but 1 is rejected: so its official state collides with 2,
    # and then that of 2 stays and collides with 3.
    shapes = [cell(0, w=10), cell(10, w=20), cell(30, w=30), cell(100)]
    checked = topology.check(
        survey(shapes, number=["1", "2", "3", "1"]),
        official(p1=cell(0, w=20), p2=cell(20, w=20), p3=cell(40)),
    )
    assert checked.status.tolist() == [REJECTED] * 4
    assert [(f.row, f.other_parcel) for f in checked.findings if f.rule == "overlap"] == [
        (1, f"{COMMUNE}/1/1"),
        (2, f"{COMMUNE}/1/2"),
    ]


def test_official_state_of_an_invalid_row_stays() -> None:
    bow = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
    checked = topology.check(survey([bow, cell(10)]), official(p1=cell(0)))
    assert checked.status.tolist() == [REJECTED, REJECTED]


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_accepted_and_official_parcels_never_overlap(seed: int, defects: int) -> None:
    rng = np.random.default_rng(seed)
    old = coverages.make(rng, 9, 9, extra=0, roads=False)
    new = coverages.make(rng, 9, 9, extra=0, roads=False)
    spoilt = coverages.inject(rng, new, defects % 5) if defects else old
    # Numbers that match in part, a part of the rows only.
    shapes = spoilt.polygons[rng.random(len(spoilt)) < 0.5]
    numbers = rng.permutation(200)[: len(shapes)] + 1
    given_ = survey(list(shapes), number=[str(k) for k in numbers])
    around = official(**{f"p{k + 1}": shape for k, shape in enumerate(old.polygons)})
    checked = topology.check(given_, around)
    accepted = checked.status == ACCEPTABLE
    stay = np.ones(len(old), dtype=bool)
    stay[checked.replaces[accepted & (checked.replaces >= 0)]] = False
    after = np.concatenate([shapes[accepted], old.polygons[stay]])
    i, j = shapely.STRtree(after).query(after, predicate="intersects")
    i, j = i[i < j], j[i < j]
    parts = shapely.get_parts(shapely.intersection(after[i], after[j]))
    widths = coverage.width(parts[shapely.get_dimensions(parts) == 2])
    assert (widths <= rules.Limits().rounding).all()
    assert len(checked.findings) >= np.count_nonzero(~accepted) / 2


@given(st.integers(0, 2**32 - 1))
def test_findings_do_not_depend_on_the_order_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spoilt = coverages.inject(rng, coverages.make(rng, 12, 12), 8)
    numbers = [str(k + 1) for k in range(len(spoilt))]
    order = rng.permutation(len(spoilt))
    first = topology.check(survey(list(spoilt.polygons), number=numbers))
    second = topology.check(
        survey(list(spoilt.polygons[order]), number=[numbers[k] for k in order])
    )

    def facts(checked: Checked) -> list[tuple[Any, ...]]:
        return sorted(
            (
                each.rule,
                *sorted((each.parcel, each.other_parcel or "")),
                round(each.measured or 0.0, 3),
            )
            for each in checked.findings
        )

    one, two = facts(first), facts(second)
    assert [fact[:3] for fact in one] == [fact[:3] for fact in two]
    assert np.allclose([f[3] for f in one], [f[3] for f in two], rtol=2e-3, atol=1.1e-3)
    assert (first.status[order] == second.status).all()


@pytest.mark.parametrize("seed", range(4))
def test_findings_do_not_depend_on_how_the_work_is_cut_up(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one thread or several, in parts of a few coordinates or of all: the same bytes."""
    rng = np.random.default_rng(seed)
    spoilt = coverages.inject(rng, coverages.make(rng, 12, 12), 8)
    near = rng.random(len(spoilt)) < 0.2
    around = official(**{f"p{1000 + k}": spoilt.polygons[k] for k in np.flatnonzero(near)})
    given_ = survey(list(spoilt.polygons[~near]))
    seen = set()
    for threads, size in ((1, 1 << 18), (1, 7), (2, 50), (5, 7), (5, 300)):
        monkeypatch.setattr(parallel, "THREADS", threads)
        monkeypatch.setattr(edges, "_STRETCH", size)
        monkeypatch.setattr(proximity, "_PAIRS", size)
        monkeypatch.setattr(shape, "_CHUNK", size)
        checked = topology.check(given_, around)
        assert checked.findings
        told = json.dumps([each.as_dict() for each in checked.findings])
        seen.add((told, checked.status.tobytes()))
    assert len(seen) == 1


def test_the_command_reports_rings_that_are_open_or_too_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    east, north = coverages.ORIGIN
    square = [[east + x, north + y] for x, y in ((0, 0), (20, 0), (20, 20), (0, 20))]
    rings = [square, square[:2] + square[:1], [*square, square[0]]]
    rows = [
        {
            "type": "Feature",
            "properties": {"sheet": "1", "number": str(k + 1)},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for k, ring in enumerate(rings)
    ]
    path = tmp_path / "rings.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}), "utf-8")
    monkeypatch.setenv("LANDDATA_HOME", str(tmp_path))
    args = ["check", str(path), "--commune", COMMUNE, "--crs", "9212", "--json"]
    result = CliRunner().invoke(cli, args, standalone_mode=False)
    findings = json.loads(result.stdout)["findings"]
    assert [(f["rule"], f["row"]) for f in findings] == [
        ("missing-geometry", 0),
        ("invalid-ring", 1),
    ]
    assert "ring is open" in findings[0]["message"]["en"]
    assert "fewer than three different vertices" in findings[1]["message"]["en"]


@pytest.mark.parametrize("seed", range(2))
def test_the_verdict_does_not_depend_on_the_reference_system_of_the_deployment(
    seed: int, tmp_path: Path
) -> None:
    """Of defects from 5 mm; of those below 3 mm the grid of the store decides which are told."""
    rng = np.random.default_rng(seed)
    spoilt = coverages.inject(rng, coverages.make(rng, 12, 12), 8, sizes=(0.005, 0.3))
    # Turned, so that hardly a vertex lies on the grid of any of them.
    turned = shapely.affinity.rotate(
        shapely.GeometryCollection(spoilt.polygons.tolist()), 20, origin=(0, 0)
    )
    low = shapely.bounds(turned)[:2]
    shapes = shapely.transform(
        np.array(turned.geoms), lambda xy: xy - low + (556_000.0, 2_317_000.0)
    )
    path = surveys.write(
        tmp_path / "turned.zip",
        [surveys.parcel(k + 1, shape) for k, shape in enumerate(shapes)],
        srid=5897,
    )
    verdicts = []
    for srid in (5897, 9212, 5899):
        checked = validation.check(path, Settings(srid=srid), commune=COMMUNE).checked
        facts = {(each.rule, frozenset((each.row, each.other_row))) for each in checked.findings}
        verdicts.append((facts, checked.status.tolist()))
    assert REJECTED in verdicts[0][1]
    assert verdicts[0] == verdicts[1] == verdicts[2]


@pytest.mark.slow
def test_verdicts_on_a_real_survey_differ_only_where_the_grid_decides(shared: Path) -> None:
    """A boundary moves by up to 0.71 mm when it is rounded, two of them by twice as much."""
    overlaps = []
    for srid in (5897, 9212):
        checked = validation.check(
            shared / "phu_cat_vn.zip", Settings(srid=srid), commune="09922"
        ).checked
        overlaps.append(
            {
                frozenset((each.row, each.other_row)): float(each.detail["width"])
                for each in checked.findings
                if each.rule in ("overlap", "containment", "near-duplicate", "duplicate-geometry")
            }
        )
    one, two = overlaps
    grid = 2 * np.sqrt(2) * 0.0005
    assert len(one.keys() & two.keys()) == 26
    for pair in one.keys() ^ two.keys():
        assert (one | two)[pair] < rules.Limits().rounding + 2 * grid
    assert all(abs(one[pair] - two[pair]) < 2 * grid for pair in one.keys() & two.keys())
