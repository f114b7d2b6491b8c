"""Rules on the number of a parcel, and on rows that share one.

`missing-number`: commune, sheet or parcel number is absent or not of the grammar of
`parcel_keys.NUMBER` (real files have `-1` and `0` for a parcel without a number). Such a row has no
key, so no other rule on numbers applies to it.
`duplicate-row`: the number and shape of an earlier row of the file; counted as a duplicate.
`duplicate-differs`: such a row has other attributes than the earlier one, which are not kept.
`co-owner`: such a row has another owner; co-owners are often exported a row each, so the parcel has
them all.
`duplicate-number`: the number of another row of the file, but not its shape. Every such row gets
a finding, which names the first of the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.reference import parcel_keys

if TYPE_CHECKING:
    from landdata.survey import Survey


def keys(survey: Survey, commune: str | None) -> NDArray[np.object_]:
    """Return the keys (n,) `commune/sheet/number`, null where a part is not usable.

    `commune` is the batch's; if null, the commune that the file states.
    """
    sheet, number = _usable(survey, "sheet"), _usable(survey, "number")
    stated = survey.attributes["commune"].combine_chunks()
    code = pa.scalar(commune, pa.string()) if commune else stated
    joined = pc.binary_join_element_wise(code, sheet, number, "/", null_handling="emit_null")
    return np.array(joined.to_numpy(zero_copy_only=False), dtype=object)


def _usable(survey: Survey, name: str) -> pa.Array:
    """Return the column of numbers `name` with null for what is not a number."""
    values = survey.attributes[name].combine_chunks()
    sheetless = name == "sheet" and _is_sheetless(survey)
    pattern = "^0$" if sheetless else f"^{parcel_keys.NUMBER}$"
    is_number = pc.match_substring_regex(values, pattern)
    return pc.if_else(is_number, values, pa.scalar(None, pa.string()))


def _is_sheetless(survey: Survey) -> bool:
    """Tell whether the file has no sheet field, as from other countries: all is on sheet 0."""
    return any(finding.rule == "no-sheet-field" for finding in survey.findings)


#: Why numbers of a file without a sheet field are used twice.
_WITHOUT_SHEETS = {
    "why": ": không nhận ra trường số tờ, nên mọi thửa ở tờ 0 (--field sheet=TRƯỜNG)",
    "why_en": ": no field is recognised as the sheet, so all are on sheet 0 (--field sheet=FIELD)",
}


def check(
    survey: Survey, parcels: NDArray[np.object_]
) -> tuple[list[Finding], NDArray[np.bool_], dict[int, str]]:
    """Return the findings on numbers, which rows (n,) repeat an earlier row, and joined owners."""
    findings = _missing_numbers(survey, parcels)
    why = _WITHOUT_SHEETS if _is_sheetless(survey) else {}
    repeats = np.zeros(len(survey), dtype=np.bool_)
    copies: list[tuple[int, int]] = []
    for rows in _rows_by_key(parcels):
        first_of: dict[bytes, int] = {}
        distinct = []
        for at in rows:
            shape = survey.geometry[at]
            wkb = b"" if shape is None else shapely.to_wkb(shapely.normalize(shape))
            if wkb and wkb in first_of:  # rows without a shape never repeat one
                repeats[at] = True
                copies.append((at, first_of[wkb]))
                continue
            first_of.setdefault(wkb, at)
            distinct.append(at)
        if len(distinct) > 1:
            for at in distinct:
                other = distinct[at == distinct[0]]
                finding = _of_two("duplicate-number", survey, parcels, at, other)
                findings.append(replace(finding, detail={**finding.detail, **why}))
    repeated, owners = _copies(survey, parcels, copies)
    return findings + repeated, repeats, owners


def _copies(
    survey: Survey, parcels: NDArray[np.object_], copies: list[tuple[int, int]]
) -> tuple[list[Finding], dict[int, str]]:
    """Return the findings on (row, earlier row) of one number and shape, and joined owners by row.

    The rows of the owners are those of the file; `copies` are indices.
    """
    names = [name for name in survey.attributes.column_names if name not in _NOT_COMPARED]
    fields = {match.attribute: match.source for match in survey.fields}
    values = {
        at: survey.attributes.slice(at, 1).to_pylist()[0]
        for at in sorted({at for pair in copies for at in pair})
    }
    findings: list[Finding] = []
    owners: dict[int, list[str | None]] = {}
    for at, first in copies:
        row, owner = values[at], values[at]["owner"]
        differing = [
            fields.get(name, name)
            for name in names
            if row[name] is not None and row[name] != values[first][name]
        ]
        known = owners.setdefault(first, [values[first]["owner"]])
        rule = "duplicate-differs" if differing else "duplicate-row"
        if owner is not None and owner not in known:
            known.append(owner)
            findings.append(_of_two("co-owner", survey, parcels, at, first))
            if not differing:
                continue
        finding = _of_two(rule, survey, parcels, at, first)
        findings.append(replace(finding, detail={**finding.detail, "fields": ", ".join(differing)}))
    return findings, {
        int(survey.rows[first]): "; ".join(filter(None, known))
        for first, known in owners.items()
        if len(known) > 1
    }


#: Attributes of a repeated row that may differ: parts of the key, a program's own key, and owners.
_NOT_COMPARED = frozenset({"commune", "sheet", "number", "source_id", "owner"})


def _of_two(
    rule: str, survey: Survey, parcels: NDArray[np.object_], at: int, other: int
) -> Finding:
    """Return a finding on a row and another row with the same number."""
    row, other_row = int(survey.rows[at]), int(survey.rows[other])
    return Finding(
        rule=rule,
        row=row,
        other_row=other_row,
        parcel=parcels[at],
        other_parcel=parcels[at],
        point=place(survey.geometry[at]),
        detail={"row": str(row), "other_row": str(other_row)},
    )


def _missing_numbers(survey: Survey, parcels: NDArray[np.object_]) -> list[Finding]:
    without = np.flatnonzero(
        pa.array(parcels, pa.string()).is_null().to_numpy(zero_copy_only=False)
    )
    if not len(without):
        return []
    usable = {name: _usable(survey, name).take(without) for name in ("sheet", "number")}
    stated = survey.attributes.select(["sheet", "number"]).take(without).to_pylist()
    findings = []
    for k, (at, values) in enumerate(zip(without.tolist(), stated, strict=True)):
        parts: list[tuple[str, str]] = []
        for name, column in usable.items():
            if not column[k].is_valid:
                (noun, noun_en), (why, why_en) = _PART[name], parcel_keys.why_unusable(values[name])
                parts.append((f"{noun} ({why})", f"{noun_en} ({why_en})"))
        # Of a row whose numbers are usable only the commune is missing.
        vi, en = zip(*(parts or [_NO_COMMUNE]), strict=True)
        findings.append(
            Finding(
                rule="missing-number",
                row=int(survey.rows[at]),
                point=place(survey.geometry[at]),
                detail={"what": ", ".join(vi), "what_en": " and no usable ".join(en)},
            )
        )
    return findings


#: Part of a number → its name in a sentence, in Vietnamese and English.
_PART = {"sheet": ("số tờ", "sheet number"), "number": ("số thửa", "parcel number")}
_NO_COMMUNE = ("mã xã (ghi bằng --commune)", "commune (give it with --commune)")


def _rows_by_key(parcels: NDArray[np.object_]) -> list[list[int]]:
    """Return the rows of every key that several rows have, in the file's order."""
    codes = pa.array(parcels, pa.string()).dictionary_encode().indices
    code = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.bincount(code[code >= 0], minlength=1)
    repeated = np.flatnonzero((code >= 0) & (counts[code] > 1))
    groups: dict[int, list[int]] = {}
    for at in repeated.tolist():
        groups.setdefault(int(code[at]), []).append(at)
    return list(groups.values())


def place(shape: shapely.Geometry | None) -> tuple[float, float] | None:
    """Return a vertex, to find the parcel on a map; null without a shape."""
    if shape is None or shapely.is_empty(shape):
        return None
    point = shapely.get_point(shapely.get_exterior_ring(shapely.get_geometry(shape, 0)), 0)
    return (shapely.get_x(point), shapely.get_y(point))
