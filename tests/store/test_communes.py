"""Communes with dates: a code is used again, and merged units lead to their heirs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import sqlalchemy as sa

from landdata.errors import BadRequest, Conflict, NotFound
from landdata.settings import Settings
from landdata.store import communes, database

MERGER = dt.date(2025, 7, 1)
BEFORE = dt.date(2025, 6, 30)
TABLE = """old_code,old_name,new_code,new_name
99901,Phường Một,99901,Phường Mới
99902,Phường Hai,99901,Phường Mới
"""


def test_a_code_is_looked_up_with_a_date(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        communes.add(session, "99901", "Xã Cũ", valid_from=dt.date(2000, 1, 1))
        communes.add(session, "99901", "Xã Mới", valid_from=MERGER)
        assert communes.find(session, "99901", BEFORE).name == "Xã Cũ"
        assert communes.find(session, "99901", MERGER).name == "Xã Mới"
        communes.add(session, "99901", "Xã Mới, sửa tên", valid_from=MERGER)
        assert communes.find(session, "99901").name == "Xã Mới, sửa tên"
        with pytest.raises(Conflict, match="later commune, from 2025-07-01"):
            communes.add(session, "99901", "Xã Giữa", valid_from=BEFORE)
        with pytest.raises(BadRequest, match="no commune 99901 on 1999-12-31"):
            communes.find(session, "99901", dt.date(1999, 12, 31))
        with pytest.raises(BadRequest, match="not five digits"):
            communes.add(session, "9901", "Xã", valid_from=MERGER)


def test_a_merged_commune_leads_to_its_successor(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "recodings.csv"
    path.write_text(TABLE, "utf-8")
    with database.session(engine) as session, pytest.raises(BadRequest, match="from which day"):
        communes.import_file(session, settings, path)
    for _ in range(2):  # again changes nothing
        with database.session(engine) as session:
            assert communes.import_file(session, settings, path, valid_from=MERGER) == 2
    with database.session(engine) as session:
        assert communes.find(session, "99901", BEFORE).name == "Phường Một"
        assert communes.find(session, "99901").name == "Phường Mới"
        assert communes.find(session, "99902", BEFORE).name == "Phường Hai"
        with pytest.raises(BadRequest) as told:
            communes.find(session, "99902")
    assert told.value.hint is not None
    assert "part of 99901 Phường Mới (2025-07-01)" in told.value.hint


def test_a_file_without_communes_is_refused(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "recodings.csv"
    path.write_text("a,b\n1,2\n", "utf-8")
    with database.session(engine) as session:
        with pytest.raises(BadRequest, match="no table of recodings"):
            communes.import_file(session, settings, path, valid_from=MERGER)
        points = tmp_path / "points.txt"
        points.write_text("a,b,c,d\n1,2,3,4\n", "utf-8")
        with pytest.raises(BadRequest, match="holds no polygons"):
            communes.import_file(session, settings, points, valid_from=MERGER)
        with pytest.raises(NotFound):
            communes.import_file(session, settings, tmp_path / "none.gpkg")


BOX = shapely.box(548_000, 1_281_000, 549_000, 1_282_000)
BOW = shapely.Polygon([(548_000, 1_281_000), (9e5, 2e6), (9e5, 1_281_000), (548_000, 2e6)])


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("shapes", "crs", "why"),
    [
        ([BOX], None, "does not say its CRS"),
        ([BOX], 'LOCAL_CS["x",UNIT["metre",1]]', "does not say its CRS"),
        ([BOX, None], "EPSG:9212", "no usable polygon of commune 99902"),
        ([BOW], "EPSG:9212", "no usable polygon of commune 99901 .Self-intersection"),
        ([BOX.boundary], "EPSG:9212", "no usable polygon of commune 99901"),
    ],
)
def test_an_unusable_boundary_is_refused(
    engine: sa.Engine,
    settings: Settings,
    tmp_path: Path,
    shapes: list[shapely.Polygon | None],
    crs: str | None,
    why: str,
) -> None:
    path = tmp_path / "xa.gpkg"
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(shapes, object)),
        field_data=[np.array(["99901", "99902"][: len(shapes)]), np.array(["Xã"] * len(shapes))],
        fields=["code", "name"],
        geometry_type="Unknown",
        crs=crs,
    )
    with database.session(engine) as session, pytest.raises(BadRequest, match=why):
        communes.import_file(session, settings, path, valid_from=MERGER)


def write(path: Path, codes: list[str | None], names: list[str | None]) -> Path:
    """A file of communes that are all the same box."""
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array([BOX] * len(codes), object)),
        field_data=[np.array(codes, object), np.array(names, object)],
        fields=["code", "name"],
        geometry_type="Polygon",
        crs="EPSG:9212",
    )
    return path


@pytest.mark.parametrize(
    ("codes", "names", "why"),
    [
        (["99901"], [None], "99901 has no name"),
        ([None], ["Xã"], "code '' is not five digits"),
        (["99901", "99902", "99901"], ["Xã", "Xã", "Xã"], "two rows of commune 99901"),
    ],
)
def test_a_commune_is_one_row_with_code_and_name(
    engine: sa.Engine,
    settings: Settings,
    tmp_path: Path,
    codes: list[str | None],
    names: list[str | None],
    why: str,
) -> None:
    path = write(tmp_path / "xa.gpkg", codes, names)
    with database.session(engine) as session, pytest.raises(BadRequest, match=why):
        communes.import_file(session, settings, path, valid_from=MERGER)


@pytest.mark.slow
def test_a_province_of_real_communes(engine: sa.Engine, settings: Settings, shared: Path) -> None:
    with database.session(engine) as session:
        with pytest.raises(BadRequest, match="valid_from") as told:
            communes.import_file(session, settings, shared / "communes_vn.gpkg")
        assert "--valid-from" in str(told.value.hint)
        n = communes.import_file(session, settings, shared / "communes_vn.gpkg", valid_from=MERGER)
        recoded = communes.import_file(
            session,
            settings,
            shared.parent / "facts" / "commune_recode_2025-07-01.csv",
            valid_from=MERGER,
        )
        where = session.scalar(
            sa.text(
                "SELECT name FROM communes WHERE ST_Contains(geom, ST_SetSRID("
                "ST_MakePoint(569800, 1276000), 9212)) AND valid_to IS NULL"
            )
        )
        assert communes.find(session, "25198", BEFORE).name == "Phường Tân Đồng"
    assert (n, recoded) == (221, 111)
    assert where == "Phường Bình Phước"


def test_a_commune_is_found_by_a_short_code_and_by_its_name(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        for code, name in (
            ("09922", "Xã Phú Cát"),
            ("09923", "Phường Lộc Ninh"),
            ("09924", "Xã Lộc Ninh"),
        ):
            communes.add(session, code, name, valid_from=MERGER)
        for text in ("9922", "09922", "Phú Cát", "xã phú cát", "PHU CAT"):
            assert communes.find(session, text, MERGER).code == "09922"
        with pytest.raises(BadRequest, match="09923 Phường Lộc Ninh, 09924 Xã Lộc Ninh"):
            communes.find(session, "Lộc Ninh", MERGER)
        assert communes.find(session, "xã Lộc Ninh", MERGER).code == "09924"
        for text in ("Phú", "0", "099220", "x"):
            with pytest.raises(BadRequest, match="no commune"):
                communes.find(session, text, MERGER)
