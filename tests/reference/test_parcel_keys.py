from __future__ import annotations

import uuid

import pytest

from landdata.errors import BadRequest
from landdata.reference import parcel_keys


def test_number() -> None:
    number = parcel_keys.parse(" 09922/25/10 ")
    assert number == parcel_keys.Number("09922", "25", "10")
    assert str(number) == "09922/25/10"


def test_uuid_and_national_identifier() -> None:
    key = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert parcel_keys.parse(str(key)) == key
    assert parcel_keys.parse("W3GV7B2XKM01") == "w3gv7b2xkm01"
    assert not parcel_keys.is_national("w3gv7b2xka01")  # no a in a GeoHash
    assert not parcel_keys.is_national("w3gv7b2xkm0")


def test_commune() -> None:
    assert parcel_keys.is_commune("09922")
    assert not any(map(parcel_keys.is_commune, ("9922", "099222", "x9922", "", "٠٩٩٢٢")))


@pytest.mark.parametrize(
    "key", ["", "25/10", "9922/25/10", "09922//10", "09922/25/10/1", "x", "1" * 32, "09922/25/\n1"]
)
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parcel_keys.parse(key)
    assert caught.value.code == "bad-key"
