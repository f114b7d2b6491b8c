"""Limits by map scale, land use and day: the law's tables, and a deployment's own."""

from __future__ import annotations

import datetime
import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from support.survey_models import cell, finding_rules, survey

from landdata import topology
from landdata.errors import BadRequest
from landdata.topology import Limits, repair, tolerances
from landdata.topology.tolerances import ToleranceContext

TODAY = datetime.date(2026, 3, 1)


def uses(*codes: str) -> str:
    return json.dumps([{"code": code, "area": None} for code in codes])


def ground(
    scales: list[int], *land_use: Any, days: list[dt.date | None] | None = None
) -> ToleranceContext:
    n = len(scales)
    columns = {"land_use": list(land_use)} if land_use else {}
    if days:
        columns["surveyed_on"] = days
    given = survey([cell(20 * k) for k in range(n)], scale=[s or None for s in scales], **columns)
    return ToleranceContext.from_survey(given, TODAY)


def allowed(of: tolerances.Quantity, values: list[Any], on: ToleranceContext) -> list[float]:
    limit, _ = tolerances.limits(of, np.array(values, dtype=float), on, tolerances.shipped())
    return limit.tolist()


# -- the law's tables


def test_the_shipped_tables_are_the_facts_to_the_figure(shared: Path) -> None:
    facts = json.loads((shared.parent / "facts" / "survey_tolerances.json").read_text("utf-8"))
    for of, name, unit in (("area", "area_m2", 1.0), ("edge", "edge_cm", 0.01)):
        (ours,) = [each for each in tolerances.shipped() if each.quantity == of]
        assert {f"1:{scale}" for scale in ours.scales} == set(facts[name])
        per = 10 if of == "area" else 1
        for scale, table in ours.scales.items():
            told = facts[name][f"1:{scale}"]
            assert table.base == pytest.approx(told[0][1] * unit)
            assert [up for up, _ in table.bands[:-1]] == [row[0] for row in told[:-1]]
            assert table.bands[0][1] == 0
            more = [each * per for _, each in table.bands[1:]]
            assert more == pytest.approx([row[2] * unit for row in told[1:]])
    points = facts["boundary_point_max_error_m_TT25_2014_art7"]
    for ours in tolerances.shipped():
        assert ours.source
        assert ours.valid_from is not None
        assert ours.note
        if ours.quantity == "point":
            assert {f"1:{s}": table.base for s, table in ours.scales.items()} == {
                key: value for key, value in points.items() if key != "note"
            }


def test_area_tolerance_follows_annex_04() -> None:
    area = [40.0, 300, 1000, 2000, 5000, 10000, 20000]
    expected = [0.35, 0.35 + 26 * 0.08, 0.35 + 26 * 0.08 + 70 * 0.05]
    expected += [expected[-1] + 100 * 0.04]
    expected += [expected[-1] + 300 * 0.03]
    expected += [expected[-1] + 500 * 0.02]
    expected += [expected[-1] + 1000 * 0.01]
    at_1000 = allowed("area", area, ground([1000] * 7))
    assert at_1000 == pytest.approx(expected)
    untold = allowed("area", area, ground([0] * 7))
    assert untold == pytest.approx(allowed("area", area, ground([2000] * 7)))
    assert (np.array(untold) >= at_1000).all()


def test_edge_tolerance_follows_annex_03_by_whole_metres_and_use() -> None:
    # 1:1000: 2 cm up to 3.5 m, then 0.7 cm a whole metre to 10 m, 0.3 to 30, 0.25 to 50, 0.1.
    lengths = [1, 3.5, 4.4, 4.5, 10, 12, 30, 50, 60]
    expected = [2, 2, 2, 2.7, 6.2, 6.8, 12.2, 17.2, 18.2]
    assert allowed("edge", lengths, ground([1000] * 9)) == pytest.approx(
        [each / 100 for each in expected]
    )
    mixed = ground(
        [1000, 1000, 1000, 500, 2000],
        uses("LUC"), uses("ODT", "CLN"), uses("BHK"), uses("LUC"), uses("CLN", "HNK"),
    )  # fmt: skip
    assert allowed("edge", [10] * 5, mixed) == pytest.approx(
        [0.062 * 1.2, 0.062, 0.062 * 1.2, 0.0565, 0.075 * 1.2]
    )


