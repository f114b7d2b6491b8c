"""Keys of a parcel: `commune/sheet/number`, UUID, national identifier; the grammar of numbers."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from landdata import characters
from landdata.errors import BadRequest

_COMMUNE = re.compile(r"\d{5}")
#: A GeoHash of twelve characters (Circular 19/2026/TT-BNNMT); no a, i, l, o in its alphabet.
_NATIONAL = re.compile(r"[0-9b-hjkmnp-z]{12}")

#: The number of a sheet or parcel, as `fold` returns it: digits, then at most a letter or a
#: hyphenated part (12, 12a, 12-1). Sheets and parcels count from 1.
NUMBER = r"[1-9][0-9]{0,8}(?:[a-zđ]|-[0-9a-zđ]{1,9})?"
_FOLDED = re.compile(NUMBER)


@dataclass(frozen=True, slots=True)
class Number:
    """A parcel's number: commune (five digits), map sheet, parcel in the sheet."""

    commune: str
    sheet: str
    number: str

    def __str__(self) -> str:
        """Return `commune/sheet/number`."""
        return f"{self.commune}/{self.sheet}/{self.number}"


def parse(key: str) -> Number | uuid.UUID | str:
    """Parse a key: `09922/25/10`, a UUID, or a national identifier (`str`, lower case).

    Raises `BadRequest` for anything else.
    """
    text = key.strip()
    parts = text.split("/")
    if len(parts) == 3 and is_commune(parts[0]) and all(map(_is_number, parts[1:])):
        return Number(*parts)
    if is_national(text):
        return text.lower()
    try:
        # Dashes are required, so that no other number passes as a UUID.
        if text.count("-") == 4:
            return uuid.UUID(text)
    except ValueError:
        pass
    raise BadRequest(
        "{key!r} is not a parcel key.",
        hint="Give commune/sheet/number (09922/25/10), a UUID or the 12-character identifier.",
        code="bad-key",
        key=key,
    )


def fold(number: str) -> str:
    """Return the identity of a number: 12A and 012a are 12a. Any other text is unchanged."""
    folded = number.casefold().lstrip("0")
    return folded if _FOLDED.fullmatch(folded) else number


def why_unusable(number: str | None) -> tuple[str, str]:
    """Return why a text is no number of a sheet or parcel, in Vietnamese and English."""
    if number is None:
        return "trống", "empty"
    if characters.ESCAPED.search(number) is not None:
        return f"{number}: có ký tự điều khiển", f"{number}: holds a control character"
    if re.fullmatch(r"-?[0-9]+", number) is None:
        return (
            f"{number}: phải là số, thêm nhiều nhất một chữ cái hoặc một phần sau gạch nối (12,"
            " 12a, 12-1)",
            f"{number}: not digits with at most a letter or a hyphenated part (12, 12a, 12-1)",
        )
    if int(number) < 1:
        return f"{number}: số bắt đầu từ 1", f"{number}: numbers count from 1"
    return f"{number}: quá chín chữ số", f"{number}: more than nine digits"


def is_commune(text: str) -> bool:
    """Tell whether a text has the form of a commune code: five digits."""
    return _COMMUNE.fullmatch(text) is not None and text.isascii()


def commune_code(text: str) -> str | None:
    """Return a commune's code, with the leading zeros that a numeric field drops; else null."""
    digits = text.strip()
    if re.fullmatch(r"[0-9]{1,5}", digits) is None or int(digits) == 0:
        return None
    return digits.zfill(5)


def is_national(text: str) -> bool:
    """Tell whether a text has the form of a national parcel identifier, in either case."""
    return _NATIONAL.fullmatch(text.lower()) is not None


_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"


def cell(national_id: str) -> tuple[float, float, float, float]:
    """Return the GeoHash cell as (west, south, east, north), degrees in WGS 84."""
    low, high = [-180.0, -90.0], [180.0, 90.0]
    axis = 0  # longitude first, then by turns
    for letter in national_id.lower():
        value = _ALPHABET.index(letter)
        for bit in (16, 8, 4, 2, 1):
            middle = (low[axis] + high[axis]) / 2
            (low if value & bit else high)[axis] = middle
            axis = 1 - axis
    return low[0], low[1], high[0], high[1]


def _is_number(text: str) -> bool:
    """Tell whether a text can be the number of a sheet or of a parcel."""
    return bool(text) and text == text.strip() and text.isprintable()
