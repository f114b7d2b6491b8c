from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.shapefiles import parts, polygon, sound, square, wkt, zipped

from landdata import survey
from landdata.errors import BadRequest, BadSurvey
from landdata.settings import Settings
from landdata.survey import attributes, fields

SETTINGS = Settings(srid=9212)


def matched(
    names: list[str], options: dict[str, str] | None = None, empty: list[str] | tuple[()] = ()
) -> dict[str, str] | None:
    found = fields.match({name: 0 if name in empty else 5 for name in names}, options)
    return {m.source: m.attribute for m in found if m.attribute}


def how(names: list[str]) -> dict[str, str]:
    return {m.attribute: m.how for m in fields.match(dict.fromkeys(names, 5)) if m.attribute}


@pytest.mark.parametrize(
    ("attribute", "names"),
    [
        ("sheet", "SHBANDO SHTOBD SOTO TOBD SHTOBANDO SoHieuToBanDo SoHieuToBa So_To sotobd"),
        ("number", "SHTHUA SOTHUA THUA SO_THUA SoThuTuThua SoThuTuThu shthua"),
        ("area", "DIENTICH DienTich dien_tich"),
        ("legal_area", "DIENTICHPL DTPhapLy DienTichPhapLy DienTichPh"),
        ("land_use", "KHLOAIDAT MALOAIDAT LOAIDAT MDSD MDSD2003 KyHieuMucDichSuDung KyHieuMucD"),
        ("owner", "TENCHU HOTEN CHUSUDUNG TenChu"),
        ("owner_type", "KyHieuDoiTuong KyHieuDoiT"),
        ("address", "DIACHI DIADANH XUDONG DiaChi Địa_chỉ"),
        ("commune", "XAID MAXA MaXa"),
        ("source_id", "THUAID UUID MaDoiTuong"),
        ("old_sheet", "SOTOCU SoHieuToBanDoCu SoHieuTo_1"),
        ("old_number", "SoThuTuThuaCu SoThuTuT_1"),
    ],
)
def test_names(attribute: str, names: str) -> None:
    for name in names.split():
        assert matched([name]) == {name: attribute}


def test_names_truncated_by_the_dbf_are_distinguished_by_order() -> None:
    names = ["SoHieuToBa", "SoThuTuThu", "SoHieuTo_1", "SoThuTuT_1", "DienTich", "DienTichPh"]
    assert matched(names) == {
        "SoHieuToBa": "sheet",
        "SoThuTuThu": "number",
        "SoHieuTo_1": "old_sheet",
        "SoThuTuT_1": "old_number",
        "DienTich": "area",
        "DienTichPh": "legal_area",
    }
    assert how(names)["sheet"] == "truncated"
    assert how(names)["old_sheet"] == "order"
    assert how(names)["area"] == "name"


def test_of_several_fields_the_first_that_holds_values() -> None:
    assert matched(["MALOAIDAT", "KHLOAIDAT"]) == {"KHLOAIDAT": "land_use"}
    assert matched(["MALOAIDAT", "KHLOAIDAT"], empty=["KHLOAIDAT"]) == {"MALOAIDAT": "land_use"}
    assert matched(["DIADANH", "DIACHI"]) == {"DIACHI": "address"}
    assert matched(["parcel_id", "SHTHUA"]) == {"SHTHUA": "number"}
    assert matched(["parcel_id", "shape_area", "city"]) == {"parcel_id": "number"}


def test_options_overrule() -> None:
    names = ["SHBANDO", "SHTHUA", "A", "B"]
    assert matched(names, {"sheet": "A"}) == {"SHTHUA": "number", "A": "sheet"}
    found = fields.match(dict.fromkeys(names, 5), {"sheet": "=12"})
    assert [(m.source, m.how) for m in found if m.attribute == "sheet"] == [("=12", "option")]
    with pytest.raises(BadRequest, match="no attribute"):
        matched(names, {"colour": "A"})
    with pytest.raises(BadRequest, match="no field 'C'"):
        matched(names, {"sheet": "C"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(25.0, "25"), ("25.0", "25"), (" 25 ", "25"), ("007", "7"), ("12a", "12a"), (7, "7"),
     ("12A", "12a"), ("012-A1", "12-a1"), ("Đ5", "Đ5"), ("1\u202e2", "1<U+202E>2"),
     ("12/1", "12/1"), ("a  b", "a b"), (1.5, "1.5"), ("-1", "-1"), ("1000,", "1000")],
)  # fmt: skip
def test_numbers(value: float | str, expected: str) -> None:
    assert attributes.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.234,5", 1234.5), ("1,234.5", 1234.5), ("123,4", 123.4), ("123.4", 123.4), (7, 7.0),
     ("1.234.567", 1234567.0), ("1.234.567,8", 1234567.8), ("100 m2", 100.0), ("1 234,5", 1234.5),
     ("1e3", 1000.0)],
)  # fmt: skip
def test_areas(value: int | str, expected: float) -> None:
    assert attributes.area(value) == expected