def test_a_point_may_stray_further_on_agricultural_land_at_1_1000_and_1_2000() -> None:
    scales = [1000, 1000, 2000, 2000, 500, 0, 1500]
    land = [uses(code) for code in ("LUC", "ODT", "CLN", "CSD", "LUC", "LUC", "LUC")]
    assert allowed("point", [0] * 7, ground(scales, *land)) == pytest.approx(
        [0.225, 0.15, 0.45, 0.3, 0.07, 0.05, 0.225]
    )
    assert allowed("point", [0] * 2, ground([1000, 1000], None, uses())) == [0.15, 0.15]


def test_what_was_in_force_on_the_day_of_the_survey_counts() -> None:
    days = [datetime.date(2013, 1, 1), datetime.date(2025, 1, 14), datetime.date(2025, 1, 15), None]
    limit, sources = tolerances.limits(
        "point", np.zeros(4), ground([500] * 4, days=days), tolerances.shipped()
    )
    assert limit.tolist() == [0.07] * 4
    by_row = [next(text for which, text in sources if which[at]) for at in range(4)]
    old, new = "Circular 25/2014/TT-BTNMT, art. 7", "Circular 26/2024/TT-BTNMT, art. 8(3)"
    assert [text[: len(new)] for text in by_row] == [old, old, new, new]


# -- a deployment's own


def rules_file(folder: Path, text: str) -> Limits:
    path = folder / "rules.toml"
    path.write_text(text, "utf-8")
    return Limits.load(path)


def test_limits_and_rules_that_are_off(tmp_path: Path) -> None:
    limits = rules_file(tmp_path, "[limits]\ngap = 0.2\n[rules]\nunmatched-vertex = false\n")
    assert limits.gap == 0.2
    assert limits.off == {"unmatched-vertex"}
    shapes = [cell(0), cell(20.3), cell(0, 20, 10), cell(10, 20, 10)]
    assert finding_rules(topology.check(survey(shapes))) == ["gap", "unmatched-vertex"]
    assert finding_rules(topology.check(survey(shapes), limits=limits)) == []
    assert Limits.load(None) == Limits()


def test_a_changed_limit_says_who_changed_it(tmp_path: Path) -> None:
    given = survey([cell(0), cell(20.3)])
    for text, source in (
        ("gap = 0.4", "limits of this deployment, rules.toml"),
        ('gap = {value = 0.4, source = "Decision 12/2026"}', "Decision 12/2026"),
    ):
        (found,) = topology.check(given, limits=rules_file(tmp_path, f"[limits]\n{text}")).findings
        assert (found.limit, found.source) == (0.4, source)


DEPENDING = """
[limits]
gap = [
  {value = 0.2, scales = [500]},
  {value = 0.4, land_use = ["NNP"], source = "Decision 12/2026"},
  {value = 0.1, to = 2020-12-31},
]
"""


@pytest.mark.parametrize(
    ("wide", "column", "limit"),
    [
        (0.3, {"scale": [500, 500]}, None),
        (0.19, {"scale": [500, 500]}, 0.2),
        (0.3, {"scale": [500, None]}, 0.5),  # of two parcels, the limit that tells more
        (0.45, {"land_use": [uses("LUC")] * 2}, None),
        (0.39, {"land_use": [uses("LUC")] * 2}, 0.4),
        (0.45, {"land_use": [uses("LUC", "ONT")] * 2}, 0.5),
        (0.15, {"surveyed_on": [datetime.date(2020, 12, 31)] * 2}, None),
        (0.15, {"surveyed_on": [datetime.date(2021, 1, 1)] * 2}, 0.5),
        (0.55, {}, None),
    ],
)
def test_a_limit_by_scale_use_and_day(
    tmp_path: Path, wide: float, column: dict[str, Any], limit: float | None
) -> None:
    limits = rules_file(tmp_path, DEPENDING)
    checked = topology.check(survey([cell(0), cell(20 + wide)], **column), limits=limits)
    assert [(f.rule, f.limit) for f in checked.findings if f.rule == "gap"] == (
        [] if limit is None else [("gap", limit)]
    )
    for found in checked.findings:
        assert (found.source == "Decision 12/2026") == (limit == 0.4)


@pytest.mark.parametrize(
    ("name", "value", "shape", "scale", "told"),
    [
        ("edge", 0.05, [(0, 0), (20, 0), (20, 20), (19.97, 20), (0, 20)], 500, "short-edge"),
        ("spike", 3.0, [(0, 0), (20, 0), (20, 9), (50, 9.5), (20, 10), (20, 20), (0, 20)], 500,
         "spike"),
        ("sliver", 0.3, [(0, 0), (20, 0), (20, 0.2), (0, 0.2)], 500, "sliver"),
    ],
)  # fmt: skip
def test_rules_on_one_parcel_by_scale(
    tmp_path: Path, name: str, value: float, shape: list[Any], scale: int, told: str
) -> None:
    limits = rules_file(tmp_path, f"[limits]\n{name} = {{value = {value}, scales = [{scale}]}}")
    for given, expected in ((scale, [told]), (1000, [])):
        checked = topology.check(survey([shapely.Polygon(shape)], scale=[given]), limits=limits)
        assert finding_rules(checked) == expected


