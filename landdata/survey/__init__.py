"""A stranger's file becomes a `Survey`, or one clear `BadSurvey`.

`formats` tells what a file is, `archive` makes it safe, `reader` returns its `Layer` in blocks
(WKB and raw columns), and `parts` understands them; all that is the same for each format.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa

from landdata.findings import Finding
from landdata.reference import vn2000
from landdata.settings import Settings
from landdata.survey import archive, construction, crs_detection, reader
from landdata.survey.interpretation import Clock, Options, Progress, Source, Stream
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
    each: Callable[[Part], None] | None = None,
    **options: Unpack[Options],
) -> Survey:
    """Read a survey file into the storage CRS (`settings.srid`).

    Options: `layer`, `encoding`, `crs` (EPSG) and `fields` (attribute → field, or →
    `=constant`) overrule what the file says or what is detected. `engine` is 'pyogrio' (in bulk)
    or 'fiona' (row by row; tried by itself where the first fails). `mend_text` finishes
    conversions of text that somebody began; else it stands as in the file. `profile` says what
    is not said here. `commune` is the box, in the storage CRS, of the commune that the survey
    should lie in.

    `each` is given the parts as they come, as `stream` yields them. Every row of the file is a
    row of the survey: one without a usable shape has None, and a finding. Raises `BadSurvey` for
    a file that cannot be read as a whole, `BadRequest` for an option that makes no sense,
    `NotFound` where there is no file.
    """
    clock = Clock(progress)
    path = Path(path)
    kept: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        made = _open(path, Path(scratch), settings, options, clock)
        for part in made:
            if part.start == 0:
                kept.clear()
            kept.append(part)
            if each:
                each(part)
        points = _points(made, settings.srid)
    clock.tell("done", 1.0)
    profile, decision = options.get("profile"), made.decision
    of_rows = sorted(
        (finding for part in kept for finding in part.findings), key=lambda each: each.row or 0
    )
    return Survey(
        source=archive.called(path),
        layer=made.dataset.layer,
        rows=np.concatenate([part.rows for part in kept]),
        geometry=np.concatenate([part.geometry for part in kept]),
        measured_area=np.concatenate([part.measured_area for part in kept]),
        attributes=pa.concat_tables(part.attributes for part in kept).combine_chunks(),
        srid=settings.srid,
        crs=decision.crs,
        encoding=decision.encoding,
        fields=decision.matches,
        profile=str(profile) if profile else None,
        points=points,
        findings=(*_of_file(made), *of_rows),
        engine=made.layer.engine,
        seconds=clock.seconds,
    )


def stream(path: Path | str, settings: Settings, **options: Unpack[Options]) -> Iterator[Part]:
    """Read a survey file part by part, in memory that does not grow with the file.

    Takes and raises the same as `read`. A part that starts at row 0 takes back all before it,
    and an error takes back all.
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
    """Tell what a file holds and how it would be read; nothing is stored.

    Takes and raises the same as `read`, but for a CRS that would be refused or fields that
    lack the parcel's number: those it tells as `refusal`.
    """
    clock = Clock(progress)
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="landdata-") as scratch:
        looked = _open(path, Path(scratch), settings, options, clock)
        sample = looked.look(_SAMPLE)
    clock.tell("done", 1.0)
    profile, decision = options.get("profile"), looked.decision
    refusal = decision.refusal
    return Inspection(
        source=archive.called(path),
        layers=looked.dataset.layers,
        layer=looked.dataset.layer,
        fields=decision.matches,
        encoding=decision.encoding,
        sample=sample,
        crs=decision.crs,
        rows=decision.rows,
        geometry_type=looked.dataset.shape,
        profile=str(profile) if profile else None,
        refusal=refusal.message if refusal else None,
        refusal_code=refusal.code if refusal else None,
    )


def _open(path: Path, scratch: Path, settings: Settings, options: Options, clock: Clock) -> Stream:
    """Make a file safe, and open it: in blocks, but for what parcels must be made of first."""
    vn2000.check_storage(settings.srid)
    clock.tell("unpack", 0.0)
    with clock.stage("unpack"):
        dataset = archive.unpack(path, scratch, settings, layer=options.get("layer"))
    engine, profile = options.get("engine"), options.get("profile")
    source: Source
    if dataset.format.kind == "polygons":
        source = reader.LayerReader(dataset, settings, engine)
    else:
        columns = profile.columns if profile else None
        with clock.stage("read"):
            source = construction.read(dataset, settings, engine=engine, columns=columns)
    return Stream(source, dataset, settings, options, clock)


def _of_file(made: Stream) -> list[Finding]:
    """Tell what is to be known of the file as a whole."""
    found = []
    if made.dataset.deleted:
        found.append(Finding("deleted-rows", detail={"count": str(made.dataset.deleted)}))
    if made.layer.stated is not None:
        counts = {"stated": str(made.layer.stated), "count": str(made.decision.rows)}
        found.append(Finding("stale-count", detail=counts))
    if all(match.attribute != "sheet" for match in made.decision.matches):
        found.append(Finding("no-sheet-field"))
    return [*found, *made.layer.findings]


def _points(made: Stream, target: int) -> SurveyPoints | None:
    """Bring survey points into the storage CRS; what was measured is kept beside it."""
    found, source = made.layer.points, made.decision.crs.epsg
    if found is None:
        return None
    assert source is not None  # no refusal without a code
    measured = np.column_stack([found["east"].to_numpy(), found["north"].to_numpy()])
    stored = np.column_stack(vn2000.transformer(source, target).transform(*measured.T))
    there = crs_detection.on_globe(stored) & crs_detection.on_globe(
        measured
    )  # a parcel of another has no shape
    found, measured, stored = found.filter(pa.array(there)), measured[there], stored[there]
    names = found["name"].combine_chunks().to_pylist()
    said = iter(made.decision.spelling.decode([name for name in names if name is not None]))
    return SurveyPoints(
        lines=found["line"].to_numpy(),
        names=pa.array([None if name is None else next(said) for name in names], pa.string()),
        measured=measured,
        stored=np.round(stored, DIGITS),
        parcels=found["parcels"].combine_chunks(),
    )
