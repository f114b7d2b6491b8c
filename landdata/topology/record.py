"""Rules on what a parcel says of itself: its number, commune, area and land use.

`missing-number`: sheet or parcel number is absent or does not begin with a digit from 1 to 9
(both count from 1; `-1` and `0` stand in real files for a parcel that nobody numbered).
`duplicate-row`: the number and the shape of an earlier row of the file; counted as a duplicate.
`duplicate-number`: the number of another row of the file that has another shape. Every such
row gets a finding, which names the first of the others.
`commune-differs`: the file states another commune than the batch is for.
`area-differs`: the stated area is further off the measured one than two measurements may be at
the map scale (`landdata.topology.tolerances`).
`sheet-area-differs`: on a sheet, what the parcels state adds up to another area than what they
measure; the limit is what the differences allowed to each add up to if they are by chance (root
of the sum of squares). Parcels told by `area-differs` are left out.
`identifier-ill-formed`, `identifier-outside`: the national identifier is no GeoHash of twelve
characters, or its cell lies further than `Limits.cell` from the parcel.
`unknown-land-use`: a land-use code that is not in force: older, of a group, or unknown.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.reference import land_use, parcel_keys
from landdata.topology import rules, tolerances
from landdata.topology.tolerances import Ground

if TYPE_CHECKING:
    from landdata.survey import Survey


FromWgs84 = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[Any, Any]]


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
    survey: Survey,
    parcels: NDArray[np.object_],
    commune: str | None,
    limits: rules.Limits,
    ground: Ground,
    from_wgs84: FromWgs84 | None,
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Return the findings, and which of the (n,) rows repeat an earlier row.

    `from_wgs84` turns longitudes and latitudes into the storage CRS; without it identifiers
    are held to their form alone.
    """
    findings, repeats = _numbers(survey, parcels)
    findings += _identifiers(survey, parcels, limits, from_wgs84)
    findings += _communes(survey, parcels, commune)
    findings += _areas(survey, parcels, limits, ground)
    findings += _land_uses(survey, parcels, ground)
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


def _areas(
    survey: Survey, parcels: NDArray[np.object_], limits: rules.Limits, ground: Ground
) -> list[Finding]:
    stated = survey.attributes["area"].to_numpy()
    measured = survey.measured_area
    limit, sources = tolerances.limits("area", measured, ground, limits.tolerances)
    off = np.abs(stated - measured)
    # Surveys state areas to 0.1 m²; half of that is the writing, not the measuring.
    beyond = np.flatnonzero(off > limit + 0.05)
    return _sheet_areas(survey, stated, measured, limit, off <= limit + 0.05) + [
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
    """Add the areas of each sheet up; `use` says which parcels state one in order."""
    sheets = survey.attributes["sheet"].combine_chunks().dictionary_encode()
    code = sheets.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    use = use & (code >= 0) & np.isfinite(limit)
    names = sheets.dictionary.to_pylist()
    said, found, squares, count = (
        np.bincount(code[use], weights=values, minlength=len(names))
        for values in (stated[use], measured[use], (limit[use] + 0.05) ** 2, np.ones(use.sum()))
    )
    off, allowed = np.abs(said - found), 3 * np.sqrt(squares)
    return [
        Finding(
            rule="sheet-area-differs",
            measured=round(float(off[k]), 1),
            limit=round(float(allowed[k]), 1),
            detail={"sheet": names[k], "stated": f"{said[k]:.1f}", "area": f"{found[k]:.1f}"},
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
    some = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    ids = dict(zip(some.tolist(), column.take(pa.array(some)).to_pylist(), strict=True))
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
    far = shapely.distance(shapely.points(np.asarray(x), np.asarray(y)), shapes)
    return findings + [
        Finding(
            rule="identifier-outside",
            row=int(survey.rows[good[k]]),
            parcel=parcels[good[k]],
            measured=round(float(far[k]), 3),
            limit=limits.cell,
            point=_place(shapes[k]),
            detail={"value": ids[good[k]]},
        )
        for k in np.flatnonzero(usable & (far > limits.cell)).tolist()
    ]


#: Why a code is told, by its kind and whether there is one to propose.
_WHY = {
    ("legacy", True): ("là mã cũ, nay đề nghị dùng {new}", "is an older code, now {new}"),
    ("legacy", False): ("là mã cũ, cần người chọn mã mới", "is an older code; choose a new one"),
    ("group", True): (
        "là mã nhóm, không dùng cho một thửa; chọn {new}",
        "is a group's, which no parcel may bear; choose {new}",
    ),
    ("group", False): (
        "là mã nhóm, không dùng cho một thửa",
        "is a group's, which no parcel may bear",
    ),
    ("unknown", False): ("không có trong danh mục", "is not in the list"),
}


def _land_uses(survey: Survey, parcels: NDArray[np.object_], ground: Ground) -> list[Finding]:
    texts = ground.uses
    findings = []
    bad: dict[int, list[tuple[str, str, str]]] = {}
    for code, text in enumerate(texts.dictionary.to_pylist()):
        told = []
        for each in dict.fromkeys(use["code"] for use in json.loads(text)):
            status = land_use.status(each)
            if status.kind == "current":
                continue
            new = status.proposal or " / ".join(status.choices)
            vi, en = (why.format(new=new) for why in _WHY[status.kind, bool(new)])
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
