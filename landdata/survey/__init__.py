"""A stranger's file becomes a `Survey`, or one clear `BadSurvey`.

`formats` tells what a file is, `archive` makes it safe, `reader` returns its `Layer` (WKB and
raw columns); all that follows is the same for each format.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from landdata.errors import BadSurvey
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import (
    archive,
    crs,
    encodings,
    fields,
    formats,
    making,
    profiles,
    reader,
)
from landdata.survey.crs import Box
from landdata.survey.model import (
    SCHEMA,
    CrsChoice,
    EncodingChoice,
    FieldMatch,
    Inspection,
    Survey,
    SurveyPoints,
)

__all__ = [
    "SCHEMA",
    "CrsChoice",
    "EncodingChoice",
    "FieldMatch",
    "Inspection",
    "Survey",
    "SurveyPoints",
    "inspect",
    "read",
]

#: Told of each stage as it begins: its name and the share of the work done, 0 to 1.
Progress = Callable[[str, float], None]

_SAMPLE = 10  # rows that an inspection shows
_POLYGONAL = (int(shapely.GeometryType.POLYGON), int(shapely.GeometryType.MULTIPOLYGON))
_DIGITS = 3  # coordinates live on a grid of 1 mm


def read(
    path: Path | str,
    settings: Settings,
    *,
    layer: str | None = None,
    encoding: str | None = None,
    crs: int | None = None,
    fields: Mapping[str, str] | None = None,
    engine: str | None = None,
    mend_text: bool = False,
    profile: profiles.Profile | None = None,
    commune: Box | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Read a survey file into the storage CRS (`settings.srid`).

    `layer`, `encoding`, `crs` (EPSG) and `fields` (attribute → field, or → `=constant`)
    overrule what the file says or what is detected. `engine` is 'pyogrio' (in bulk) or 'fiona'
    (row by row; tried by itself where the first fails). `mend_text` finishes conversions of text
    that somebody began; else it stands as in the file. `profile` says what is not said here.
    `commune` is the box, in the storage CRS, of the commune that the survey should lie in.
    Every row of the file is a row of the
    survey: one without a usable shape has None, and a finding. Raises `BadSurvey` for a file
    that cannot be read as a whole, `BadRequest` for an option that makes no sense, `NotFound`
    where there is no file.
    """
    clock = _Clock(progress)
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        dataset, raw = _load(path, Path(scratch), settings, layer, engine, profile, clock)
        text = _understand(dataset, raw, encoding, fields, mend_text, profile, clock)
        shapes = _shapes(dataset, raw, settings, clock)
        crs = profile.crs if crs is None and profile else crs
        choice, refusal = _choose_crs(dataset, shapes, settings, crs, commune)
        if refusal is not None:
            raise refusal
        assert choice.epsg is not None  # no refusal without a code
        attributes, findings = _attributes(dataset, text, raw.rows, clock)
        geometry, measured = _store(shapes, choice.epsg, settings.srid, clock)
        points = _points(raw.points, text.encoding.name, choice.epsg, settings.srid)
    return Survey(
        source=path.name,
        layer=dataset.layer,
        rows=raw.rows,
        geometry=geometry,
        measured_area=measured,
        attributes=attributes,
        srid=settings.srid,
        crs=choice,
        encoding=text.encoding,
        fields=text.matches,
        profile=str(profile) if profile else None,
        points=points,
        findings=(*_of_file(dataset, raw), *shapes.findings, *findings),
        engine=raw.engine,
        seconds=clock.end(),
    )


