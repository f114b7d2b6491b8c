"""Proposals: what they mend, what they never do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from support import coverages
from support.survey_models import cell, official, survey

from landdata import topology
from landdata.cli import cli
from landdata.survey import Survey
from landdata.topology import Checked, Neighbours, repair


def proposed(given: Survey, around: Neighbours | None = None) -> repair.Proposals:
    def check(of: Survey) -> Checked:
        return topology.check(of, around, commune="99901")

    return repair.propose(given, check(given), check, around)


def after(given: Survey, found: repair.Proposals, around: Neighbours | None = None) -> Checked:
    shapes = given.geometry.copy()
    at = {int(row): k for k, row in enumerate(given.rows)}
    for each in found.proposals:
        shapes[at[each.row]] = each.geometry
    return topology.check(
        survey(list(shapes), scale=given.attributes["scale"].to_pylist()), around, commune="99901"
    )


def test_a_clean_survey_gets_no_proposal() -> None:
    assert proposed(survey([cell(0), cell(20)])).as_dict() == {
        "mended": {},
        "left": {},
        "proposals": [],
    }


def test_repeated_point_and_t_junction_and_gap() -> None:
    twice = shapely.Polygon([(0, 0), (20, 0), (20, 0), (20, 20), (0, 20)])
    given = survey([twice, cell(20, 0, 20, 10), cell(20.04, 10, 20, 10)], scale=[1000] * 3)
    found = proposed(given)
    assert found.left == {}
    assert found.mended["repeated-point"] == 1
    assert after(given, found).findings == []
    for each in found.proposals:
        assert each.shift <= each.limit == 0.15


def test_nothing_moves_further_than_the_map_scale_is_accurate() -> None:
    given = survey([cell(0), cell(20.1)], scale=[500, 500])  # 7 cm
    found = proposed(given)
    assert found.proposals == []
    assert found.left == {"gap": 1}
    (proposal,) = proposed(survey([cell(0), cell(20.1)], scale=[1000, 1000])).proposals
    assert proposal.shift == pytest.approx(0.1)
    assert proposal.area_change == pytest.approx(2)


def test_official_parcels_are_not_moved() -> None:
    around = official(p90=cell(20.03), p92=cell(0, 20, 10), p93=cell(10, 20, 10.03))
    given = survey([cell(0)], scale=[1000])
    found = proposed(given, around)
    assert [each.row for each in found.proposals] == [0]
    assert set(found.mended) == {"gap", "unmatched-vertex"}
    assert after(given, found, around).findings == []


def test_a_proposal_that_leads_to_another_defect_is_none() -> None:
    # Pushed from both sides: what shuts the gap on one makes no room on the other.
    around = official(p90=cell(20.03), p91=cell(-19.97), p92=cell(0, 20, 10), p93=cell(10, 20, 10))
    given = survey([cell(0)], scale=[1000])
    before = topology.check(given, around, commune="99901")
    checked = after(given, proposed(given, around), around)
    assert not Counter(f.rule for f in checked.findings) - Counter(f.rule for f in before.findings)


@pytest.mark.parametrize("seed", range(6))
def test_nearly_all_that_was_spoilt_by_a_little_is_mended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = coverages.make(rng, 24, 24, extra=int(rng.integers(0, 3)))
    kinds = ("overlap", "gap", "unmatched", "slid-vertex", "torn-at-road")
    spoilt = coverages.inject(rng, clean, 30, kinds=kinds, sizes=(0.002, 0.13))
    given = survey(list(spoilt.polygons), scale=[1000] * len(spoilt))
    found = proposed(given)
    checked = after(given, found)
    told = len(spoilt.truth)
    assert sum(found.left.values()) <= 0.05 * told
    # The courts, which no mend concerns, are told still.
    others = [each for each in checked.findings if each.rule != "unparcelled-area"]
    assert len(others) == sum(found.left.values())
    assert len(checked.findings) == len(others) + len(clean.courts)
    assert all(each.shift <= each.limit for each in found.proposals)
    untouched = {each.row for each in found.proposals}
    assert len(untouched) <= 2.5 * told


def test_the_command_proposes_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Path(__file__).parents[2] / "sample_parcels" / "05-defects"
    (file,) = sample.glob("*.zip")
    before = file.read_bytes()
    monkeypatch.setenv("LANDDATA_HOME", str(tmp_path))
    args = ["check", str(file), "--commune", "99901", "--propose"]
    told = CliRunner().invoke(cli, [*args, "--json"], standalone_mode=False)
    proposed = json.loads(told.stdout)["proposals"]
    assert proposed["proposals"]
    assert sum(proposed["mended"].values()) >= 1
    assert all(0 <= each["shift"] <= each["limit"] for each in proposed["proposals"])
    assert "Nothing was changed" in CliRunner().invoke(cli, args, standalone_mode=False).stdout
    assert file.read_bytes() == before
