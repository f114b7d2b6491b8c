from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shapefiles import sound, zipped

from landdata import survey
from landdata.errors import BadRequest
from landdata.settings import Settings
from landdata.survey import encodings as enc
from landdata.survey import profiles

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "legacy_encodings.json"
NAMES = [
    "Nguyễn Văn An", "Trần Thị Bưởi", "Lê Hoàng Quý", "Phạm Đình Hùng", "Đỗ Thị Ngọc Ánh",
    "thôn Phú Riềng", "ấp Thuận Lợi", "xã Lộc Ninh", "Vũ Quốc Khánh", "Huỳnh Tấn Phát",
    "Bùi Thị Xuyến", "khu phố Tân Bình", "Ngô Gia Tự", "Đặng Thùy Trâm", "đường Cách mạng",
]  # fmt: skip
_TCVN3 = {letter: raw for raw, letter in (enc.TCVN3_CAPITALS | enc.TCVN3).items()}
_VNI = {letter: sequence for sequence, letter in enc.VNI.items() if len(sequence) < 3}


def tcvn3(text: str) -> str:
    """As the fonts of the time wrote it: a capital with an accent has the small one's byte."""
    own = {letter: raw for raw, letter in enc.TCVN3.items()}
    return "".join(own.get(c) or own.get(c.lower(), c) for c in text)


def vni(text: str) -> str:
    low: dict[str, str] = {}
    for sequence, letter in enc.VNI.items():
        low.setdefault(letter, sequence)
    return "".join(low.get(c, c) for c in text)


def utf8(text: str) -> str:
    return text.encode().decode("latin-1")


def cp1258(text: str) -> str:
    """As Windows writes it: the base letter whole, the tone after it."""
    result = ""
    for letter in text:
        try:
            result += letter.encode("cp1258").decode("latin-1")
        except UnicodeEncodeError:
            apart = unicodedata.normalize("NFD", letter)
            tone = next(c for c in apart if c in enc._TONES)
            base = unicodedata.normalize("NFC", apart.replace(tone, ""))
            result += (base + tone).encode("cp1258").decode("latin-1")
    return result


WRITERS = {"UTF-8": utf8, "TCVN3": tcvn3, "VNI": vni, "CP1258": cp1258}


@pytest.mark.parametrize("name", WRITERS)
def test_detected_and_decoded(name: str) -> None:
    raw = [WRITERS[name](text) for text in NAMES]
    choice = enc.detect(enc.EncodingEvidence(raw))
    assert (choice.name, choice.by) == (name, "detected")
    assert choice.confidence > 0.5
    assert dict(choice.candidates)[name] > 0.9
    small = [text for text in NAMES if "Ánh" not in text]  # a first letter's case is lost in TCVN3
    assert enc.decode([WRITERS[name](text) for text in small], name) == small


@pytest.mark.parametrize(
    "letter", sorted(enc.VIETNAMESE - set("abcdefghijklmnopqrstuvwxyABCDEFGHIJKLMNOPQRSTUVWXY"))
)
@pytest.mark.parametrize("name", ["UTF-8", "VNI", "CP1258"])
def test_every_letter_there_and_back(name: str, letter: str) -> None:
    assert enc.decode([WRITERS[name](letter)], name) == [letter]


def test_every_letter_of_tcvn3() -> None:
    assert len(enc.TCVN3) == 74
    for raw, letter in (enc.TCVN3 | enc.TCVN3_CAPITALS).items():
        assert enc.decode([f"{raw}x" if letter.islower() else f"{raw}X"], "TCVN3")[0][0] == letter


@pytest.mark.skipif(not FACTS.is_file(), reason="the tables are not beside this folder")
def test_tables_are_those_of_the_source() -> None:
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    pairs = facts["tcvn3_byte_to_unicode"].items()
    assert {chr(int(k, 16)): v for k, v in pairs} == enc.TCVN3
    pairs = facts["tcvn5712_1_extra_capitals"].items()
    assert {chr(int(k, 16)): v for k, v in pairs} == enc.TCVN3_CAPITALS
    assert facts["vni_windows_to_unicode"].items() <= enc.VNI.items()


