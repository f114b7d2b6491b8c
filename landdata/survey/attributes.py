"""The values of matched fields become the canonical columns of a survey (`SCHEMA`).

A value that cannot be read becomes null and a finding.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata import characters
from landdata.findings import Finding
from landdata.reference import land_use, parcel_keys
from landdata.survey import shapefile
from landdata.survey.dataset import Dataset
from landdata.survey.model import SCHEMA, FieldMatch
from landdata.survey.text import Text

#: Attributes whose values no message quotes.
PERSONAL = frozenset({"owner", "owner_type", "address"})
_VALUES_SHOWN = 40  # letters of a value in a sentence


def read_block(
    dataset: Dataset,
    matches: Sequence[FieldMatch],
    text: Text,
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[pa.Table, list[Finding]]:
    """Return the canonical columns of a block of n rows, and findings on values and text."""
    columns = dict(text.columns)
    not_numeric: list[Finding] = []
    for match in matches:
        name = match.source
        if match.attribute is None or not (bad := shapefile.invalid_numbers(dataset, name, ids)):
            continue
        is_bad = np.zeros(len(rows), np.bool_)
        is_bad[list(bad)] = True
        kind = columns[name].type
        columns[name] = pc.if_else(pa.array(is_bad), pa.scalar(None, kind), columns[name])
        not_numeric += [
            Finding("bad-value", row=int(rows[at]), detail={"field": name, "value": repr(value)})
            for at, value in bad.items()
        ]
    table, findings = read(columns, matches, rows)
    findings += not_numeric
    by_row: dict[int, list[str]] = {}
    for match in matches:
        if match.attribute is not None and match.source in text.mangled:
            flags = text.mangled[match.source].to_numpy(zero_copy_only=False)
            for index in np.flatnonzero(flags).tolist():
                by_row.setdefault(index, []).append(match.source)
    findings += [
        Finding("half-converted-text", row=int(rows[index]), detail={"field": ", ".join(names)})
        for index, names in sorted(by_row.items())
    ]
    findings += [
        Finding(
            "unfinished-text",
            row=int(rows[index]),
            detail={"field": match.source, **_proposal(text, match, index)},
        )
        for match in matches
        if match.attribute is not None and match.source in text.proposed
        for index in np.flatnonzero(
            text.proposed[match.source].is_valid().to_numpy(zero_copy_only=False)
        ).tolist()
    ]
    return table, findings


def _proposal(text: Text, match: FieldMatch, index: int) -> dict[str, str]:
    """Return a finding's present and proposed text; empty for persons and places."""
    if match.attribute in PERSONAL:
        return {"change": ""}
    now = text.columns[match.source][index].as_py()
    return {"change": f" ({now} → {text.proposed[match.source][index].as_py()})"}


def texts(column: pa.Array) -> pa.Array:
    """Return a text column trimmed, with null for empty text."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def count_filled(column: pa.Array) -> int:
    """Return the number of rows of a column that hold a value."""
    if pa.types.is_string(column.type):
        column = texts(column)
    return len(column) - int(column.null_count)


def by_distinct(
    column: pa.Array, read: Callable[[list[Any]], list[Any]], kind: pa.DataType
) -> pa.Array:
    """Return a column read by its distinct values: `read` takes and returns a list of them."""
    coded = column.dictionary_encode()
    return pa.array(read(coded.dictionary.to_pylist()), kind).take(coded.indices)


def _read_all(
    read: Callable[[Any], Any], bad: dict[Any, tuple[str, str]]
) -> Callable[[list[Any]], list[Any]]:
    """Return a function that reads a list of values; it adds those with `ValueError` to `bad`.

    The reason, in Vietnamese and English, is the error's second argument; empty without one.
    """

    def run(values: list[Any]) -> list[Any]:
        result = []
        for value in values:
            try:
                result.append(None if value is None else read(value))
            except ValueError as error:
                bad[value] = error.args[1] if len(error.args) == _WITH_WHY else ("", "")
                result.append(None)
        return result

    return run


_WITH_WHY = 2  # arguments of a `ValueError` with a reason


def number(value: Any) -> str:
    """Return the number of a sheet or parcel: `25.0` → `25`, ` 007 ` → `7`, `12A` → `12a`.

    Any other text is returned too, at most `_LONGEST_CODE` letters of it, with control characters
    escaped.
    """
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(value)
        return str(int(value)) if value.is_integer() else repr(value)
    text = characters.escape(" ".join(str(value).split()))[:_LONGEST_CODE]
    whole = re.fullmatch(r"(-?\d+)(?:[.,]0*)?", text)
    return str(int(whole[1])) if whole else parcel_keys.fold(text)


def old_number(value: Any) -> str:
    """Return a former number, of any form; raises `ValueError` for a control character."""
    text = " ".join(str(value).split())
    if characters.are_in(text):
        raise ValueError(value, (": có ký tự điều khiển", ": it holds a control character"))
    if len(text) > _LONGEST_CODE:
        raise ValueError(value)
    return number(value)


def area(value: Any) -> float:
    """Return an area in m² from a number or text; raises `ValueError` for a negative one."""
    result = float(value) if isinstance(value, int | float) else land_use.decimal(_unit(value))
    if result < 0:
        raise ValueError(value, (": diện tích âm", ": an area is never negative"))
    if not result < _EARTH:  # false for NaN too
        raise ValueError(value)
    return result


_EARTH = 5.2e14  # m², its surface


def _unit(text: str) -> str:
    return re.sub(r"\s*(m2|m²)$", "", text.strip(), flags=re.IGNORECASE)


def scale(value: Any) -> int:
    """Return the denominator of a map scale: `1:1000`, `1/1000`, `1000`."""
    parts = re.fullmatch(r"(?:1\s*[:/])?\s*(\d{2,6})(?:[.,]0*)?", str(value).strip())
    if parts is None:
        raise ValueError(value)
    return int(parts[1])


def commune(value: Any) -> str:
    """Return a commune's code, with the leading zeros that a numeric field drops."""
    code = parcel_keys.commune_code(number(value))
    if code is None:
        raise ValueError(value)
    return code


