"""The cases of the issue: what is right for each is in its `expected.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from landdata.batches.validation import Report
from landdata.batches.validation import check as check_file
from landdata.settings import Settings


@pytest.fixture
def cases(shared: Path) -> Path:
    """The folder of the cases, beside the real survey files."""
    return shared.parent / "cases"


def check(path: Path, home: Path) -> Report:
    return check_file(path, Settings(home=home, srid=9212), commune="99901")


def rows_by_rule(report: Report) -> dict[str, list[int | None]]:
    rows: dict[str, list[int | None]] = {}
    for finding in report.checked.findings:
        rows.setdefault(finding.rule, []).append(finding.row)
    return rows


def test_number_grammar(cases: Path, tmp_path: Path) -> None:
    rows = rows_by_rule(check(cases / "number-grammar" / "rec.zip", tmp_path))
    assert rows["missing-number"] == [4, 8, 9, 14]
    assert rows["duplicate-number"] == [0, 7]  # 12a and 12A
    assert rows["uses-exceed-area"] == [12]
    assert rows["bad-value"] == [1, 11]  # ODT*, and an area of -5


def test_duplicate_row_differs(cases: Path, tmp_path: Path) -> None:
    report = check(cases / "duplicate-row-differs" / "rec_dup.zip", tmp_path)
    assert rows_by_rule(report) == {"duplicate-differs": [1], "duplicate-number": [2, 3]}
    differs = next(f for f in report.checked.findings if f.rule == "duplicate-differs")
    assert "but differs in KHLOAIDAT" in differs.message["en"]
    report = check(cases / "duplicate-row-differs" / "coowner.zip", tmp_path)
    assert rows_by_rule(report) == {"co-owner": [1]}
    assert report.checked.owners == {0: "Nguoi A; Nguoi B"}
    assert report.summary["duplicate"] == 1


def test_invalid_then_unparcelled(cases: Path, tmp_path: Path) -> None:
    folder = cases / "invalid-then-unparcelled"
    report = check(folder / "invalid_then_unparcelled.geojson", tmp_path)
    assert rows_by_rule(report) == {"invalid-ring": [4]}


@pytest.mark.parametrize("name", ["inverted", "keyhole", "twin"])
def test_inverted_shell_rejected(cases: Path, tmp_path: Path, name: str) -> None:
    report = check(cases / "inverted-shell-rejected" / f"{name}.zip", tmp_path)
    assert report.summary["rejected"] == 0
    assert ("ring-taken-apart" in rows_by_rule(report)) == (name != "twin")
    assert ("touching-hole" in rows_by_rule(report)) == (name != "keyhole")
