from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
import shapely
import sqlalchemy as sa
from support import stored

from landdata.errors import BadRequest, Conflict, NotFound
from landdata.store import database, parcels

BEFORE = stored.FIRST - dt.timedelta(days=1)
BETWEEN = stored.FIRST + dt.timedelta(days=30)


@pytest.fixture
def made(engine: sa.Engine) -> dict[str, uuid.UUID]:
    return stored.lattice(engine)


def test_a_parcel_is_found_by_number_uuid_and_national_id(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        by_number = parcels.find(session, "99901", "1", "12")
        assert by_number.id == made["12"]
        for key in (
            "99901/1/12",
            " 99901/1/12 ",
            str(made["12"]),
            str(made["12"]).upper(),
            "w6bqz3k8n1p0",
            "W6BQZ3K8N1P0",
        ):
            assert parcels.resolve(session, key) == by_number


def test_a_version_is_read_to_the_millimetre_with_its_areas_and_codes(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        parcel = parcels.get(session, made["12"])
    assert parcel.key == "99901/1/12"
    assert (parcel.area, parcel.legal_area, parcel.measured_area) == (400.0, 398.5, 400.0)
    assert parcel.land_use == [{"code": "NTS", "area": None}]
    assert (parcel.version, parcel.valid_from, parcel.valid_to) == (2, stored.SECOND, None)
    x, y = stored.EAST + 60, stored.NORTH + 40
    assert shapely.equals(parcel.geometry, shapely.box(x, y, x + 20, y + 20))


def test_as_of_returns_the_version_of_that_time(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        assert parcels.get(session, made["12"], BETWEEN).area == 440.0
        assert parcels.find(session, "99901", "1", "12", BETWEEN).version == 1
        assert parcels.resolve(session, "99901/1/12", stored.SECOND).version == 2
        just_before = stored.SECOND - dt.timedelta(microseconds=1)
        assert parcels.resolve(session, str(made["12"]), just_before).version == 1
        with pytest.raises(NotFound, match=r"did not exist as of 2025-06-30T01:00:00Z"):
            parcels.get(session, made["12"], BEFORE)


def test_history_is_all_versions_newest_first(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        versions = parcels.history(session, made["12"])
        assert [(s.version, s.valid_from, s.valid_to) for s in versions] == [
            (2, stored.SECOND, None),
            (1, stored.FIRST, stored.SECOND),
        ]
        assert versions[0].batch != versions[1].batch
        with pytest.raises(NotFound):
            parcels.history(session, uuid.uuid4())


def test_a_missing_parcel_is_not_found_with_a_hint(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        with pytest.raises(NotFound, match="99901/1/99 now") as caught:
            parcels.resolve(session, "99901/1/99")
        assert "five digits" in caught.value.hint
        with pytest.raises(NotFound) as caught:
            parcels.resolve(session, "99901/1/12", BEFORE)
        assert str(made["12"]) in caught.value.hint
        with pytest.raises(NotFound, match="There is no parcel"):
            parcels.resolve(session, str(uuid.uuid4()))
        with pytest.raises(NotFound, match="national identifier"):
            parcels.resolve(session, "zzzzzzzzzzzz")


def test_a_national_id_of_two_parcels_is_ambiguous(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE parcel_versions SET national_id = 'w6bqz3k8n1p0'"
                " WHERE number = '3' AND valid_to IS NULL"
            )
        )
    with database.session(engine) as session, pytest.raises(Conflict) as caught:
        parcels.resolve(session, "w6bqz3k8n1p0")
    assert str(made["3"]) in caught.value.hint
    assert str(made["12"]) in caught.value.hint


@pytest.mark.parametrize("key", ["", "99901/1", "99901//12", "a/b/c/d", "12; DROP TABLE", "%"])
def test_a_key_of_no_known_form_is_refused(engine: sa.Engine, key: str) -> None:
    with database.session(engine) as session, pytest.raises(BadRequest):
        parcels.resolve(session, key)


def test_public_properties_are_those_documented_and_name_no_person(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        parcel = parcels.get(session, made["12"])
    assert list(parcel.as_dict()) == [
        "id",
        "national_id",
        "commune",
        "sheet",
        "number",
        "scale",
        "area",
        "legal_area",
        "land_use",
        "address",
        "label",
        "surveyed_on",
        "valid_from",
        "valid_to",
        "version",
    ]
    assert parcel.as_dict()["address"] is None
    assert parcel.as_dict(publish_address=True)["address"] == "Thôn 1"
    text = json.dumps(parcel.as_dict(publish_address=True), ensure_ascii=False)
    assert "Chủ sử dụng" not in text


def test_the_extent_is_that_of_current_parcels(
    engine: sa.Engine, made: dict[str, uuid.UUID]
) -> None:
    with database.session(engine) as session:
        x, y = stored.EAST, stored.NORTH
        assert parcels.extent(session) == (x, y, x + 80, y + 80)


def test_an_empty_store_has_no_extent(engine: sa.Engine) -> None:
    with database.session(engine) as session:
        assert parcels.extent(session) is None