def test_case_comes_back_by_word() -> None:
    for text in ("TRƯƠNG THỊ HỒNG", "Trương Thị Hồng", "UBND xã Lộc Ninh", "HỘ ÔNG LÊ VĂN Á",
                 "UBND Xã Phú Cát", "Hộ ông Tô Hà", "THÔN ĐỒI ĐÁ"):  # fmt: skip
        assert enc.decode([tcvn3(text)], "TCVN3") == [text]
    assert enc.decode(["TR\xa6\xa5NG THÞ HåNG"], "TCVN3") == ["TRƯƠNG THỊ HỒNG"]
    assert enc.decode(["Tr\xad\xacng"], "TCVN3") == ["Trương"]


def test_cpg_is_a_hint_only() -> None:
    raw = [tcvn3(text) for text in NAMES]
    assert enc.detect(enc.EncodingEvidence(raw), cpg="UTF-8").name == "TCVN3"
    assert enc.detect(enc.EncodingEvidence(raw), cpg="1252").name == "TCVN3"
    same = ["Hà", "là", "và"]  # alike in both code pages
    choice = enc.detect(
        enc.EncodingEvidence([text.encode("cp1252").decode("latin-1") for text in same]), cpg="1252"
    )
    assert (choice.name, choice.by) == ("CP1252", "cpg")


def test_option_decides() -> None:
    choice = enc.detect(enc.EncodingEvidence([utf8(text) for text in NAMES]), option="abc")
    assert (choice.name, choice.by) == ("TCVN3", "option")
    with pytest.raises(BadRequest, match="not known"):
        enc.detect(enc.EncodingEvidence(), option="EBCDIC")


def test_plain_letters_are_ascii() -> None:
    assert enc.detect(enc.EncodingEvidence(["ONT", "CLN"])).name == "ASCII"
    assert enc.detect(enc.EncodingEvidence()).name == "ASCII"
    assert enc.decode(["ONT"], "ASCII") == ["ONT"]


def test_letter_cut_in_two_by_the_width_of_the_field() -> None:
    raw = [utf8(text) for text in NAMES] + [utf8("thôn Phú Riề")[:-1]]
    assert enc.detect(enc.EncodingEvidence(raw)).name == "UTF-8"
    assert enc.decode(raw, "UTF-8")[-1] == "thôn Phú Ri"


def test_half_conversion_is_finished() -> None:
    texts = ["Lª Thị Duyªn", "Ngô Văn ¢n", "xã Đồng T\xadm", "UBND x·", "Lê Yên"]
    assert enc.decode([utf8(text) for text in texts], "UTF-8") == texts
    assert enc.EncodingEvidence([utf8(text) for text in texts]).unfinished
    assert enc.finish_conversion(texts) == [
        "Lê Thị Duyên", "Ngô Văn Ân", "xã Đồng Tưm", "UBND xã", "Lê Yên",
    ]  # fmt: skip


def test_signs_are_no_half_conversion() -> None:
    texts = ["Công ty Sony®", "25 °C", "Tổ 5 · Phố Huế", "Mục § 5", "1ª planta"]
    assert not enc.EncodingEvidence([utf8(text) for text in texts]).unfinished


@pytest.mark.parametrize(
    "text",
    ["Đđi 1", "Trưêng", "Thôn Hềa", "Nguyễn Quíc", "VănTrưêng", "Chýnh", "Cæ phần", "Lôa"],
)
def test_mangled_text_is_found(text: str) -> None:
    assert enc.are_mangled([text]) == [True]


