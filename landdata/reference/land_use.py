"""Land-use codes: in force, legacy with a proposal, and groups that no parcel may have."""

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
#: Legacy code → its name (`vi`), and the one code in force to propose or the `choices`.
LEGACY: dict[str, dict[str, Any]] = _DATA["legacy"]
#: Code of a group, used in statistics only → the codes in force to choose from; none for a
#: whole class of land.
GROUPS: dict[str, list[str]] = _DATA["groups"]
SOURCE: str = _DATA["source"]
#: The top groups: agricultural (`NNP`), non-agricultural (`PNN`), unused (`CSD`).
TOP = frozenset(use["group"] for use in CURRENT.values())


class Use(TypedDict):
    """One use of a parcel; `area` in m², null where the survey does not state it."""

    code: str
    area: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a code is in force; `proposal` is the code that replaces it."""

    kind: Literal["current", "legacy", "group", "unknown"]
    proposal: str | None = None
    choices: tuple[str, ...] = ()


def status(code: str) -> Status:
    """Return whether a code is in force, legacy, a group or unknown, and what replaces it."""
    if code in CURRENT:
        return Status("current")
    if code in LEGACY:
        legacy = LEGACY[code]
        return Status("legacy", legacy["proposal"], tuple(legacy.get("choices", ())))
    if code in GROUPS:
        return Status("group", choices=tuple(GROUPS[code]))
    return Status("unknown")


def group(code: str) -> str | None:
    """Return the top group of a code, `NNP`, `PNN` or `CSD`; null if not certain."""
    if code in TOP:
        return code
    today = status(code)
    if today.kind == "current":
        return CURRENT[code]["group"]
    successors = {today.proposal} if today.proposal else set(today.choices)
    groups = {CURRENT[successor]["group"] for successor in successors}
    return groups.pop() if len(groups) == 1 else None


_USE = re.compile(
    r"""\s*(?P<code>[^\W\d_]+|\?+)             # ONT
        \s*(?:[:=(]?\s*                        # ONT:100,5  ONT=100.5  ONT(100,5)  ONT 100
        (?P<area>\d[\d.,]*)\s*(?:m2|m²)?\s*\)?)?
        \s*(?:[+;,/&|-]|$)""",
    re.VERBOSE,
)


def parse(text: str | None) -> list[Use]:
    """Parse a survey's land uses: `ONT+CLN`, `ONT:100,5;CLN:200`.

    Codes are returned in capitals, listed or not; an empty text gives an empty list. Raises
    `ValueError` for a text of another form.
    """
    uses: list[Use] = []
    rest = (text or "").strip().upper().replace("M2", "m2").replace("M²", "m²")
    position = 0
    while position < len(rest):
        match = _USE.match(rest, position)
        if match is None:
            raise ValueError(f"not a list of land-use codes: {text!r}")
        area = match["area"]
        uses.append({"code": match["code"], "area": decimal(area) if area else None})
        position = match.end()
    return uses


def decimal(text: str) -> float:
    """Parse a number in Vietnamese or English notation: `1.234,5`, `1,234.5`, `123,4`.

    Of two different marks the last is the decimal mark; a single comma or point is one too.
    Raises `ValueError` for anything else.
    """
    plain = text.strip().replace("\u00a0", "").replace(" ", "")
    if not re.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?", plain):
        raise ValueError(f"not a number: {text!r}")
    comma, point = plain.rfind(","), plain.rfind(".")
    if comma >= 0 and point >= 0:
        thousands = "." if comma > point else ","
        plain = plain.replace(thousands, "")
    for mark in ",.":
        if plain.count(mark) > 1:  # 1.234.567
            plain = plain.replace(mark, "")
    return float(plain.replace(",", "."))