def date(value: Any) -> datetime.date:
    """Return a date from `dd/mm/yyyy`, ISO or `yyyymmdd`."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    text = number(value)
    if day := re.fullmatch(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", text):
        return datetime.date(int(day[3]), int(day[2]), int(day[1]))
    return datetime.date.fromisoformat(text[:10])


def uses(value: Any) -> str:
    """Return the store's JSON for a text of land uses."""
    return json.dumps(land_use.parse(str(value)), ensure_ascii=False)


def edges(value: Any) -> list[float | None]:
    """Return lengths in m: `12,5; 8,30; 12,5`, `12.5 8.3 12.5`; null for an empty one.

    A single comma between digits is a decimal mark, unless the text has decimal points.
    """
    text = str(value).strip()
    if re.search("[;|]", text):
        parts = re.split("[;|]", text)
    elif re.fullmatch(r"\d+(\.\d+)?(,\d+(\.\d+)?)+", text) and "." in text:
        parts = text.split(",")
    else:
        parts = re.split(r",?\s+", text)
    lengths = [_length(part) for part in parts]
    if len(lengths) < _FEWEST_EDGES:
        raise ValueError(value)
    return lengths


_FEWEST_EDGES = 3


def _length(text: str) -> float | None:
    text = re.sub(r"\s*m$", "", text.strip(), flags=re.IGNORECASE)
    if not text:
        return None
    length = land_use.decimal(text)
    if not 0 < length < np.inf or text.count(",") > 1:
        raise ValueError(text)
    return length


def _text(value: Any) -> str | None:
    return number(value) if isinstance(value, float) else characters.remove(str(value)) or None


def identifier(value: Any) -> str:
    """Return the text of a national identifier; raises `ValueError` if far too long for one.

    It also raises for a control or bidirectional character.
    """
    text = number(value) if isinstance(value, float) else " ".join(str(value).split())
    if characters.are_in(text):
        raise ValueError(value, (": có ký tự điều khiển", ": it holds a control character"))
    if len(text) > _LONGEST_CODE:
        raise ValueError(value)
    return text


_LONGEST_CODE = 100

_READERS: dict[str, Callable[[Any], Any]] = {
    "sheet": number, "number": number, "old_sheet": old_number, "old_number": old_number,
    "scale": scale, "area": area, "legal_area": area, "land_use": uses, "commune": commune,
    "surveyed_on": date, "edges": edges, "national_id": identifier,
}  # fmt: skip


def read(
    columns: Mapping[str, pa.Array],
    matches: Sequence[FieldMatch],
    rows: NDArray[np.int64],
) -> tuple[pa.Table, list[Finding]]:
    """Return the canonical columns (`SCHEMA`) for n `rows`, and `bad-value` findings.

    `columns` hold decoded values. The attribute of a value that cannot be read is null.
    """
    sources = {m.attribute: m for m in matches if m.attribute is not None}
    findings: list[Finding] = []
    table: dict[str, pa.Array] = {}
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        if name not in sources:
            # A file of one sheet often has no field for it; there is no other sheet 0.
            value = "0" if name == "sheet" else None
            table[name] = pa.repeat(pa.scalar(value, kind), len(rows))
            continue
        field = sources[name].source
        if field[:1] == "=" and sources[name].how in ("option", "profile"):
            column = pa.repeat(pa.scalar(field[1:], pa.string()), len(rows))
        else:
            column = columns[field]
        if pa.types.is_string(column.type):
            column = texts(column)
        bad: dict[Any, tuple[str, str]] = {}
        table[name] = by_distinct(column, _read_all(_READERS.get(name, _text), bad), kind)
        if bad:
            findings += _bad_values(column, bad, name, field, rows)
    return pa.table(table, schema=SCHEMA), findings


def _bad_values(
    column: pa.Array,
    values: Mapping[Any, tuple[str, str]],
    attribute: str,
    field: str,
    rows: NDArray[np.int64],
) -> list[Finding]:
    """Return a finding for each row with a bad value; personal values are not quoted."""
    marked = pc.is_in(column, value_set=pa.array(sorted(values, key=str), column.type))
    findings = []
    for index in np.flatnonzero(marked.to_numpy(zero_copy_only=False)).tolist():
        value = column[index].as_py()
        shown = "…" if attribute in PERSONAL else repr(value)[:_VALUES_SHOWN]
        why, why_en = values.get(value, ("", ""))  # NaN equals no key
        detail = {"field": field, "value": shown, "why": why, "why_en": why_en}
        findings.append(Finding("bad-value", row=int(rows[index]), detail=detail))
    return findings
