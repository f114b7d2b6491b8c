"""A survey file, which is not trusted, becomes a `Survey` or one clear `BadSurvey`.

`formats` recognises the file, `archive` makes it safe, `reader` returns its `Layer` in blocks (WKB
and raw columns), and `interpretation` decides on text, fields and CRS, the same for all formats.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa

from landdata import characters
from landdata.findings import Finding
from landdata.reference import vn2000
from landdata.settings import Settings
from landdata.survey import archive, construction, extent, fields, reader
from landdata.survey.interpretation import BlockSource, Clock, Options, PartStream, Progress
from landdata.survey.model import (
    SCHEMA,
    CrsChoice,
    EncodingChoice,
    FieldMatch,
    Inspection,
    Part,
    Survey,
    SurveyPoints,
)
from landdata.survey.shapes import DIGITS

__all__ = [
    "SCHEMA",
    "CrsChoice",
    "EncodingChoice",
    "FieldMatch",
    "Inspection",
    "Part",
    "Survey",
    "SurveyPoints",
    "inspect",
    "read",
    "stream",
]

_SAMPLE = 10  # rows that an inspection shows


def read(
    path: Path | str,
    settings: Settings,
    *,
    progress: Progress | None = None,
    on_part: Callable[[Part], None] | None = None,
    **options: Unpack[Options],
) -> Survey:
    """Return the survey of a file in the storage CRS (`settings.srid`).

    Options: `layer`, `encoding`, `crs` (EPSG) and `fields` (attribute → field or `=constant`)
    overrule what the file states and what is detected. `engine` is 'pyogrio' (in bulk) or 'fiona'
    (row by row; also used if the first fails). `mend_text` finishes unfinished conversions of
    text, which otherwise stays as in the file. `profile` supplies options that are missing.
    `commune` is the box of the survey's commune, in the storage CRS.

    `on_part` is called with the parts as `stream` yields them. Every row of the file is a row of
    the survey: one without a usable shape has null, and a finding. Raises `BadSurvey` for a file
    that cannot be read as a whole, `BadRequest` for an invalid option, `NotFound` for no file.
    """
    clock = Clock(progress)
    path = Path(path)
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        stream = _open(path, Path(scratch), settings, options, clock)
        for part in stream:
            if part.start == 0:
                parts.clear()
            parts.append(part)
            if on_part:
                on_part(part)
        points = _points(stream, settings.srid)
    clock.report("done", 1.0)
    profile, decision = options.get("profile"), stream.decision
    row_findings = sorted(
        (finding for part in parts for finding in part.findings), key=lambda f: f.row or 0
    )
    return Survey(
        source=archive.display_name(path),
        layer=characters.escape(stream.dataset.layer),
        rows=np.concatenate([part.rows for part in parts]),
        geometry=np.concatenate([part.geometry for part in parts]),
        measured_area=np.concatenate([part.measured_area for part in parts]),
        attributes=pa.concat_tables(part.attributes for part in parts).combine_chunks(),
        srid=settings.srid,
        crs=decision.crs,
        encoding=decision.encoding,
        fields=decision.matches,
        profile=str(profile) if profile else None,
        points=points,
        findings=(*_file_findings(stream), *row_findings),
        engine=stream.layer.engine,
        seconds=clock.seconds,
    )


def stream(path: Path | str, settings: Settings, **options: Unpack[Options]) -> Iterator[Part]:
    """Yield the parts of a survey file, in memory that does not grow with the file.

    Takes and raises the same as `read`. A part that starts at row 0 replaces all before it; after
    an error, all parts are void.
    """
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        yield from _open(Path(path), Path(scratch), settings, options, Clock(None))


def inspect(
    path: Path | str,
    settings: Settings,
    *,
    progress: Progress | None = None,
    **options: Unpack[Options],
) -> Inspection:
    """Return what a file holds and how it would be read; nothing is stored.

    Takes and raises the same as `read`, except that a refused CRS or a missing field for the
    parcel's number is returned as `refusal`.
    """
    clock = Clock(progress)
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        stream = _open(path, Path(scratch), settings, options, clock)
        sample = stream.sample(_SAMPLE)
    clock.report("done", 1.0)
    profile, decision = options.get("profile"), stream.decision
    refusal = decision.refusal
    return Inspection(
        source=archive.display_name(path),
        layers=characters.escape_all(stream.dataset.layers),
        layer=characters.escape(stream.dataset.layer),
        fields=decision.matches,
        encoding=decision.encoding,
        sample=sample,
        crs=decision.crs,
        rows=decision.rows,
        geometry_type=stream.dataset.shape,
        profile=str(profile) if profile else None,
        refusal=refusal.message if refusal else None,
        refusal_code=refusal.code if refusal else None,
    )


def _open(
    path: Path, scratch: Path, settings: Settings, options: Options, clock: Clock
) -> PartStream:
    """Unpack a file and open it; lines and points are constructed to parcels as a whole first."""
    vn2000.check_storage(settings.srid)
    clock.report("unpack", 0.0)
    with clock.stage("unpack"):
        dataset = archive.unpack(path, scratch, settings, layer=options.get("layer"))
    engine, profile = options.get("engine"), options.get("profile")
    source: BlockSource
    if dataset.format.kind == "polygons":
        source = reader.LayerReader(dataset, settings, engine)
    else:
        columns = profile.columns if profile else None
        with clock.stage("read"):
            source = construction.read(dataset, settings, engine=engine, columns=columns)
    return PartStream(source, dataset, settings, options, clock)


def _file_findings(stream: PartStream) -> list[Finding]:
    """Return the findings on the file as a whole."""
    findings = []
    if stream.dataset.deleted:
        findings.append(Finding("deleted-rows", detail={"count": str(stream.dataset.deleted)}))
    if stream.layer.stated is not None:
        counts = {"stated": str(stream.layer.stated), "count": str(stream.decision.rows)}
        findings.append(Finding("stale-count", detail=counts))
    if all(match.attribute != "sheet" for match in stream.decision.matches):
        findings.append(Finding("no-sheet-field"))
    for attribute, source, (name, name_en) in fields.lookalikes(stream.decision.matches):
        names = {"attribute": attribute, "field": source, "name": name, "name_en": name_en}
        findings.append(Finding("unmapped-field", detail=names))
    return [*findings, *stream.layer.findings]


def _points(stream: PartStream, target: int) -> SurveyPoints | None:
    """Return survey points as measured and in the storage CRS; null for a file without them."""
    points, source = stream.layer.points, stream.decision.crs.epsg
    if points is None:
        return None
    assert source is not None  # else the decision has a refusal
    measured = np.column_stack([points["east"].to_numpy(), points["north"].to_numpy()])
    stored = np.column_stack(vn2000.transformer(source, target).transform(*measured.T))
    # The parcel of a point beyond the globe has no shape.
    valid = extent.on_globe(stored) & extent.on_globe(measured)
    points, measured, stored = points.filter(pa.array(valid)), measured[valid], stored[valid]
    names = points["name"].combine_chunks().to_pylist()
    raw = [name for name in names if name is not None]
    decoded = iter(stream.decision.decoding.decode(raw))
    return SurveyPoints(
        lines=points["line"].to_numpy(),
        names=pa.array(
            [None if name is None else characters.remove(next(decoded)) or None for name in names],
            pa.string(),
        ),
        measured=measured,
        stored=np.round(stored, DIGITS),
        parcels=points["parcels"].combine_chunks(),
    )
