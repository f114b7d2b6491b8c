"""Rules on what a parcel states of itself: its number, commune, area and land use.

`missing-number`: commune, sheet or parcel number is absent or not of the grammar of
`parcel_keys.NUMBER` (real files have `-1` and `0` for a parcel without a number). Such a row has no
key, so no other rule on numbers applies to it.
`duplicate-row`: the number and shape of an earlier row of the file; counted as a duplicate.
`duplicate-differs`: such a row has other attributes than the earlier one, which are not kept.
`co-owner`: such a row has another owner; co-owners are often exported a row each, so the parcel has
them all.
`duplicate-number`: the number of another row of the file, but not its shape. Every such row gets
a finding, which names the first of the others.
`commune-differs`: the file states another commune than the batch.
`area-differs`: the stated and the measured area differ by more than the tolerance at the map
scale (`landdata.topology.tolerances`).
`sheet-area-differs`: the areas stated on a sheet add up to another sum than the measured ones; the
limit is three times the root of the sum of the squared tolerances, as for independent errors.
Parcels with `area-differs` are left out.
`identifier-ill-formed`, `identifier-outside`: the national identifier is not a 12-character
GeoHash, or its cell lies further than `Limits.cell` from the parcel.
`unknown-land-use`: a land-use code that is not in force: legacy, a group, or unlisted.
`uses-exceed-area`: the stated areas of the uses add up to more than the parcel's: the larger one of
the stated and the legal area, else the measured area with its tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.reference import land_use, parcel_keys
from landdata.topology import rules, tolerances
from landdata.topology.tolerances import ToleranceContext

if TYPE_CHECKING:
    from landdata.survey import Survey


#: Half of the 0.1 m² to which surveys state areas.
_ROUNDING = 0.05
FromWgs84 = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[Any, Any]]


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
    # A file without a sheet field, as from other countries, has all its parcels on sheet 0.
    sheetless = name == "sheet" and any(f.rule == "no-sheet-field" for f in survey.findings)
    pattern = "^0$" if sheetless else f"^{parcel_keys.NUMBER}$"
    is_number = pc.match_substring_regex(values, pattern)
    return pc.if_else(is_number, values, pa.scalar(None, pa.string()))


def check(
    survey: Survey,
    parcels: NDArray[np.object_],
    commune: str | None,
    limits: rules.Limits,
    context: ToleranceContext,
    from_wgs84: FromWgs84 | None,
) -> tuple[list[Finding], NDArray[np.bool_], dict[int, str]]:
    """Return the findings, which of the (n,) rows repeat an earlier row, and joined owners by row.

    `from_wgs84` transforms longitudes and latitudes into the storage CRS; without it only the
    form of identifiers is checked.
    """
    findings, repeats, owners = _numbers(survey, parcels)
    findings += _identifiers(survey, parcels, limits, from_wgs84)
    findings += _communes(survey, parcels, commune)
    findings += _areas(survey, parcels, limits, context)
    findings += _land_uses(survey, parcels, context)
    findings += _use_areas(survey, parcels, limits, context)
    return findings, repeats, owners


def _numbers(
    survey: Survey, parcels: NDArray[np.object_]
) -> tuple[list[Finding], NDArray[np.bool_], dict[int, str]]:
    """Return the findings on numbers, which rows (n,) repeat an earlier row, and joined owners."""
    findings = _missing_numbers(survey, parcels)
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
            findings += [
                _of_two("duplicate-number", survey, parcels, at, distinct[at == distinct[0]])
                for at in distinct
            ]
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
        point=_place(survey.geometry[at]),
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
                point=_place(survey.geometry[at]),
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


def _communes(survey: Survey, parcels: NDArray[np.object_], commune: str | None) -> list[Finding]:
    if commune is None:
        return []
    stated = survey.attributes["commune"].combine_chunks()
    differs = pc.fill_null(pc.not_equal(stated, commune), False)
    at_rows = np.flatnonzero(differs.to_numpy(zero_copy_only=False))
    return [
        Finding(
            rule="commune-differs",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            point=_place(survey.geometry[at]),
            detail={"value": stated[at].as_py(), "commune": commune},
        )
        for at in at_rows.tolist()
    ]


def _areas(
    survey: Survey, parcels: NDArray[np.object_], limits: rules.Limits, context: ToleranceContext
) -> list[Finding]:
    stated = survey.attributes["area"].to_numpy()
    measured = survey.measured_area
    limit, sources = tolerances.limits("area", measured, context, limits.tolerances)
    off = np.abs(stated - measured)
    beyond = np.flatnonzero(off > limit + _ROUNDING)
    return _sheet_areas(survey, stated, measured, limit, off <= limit + _ROUNDING) + [
        Finding(
            rule="area-differs",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            measured=round(float(off[at]), 3),
            limit=round(float(limit[at]), 3),
            source=next(text for which, text in sources if which[at]),
            point=_place(survey.geometry[at]),
            detail={"stated": f"{stated[at]:.1f}", "area": f"{measured[at]:.1f}"},
        )
        for at in beyond.tolist()
    ]


def _sheet_areas(
    survey: Survey,
    stated: NDArray[np.float64],
    measured: NDArray[np.float64],
    limit: NDArray[np.float64],
    use: NDArray[np.bool_],
) -> list[Finding]:
    """Return the findings on the sums per sheet; `use` are the parcels with a fitting area."""
    sheets = survey.attributes["sheet"].combine_chunks().dictionary_encode()
    code = sheets.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    use = use & (code >= 0) & np.isfinite(limit)
    names = sheets.dictionary.to_pylist()
    stated_sum, measured_sum, squares, count = (
        np.bincount(code[use], weights=values, minlength=len(names))
        for values in (
            stated[use],
            measured[use],
            (limit[use] + _ROUNDING) ** 2,
            np.ones(use.sum()),
        )
    )
    off, allowed = np.abs(stated_sum - measured_sum), 3 * np.sqrt(squares)
    return [
        Finding(
            rule="sheet-area-differs",
            measured=round(float(off[k]), 1),
            limit=round(float(allowed[k]), 1),
            detail={
                "sheet": names[k],
                "stated": f"{stated_sum[k]:.1f}",
                "area": f"{measured_sum[k]:.1f}",
            },
        )
        for k in np.flatnonzero((off > allowed) & (count > 1)).tolist()
    ]


def _identifiers(
    survey: Survey,
    parcels: NDArray[np.object_],
    limits: rules.Limits,
    from_wgs84: FromWgs84 | None,
) -> list[Finding]:
    column = survey.attributes["national_id"].combine_chunks()
    present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    ids = dict(zip(present.tolist(), column.take(pa.array(present)).to_pylist(), strict=True))
    good = [at for at, text in ids.items() if parcel_keys.is_national(text)]
    findings = [
        Finding(
            rule="identifier-ill-formed",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            point=_place(survey.geometry[at]),
            detail={"value": text},
        )
        for at, text in ids.items()
        if not parcel_keys.is_national(text)
    ]
    if from_wgs84 is None or not good:
        return findings
    west, south, east, north = np.array([parcel_keys.cell(ids[at]) for at in good]).T
    x, y = from_wgs84((west + east) / 2, (south + north) / 2)
    shapes = survey.geometry[good]
    usable = ~shapely.is_missing(shapes)
    usable[usable] = shapely.is_valid(shapes[usable])
    distance = shapely.distance(shapely.points(np.asarray(x), np.asarray(y)), shapes)
    return findings + [
        Finding(
            rule="identifier-outside",
            row=int(survey.rows[good[k]]),
            parcel=parcels[good[k]],
            measured=round(float(distance[k]), 3),
            limit=limits.cell,
            point=_place(shapes[k]),
            detail={"value": ids[good[k]]},
        )
        for k in np.flatnonzero(usable & (distance > limits.cell)).tolist()
    ]


#: Why a code is a defect, by its kind and whether there is a code to propose.
_WHY = {
    ("legacy", True): ("là mã cũ, nay đề nghị dùng {new}", "is an older code, now {new}"),
    ("legacy", False): ("là mã cũ, cần người chọn mã mới", "is an older code; choose a new one"),
    ("group", True): (
        "là mã nhóm, không dùng cho một thửa; chọn {new}",
        "is a group code, not for a parcel; choose {new}",
    ),
    ("group", False): (
        "là mã nhóm, không dùng cho một thửa",
        "is a group code, not for a parcel",
    ),
    ("unknown", False): ("không có trong danh mục", "is not in the list"),
}


def _land_uses(
    survey: Survey, parcels: NDArray[np.object_], context: ToleranceContext
) -> list[Finding]:
    texts = context.uses
    findings = []
    bad: dict[int, list[tuple[str, str, str]]] = {}
    for code, text in enumerate(texts.dictionary.to_pylist()):
        defects = []
        for use_code in dict.fromkeys(use["code"] for use in json.loads(text)):
            status = land_use.status(use_code)
            if status.kind == "current":
                continue
            new = status.proposal or " / ".join(status.choices)
            vi, en = (why.format(new=new) for why in _WHY[status.kind, bool(new)])
            defects.append((use_code, vi, en))
        if defects:
            bad[code] = defects
    index = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for at in np.flatnonzero(np.isin(index, list(bad))).tolist():
        findings += [
            Finding(
                rule="unknown-land-use",
                row=int(survey.rows[at]),
                parcel=parcels[at],
                point=_place(survey.geometry[at]),
                detail={"value": value, "why": vi, "why_en": en},
            )
            for value, vi, en in bad[int(index[at])]
        ]
    return findings


def _use_areas(
    survey: Survey, parcels: NDArray[np.object_], limits: rules.Limits, context: ToleranceContext
) -> list[Finding]:
    texts = context.uses
    areas = [
        [use["area"] for use in json.loads(text) if use["area"] is not None]
        for text in texts.dictionary.to_pylist()
    ]
    if not any(areas):
        return []
    areas.append([])  # of a parcel without uses, by the index -1
    index = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    total = np.array([sum(values) for values in areas])[index]
    rounding = _ROUNDING * (np.array([len(values) for values in areas])[index] + 1)
    stated, legal = (survey.attributes[name].to_numpy() for name in ("area", "legal_area"))
    measured = survey.measured_area
    allowed, _ = tolerances.limits("area", measured, context, limits.tolerances)
    area = np.fmax(stated, legal)
    area = np.where(np.isnan(area), measured + allowed, area)
    return [
        Finding(
            rule="uses-exceed-area",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            measured=round(float(total[at]), 1),
            limit=round(float(area[at]), 1),
            point=_place(survey.geometry[at]),
        )
        for at in np.flatnonzero(total > area + rounding + 1e-6).tolist()
    ]


def _place(shape: shapely.Geometry | None) -> tuple[float, float] | None:
    """Return a vertex, to find the parcel on a map; null without a shape."""
    if shape is None or shapely.is_empty(shape):
        return None
    point = shapely.get_point(shapely.get_exterior_ring(shapely.get_geometry(shape, 0)), 0)
    return (shapely.get_x(point), shapely.get_y(point))