def test_near_misses_by_scale(tmp_path: Path) -> None:
    limits = rules_file(tmp_path, "[limits]\nsnap = {value = 0.15, scales = [1000, 2000]}")
    lone = shapely.Polygon([(20.1, 15), (35, 5), (35, 25)])
    for scale, expected in ((1000, ["unmatched-vertex"]), (500, [])):
        checked = topology.check(survey([cell(0, h=30), lone], scale=[scale] * 2), limits=limits)
        assert [r for r in finding_rules(checked) if r == "unmatched-vertex"] == expected


OWN = """
[[tolerances]]
of = "area"
source = "Decision 12/2026, annex 1"
from = 2026-01-01
per = 10
[tolerances.scales]
1000 = {base = 1.0, bands = [[100, 0], [400, 0.1]]}

[[tolerances]]
of = "point"
source = "Decision 12/2026, annex 2"
scales = {1000 = {base = 0.05}}
factors = [{by = 2, scales = [1000], land_use = ["CLN"]}]
"""


def test_a_deployments_own_tolerances(tmp_path: Path) -> None:
    limits = rules_file(tmp_path, OWN)
    days = [None, datetime.date(2025, 12, 31)]
    given = survey([cell(0), cell(20)], area=[404.2] * 2, scale=[1000] * 2, surveyed_on=days)
    checked = topology.check(given, limits=limits, today=TODAY)
    # 1 + 30 · 0.1 = 4 m²; before 2026 2.93 m² by the circular.
    assert [(f.row, f.limit, f.source) for f in checked.findings if f.row is not None] == [
        (0, 4.0, "Decision 12/2026, annex 1"),
        (1, 2.93, "Circular 26/2024/TT-BTNMT, annex 04"),
    ]


def test_proposals_keep_to_the_limit_of_scale_use_and_deployment(tmp_path: Path) -> None:
    def proposed(limits: Limits | None, *codes: str) -> list[float]:
        given = survey([cell(0), cell(20.09)], scale=[1000] * 2, land_use=[uses(*codes)] * 2)
        checked = topology.check(given)
        found = repair.propose(given, checked, topology.check, limits=limits, today=TODAY)
        return [each.limit for each in found.proposals]

    assert proposed(None, "ODT") == [0.15]
    assert proposed(None, "CLN") == pytest.approx([0.225])
    own = rules_file(tmp_path, OWN)
    assert proposed(own, "ODT") == []
    assert proposed(own, "CLN") == [0.1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[rules]\noverlap = false\n", "severity error"),
        ("[rules]\nnonsense = false\n", "nonsense"),
        ("[limits]\ngapp = 1\n", "no limit"),
        ("[limits]\ngap = -1\n", "above 0"),
        ("[limits]\ngap = {source = 'x'}\n", "above 0"),
        ("[limits]\ngap = {value = 1, colour = 2}\n", "colour"),
        ("[limits]\ngap = {value = 1, land_use = ['QQQ']}\n", "QQQ"),
        ("[limits]\ngap = {value = 1, from = 7}\n", "no day"),
        ("[limits]\ngap = [1, {value = 2, scales = [500]}]\n", "always holds"),
        ("[limits]\nisland = {value = 1, scales = [500]}\n", "depend"),
        ("[limits]\noff = 1\n", "no limit"),
        ("[limits]\nrounding = 5\n", "pass as rounding"),
        ("[limit]\ngap = 1\n", "part"),
        ("[[tolerances]]\nof = 'weight'\n", "weight"),
        ("[[tolerances]]\nof = 'area'\n", "source"),
        ("[[tolerances]]\nof = 'area'\nsource = 'x'\n", "scales"),
        ("[[tolerances]]\nof = 'area'\nsource = 'x'\nunit = 'ha'\n", "m²"),
        ("[[tolerances]]\nof = 'area'\nsource = 'x'\nscales = {500 = {base = 1, "
         "bands = [[9, 0], [3, 1]]}}\n", "rise"),
        ("gap = = 1", "can't be read"),
    ],
)  # fmt: skip
def test_a_rules_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        rules_file(tmp_path, text)
    shutil.rmtree(tmp_path)
    with pytest.raises(BadRequest, match="can't be read"):
        Limits.load(tmp_path / "rules.toml")