def inspect(
    path: Path | str,
    settings: Settings,
    *,
    layer: str | None = None,
    encoding: str | None = None,
    crs: int | None = None,
    fields: Mapping[str, str] | None = None,
    engine: str | None = None,
    mend_text: bool = False,
    profile: profiles.Profile | None = None,
    commune: Box | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Tell what a file holds and how it would be read; nothing is stored.

    Takes and raises the same as `read`, but for a CRS that would be refused or fields that
    lack the parcel's number: those it tells as `refusal`.
    """
    clock = _Clock(progress)
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        dataset, raw = _load(path, Path(scratch), settings, layer, engine, profile, clock)
        text = _understand(dataset, raw, encoding, fields, mend_text, profile, clock)
        shapes = _shapes(dataset, raw, settings, clock)
        crs = profile.crs if crs is None and profile else crs
        choice, refusal = _choose_crs(dataset, shapes, settings, crs, commune)
        if refusal is None:
            try:
                _attributes(dataset, text, raw.rows, clock)
            except BadSurvey as error:
                refusal = error
        sample = _sample(text.columns)
    return Inspection(
        source=path.name,
        layers=dataset.layers,
        layer=dataset.layer,
        fields=text.matches,
        encoding=text.encoding,
        sample=sample,
        crs=choice,
        rows=len(raw.rows),
        geometry_type=dataset.shape,
        profile=str(profile) if profile else None,
        refusal=refusal.message if refusal else None,
        refusal_code=refusal.code if refusal else None,
    )


_SHARES = {
    "unpack": 0.0, "read": 0.05, "decode": 0.4, "shapes": 0.55, "attributes": 0.7,
    "transform": 0.8,
}  # fmt: skip


class _Clock:
    """Measures the stages, and tells of them."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._stage: str | None = None
        self._since = 0.0

    def stage(self, name: str) -> None:
        """Begin a stage, and end the one before."""
        self.end(done=False)
        self._stage, self._since = name, time.perf_counter()
        if self._progress:
            self._progress(name, _SHARES[name])

    def end(self, done: bool = True) -> dict[str, float]:
        """End the stage; return the seconds of all."""
        if self._stage:
            self.seconds[self._stage] = round(time.perf_counter() - self._since, 4)
            self._stage = None
        if done and self._progress:
            self._progress("done", 1.0)
        return self.seconds


def _load(
    path: Path,
    scratch: Path,
    settings: Settings,
    layer: str | None,
    engine: str | None,
    profile: profiles.Profile | None,
    clock: _Clock,
) -> tuple[archive.Dataset, reader.Layer]:
    clock.stage("unpack")
    dataset = archive.unpack(path, scratch, settings, layer=layer)
    clock.stage("read")
    if dataset.format.kind == "polygons":
        raw = reader.read(dataset, settings, engine=engine)
    else:
        columns = profile.columns if profile else None
        raw = making.read(dataset, settings, engine=engine, columns=columns)
    if dataset.format is formats.SHAPEFILE:
        return dataset, raw
    alone = len(dataset.layers) == 1
    # What has no name of its own is called as our copy is: its sender calls it otherwise.
    ours = "" if dataset.format.layered else dataset.file.stem
    named = raw.layer if alone and raw.layer != ours else None
    return replace(
        dataset,
        layer=named or dataset.layer,
        layers=raw.layers if named else dataset.layers,
        shape=raw.shape,
        prj=raw.crs,
    ), raw


def _of_file(dataset: archive.Dataset, raw: reader.Layer) -> list[Finding]:
    """Tell what is to be known of the file as a whole, and of rows that could not be read."""
    found = [Finding("unreadable-row", row=row, detail={"row": str(row)}) for row in raw.unread]
    if dataset.deleted:
        found.append(Finding("deleted-rows", detail={"count": str(dataset.deleted)}))
    if raw.stated is not None:
        counts = {"stated": str(raw.stated), "count": str(len(raw.rows))}
        found.append(Finding("stale-count", detail=counts))
    return [*found, *raw.findings]


# -- text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The columns, decoded and matched."""

    columns: dict[str, pa.ChunkedArray]
    mangled: dict[str, pa.ChunkedArray]  # source field → (n,) whether its text is half converted
    proposed: dict[str, pa.ChunkedArray]  # source field → (n,) the text finished, null: it is
    encoding: EncodingChoice
    matches: tuple[FieldMatch, ...]


def _understand(
    dataset: archive.Dataset,
    raw: reader.Layer,
    encoding: str | None,
    options: Mapping[str, str] | None,
    mend: bool,
    profile: profiles.Profile | None,
    clock: _Clock,
) -> _Text:
    """Decode all text, and match the fields."""
    clock.stage("decode")
    encoding = encoding or (profile.encoding if profile else None)
    mend = mend or bool(profile and profile.mend_text)
    textual = {n: c for n, c in raw.columns.items() if pa.types.is_string(c.type)}
    coded = {name: fields.coded(column) for name, column in textual.items()}
    distinct = {name: array.dictionary.to_pylist() for name, array in coded.items()}
    # ASCII is the same in all encodings, and most of a file.
    everything = list(
        {
            text: None
            for texts in (*distinct.values(), raw.columns)
            for text in texts
            if text is not None and not text.isascii()
        }
    )
    if raw.unicode:
        choice, decoded = encodings.recover(everything, option=encoding)
    else:
        choice = encodings.detect(everything, cpg=dataset.cpg, option=encoding)
        decoded = encodings.decode(everything, choice.name)
    finished = encodings.finish(decoded) if choice.name == "UTF-8" else decoded
    begun = {
        value: after
        for value, before, after in zip(everything, decoded, finished, strict=True)
        if before != after
    }
    meaning = dict(zip(everything, finished if mend else decoded, strict=True))
    flags = encodings.mangled(finished)
    damaged = {value for value, flag in zip(everything, flags, strict=True) if flag}
    columns: dict[str, pa.ChunkedArray] = {}
    mangled: dict[str, pa.ChunkedArray] = {}
    proposed: dict[str, pa.ChunkedArray] = {}
    for name, column in raw.columns.items():
        known = meaning.get(name, name)
        columns[known] = column
        texts = distinct.get(name, [])
        if all(map(str.isascii, texts)):
            continue
        places = coded[name].indices
        values = pa.array([meaning.get(text, text) for text in texts], pa.string())
        columns[known] = pa.chunked_array([values.take(places)])
        if not damaged.isdisjoint(texts):
            bad = pa.array([text in damaged for text in texts], pa.bool_())
            mangled[known] = pa.chunked_array([pc.fill_null(bad.take(places), False)])
        if not (mend or begun.keys().isdisjoint(texts)):
            better = pa.array([begun.get(text) for text in texts], pa.string())
            proposed[known] = pa.chunked_array([better.take(places)])
    filled = {name: fields.count_filled(column) for name, column in columns.items()}
    return _Text(
        columns=columns,
        mangled=mangled,
        proposed=proposed,
        encoding=replace(choice, unfinished=len(begun), mended=len(begun) if mend else 0),
        matches=fields.match(filled, options, profile.fields if profile else None),
    )


def _attributes(
    dataset: archive.Dataset, text: _Text, rows: NDArray[np.int64], clock: _Clock
) -> tuple[pa.Table, list[Finding]]:
    clock.stage("attributes")
    columns = dict(text.columns)
    no_numbers: list[Finding] = []
    for match in text.matches:
        name = match.source
        if match.attribute is None or not (bad := archive.garbage(dataset, name, rows)):
            continue
        lost = np.zeros(len(rows), np.bool_)
        lost[list(bad)] = True
        kind = columns[name].type
        columns[name] = pc.if_else(pa.array(lost), pa.scalar(None, kind), columns[name])
        no_numbers += [
            Finding("bad-value", row=int(rows[at]), detail={"field": name, "value": repr(value)})
            for at, value in bad.items()
        ]
    table, findings = fields.read(columns, text.matches, rows)
    findings += no_numbers
    by_row: dict[int, list[str]] = {}
    for match in text.matches:
        if match.attribute is not None and match.source in text.mangled:
            flags = text.mangled[match.source].to_numpy()
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
        for match in text.matches
        if match.attribute is not None and match.source in text.proposed
        for index in np.flatnonzero(text.proposed[match.source].is_valid().to_numpy()).tolist()
    ]
    return table, findings


