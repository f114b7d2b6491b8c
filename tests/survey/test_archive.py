from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.shapefiles import (
    NULL,
    ORIGIN,
    parts,
    plain,
    point,
    polygon,
    sound,
    square,
    wkt,
    zipped,
)

from landdata import survey
from landdata.errors import BadSurvey, NotFound
from landdata.settings import Settings
from landdata.survey import archive

SETTINGS = Settings(srid=9212)
NUMBERS = {"SHBANDO": ["25"], "SHTHUA": ["1"]}


def refused(path: Path, settings: Settings = SETTINGS, **options: Any) -> BadSurvey:
    with pytest.raises(BadSurvey) as caught:
        survey.read(path, settings, **options)
    error = caught.value
    assert error.exit_code == 2
    assert error.hint
    assert "\n" not in error.message
    return error


def changed(suffix: str, data: bytes | None, count: int = 3) -> dict[str, bytes]:
    made = sound(count)
    if data is None:
        del made[suffix]
    else:
        made[suffix] = data
    return made


def test_zip_and_plain_give_the_same(tmp_path: Path) -> None:
    one = survey.read(zipped(tmp_path / "a.zip", sound()), SETTINGS)
    two = survey.read(plain(tmp_path, sound()), SETTINGS)
    assert one.attributes.equals(two.attributes)
    assert list(one.geometry) == list(two.geometry)
    assert (one.source, one.layer) == ("a.zip", "thua")
    assert (two.source, two.layer) == ("thua.shp", "thua")


def test_names_in_vietnamese_and_suffixes_in_capitals(tmp_path: Path) -> None:
    made = {suffix.upper(): data for suffix, data in sound().items()}
    assert survey.read(plain(tmp_path, made, "Tờ 25 Lộc Ninh"), SETTINGS).layer == "Tờ 25 Lộc Ninh"
    path = zipped(tmp_path / "a.zip", made, "Bản đồ/Tờ 25")
    assert survey.read(path, SETTINGS).layer == "Tờ 25"


def test_utf8_name_without_its_flag(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(), "Thua dat")
    data = path.read_bytes().replace(b"Thua dat", "Thửa 12".encode()[:8].ljust(8, b"_"))
    path.write_bytes(data)
    assert survey.read(path, SETTINGS).layer.startswith("Thử")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        survey.read(tmp_path / "no.zip", SETTINGS)


def test_corrupt_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(50))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert refused(path).code == "corrupt-zip"
    path.write_bytes(data[:60] + b"\xff" * 40 + data[100:])
    assert refused(path).code in {"corrupt-zip", "bad-shp"}
    path.write_bytes(b"PK\x03\x04 and nothing else")
    assert refused(path).code == "corrupt-zip"


def test_unknown_format(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"%PDF-1.4")
    assert refused(path).code == "unknown-format"
    path.write_bytes(b"")
    assert refused(path).code == "unknown-format"


def test_zip_bomb(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound() | {".dbf": bytes(20 << 20)})
    assert refused(path).code == "zip-bomb"


def test_sizes_are_counted_not_believed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound() | {".dbf": bytes(8 << 20)})
    data = bytearray(path.read_bytes())
    # The directory and the member's own head both say 10 bytes.
    for magic, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = 0
        while (at := data.find(magic, at)) >= 0:
            if struct.unpack_from("<I", data, at + place)[0] == 8 << 20:
                struct.pack_into("<I", data, at + place, 10)
            at += 4
    path.write_bytes(data)
    assert refused(path).code == "corrupt-zip"


def test_too_large(tmp_path: Path) -> None:
    small = Settings(srid=9212, max_file_mb=1, max_ratio=100_000)
    path = zipped(tmp_path / "a.zip", sound() | {".dbf": bytes(3 << 20)})
    assert refused(path, small).code == "too-large"


def test_too_many_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    assert refused(path, Settings(srid=9212, max_members=2)).code == "too-many-members"


