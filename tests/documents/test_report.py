from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import pytest
import shapely
from support.report_cases import EAST, FINDINGS, NORTH, SHAPES, checked_with, survey_with

from landdata.batches.validation import check, summarise
from landdata.documents.report import (
    report_format,
    report_geojson,
    report_html,
    write_report,
)
from landdata.errors import BadRequest, Unavailable
from landdata.findings import RULES, Finding
from landdata.settings import Settings
from landdata.survey.model import Survey
from landdata.topology import Checked


@pytest.fixture
def made() -> tuple[Survey, Checked]:
    return survey_with(SHAPES), checked_with(len(SHAPES), FINDINGS)


class Page(HTMLParser):
    """Checks that tags close in order, and keeps the text, the tags and every address."""

    VOID = frozenset({"meta", "br", "input", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("language", ["vi", "en"])
def test_the_page_shows_every_finding_with_its_measures_and_place(
    made: tuple[Survey, Checked], language: Literal["vi", "en"]
) -> None:
    survey, checked = made
    page = Page(report_html(summarise(survey, checked), survey, checked, language))
    text = re.sub(r"\s+", " ", page.text)
    for finding in FINDINGS:
        assert finding.message[language] in text
        assert finding.rule in text
    place = "1281020,000548029,900" if language == "vi" else "1281020.000548029.900"
    assert place in text.replace(" ", "")
    rows = [a for tag, a in page.tags if tag == "tr" and (a.get("id") or "").startswith("f")]
    assert len(rows) == len(FINDINGS)
    assert ("html", {"lang": language}) in page.tags


def test_the_page_is_whole_in_itself_and_the_same_each_time(made: tuple[Survey, Checked]) -> None:
    survey, checked = made
    summary = summarise(survey, checked)
    text = report_html(summary, survey, checked)
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text
    assert "url(" not in text
    for _, attributes in Page(text).tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    slower = summary | {"seconds": {"read": 99.0}}
    assert report_html(slower, survey, checked) == text


def test_the_page_names_no_person_and_escapes_what_strangers_wrote(
    made: tuple[Survey, Checked],
) -> None:
    survey, checked = made
    text = report_html(summarise(survey, checked), survey, checked, "en")
    assert "Chủ sử dụng" not in text
    assert "Đồng Ruộng" not in text
    assert "<null>" not in text
    assert "&lt;null&gt;" in text
    assert "&lt;to&gt; 1.zip" in text


def test_the_maps_mark_findings_and_draw_both_parcels_and_the_defect(
    made: tuple[Survey, Checked],
) -> None:
    survey, checked = made
    text = report_html(summarise(survey, checked), survey, checked)
    placed = sum(f.point is not None for f in FINDINGS)
    assert text.count('class="mark ') == placed
    for number, finding in enumerate(FINDINGS, 1):
        row = text[text.index(f'<tr id="f{number}"') :]
        row = row[: row.index("</tr>")]
        assert ("<svg" in row) == (finding.point is not None)
        assert ('class="defect' in row) == (finding.point is not None)
        assert ('class="b"' in row) == (finding.other_row is not None)
    overlap = text[text.index('<tr id="f3"') : text.index('<tr id="f4"')]
    assert overlap.count("<svg") == 2  # whole parcels, and the 0.2 m close up


def test_rules_that_found_nothing_are_named(made: tuple[Survey, Checked]) -> None:
    survey, checked = made
    text = report_html(summarise(survey, checked), survey, checked, "en")
    clean = text[text.index('class="clean"') :]
    assert "<code>duplicate-number</code>" in clean
    assert "<code>overlap</code>" not in clean


def test_rules_that_did_not_run_are_not_called_clean(made: tuple[Survey, Checked]) -> None:
    survey, checked = made
    idle = replace(checked, idle=frozenset({"gap", "outside-commune"}))
    text = report_html(summarise(survey, idle), survey, idle, "en")
    clean, _, rest = text[text.index('class="clean"') :].partition("</ul>")
    assert "<code>gap</code>" not in clean
    assert "Not run" in rest
    assert "<code>gap</code>, " in rest
    assert "Not run" not in report_html(summarise(survey, checked), survey, checked, "en")


def test_sources_are_in_the_language_of_the_report(made: tuple[Survey, Checked]) -> None:
    survey, checked = made
    law = replace(FINDINGS[2], source="Circular 25/2014/TT-BTNMT, art. 7; annex 04")
    own = FINDINGS[2]
    findings = replace(checked, findings=[law, own])
    told = {x: report_html(summarise(survey, findings), survey, findings, x) for x in ("vi", "en")}
    assert "Thông tư 25/2014/TT-BTNMT, điều 7; phụ lục 04" in told["vi"]
    assert "Circular 25/2014/TT-BTNMT, art. 7; annex 04" in told["en"]
    assert "các thửa không được chồng nhau" in told["vi"]
    for rule in RULES.values():
        lawful = rule.source is None or rule.source.startswith(("Circular", "OGC"))
        assert rule.source_vi or lawful


def test_a_json_report_is_the_same_bytes_each_time(
    made: tuple[Survey, Checked], tmp_path: Path
) -> None:
    survey, checked = made
    summary = summarise(survey, checked)
    for name, seconds in (("a.json", 1.0), ("b.json", 2.0)):
        write_report(tmp_path / name, summary | {"seconds": {"read": seconds}}, survey, checked)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_no_finding_is_left_out(made: tuple[Survey, Checked]) -> None:
    survey, _ = made
    many = [FINDINGS[2]] * 1500
    checked = checked_with(len(SHAPES), many)
    text = report_html(summarise(survey, checked), survey, checked)
    assert text.count('<tr id="f') == 1500


def test_a_clean_survey_and_one_without_shapes_have_a_page() -> None:
    survey = survey_with([SHAPES[0]])
    checked = checked_with(1, [])
    assert "No errors" in report_html(summarise(survey, checked), survey, checked, "en")
    survey = survey_with([None])
    checked = checked_with(
        1, [Finding("missing-geometry", row=0, detail={"why": "null", "why_en": "null"})]
    )
    html = report_html(summarise(survey, checked), survey, checked, "en")
    assert "Errors to correct before submitting: 1" in html


def test_every_rule_has_a_title() -> None:
    titles = [title for rule in RULES.values() for title in (rule.title_vi, rule.title_en)]
    assert all(titles)
    assert len(set(titles)) == len(titles)


def test_geojson_is_wgs84_longitude_first_and_keeps_every_finding() -> None:
    found = json.loads(report_geojson(FINDINGS, 9212))
    assert found["type"] == "FeatureCollection"
    assert found["storage_crs"] == "EPSG:9212"
    assert [f["properties"]["rule"] for f in found["features"]] == [f.rule for f in FINDINGS]
    assert found["features"][0]["geometry"] is None
    lon, lat = found["features"][1]["geometry"]["coordinates"]
    assert 106.5 < lon < 106.9
    assert 11.4 < lat < 11.7
    ring = found["features"][2]["geometry"]["coordinates"][0]
    assert shapely.LinearRing(ring).is_ccw
    assert found["features"][2]["properties"]["point"] == [EAST + 29.9, NORTH + 20]
    assert "geometry" not in found["features"][2]["properties"]


def test_geojson_of_nothing_is_an_empty_collection() -> None:
    assert json.loads(report_geojson([], 9212))["features"] == []


@pytest.mark.parametrize(("name", "start"), [("r.html", "<"), ("r.GeoJSON", "{"), ("r.json", "{")])
def test_the_suffix_says_the_format(
    made: tuple[Survey, Checked], tmp_path: Path, name: str, start: str
) -> None:
    survey, checked = made
    write_report(tmp_path / name, summarise(survey, checked), survey, checked)
    assert (tmp_path / name).read_text("utf-8").lstrip().startswith(start)


def test_a_format_that_is_none_and_a_place_that_is_none_are_refused(
    made: tuple[Survey, Checked], tmp_path: Path
) -> None:
    survey, checked = made
    with pytest.raises(BadRequest, match="docx"):
        report_format(Path("r.docx"))
    with pytest.raises(Unavailable, match="can't be written to"):
        write_report(tmp_path / "no" / "r.json", summarise(survey, checked), survey, checked)


def test_the_report_of_a_real_survey_holds_no_name_and_every_finding(shared: Path) -> None:
    report = check(shared / "phu_cat_vn.zip", Settings(srid=5897), commune="09922")
    text = report_html(report.summary, report.survey, report.checked)
    owners = set(report.survey.attributes["owner"].drop_null().to_pylist())
    assert len(owners) > 1000
    plain = html.unescape(text)
    assert not [owner for owner in owners if len(owner) > 6 and owner in plain]
    assert text.count('<tr id="f') == len(report.checked.findings)
