from __future__ import annotations

from typing import Any

import pytest

from landdata.reference import land_use


def test_counts_and_no_code_of_two_kinds() -> None:
    assert len(land_use.CURRENT) == 53
    kinds = (set(land_use.CURRENT), set(land_use.LEGACY), set(land_use.GROUPS))
    assert sum(map(len, kinds)) == len(set.union(*kinds))


def test_status() -> None:
    assert land_use.status("ONT") == land_use.Status("current")
    assert land_use.status("BHK") == land_use.Status("legacy", "HNK")
    assert land_use.status("TTN") == land_use.Status("legacy", None, ("TON", "TIN"))
    assert land_use.status("LUA") == land_use.Status("group", None, ("LUC", "LUK"))
    assert land_use.status("NNP") == land_use.Status("group")
    assert land_use.status("XYZ") == land_use.Status("unknown")


def test_the_group_at_the_top() -> None:
    codes = ("LUC", "BHK", "LUA", "ODT", "OTC", "BCS", "CSD", "TTN", "DCK", "XYZ")
    groups = ["NNP", "NNP", "NNP", "PNN", "PNN", "CSD", "CSD", "PNN", None, None]
    assert [land_use.group(code) for code in codes] == groups


def test_the_choices_of_a_group_are_in_force() -> None:
    for choices in land_use.GROUPS.values():
        assert set(choices) <= set(land_use.CURRENT)


def test_proposals_are_in_force() -> None:
    for code in land_use.LEGACY:
        status = land_use.status(code)
        assert status.proposal is None or status.proposal in land_use.CURRENT
        assert set(status.choices) <= set(land_use.CURRENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ONT+CLN", [("ONT", None), ("CLN", None)]),
        ("ONT:100,5;CLN:200", [("ONT", 100.5), ("CLN", 200.0)]),
        (" ont , cln ", [("ONT", None), ("CLN", None)]),
        ("ONT(100.5)+CLN(1.234,5)", [("ONT", 100.5), ("CLN", 1234.5)]),
        ("ODT 100m2 + CLN 50 m²", [("ODT", 100.0), ("CLN", 50.0)]),
        ("LUC/BHK", [("LUC", None), ("BHK", None)]),
        ("ONT=80", [("ONT", 80.0)]),
        ("", []),
        (None, []),
        ("XYZ", [("XYZ", None)]),
    ],
)
def test_parse(text: str | None, expected: list[Any]) -> None:
    assert [(use["code"], use["area"]) for use in land_use.parse(text)] == expected


@pytest.mark.parametrize("text", ["12", "+", "ONT:", "ONT:1:2", "1.2.3,4,5"])
def test_texts_that_are_no_list_of_codes(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        land_use.parse(text)
