"""Which field of a survey holds which attribute.

Field names differ by decade and by program, and a DBF truncates them to ten letters, which may
make two names equal. So fields are matched by name, then by truncated name, then by their order;
the whole match is shown, and the surveyor can overrule it.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal

from landdata.errors import BadRequest, BadSurvey
from landdata.survey.model import FieldMatch

#: Attribute → names of its fields, the national schema's first, in order of preference. Case,
#: accents and underscores do not count.
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
_WIDTH = 10  # letters of a name in a DBF


def plain(name: str) -> str:
    """Return a field's name without case, accents and marks."""
    letters = unicodedata.normalize("NFD", name.replace("đ", "d").replace("Đ", "D"))
    return re.sub(r"[^A-Z0-9]", "", letters.upper())


def _meanings_by_name() -> dict[str, list[tuple[str, int, str]]]:
    """Return plain name → (attribute, rank, how), for all names in full and truncated."""
    table: dict[str, list[tuple[str, int, str]]] = {}
    for how in ("name", "truncated", "order"):
        for attribute, names in NAMES.items():
            for rank, name in enumerate(map(plain, names)):
                if how == "name":
                    key = name
                elif len(name) <= _WIDTH:
                    continue
                elif how == "truncated":
                    key = name[:_WIDTH]
                else:  # a second field with the same truncated name: SoHieuTo_1
                    key = name[: _WIDTH - 2] + "1"
                entry = (attribute, rank, how)
                if not any(meaning[0] == attribute for meaning in table.setdefault(key, [])):
                    table[key].append(entry)
    return table


_MEANINGS = _meanings_by_name()


def match(
    filled: Mapping[str, int],
    options: Mapping[str, str] | None = None,
    profile: Mapping[str, Sequence[str]] | None = None,
) -> tuple[FieldMatch, ...]:
    """Return the matches of a file's fields with attributes.

    `filled` is field → number of rows with a value, in the file's order. `options` are the
    surveyor's: attribute → field, or `=value` for a constant. `profile` is attribute → fields (or
    constants), of which the first in the file is used. Of several fields for one attribute the
    first by `NAMES` that holds values is used. Raises `BadRequest` for an option with an unknown
    attribute or field.
    """
    options = dict(options or {})
    _check_options(options, filled)
    by_profile = _profiled(profile or {}, options, filled)
    options |= by_profile
    taken = {attribute: source for attribute, source in options.items() if source[:1] != "="}
    candidates: dict[str, list[tuple[bool, int, int, str, str]]] = {}
    for order, (source, count) in enumerate(filled.items()):
        if source in taken.values():
            continue
        for attribute, rank, how in _meanings(source, list(filled)):
            if attribute not in options:
                entry = (count == 0, rank, order, source, how)
                candidates.setdefault(attribute, []).append(entry)
    chosen: dict[str, tuple[str, str]] = {}
    for attribute, entries in candidates.items():
        _, _, _, source, how = min(entries)
        chosen[source] = (attribute, how)
    origin: dict[str, How] = {a: "profile" if a in by_profile else "option" for a in options}
    chosen |= {source: (a, origin[a]) for a, source in taken.items()}
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
            how_set = origin[attribute]
            matches.append(FieldMatch(source=value, attribute=attribute, how=how_set, filled=rows))
    return tuple(matches)


def _profiled(
    profile: Mapping[str, Sequence[str]], options: Mapping[str, str], filled: Mapping[str, int]
) -> dict[str, str]:
    """Return a profile's fields and constants for this file: attribute → field or constant."""
    by_plain = {plain(source): source for source in reversed(list(filled))}
    matched: dict[str, str] = {}
    for attribute, names in profile.items():
        for name in names:
            source = name if name[:1] == "=" or name in filled else by_plain.get(plain(name))
            used = {*options.values(), *(s for s in matched.values() if s[:1] != "=")}
            if attribute not in options and source is not None and source not in used:
                matched[attribute] = source
                break
    return matched


def _check_options(options: Mapping[str, str], filled: Mapping[str, int]) -> None:
    for attribute, source in options.items():
        if attribute not in NAMES:
            raise BadRequest(
                "{attribute!r} is no attribute of a parcel.",
                hint="Attributes are {names}.",
                code="unknown-attribute",
                attribute=attribute,
                names=", ".join(NAMES),
            )
        if source[:1] != "=" and source not in filled:
            raise BadRequest(
                "The survey has no field {source!r} for {attribute}.",
                hint="Its fields are {filled}; a constant is written ={source}.",
                code="unknown-field",
                source=source,
                attribute=attribute,
                filled=", ".join(filled),
            )


def _meanings(source: str, fields: Sequence[str]) -> list[tuple[str, int, str]]:
    """Return what a field may mean by its name, resolved by order where truncated."""
    meanings = _MEANINGS.get(plain(source), [])
    if not meanings and re.search(r"_\d$", source):
        return []
    if len(meanings) < 2:
        return meanings
    # Two attributes share a truncated name: the first such field is the current one, the second
    # ends in `_1`. Without a second field, the name still means the first attribute.
    stem = plain(source)[: _WIDTH - 2]
    same_stem = [
        f for f in fields if plain(f)[: _WIDTH - 2] == stem and len(plain(f)) >= _WIDTH - 1
    ]
    second = source.endswith("_1") and len(same_stem) > 0
    old = [m for m in meanings if m[0].startswith("old_")]
    present = [m for m in meanings if not m[0].startswith("old_")]
    return (old or meanings)[:1] if second else (present or meanings)[:1]


#: Attributes by which a parcel is found and judged → their names in a sentence.
_NEEDED = {
    "sheet": ("số tờ bản đồ", "map sheet"),
    "number": ("số thửa", "parcel number"),
    "area": ("diện tích", "area"),
    "land_use": ("loại đất", "land use"),
    "commune": ("mã xã", "commune"),
}
_MEASURED = frozenset({"SHAPEAREA", "STAREA"})  # Esri's programs measure these areas
_ALIKE = 0.8  # of `difflib`: one letter of five differs


def lookalikes(matches: Sequence[FieldMatch]) -> list[tuple[str, str, tuple[str, str]]]:
    """Return (attribute, field, names) for the first field that looks like a missing attribute."""
    present = {match.attribute for match in matches}
    free = [match.source for match in matches if match.attribute is None and match.filled]
    alike = []
    for attribute, names in _NEEDED.items():
        known = [plain(name) for name in NAMES[attribute]]
        fields = [field for field in free if _is_like(plain(field), known)]
        if fields and attribute not in present:
            alike.append((attribute, fields[0], names))
    return alike


def _is_like(name: str, known: Sequence[str]) -> bool:
    """Tell whether a plain name is nearly one of the `known` names, or holds a long one."""
    if name in _MEASURED:
        return False
    stem = re.sub(r"\d+$", "", name)
    return bool(difflib.get_close_matches(stem, known, n=1, cutoff=_ALIKE)) or any(
        len(word) >= _LONG_NAME and word in name for word in known
    )


_LONG_NAME = 4  # letters


def lacking(matches: Sequence[FieldMatch]) -> BadSurvey | None:
    """Return the error for a survey without a field for the parcel's number; null if it has one."""
    if any(match.attribute == "number" for match in matches):
        return None
    names = ", ".join(match.source for match in matches) or "none"
    likely = [field for attribute, field, _ in lookalikes(matches) if attribute == "number"]
    return BadSurvey(
        "No field of the survey holds the parcel's number; its fields are {names}.",
        hint="Say which with --field number={field}.",
        code="no-number-field",
        names=names,
        field=likely[0] if likely else "NAME",
    )