@pytest.mark.parametrize(
    "name", ["../thua.shp", "/etc/thua.shp", "a/../../thua.shp", "C:/thua.shp", "..\\thua.shp"]
)
def test_path_traversal(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(name, b"x")
    assert refused(path).code == "unsafe-member"


def test_link(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    with zipfile.ZipFile(path, "a") as opened:
        link = zipfile.ZipInfo("thua.cpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    assert refused(path).code == "unsafe-member"


def test_encrypted(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    data = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.find(magic)
        data[at + place] |= 1
    path.write_bytes(data)
    assert refused(path).code == "encrypted-zip"


def test_nested(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", sound())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.write(inner, "inner.zip")
    error = refused(tmp_path / "a.zip")
    assert error.code == "no-layer"
    assert "archive" in error.message


def test_duplicate_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("THUA.DBF", sound()[".dbf"])
    assert refused(path).code == "duplicate-member"


def test_other_members_stay_packed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound())
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("thua.sbn", b"x")
        opened.writestr("__MACOSX/._thua.shp", b"x")
        opened.writestr("readme.txt", b"x")
        opened.mkdir("empty")
    (tmp_path / "into").mkdir()
    dataset = archive.unpack(path, tmp_path / "into", SETTINGS)
    names = {p.name for p in (tmp_path / "into").rglob("*") if p.is_file()}
    assert names == {"survey.shp", "survey.shx", "survey.dbf", "survey.prj"}
    assert dataset.rows == 3


def test_several_layers(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(2), "thua")
    with zipfile.ZipFile(path, "a") as opened:
        for suffix, data in sound(3).items():
            opened.writestr("nha" + suffix, data)
    error = refused(path)
    assert error.code == "several-layers"
    assert "nha, thua" in error.message
    assert len(survey.read(path, SETTINGS, layer="nha")) == 3
    assert refused(path, layer="duong").code == "unknown-layer"
    assert survey.inspect(path, SETTINGS, layer="thua").layers == ("nha", "thua")


@pytest.mark.parametrize("suffix", [".shx", ".dbf"])
def test_missing_part(tmp_path: Path, suffix: str) -> None:
    error = refused(zipped(tmp_path / "a.zip", changed(suffix, None)))
    assert error.code == f"missing-{suffix[1:]}"
    assert suffix in error.message
    assert refused(plain(tmp_path, changed(suffix, None))).code == f"missing-{suffix[1:]}"


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
def test_cut_off_part(tmp_path: Path, suffix: str) -> None:
    error = refused(zipped(tmp_path / "a.zip", changed(suffix, sound(9)[suffix][:-30], 9)))
    assert error.code == f"short-{suffix[1:]}"


def test_dbf_that_claims_two_thousand_million_rows(tmp_path: Path) -> None:
    data = bytearray(sound()[".dbf"])
    struct.pack_into("<I", data, 4, 2**31 - 1)
    assert refused(zipped(tmp_path / "a.zip", changed(".dbf", bytes(data)))).code == "short-dbf"


def test_shx_and_dbf_of_different_surveys(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", changed(".dbf", sound(2)[".dbf"]))
    assert refused(path).code == "rows-differ"


def test_vrt_that_names_a_file_of_the_server(tmp_path: Path) -> None:
    other = plain(tmp_path, sound(), "secret")
    vrt = f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{other}</SrcDataSource>'
    vrt += "</OGRVRTLayer></OGRVRTDataSource>"
    for text in (vrt, vrt.replace(str(other), "/vsicurl/http://127.0.0.1:9/x.shp")):
        path = zipped(tmp_path / "a.zip", changed(".shp", text.ljust(200).encode()))
        assert refused(path).code == "bad-shp"
        (tmp_path / "x.shp").write_text(text)
        assert refused(tmp_path / "x.shp").code in {"bad-shp", "missing-shx"}


def test_huge_prj(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", changed(".prj", b"P" * 100_000))
    assert refused(path).code == "bad-prj"


def test_empty_layer(tmp_path: Path) -> None:
    made = parts([], {"SHBANDO": [], "SHTHUA": []}, prj=wkt(9212))
    assert refused(zipped(tmp_path / "a.zip", made)).code == "empty-layer"


def test_points_are_no_parcels(tmp_path: Path) -> None:
    made = parts([point(*ORIGIN)], NUMBERS, shape=1, prj=wkt(9212))
    error = refused(zipped(tmp_path / "a.zip", made))
    assert error.code == "not-polygons"
    assert "points" in error.message


def test_too_many_rows(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", sound(3))
    assert refused(path, Settings(srid=9212, max_rows=2)).code == "too-many-rows"


def test_only_null_shapes(tmp_path: Path) -> None:
    made = parts([NULL], NUMBERS, prj=wkt(9212))
    assert refused(zipped(tmp_path / "a.zip", made)).code == "no-shapes"


def test_deleted_rows_are_reported(tmp_path: Path) -> None:
    records = [polygon([square(i)]) for i in range(3)]
    columns = {"SHBANDO": ["1"] * 3, "SHTHUA": ["1", "2", "3"]}
    made = parts(records, columns, prj=wkt(9212), deleted=[1])
    read = survey.read(zipped(tmp_path / "a.zip", made), SETTINGS)
    assert read.rows.tolist() == [0, 2]
    assert read.attributes["number"].to_pylist() == ["1", "3"]
    assert [f.rule for f in read.findings] == ["deleted-rows"]


def test_bundle_is_the_same_to_the_byte(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        shp = plain(folder, sound(), "Tờ 25")
        (folder / "other.dbf").write_bytes(b"x")
        made = archive.bundle(shp, tmp_path)
        digests.add(hashlib.sha256(made.read_bytes()).hexdigest())
        assert len(survey.read(made, SETTINGS)) == 3
        with zipfile.ZipFile(io.BytesIO(made.read_bytes())) as opened:
            assert opened.namelist() == ["Tờ 25.dbf", "Tờ 25.prj", "Tờ 25.shp", "Tờ 25.shx"]
    assert len(digests) == 1
    path = zipped(tmp_path / "a.zip", sound())
    assert archive.bundle(path, tmp_path) == path


def test_docs_hold_every_code() -> None:
    here = Path(archive.__file__).parent
    page = (Path(__file__).parents[2] / "docs" / "survey-files.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z0-9-]+)`", page))
    raised = set()
    for module in here.glob("*.py"):
        raised |= set(re.findall(r'code="([a-z0-9-]+)"', module.read_text(encoding="utf-8")))
    ours = {"drivers", "no-reader", "no-datum-operation"}  # our fault, not the file's
    assert raised - ours <= told