def _proposal(text: _Text, match: FieldMatch, index: int) -> dict[str, str]:
    """Tell what stands in a field and what is proposed; of persons and places neither."""
    if match.attribute in fields.PERSONAL:
        return {"change": ""}
    now = text.columns[match.source][index].as_py()
    return {"change": f" ({now} → {text.proposed[match.source][index].as_py()})"}


def _sample(columns: Mapping[str, pa.ChunkedArray]) -> tuple[dict[str, str], ...]:
    """Take ten rows of text, those that show the encoding best: with the most accents."""
    textual = {n: c for n, c in columns.items() if pa.types.is_string(c.type)}
    if not textual:
        return ()
    length = len(next(iter(textual.values())))
    accents = np.zeros(length, np.int64)
    for column in textual.values():
        extra = pc.subtract(pc.binary_length(column), pc.utf8_length(column))
        accents += np.asarray(pc.fill_null(extra, 0).to_numpy(), dtype=np.int64)
    best = np.sort(np.argsort(-accents, kind="stable")[:_SAMPLE])
    return tuple(
        {n: value for n, c in textual.items() if (value := c[int(index)].as_py())} for index in best
    )


# -- shapes

_WHY = {
    "null": ("dòng không có hình", "the row has none"),
    "none": ("dòng không có hình, hoặc hình bị hỏng", "the row has none, or a damaged one"),
    "damaged": (
        "bản ghi hình bị hỏng, hoặc vòng hở hay ít hơn bốn đỉnh",
        "its record is damaged, or a ring is open or has under four vertices",
    ),
    "nan": ("có toạ độ không phải là số hữu hạn", "it has a coordinate that is no finite number"),
    "vertices": ("có quá nhiều đỉnh", "it has more vertices than are allowed"),
    "type": ("hình không phải là vùng", "its shape is no polygon"),
    "outside": ("có toạ độ ngoài phạm vi của hệ toạ độ", "it has a coordinate beyond the CRS"),
}


