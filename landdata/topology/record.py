"""Rules on what a parcel says of itself: its number, commune, area and land use.

`missing-number`: sheet or parcel number is absent or does not begin with a digit from 1 to 9
(both count from 1; `-1` and `0` stand in real files for a parcel that nobody numbered).
`duplicate-row`: the number and the shape of an earlier row of the file; counted as a duplicate.
`duplicate-number`: the number of another row of the file that has another shape. Every such
row gets a finding, which names the first of the others.
`commune-differs`: the file states another commune than the batch is for.
`area-differs`: the stated area is further off the measured one than two measurements may be at
the map scale (`rules.area_tolerance`).
`unknown-land-use`: a land-use code that is not in force: older, of a group, or unknown.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata import land_use
from landdata.findings import Finding
from landdata.topology import rules

if TYPE_CHECKING:
    from landdata.survey import Survey


def keys(survey: Survey, commune: str | None) -> NDArray[np.object_]:
    """Return each row's key `commune/sheet/number`, None where a part of it is missing.

    `commune` is the batch's; where it is None, what the file states counts.
    """
    table = survey.attributes
    sheet, number = _usable(table["sheet"]), _usable(table["number"])
    of = pa.scalar(commune, pa.string()) if commune else table["commune"].combine_chunks()
    joined = pc.binary_join_element_wise(of, sheet, number, "/", null_handling="emit_null")
    return np.array(joined.to_numpy(zero_copy_only=False), dtype=object)


def _usable(column: pa.ChunkedArray) -> pa.Array:
    """Return the column with null for what can be no number."""
    values = column.combine_chunks()
    void = pc.match_substring_regex(values, r"^\s*$|/")
    return pc.if_else(void, pa.scalar(None, pa.string()), values)


def check(
    survey: Survey, parcels: NDArray[np.object_], commune: str | None
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Return the findings, and which of the (n,) rows repeat an earlier row."""
    findings, repeats = _numbers(survey, parcels)
    findings += _communes(survey, parcels, commune)
    findings += _areas(survey, parcels)
    findings += _land_uses(survey, parcels)
    return findings, repeats


def _numbers(
    survey: Survey, parcels: NDArray[np.object_]
) -> tuple[list[Finding], NDArray[np.bool_]]:
    findings = []
    rows = survey.rows
    table = survey.attributes
    counted = r"^[1-9][^/]*$"
    # A file that knows no sheets, as other countries', has all its parcels on sheet 0.
    sheetless = any(found.rule == "no-sheet-field" for found in survey.findings)
    well = [
        pc.fill_null(pc.match_substring_regex(table[name], pattern), False)
        for name, pattern in (("sheet", "^0$" if sheetless else counted), ("number", counted))
    ]
    good = pc.and_(*well).to_numpy()
    # Without a commune there is no key either.
    good &= pa.array(parcels, pa.string()).is_valid().to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(~good)
    named = table.select(["commune", "sheet", "number"]).take(bad).to_pylist()
    for at, parts in zip(bad.tolist(), named, strict=True):
        shown = "/".join(part or "–" for part in parts.values())
        findings.append(
            Finding(
                rule="missing-number",
                row=int(rows[at]),
                parcel=parcels[at],
                point=_place(survey.geometry[at]),
                detail={"row": str(rows[at]), "value": shown},
            )
        )
    repeats = np.zeros(len(survey), dtype=np.bool_)
    for members in _groups(parcels):
        first_of: dict[bytes, int] = {}
        distinct = []
        for at in members:
            shape = survey.geometry[at]
            mark = b"" if shape is None else shapely.to_wkb(shapely.normalize(shape))
            # Without a shape there is nothing that could be the same.
            if mark and mark in first_of:
                repeats[at] = True
                findings.append(
                    Finding(
                        rule="duplicate-row",
                        row=int(rows[at]),
                        other_row=int(rows[first_of[mark]]),
                        parcel=parcels[at],
                        other_parcel=parcels[at],
                        point=_place(shape),
                        detail={"row": str(rows[at]), "other_row": str(rows[first_of[mark]])},
                    )
                )
                continue
            first_of.setdefault(mark, at)
            distinct.append(at)
        if len(distinct) < 2:
            continue
        for at in distinct:
            other = distinct[1] if at == distinct[0] else distinct[0]
            findings.append(
                Finding(
                    rule="duplicate-number",
                    row=int(rows[at]),
                    other_row=int(rows[other]),
                    parcel=parcels[at],
                    other_parcel=parcels[at],
                    point=_place(survey.geometry[at]),
                    detail={"row": str(rows[at]), "other_row": str(rows[other])},
                )
            )
    return findings, repeats


def _groups(parcels: NDArray[np.object_]) -> list[list[int]]:
    """Return the rows of each key that more than one row bears, in the file's order."""
    codes = pa.array(parcels, pa.string()).dictionary_encode().indices
    code = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.bincount(code[code >= 0], minlength=1)
    again = np.flatnonzero((code >= 0) & (counts[code] > 1))
    groups: dict[int, list[int]] = {}
    for at in again.tolist():
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


def _areas(survey: Survey, parcels: NDArray[np.object_]) -> list[Finding]:
    stated = survey.attributes["area"].to_numpy()
    scale = survey.attributes["scale"].combine_chunks().fill_null(0).to_numpy()
    measured = survey.measured_area
    limit = rules.area_tolerance(measured, scale.astype(np.int64))
    off = np.abs(stated - measured)
    # Surveys state areas to 0.1 m²; half of that is the writing, not the measuring.
    beyond = np.flatnonzero(off > limit + 0.05)
    return [
        Finding(
            rule="area-differs",
            row=int(survey.rows[at]),
            parcel=parcels[at],
            measured=round(float(off[at]), 3),
            limit=round(float(limit[at]), 3),
            source=rules.area_source(),
            point=_place(survey.geometry[at]),
            detail={"stated": f"{stated[at]:.1f}", "area": f"{measured[at]:.1f}"},
        )
        for at in beyond.tolist()
    ]


_WHY = {
    "legacy": ("là mã cũ, nay đề nghị dùng {new}", "is an older code, now {new}"),
    "group": ("là mã nhóm, không dùng cho một thửa", "is a group's, which no parcel may bear"),
    "unknown": ("không có trong danh mục", "is not in the list"),
}


def _land_uses(survey: Survey, parcels: NDArray[np.object_]) -> list[Finding]:
    texts = survey.attributes["land_use"].combine_chunks().dictionary_encode()
    findings = []
    bad: dict[int, list[tuple[str, str, str]]] = {}
    for code, text in enumerate(texts.dictionary.to_pylist()):
        told = []
        for each in dict.fromkeys(use["code"] for use in json.loads(text)):
            status = land_use.status(each)
            if status.kind == "current":
                continue
            new = status.proposal or " / ".join(status.choices) or "?"
            vi, en = (why.format(new=new) for why in _WHY[status.kind])
            told.append((each, vi, en))
        if told:
            bad[code] = told
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


def _place(shape: shapely.Geometry | None) -> tuple[float, float] | None:
    """Return a point by which to find the parcel on a map; None where it has no shape."""
    if shape is None or shapely.is_empty(shape):
        return None
    point = shapely.get_point(shapely.get_exterior_ring(shapely.get_geometry(shape, 0)), 0)
    return (shapely.get_x(point), shapely.get_y(point))