@pytest.mark.parametrize(
    "text",
    [*NAMES, "Đắk Lắk", "Krông Búk", "Điểu Krơng", "Bù Đăng", "Tuyêt", "VănTrường", "Lôc",
     "Quỳnh Quyết Quý Quốc", "giếng gìn", "Bình Phước", "Đồng Xoài", "thuở khuỷu xoong", "Ê đê",
     "café", "HTX Sản xuất", "Hoà Hòa Thuý Thúy", "NGUYỄN THỊ ĐÀO", "Y Blăng Êban"],
)  # fmt: skip
def test_sound_text_is_no_finding(text: str) -> None:
    assert enc.are_mangled([text]) == [False]


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF)), max_size=20))
def test_no_bytes_are_too_strange(raw: list[str]) -> None:
    choice = enc.detect(enc.EncodingEvidence(raw))
    decoded = enc.decode(raw, choice.name)
    assert len(decoded) == len(enc.are_mangled(decoded)) == len(raw)


def test_file_in_each_encoding(tmp_path: Path) -> None:
    for name, codec in WRITERS.items():
        owners = [codec(text).encode("latin-1") for text in NAMES[:4]]
        path = zipped(tmp_path / "a.zip", sound(4, TENCHU=owners))
        read = survey.read(path, Settings(srid=9212))
        assert read.encoding.name == name
        assert read.attributes["owner"].to_pylist() == NAMES[:4]
        rows = survey.inspect(path, Settings(srid=9212)).as_dict()["encoding"]["rows"]
        assert [row["TENCHU"] for row in rows] == NAMES[:4]


def test_half_converted_text_is_a_finding_without_the_text(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(3, TENCHU=["Lê An", "Trưêng Đđi", ""]))
    read = survey.read(path, Settings(srid=9212))
    assert [(f.rule, f.row) for f in read.findings] == [("half-converted-text", 1)]
    assert "Đđi" not in str(read.findings[0].as_dict())
    assert "TENCHU" in read.findings[0].message["en"]


def test_names_in_another_script_are_not_half_converted(tmp_path: Path) -> None:
    owners = ["Иванов Пётр", "王小明", "ភ្នំពេញ", "Lê An"]
    read = survey.read(zipped(tmp_path / "a.zip", sound(4, TENCHU=owners)), Settings(srid=9212))
    assert read.findings == ()
    assert read.attributes["owner"].to_pylist() == owners


HALF: dict[str, Any] = {
    "TENCHU": ["Lª Thị Duyªn", "Trần An", "Ngô Văn ¢n", "Trưêng Vâ"],
    "DIACHI": ["xã Phú C¸t", "Thôn Một", "", "Tổ 2"],
    "SHTOCU": ["7a", "Trªn", "7b", "7c"],
}


def test_a_conversion_that_was_not_finished_is_a_finding_and_stays(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(4, **HALF))
    read = survey.read(path, Settings(srid=9212))
    told = [f for f in read.findings if f.rule == "unfinished-text"]
    assert [(f.row, f.detail["field"]) for f in told] == [
        (0, "TENCHU"), (0, "DIACHI"), (1, "SHTOCU"), (2, "TENCHU"),
    ]  # fmt: skip
    assert read.attributes["owner"].to_pylist() == HALF["TENCHU"]
    assert (read.encoding.unfinished, read.encoding.mended) == (4, 0)
    # what is of a person is not quoted; else what stands there and what is proposed are
    said = [f.message for f in told]
    assert all("Trªn → Trên" in said[2][language] for language in ("vi", "en"))
    assert not any("→" in sentence for each in (*said[:2], said[3]) for sentence in each.values())
    # a word that cannot be mended is another finding
    assert [f.row for f in read.findings if f.rule == "half-converted-text"] == [3]


def test_a_conversion_is_completed_on_request(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(4, **HALF))
    profile = profiles.parse({"name": "dang-do", "version": 1, "mend_text": True})
    for options in ({"mend_text": True}, {"profile": profile}):
        read = survey.read(path, Settings(srid=9212), **options)
        assert {f.rule for f in read.findings} == {"half-converted-text"}
        assert read.attributes["owner"].to_pylist()[:3] == ["Lê Thị Duyên", "Trần An", "Ngô Văn Ân"]
        assert read.attributes["old_sheet"].to_pylist()[1] == "Trên"
        assert (read.encoding.unfinished, read.encoding.mended) == (4, 4)