@pytest.mark.parametrize(
    "value", ["x", "12x", "", "1-2", "-5", -0.5, float("nan"), float("inf"), ",", "5m"]
)
def test_areas_that_are_none(value: float | str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        attributes.area(value)


@pytest.mark.parametrize(
    "value", ["31/12/2024", "2024-12-31", "20241231", "31-12-2024", 20241231.0]
)
def test_dates(value: float | str) -> None:
    assert attributes.date(value) == datetime.date(2024, 12, 31)
    with pytest.raises(ValueError):  # noqa: PT011
        attributes.date("31/02/2024")


def test_scales_and_communes() -> None:
    assert [attributes.scale(v) for v in ("1:500", "1/1000", "2000", 5000.0)] == [
        500,
        1000,
        2000,
        5000,
    ]
    assert [attributes.commune(v) for v in ("9922", 9922.0, "09922", 25195)] == [
        "09922", "09922", "09922", "25195",
    ]  # fmt: skip
    for value in ("x", "123456", ""):
        with pytest.raises(ValueError):  # noqa: PT011
            attributes.commune(value)


def test_a_value_that_is_not_understood_is_a_finding() -> None:
    columns = {
        "THUA": pa.array(["1", "2", "3", None]),
        "TO": pa.array(["4", "4", " ", "4"]),
        "DT": pa.array(["1,5", "abc", "", "2"]),
    }
    found = fields.match(dict.fromkeys(columns, 4), {"area": "DT", "sheet": "TO"})
    table, findings = attributes.read(columns, found, np.array([10, 11, 12, 13]))
    assert table["area"].to_pylist() == [1.5, None, None, 2.0]
    assert table["number"].to_pylist() == ["1", "2", "3", None]
    assert table["sheet"].to_pylist() == ["4", "4", None, "4"]
    assert [(f.rule, f.row) for f in findings] == [("bad-value", 11)]
    assert "'abc' of field DT" in findings[0].message["en"]


def test_a_missing_field_for_the_sheet_is_reported(tmp_path: Path) -> None:
    made = parts([polygon([square()])], {"SHTHUA": ["1"]}, prj=wkt(9212))
    read = survey.read(zipped(tmp_path / "a.zip", made), SETTINGS)
    assert read.attributes["sheet"].to_pylist() == ["0"]
    assert [(f.rule, f.row, f.severity) for f in read.findings] == [
        ("no-sheet-field", None, "info")
    ]


def test_no_field_for_the_number_is_refused(tmp_path: Path) -> None:
    made = parts([polygon([square()])], {"SHBANDO": ["1"], "GHICHU": ["x"]}, prj=wkt(9212))
    path = zipped(tmp_path / "a.zip", made)
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, SETTINGS)
    assert caught.value.code == "no-number-field"
    assert "SHBANDO, GHICHU" in caught.value.message
    assert survey.inspect(path, SETTINGS).refusal_code == "no-number-field"
    assert (
        survey.read(path, SETTINGS, fields={"number": "=1"}).attributes["number"][0].as_py() == "1"
    )


def test_a_whole_row(tmp_path: Path) -> None:
    made = sound(
        1,
        DIENTICH=["400,5"],
        DIENTICHPL=["400"],
        KHLOAIDAT=["ont:100+CLN"],
        DIACHI=["  ấp 3,   Lộc Ninh "],
        TENCHU=["Lê Văn Tám"],
        XAID=["9922"],
        SOTOCU=["3"],
        NGAYDO=["01/02/2024"],
        TYLE=["1:1000"],
        THUAID=["77"],
    )
    row = survey.read(zipped(tmp_path / "a.zip", made), SETTINGS).attributes.to_pylist()[0]
    assert json.loads(row.pop("land_use")) == [
        {"code": "ONT", "area": 100.0},
        {"code": "CLN", "area": None},
    ]
    assert row == {
        "sheet": "25", "number": "1", "scale": 1000, "area": 400.5, "legal_area": 400.0,
        "address": "ấp 3, Lộc Ninh", "owner": "Lê Văn Tám", "owner_type": None,
        "commune": "09922", "old_sheet": "3", "old_number": None, "national_id": None,
        "source_id": "77", "surveyed_on": datetime.date(2024, 2, 1),
        "edges": None,
    }  # fmt: skip


def test_stars_and_nul_bytes_of_a_dbf(tmp_path: Path) -> None:
    made = parts(
        [polygon([square(i)]) for i in range(2)],
        {"SHBANDO": ["25", "25"], "SHTHUA": [b"1\0\0", "2"], "DIENTICH": ["*" * 10, "400"]},
        prj=wkt(9212),
        width=10,
        numeric=["DIENTICH"],
    )
    read = survey.read(zipped(tmp_path / "a.zip", made), SETTINGS)
    assert read.attributes["area"].to_pylist() == [None, 400.0]
    assert read.attributes["number"].to_pylist() == ["1", "2"]


def test_docs_hold_the_table_of_fields() -> None:
    page = (Path(__file__).parents[2] / "docs" / "survey-files.md").read_text(encoding="utf-8")
    for attribute, names in fields.NAMES.items():
        assert f"| `{attribute}` | {', '.join(names)} |" in page


def test_a_field_that_looks_like_a_missing_attribute_is_proposed() -> None:
    names = ["SO_TO_BD_1", "SHTHUA", "LOAI_DAT_HT", "shape_area", "ZONE", "EMPTY_MA_XA"]
    found = fields.lookalikes(fields.match({**dict.fromkeys(names, 5), "EMPTY_MA_XA": 0}))
    assert [pair[:2] for pair in found] == [("sheet", "SO_TO_BD_1"), ("land_use", "LOAI_DAT_HT")]
    error = fields.lacking(fields.match({"SO_THUA_2": 5}))
    assert error is not None
    assert error.hint == "Say which with --field number=SO_THUA_2."