@dataclass(slots=True, kw_only=True)
class _Shapes:
    """The polygons as surveyed, in the source's CRS, and their coordinates as one array."""

    geometry: NDArray[np.object_]
    coordinates: NDArray[np.float64]  # (vertices, 2), of all polygons in order
    rows: NDArray[np.int64]
    findings: list[Finding]

    def lose(self, lost: NDArray[np.bool_], why: str) -> None:
        """Take shapes out, each with its finding."""
        vi, en = _WHY[why]
        self.findings += [
            Finding("missing-geometry", row=int(row), detail={"why": vi, "why_en": en})
            for row in self.rows[lost]
        ]
        self.geometry[lost] = None


def _shapes(
    dataset: archive.Dataset, raw: reader.Layer, settings: Settings, clock: _Clock
) -> _Shapes:
    """Build the polygons; a row without a usable one becomes a finding, never an error."""
    clock.stage("shapes")
    wkb = raw.wkb.to_numpy(zero_copy_only=False) if len(raw.wkb) else np.empty(0, object)
    with np.errstate(invalid="ignore"):  # a NaN in the file is a finding, below, no warning
        geometry = shapely.from_wkb(wkb, on_invalid="ignore")
    if dataset.shape not in ("Polygon", "MultiPolygon"):  # heights and measures are not kept
        geometry = shapely.force_2d(geometry)
    shapes = _Shapes(geometry=geometry, coordinates=np.empty((0, 2)), rows=raw.rows, findings=[])
    absent = raw.wkb.is_null().to_numpy()
    empty = shapely.is_missing(geometry) | shapely.is_empty(geometry)
    declared = archive.null_shapes(dataset, raw.rows[absent])
    null, damaged = np.zeros_like(absent), np.zeros_like(absent)
    null[absent] = declared
    damaged[absent] = ~declared
    not_finite = np.zeros_like(absent)
    unread = empty & ~absent
    not_finite[unread] = [_has_nan(wkb[index]) for index in np.flatnonzero(unread)]
    kinds = shapely.get_type_id(geometry)
    other = ~empty & ~np.isin(kinds, _POLYGONAL)
    geometry[other] = None
    counts = shapely.get_num_coordinates(geometry)
    coordinates = shapely.get_coordinates(geometry)
    finite = np.isfinite(coordinates)
    if not finite.all():
        owner = np.repeat(np.arange(len(geometry)), counts)
        not_finite[owner[~finite.all(axis=1)]] = True
    told = [f.row for f in raw.findings if f.rule == "missing-geometry" and f.row is not None]
    null &= ~np.isin(raw.rows, [*raw.unread, *told])  # those have a finding already
    unsure = dataset.format is formats.GEOPACKAGE  # its driver does not tell the two apart
    shapes.lose(null, "none" if unsure else "null")
    shapes.lose(other, "type")
    shapes.lose(damaged | (unread & ~not_finite), "damaged")
    shapes.lose(not_finite, "nan")
    shapes.lose(counts > settings.max_vertices, "vertices")
    if shapes.findings:
        coordinates = shapely.get_coordinates(geometry)
    shapes.coordinates = coordinates
    if not len(coordinates):
        raise BadSurvey(
            f"No row of {dataset.layer} has a usable shape.",
            hint="Export the survey again.",
            code="no-shapes",
        )
    return shapes


