"""Reports as CSV, XLSX, GeoPackage and PDF: whole, readable by others, the same bytes each time."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pyogrio
import pyogrio.raw
import pytest
import shapely
from support.report_cases import FINDINGS, SHAPES, checked_with, survey_with
from support.surveys import NAMED_POINTS

from landdata.batches.validation import ReadOptions, check, summarise
from landdata.documents import tables
from landdata.documents.report import FORMATS, write_report
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import Survey
from landdata.topology import Checked

SPITEFUL = Finding("bad-value", row=0, parcel="=1+1", detail={"value": "\x07<&", "field": "x"})


@pytest.fixture
def made() -> tuple[Survey, Checked]:
    found = [*FINDINGS, SPITEFUL]
    return survey_with(SHAPES), checked_with(len(SHAPES), found)


@pytest.mark.parametrize("suffix", FORMATS)
def test_two_runs_give_the_same_bytes(
    made: tuple[Survey, Checked], tmp_path: Path, suffix: str
) -> None:
    survey, checked = made
    written = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{suffix}"
        write_report(path, summarise(survey, checked), survey, checked)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(written[0]) > 500


def test_csv_has_every_finding_and_no_formula(made: tuple[Survey, Checked]) -> None:
    _, checked = made
    text = tables.report_csv(checked.findings).decode("utf-8-sig")
    read = list(csv.DictReader(io.StringIO(text)))
    assert [row["rule"] for row in read] == [f.rule for f in checked.findings]
    assert [row["message_vi"] for row in read] == [f.message["vi"] for f in checked.findings]
    assert read[2]["x_north"] == str(checked.findings[2].point[1])
    assert read[-1]["parcel"] == "'=1+1"


def test_xlsx_is_well_formed_and_has_every_finding(made: tuple[Survey, Checked]) -> None:
    _, checked = made
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(tables.report_xlsx(checked.findings))) as archive:
        for name in archive.namelist():
            ET.fromstring(archive.read(name))
        sheet = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    lines = [
        ["".join(cell.itertext()) for cell in row.iter(f"{space}c")]
        for row in sheet.iter(f"{space}row")
    ]
    assert lines[0] == list(tables.COLUMNS)
    assert [line[1] for line in lines[1:]] == [f.rule for f in checked.findings]
    assert all(len(line) == len(tables.COLUMNS) for line in lines)


def test_xlsx_is_read_by_gdal(made: tuple[Survey, Checked], tmp_path: Path) -> None:
    _, checked = made
    path = tmp_path / "r.xlsx"
    path.write_bytes(tables.report_xlsx(checked.findings))
    told = subprocess.run(
        ["ogrinfo", "-ro", "-so", "-oo", "HEADERS=FORCE", str(path), "findings"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"Feature Count: {len(checked.findings)}" in told
    assert "measured: Real" in told


def test_geopackage_has_layers_with_styles(made: tuple[Survey, Checked], tmp_path: Path) -> None:
    survey, checked = made
    path = tmp_path / "r.gpkg"
    path.write_bytes(
        tables.report_gpkg(
            checked.findings, checked.parcels, survey.geometry, checked.status, survey.srid
        )
    )
    layers = {name for name, _ in pyogrio.list_layers(path)}
    assert {"parcels", "findings", "finding_shapes"} <= layers
    meta, _, wkb, values = pyogrio.raw.read(path, layer="findings")
    assert meta["crs"] == "EPSG:9212"
    assert list(values[list(meta["fields"]).index("rule")]) == [f.rule for f in checked.findings]
    assert [point and shapely.from_wkb(point).coords[0] for point in wkb] == [
        f.point for f in checked.findings
    ]
    _, _, wkb, _ = pyogrio.raw.read(path, layer="parcels")
    assert len(wkb) == sum(shape is not None for shape in SHAPES)
    base = sqlite3.connect(path)
    try:
        styles = dict(base.execute("SELECT f_table_name, styleQML FROM layer_styles"))
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        base.close()
    assert set(styles) == {"parcels", "findings", "finding_shapes"}
    for qml in styles.values():
        assert ET.fromstring(qml.partition(">")[2]).tag == "qgis"


def test_geopackage_has_the_survey_points(tmp_path: Path) -> None:
    source = tmp_path / "diem.csv"
    source.write_text(NAMED_POINTS.format("TenDiem"))
    report = check(source, Settings(home=tmp_path), options=ReadOptions(crs=9212))
    path = tmp_path / "r.gpkg"
    write_report(path, report.summary, report.survey, report.checked)
    meta, _, wkb, values = pyogrio.raw.read(path, layer="survey_points")
    told = dict(zip(meta["fields"], values, strict=True))
    assert told["name"].tolist() == report.survey.points.names.to_pylist()
    assert shapely.get_coordinates(shapely.from_wkb(wkb)).tolist() == [
        [y, x] for x, y in zip(told["x_north"], told["y_east"], strict=True)
    ]


def test_pdf_has_pages_with_drawings(made: tuple[Survey, Checked], tmp_path: Path) -> None:
    survey, checked = made
    path = tmp_path / "r.pdf"
    write_report(path, summarise(survey, checked), survey, checked, "en")
    written = path.read_bytes()
    assert written.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", written)) >= 2 or b"/ObjStm" in written
