"""Rules on what a parcel states of itself: its commune, area, land use and identifier.

`commune-differs`: the file states another commune than the batch; one finding per commune.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata.findings import Finding
from landdata.reference import land_use, parcel_keys
from landdata.topology import numbers, rules, tolerances
from landdata.topology.tolerances import ToleranceContext

if TYPE_CHECKING:
    from landdata.survey import Survey


#: Half of the 0.1 m² to which surveys state areas.
_ROUNDING = 0.05
FromWgs84 = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[Any, Any]]


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
    findings, repeats, owners = numbers.check(survey, parcels)
    findings += _identifiers(survey, parcels, limits, from_wgs84)
    findings += _communes(survey, parcels, commune)
    findings += _areas(survey, parcels, limits, context)
    findings += _land_uses(survey, parcels, context)
    findings += _use_areas(survey, parcels, limits, context)
    return findings, repeats, owners


def _communes(survey: Survey, parcels: NDArray[np.object_], commune: str | None) -> list[Finding]:
    if commune is None:
        return []
    stated = survey.attributes["commune"].combine_chunks()
    differs = pc.fill_null(pc.not_equal(stated, commune), False)
    by_code: dict[str, list[int]] = {}
    for at in np.flatnonzero(differs.to_numpy(zero_copy_only=False)).tolist():
        by_code.setdefault(stated[at].as_py(), []).append(at)
    findings = []
    for code, places in by_code.items():
        first, others = places[0], len(places) - 1
        findings.append(
            Finding(
                rule="commune-differs",
                row=int(survey.rows[first]),
                rows=tuple(survey.rows[places].tolist()) if others else (),
                parcel=parcels[first],
                point=numbers.place(survey.geometry[first]),
                detail={
                    "value": code,
                    "commune": commune,
                    "others": f" và {others} thửa khác" if others else "",
                    "others_en": f" and {others} others" if others else "",
                },
            )
        )
    return findings


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
            point=numbers.place(survey.geometry[at]),
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
            point=numbers.place(survey.geometry[at]),
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
            point=numbers.place(shapes[k]),
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
                point=numbers.place(survey.geometry[at]),
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
            point=numbers.place(survey.geometry[at]),
        )
        for at in np.flatnonzero(total > area + rounding + 1e-6).tolist()
    ]