def _has_nan(wkb: bytes) -> bool:
    """Tell whether a polygon's WKB, which GEOS did not take, holds a number that is not finite."""
    # Doubles stand at offsets that differ with the rings before them: look at each alignment.
    for offset in range(8):
        numbers = np.frombuffer(wkb[offset : offset + (len(wkb) - offset) // 8 * 8], "<f8")
        if not np.isfinite(numbers).all():
            return True
    return False


def _choose_crs(
    dataset: archive.Dataset,
    shapes: _Shapes,
    settings: Settings,
    option: int | None,
    commune: crs.Box | None,
) -> tuple[CrsChoice, BadSurvey | None]:
    bounds = crs.Bounds.of(shapes.coordinates)
    return crs.choose(dataset.prj, bounds, settings.srid, option, commune)


def _store(
    shapes: _Shapes, source: int, target: int, clock: _Clock
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Bring the polygons into the storage CRS on its grid; measure them before."""
    clock.stage("transform")
    geographic = crs.is_geographic(source)
    measured = None if geographic else _areas(shapes.geometry)
    if source == target:
        moved = np.round(shapes.coordinates, _DIGITS)
    else:
        transformer = crs.transformer(source, target)
        x, y = transformer.transform(shapes.coordinates[:, 0], shapes.coordinates[:, 1])
        moved = np.round(np.column_stack([x, y]), _DIGITS)
    if not np.isfinite(moved).all():
        finite = np.isfinite(moved).all(axis=1)
        counts = shapely.get_num_coordinates(shapes.geometry)
        owner = np.repeat(np.arange(len(shapes.geometry)), counts)
        lost = np.zeros(len(shapes.geometry), np.bool_)
        lost[owner[~finite]] = True
        shapes.lose(lost, "outside")
        moved = moved[~lost[owner]]
        if measured is not None:
            measured[lost] = np.nan
    geometry = shapes.geometry
    if not np.array_equal(moved, shapes.coordinates):  # most are on the grid, in its system
        geometry = shapely.set_coordinates(geometry, moved)
    return geometry, _areas(geometry) if measured is None else measured


def _points(found: pa.Table | None, encoding: str, source: int, target: int) -> SurveyPoints | None:
    """Bring survey points into the storage CRS; what was measured is kept beside it."""
    if found is None:
        return None
    measured = np.column_stack([found["east"].to_numpy(), found["north"].to_numpy()])
    stored = np.column_stack(crs.transformer(source, target).transform(*measured.T))
    names = found["name"].combine_chunks().to_pylist()
    given = [name for name in names if name is not None]
    said = iter(encodings.decode(given, encoding))
    return SurveyPoints(
        lines=found["line"].to_numpy(),
        names=pa.array([None if name is None else next(said) for name in names], pa.string()),
        measured=measured,
        stored=np.round(stored, _DIGITS),
        parcels=found["parcels"].combine_chunks(),
    )


def _areas(geometry: NDArray[np.object_]) -> NDArray[np.float64]:
    """Measure the polygons, m²; NaN where there is none."""
    areas: NDArray[np.float64] = shapely.area(geometry)
    return areas
