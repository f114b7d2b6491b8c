"""Which field of a survey feeds which attribute, and how its values are read.

Field names differ by decade and by program, a DBF cuts them at ten letters, and two names
may become alike by that. So fields are matched by name, then by name as cut, then by their
order; the whole match is shown, and the surveyor can overrule it.
"""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata.errors import BadRequest, BadSurvey
from landdata.findings import Finding
from landdata.reference import land_use
from landdata.survey.model import SCHEMA, FieldMatch

#: Attribute → the names of fields that mean it, the preferred first. The first of each is the
#: national schema's. Case, accents and underscores do not count.
NAMES: dict[str, tuple[str, ...]] = {
    "sheet": (
        "SoHieuToBanDo", "SHBANDO", "SHTOBD", "SOTO", "TOBD", "SHTOBANDO", "SOTOBD", "SOTOBANDO",
        "SHTO", "TOBANDO", "SHEET",
    ),
    "number": (
        "SoThuTuThua", "SHTHUA", "SOTHUA", "THUA", "STTHUA", "THUASO", "NUMBER", "PARCELNO",
        "PARCELNUM", "PARCELID",
    ),
    "scale": ("TyLeBanDo", "TyLe", "TyLeBD", "TLBD", "MauSoTyLe", "SCALE"),
    "area": ("DienTich", "DTich", "DienTichDo", "DTDD", "AREA"),
    "legal_area": ("DienTichPhapLy", "DIENTICHPL", "DTPhapLy", "DTPL", "DienTichGCN", "DTGCN"),
    "land_use": (
        "KyHieuMucDichSuDung", "KHLOAIDAT", "MALOAIDAT", "LOAIDAT", "MDSD", "MucDichSuDung",
        "MDSDDat", "MDSD2003", "KH2003", "LANDUSE",
    ),
    "address": ("DiaChi", "DiaChiThua", "DIADANH", "XUDONG", "ADDRESS"),
    "owner": ("TenChu", "HOTEN", "CHUSUDUNG", "TenChuSuDung", "TenCSD", "CHUSD", "OWNER"),
    "owner_type": ("KyHieuDoiTuong", "KHDOITUONG", "DOITUONGSD", "MaDoiTuongSD", "OWNERTYPE"),
    "commune": ("MaXa", "XAID", "MaDVHC", "MaDVHCXa", "COMMUNE"),
    "old_sheet": ("SoHieuToBanDoCu", "SOTOCU", "SHTOCU", "SHBANDOCU", "SHTOBDCU", "OLDSHEET"),
    "old_number": ("SoThuTuThuaCu", "SOTHUACU", "SHTHUACU", "THUACU", "OLDNUMBER"),
    "national_id": ("MaDinhDanhThuaDat", "MaDinhDanh", "MDDTHUADAT", "NATIONALID"),
    "source_id": ("UUID", "THUAID", "MaDoiTuong", "MaThua", "SOURCEID"),
    "surveyed_on": ("NgayDoDac", "NgayDo", "ThoiDiemDoDac", "NgayDoVe", "SURVEYEDON"),
    "edges": ("ChieuDaiCanh", "DoDaiCanh", "CacCanh", "CANHTHUA", "EDGES"),
}  # fmt: skip
How = Literal["profile", "option"]
_CUT = 10  # letters that a DBF keeps of a name
#: Attributes whose values no message quotes.
PERSONAL = frozenset({"owner", "owner_type", "address"})
_VALUES_SHOWN = 40  # letters of a value in a sentence


def plain(name: str) -> str:
    """Write a field's name without what does not count: case, accents, marks."""
    letters = unicodedata.normalize("NFD", name.replace("đ", "d").replace("Đ", "D"))
    return re.sub(r"[^A-Z0-9]", "", letters.upper())


def _likeness() -> dict[str, list[tuple[str, int, str]]]:
    """Return plain name → (attribute, rank, how), over all names and all names as cut."""
    table: dict[str, list[tuple[str, int, str]]] = {}
    for how in ("name", "truncated", "order"):
        for attribute, names in NAMES.items():
            for rank, name in enumerate(map(plain, names)):
                if how == "name":
                    key = name
                elif len(name) <= _CUT:
                    continue
                elif how == "truncated":
                    key = name[:_CUT]
                else:  # a second field of the same cut name: SoHieuTo_1
                    key = name[: _CUT - 2] + "1"
                entry = (attribute, rank, how)
                if not any(known[0] == attribute for known in table.setdefault(key, [])):
                    table[key].append(entry)
    return table


_LIKENESS = _likeness()


