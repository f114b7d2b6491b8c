"""What the terminal shows: the summary first, findings by rule, every sentence in full."""

from __future__ import annotations

from typing import Any

import pytest

from landdata.documents import terminal
from landdata.findings import Finding

KEY = "99901/12/345"


def report(findings: list[Finding]) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {"error": {}, "warning": {}, "info": {}}
    for finding in findings:
        rules = counts[finding.severity]
        rules[finding.rule] = rules.get(finding.rule, 0) + 1
    summary = {
        "read": 9, "acceptable": 2, "rejected": 7, "duplicate": 0, "findings": counts,
        "seconds": {}, "crs": {"epsg": 9212}, "encoding": {"name": "UTF-8"},
    }  # fmt: skip
    return {"summary": summary, "findings": [finding.as_dict() for finding in findings]}


def overlaps(count: int) -> list[Finding]:
    detail = {"width": "0.250", "share": "10"}
    return [
        Finding(
            "overlap", row=k, other_row=k + 1, parcel=KEY, other_parcel=KEY, measured=1.5,
            point=(548000.0, 1281000.5), detail=detail,
        )
        for k in range(count)
    ]  # fmt: skip


def test_findings_are_grouped_by_rule_after_the_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    findings = [Finding("no-sheet-field"), *overlaps(7), Finding("island", row=3, parcel=KEY)]
    terminal.print_report(report(findings), "en")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 read = 2 acceptable + 7 rejected + 0 duplicate"
    headings = [line for line in lines if line.startswith(("error ", "warning ", "info "))]
    assert headings == [
        "error  overlap  Overlap: 7",
        "info  no-sheet-field  No sheet field: 1",
        "info  island  Island: 1",
    ]
    assert "  … and 2 more; --all shows them." in lines
    assert sum(line == "    row 2, X = N 1281000.50, Y = E 548000.00" for line in lines) == 1
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith(" ") for line in lines)


def test_no_sentence_is_cut_and_all_findings_are_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for columns in ("40", "80", "500"):
        monkeypatch.setenv("COLUMNS", columns)
        terminal.print_report(report(overlaps(7)), "vi", show_all=True)
        words = " ".join(capsys.readouterr().out.split())
        assert words.count(overlaps(1)[0].message["vi"]) == 7


def test_a_pipe_is_as_wide_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    terminal.print_report(report(overlaps(1)), "en")
    assert f"  {overlaps(1)[0].message['en']}" in capsys.readouterr().out.splitlines()


def test_names_from_a_file_are_neither_markup_nor_control_sequences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    batch = {
        "id": 1, "state": "checked", "commune": "99901", "source": "a[/b]\x1b[31m\u202e.zip",
        "received_at": "2026-12-01T10:00:00", "received_by": "[red]me",
    }  # fmt: skip
    terminal.print_batches([batch], "en")
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert "[red]me" in out


def test_the_summary_and_the_findings_are_vietnamese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    terminal.print_report(report(overlaps(7)), "vi")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 dòng đọc = 2 đạt + 7 bị loại + 0 trùng"
    assert "lỗi  overlap  Chồng lấn: 7" in lines
    assert "  … và 2 kết quả nữa; --all để xem hết." in lines
    assert "    dòng 2, X = N 1281000,50, Y = E 548000,00" in lines
    assert any("1,50 m², chỗ rộng nhất 0,250 m" in line for line in lines)
