"""Land-use codes: those in force, older ones with what we propose, groups no parcel may bear."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, TypedDict

_DATA: dict[str, Any] = json.loads(
    resources.files("landdata.reference").joinpath("data/land_use.json").read_text(encoding="utf-8")
)

#: Code in force → its names and group (`vi`, `en`, `group`).
CURRENT: dict[str, dict[str, str]] = _DATA["current"]
#: Older code → its name (`vi`), and the `proposal` or the `choices` that a person has.
LEGACY: dict[str, dict[str, Any]] = _DATA["legacy"]
#: Codes of groups, which statistics use and no parcel may bear → the codes in force to choose
#: from; none where a whole class of land is meant.
GROUPS: dict[str, list[str]] = _DATA["groups"]
SOURCE: str = _DATA["source"]


#: The groups at the top, of which every code is one: agricultural, other, unused.
TOP = frozenset(use["group"] for use in CURRENT.values())


class Use(TypedDict):
    """One use of a parcel; `area` in m² where the survey states it."""

    code: str
    area: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """What a code is worth today; `proposal` is the code in force that we propose for it."""

    kind: Literal["current", "legacy", "group", "unknown"]
    proposal: str | None = None
    choices: tuple[str, ...] = ()


def status(code: str) -> Status:
    """Tell whether a code is in force, older, of a group, or unknown."""
    if code in CURRENT:
        return Status("current")
    if code in LEGACY:
        known = LEGACY[code]
        return Status("legacy", known["proposal"], tuple(known.get("choices", ())))
    if code in GROUPS:
        return Status("group", choices=tuple(GROUPS[code]))
    return Status("unknown")


def group(code: str) -> str | None:
    """Return the group at the top that a code is of, `NNP`, `PNN` or `CSD`; null if not sure."""
    if code in TOP:
        return code
    told = status(code)
    if told.kind == "current":
        return CURRENT[code]["group"]
    becomes = {told.proposal} if told.proposal else set(told.choices)
    groups = {CURRENT[each]["group"] for each in becomes}
    return groups.pop() if len(groups) == 1 else None


_USE = re.compile(
    r"""\s*(?P<code>[^\W\d_]+|\?+)             # ONT
        \s*(?:[:=(]?\s*                        # ONT:100,5  ONT=100.5  ONT(100,5)  ONT 100
        (?P<area>\d[\d.,]*)\s*(?:m2|m²)?\s*\)?)?
        \s*(?:[+;,/&|-]|$)""",
    re.VERBOSE,
)


def parse(text: str | None) -> list[Use]:
    """Read a survey's text of land uses: `ONT+CLN`, `ONT:100,5;CLN:200`.

    Codes come back in capitals, known or not; an empty text gives an empty list. A text that
    has no such form raises `ValueError`.
    """
    uses: list[Use] = []
    rest = (text or "").strip().upper().replace("M2", "m2").replace("M²", "m²")
    position = 0
    while position < len(rest):
        match = _USE.match(rest, position)
        if match is None:
            raise ValueError(f"no list of land-use codes: {text!r}")
        area = match["area"]
        uses.append({"code": match["code"], "area": decimal(area) if area else None})
        position = match.end()
    return uses


def decimal(text: str) -> float:
    """Read a number as Vietnamese or as English writes it: `1.234,5`, `1,234.5`, `123,4`.

    Where both marks stand, the last one is the decimal mark; a single comma is one too, and so
    is a single point. Anything else raises `ValueError`.
    """
    plain = text.strip().replace("\u00a0", "").replace(" ", "")
    if not re.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?", plain):
        raise ValueError(f"no number: {text!r}")
    comma, point = plain.rfind(","), plain.rfind(".")
    if comma >= 0 and point >= 0:
        thousands = "." if comma > point else ","
        plain = plain.replace(thousands, "")
    for mark in ",.":
        if plain.count(mark) > 1:  # 1.234.567
            plain = plain.replace(mark, "")
    return float(plain.replace(",", "."))