def match(
    filled: Mapping[str, int],
    options: Mapping[str, str] | None = None,
    profile: Mapping[str, Sequence[str]] | None = None,
) -> tuple[FieldMatch, ...]:
    """Match a file's fields to attributes.

    `filled` is field → rows that hold a value, in the file's order. `options` are the
    surveyor's own: attribute → field, or attribute → `=value` for a constant. `profile` is
    attribute → fields (or constants), of which the first that the file has is taken. Of several
    fields that mean one attribute the first by `NAMES` that holds values is taken. An option
    that names no attribute or no field raises `BadRequest`.
    """
    options = dict(options or {})
    _check_options(options, filled)
    by_profile = _profiled(profile or {}, options, filled)
    options |= by_profile
    taken = {attribute: source for attribute, source in options.items() if source[:1] != "="}
    found: dict[str, list[tuple[bool, int, int, str, str]]] = {}
    for order, (source, count) in enumerate(filled.items()):
        if source in taken.values():
            continue
        for attribute, rank, how in _meanings(source, list(filled)):
            if attribute not in options:
                entry = (count == 0, rank, order, source, how)
                found.setdefault(attribute, []).append(entry)
    chosen: dict[str, tuple[str, str]] = {}
    for attribute, entries in found.items():
        _, _, _, source, how = min(entries)
        chosen[source] = (attribute, how)
    how_given: dict[str, How] = {a: "profile" if a in by_profile else "option" for a in options}
    chosen |= {source: (a, how_given[a]) for a, source in taken.items()}
    matches = [
        FieldMatch(
            source=source,
            attribute=chosen.get(source, (None, None))[0],
            how=chosen.get(source, (None, None))[1],  # type: ignore[arg-type]
            filled=count,
        )
        for source, count in filled.items()
    ]
    rows = max(filled.values(), default=0)
    for attribute, value in options.items():
        if value[:1] == "=":
            given: How = "profile" if attribute in by_profile else "option"
            matches.append(FieldMatch(source=value, attribute=attribute, how=given, filled=rows))
    return tuple(matches)


def _profiled(
    profile: Mapping[str, Sequence[str]], options: Mapping[str, str], filled: Mapping[str, int]
) -> dict[str, str]:
    """Return what a profile says of this file: attribute → field or constant."""
    by_plain = {plain(source): source for source in reversed(list(filled))}
    found: dict[str, str] = {}
    for attribute, names in profile.items():
        for name in names:
            source = name if name[:1] == "=" or name in filled else by_plain.get(plain(name))
            used = {*options.values(), *(s for s in found.values() if s[:1] != "=")}
            if attribute not in options and source is not None and source not in used:
                found[attribute] = source
                break
    return found


def _check_options(options: Mapping[str, str], filled: Mapping[str, int]) -> None:
    for attribute, source in options.items():
        if attribute not in NAMES:
            raise BadRequest(
                f"{attribute!r} is no attribute of a parcel.",
                hint=f"Attributes are {', '.join(NAMES)}.",
                code="unknown-attribute",
            )
        if source[:1] != "=" and source not in filled:
            raise BadRequest(
                f"The survey has no field {source!r} for {attribute}.",
                hint=f"Its fields are {', '.join(filled)}; a constant is written ={source}.",
                code="unknown-field",
            )


def _meanings(source: str, fields: Sequence[str]) -> list[tuple[str, int, str]]:
    """Return what a field may mean: the likeness of its name, settled by order where cut."""
    meanings = _LIKENESS.get(plain(source), [])
    if not meanings and re.search(r"_\d$", source):
        return []
    if len(meanings) < 2:
        return meanings
    # A cut name that two attributes share: the first such field is the present one, and the
    # second has its own, `_1`. Where that second is missing, the name is still the first's.
    stem = plain(source)[: _CUT - 2]
    twins = [f for f in fields if plain(f)[: _CUT - 2] == stem and len(plain(f)) >= _CUT - 1]
    second = source.endswith("_1") and len(twins) > 0
    old = [m for m in meanings if m[0].startswith("old_")]
    present = [m for m in meanings if not m[0].startswith("old_")]
    return (old or meanings)[:1] if second else (present or meanings)[:1]


# -- values


def texts(column: pa.Array) -> pa.Array:
    """Trim a text column; empty text is null."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def count_filled(column: pa.Array) -> int:
    """Count the rows of a column that hold a value."""
    if pa.types.is_string(column.type):
        column = texts(column)
    return len(column) - int(column.null_count)


def by_distinct(
    column: pa.Array, read: Callable[[list[Any]], list[Any]], kind: pa.DataType
) -> pa.Array:
    """Read a column through its distinct values: `read` takes and returns a list of them."""
    coded = column.dictionary_encode()
    return pa.array(read(coded.dictionary.to_pylist()), kind).take(coded.indices)


class _Bad:
    """The values of a column that could not be read."""

    def __init__(self) -> None:
        self.values: set[Any] = set()

    def each(self, read: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
        """Make a reader of lists from one of values; `ValueError` marks the value as bad."""

        def run(values: list[Any]) -> list[Any]:
            result = []
            for value in values:
                try:
                    result.append(None if value is None else read(value))
                except ValueError:
                    self.values.add(value)
                    result.append(None)
            return result

        return run


def number(value: Any) -> str:
    """Normalise the number of a sheet or parcel: `25.0` → `25`, ` 007 ` → `7`, `12a` → `12a`."""
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(value)
        return str(int(value)) if value.is_integer() else repr(value)
    text = " ".join(str(value).split())
    whole = re.fullmatch(r"(-?\d+)(?:[.,]0*)?", text)
    return str(int(whole[1])) if whole else text


def area(value: Any) -> float:
    """Read an area in m², a number or its text."""
    result = float(value) if isinstance(value, int | float) else land_use.decimal(_unit(value))
    if not abs(result) < _EARTH:  # nor is it NaN
        raise ValueError(value)
    return result


_EARTH = 5.2e14  # m², of its whole surface


def _unit(text: str) -> str:
    return re.sub(r"\s*(m2|m²)$", "", text.strip(), flags=re.IGNORECASE)


def scale(value: Any) -> int:
    """Read a map scale's denominator: `1:1000`, `1/1000`, `1000`."""
    parts = re.fullmatch(r"(?:1\s*[:/])?\s*(\d{2,6})(?:[.,]0*)?", str(value).strip())
    if parts is None:
        raise ValueError(value)
    return int(parts[1])


def commune(value: Any) -> str:
    """Read a commune's code and give it back the zeros that a number field took."""
    text = number(value)
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(value)
    return text.zfill(5)


def date(value: Any) -> datetime.date:
    """Read a date: `dd/mm/yyyy`, ISO, `yyyymmdd`."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    text = number(value)
    if day := re.fullmatch(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})", text):
        return datetime.date(int(day[3]), int(day[2]), int(day[1]))
    return datetime.date.fromisoformat(text[:10])


def uses(value: Any) -> str:
    """Read a text of land uses to the JSON that the store keeps."""
    return json.dumps(land_use.parse(str(value)), ensure_ascii=False)


def edges(value: Any) -> list[float | None]:
    """Read a list of lengths in m: `12,5; 8,30; 12,5`, `12.5 8.3 12.5`; an empty one is null.

    A single comma between digits is a decimal mark, unless points are there for that.
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


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else " ".join(str(value).split())


def identifier(value: Any) -> str:
    """Read a national identifier: twelve letters, and what is longer than any code is none."""
    text = _text(value)
    if len(text) > _LONGEST_CODE:
        raise ValueError(value)
    return text


_LONGEST_CODE = 100

_READERS: dict[str, Callable[[Any], Any]] = {
    "sheet": number, "number": number, "old_sheet": number, "old_number": number,
    "scale": scale, "area": area, "legal_area": area, "land_use": uses, "commune": commune,
    "surveyed_on": date, "edges": edges, "national_id": identifier,
}  # fmt: skip


def lacking(matches: Sequence[FieldMatch]) -> BadSurvey | None:
    """Say what a survey lacks that no field is matched to: the parcel's number."""
    if any(match.attribute == "number" for match in matches):
        return None
    names = ", ".join(match.source for match in matches) or "none"
    return BadSurvey(
        f"No field of the survey is known to hold the parcel's number; its fields are {names}.",
        hint="Say which with --field number=NAME.",
        code="no-number-field",
    )


def read(
    columns: Mapping[str, pa.Array],
    matches: Sequence[FieldMatch],
    rows: NDArray[np.int64],
) -> tuple[pa.Table, list[Finding]]:
    """Read the matched fields into the canonical columns (`SCHEMA`) for n `rows`.

    `columns` hold decoded values. Returns the table and a `bad-value` finding for each value
    that could not be read (its attribute is then null).
    """
    sources = {m.attribute: m for m in matches if m.attribute is not None}
    findings: list[Finding] = []
    table: dict[str, pa.Array] = {}
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        if name not in sources:
            # A file of one sheet often does not say so; sheet 0 exists nowhere else.
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
        bad = _Bad()
        table[name] = by_distinct(column, bad.each(_READERS.get(name, _text)), kind)
        if bad.values:
            findings += _bad_values(column, bad.values, name, field, rows)
    return pa.table(table, schema=SCHEMA), findings


def _bad_values(
    column: pa.Array,
    values: set[Any],
    attribute: str,
    field: str,
    rows: NDArray[np.int64],
) -> list[Finding]:
    """Make a finding of each row whose value could not be read; personal ones are not told."""
    marked = pc.is_in(column, value_set=pa.array(sorted(values, key=str), column.type))
    return [
        Finding(
            "bad-value",
            row=int(rows[index]),
            detail={
                "field": field,
                "value": "…"
                if attribute in PERSONAL
                else repr(column[index].as_py())[:_VALUES_SHOWN],
            },
        )
        for index in np.flatnonzero(marked.to_numpy(zero_copy_only=False)).tolist()
    ]
