"""Validation of a survey file: read it, run the rules, summarise. Needs no store."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from landdata import survey as surveys
from landdata import topology
from landdata.errors import BadSurvey
from landdata.findings import Finding
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.survey import Part, Survey, profiles
from landdata.topology import ACCEPTABLE, DUPLICATE, REJECTED, Checked, Neighbours, repair
from landdata.topology.repair import Proposals

Progress = Callable[[str, float], None]  # stage, and the share of it that is done, 0 to 1


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the surveyor states about a file that the file does not state itself.

    `crs` is an EPSG code; `engine` is 'pyogrio' or 'fiona'; `mend_text` completes half-converted
    text; `fields` maps attribute to source field, or to `=constant`; `profile` is a whole profile
    (`landdata.survey.profiles`), kept as it was at the time.
    """

    layer: str | None = None
    encoding: str | None = None
    crs: int | None = None
    engine: str | None = None
    mend_text: bool = False
    profile: Mapping[str, Any] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the options that are set: the same options, the same batch."""
        values = asdict(self) | {"fields": dict(sorted(self.fields.items()))}
        return {key: value for key, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class Report:
    """A checked file: its survey, the verdicts on its rows, the summary, and any proposals."""

    survey: Survey
    checked: Checked
    summary: dict[str, Any]
    proposals: Proposals | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the output of `check --json`."""
        proposals = {"proposals": self.proposals.as_dict()} if self.proposals else {}
        return {
            "summary": self.summary,
            "findings": [finding.as_dict() for finding in self.checked.findings],
            **proposals,
        }


def check(
    path: Path,
    settings: Settings,
    *,
    options: ReadOptions | None = None,
    commune: str | None = None,
    neighbours: Callable[[Survey], Neighbours] | None = None,
    boundary: BaseGeometry | None = None,
    locate: Callable[[Survey], list[Finding]] | None = None,
    propose: bool = False,
    on_part: Callable[[Part], None] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read `path` and run all rules; `neighbours` fetches the official parcels around the survey.

    `on_part` is called with the parts of the survey as they are read (`landdata.survey.read`).
    `boundary` is the commune's, in the storage CRS, or null; without it `locate` says how far the
    survey lies from what is stored. `propose` computes repairs too, which change nothing.
    Raises `BadSurvey` where the file can't be read or is refused.
    """
    options = options or ReadOptions()
    survey = surveys.read(
        path,
        settings,
        layer=options.layer,
        encoding=options.encoding,
        crs=options.crs,
        fields=options.fields,
        engine=options.engine,
        mend_text=options.mend_text,
        profile=profiles.parse(options.profile) if options.profile else None,
        commune=boundary.bounds if boundary else None,
        on_part=on_part,
        progress=progress,
    )
    official = neighbours(survey) if neighbours else None
    if boundary is None and locate is not None:
        survey = replace(survey, findings=(*survey.findings, *locate(survey)))
    limits = topology.Limits.load(settings.rules)
    today = datetime.date.today()
    run = partial(
        topology.check,
        neighbours=official,
        commune=commune,
        boundary=boundary,
        limits=limits,
        today=today,
        from_wgs84=transformer(4326, survey.srid).transform,
        progress=progress,
    )
    checked = run(survey)
    if checked.taken_apart:
        geometry = survey.geometry.copy()
        for at, shape in checked.taken_apart.items():
            geometry[at] = shape
        survey = replace(survey, geometry=geometry)
    proposals = (
        repair.propose(survey, checked, run, official, limits=limits, today=today)
        if propose
        else None
    )
    return Report(survey, checked, summarise(survey, checked), proposals)


def too_slow(settings: Settings) -> BadSurvey:
    """Return the error for a check that exceeds its time limit."""
    return BadSurvey(
        "Checking the file took over {job_seconds} s.",
        hint="Split the survey, or raise LANDDATA_JOB_SECONDS.",
        code="too-slow",
        job_seconds=settings.job_seconds,
    )


def summarise(survey: Survey, checked: Checked) -> dict[str, Any]:
    """Return the `summary` of a report: rows read = acceptable + rejected + duplicate."""
    counts = {
        name: int(np.count_nonzero(checked.status == status))
        for name, status in (
            ("acceptable", ACCEPTABLE),
            ("rejected", REJECTED),
            ("duplicate", DUPLICATE),
        )
    }
    by_rule = Counter((finding.severity, finding.rule) for finding in checked.findings)
    return {
        "source": survey.source,
        "layer": survey.layer,
        "engine": survey.engine,
        "profile": survey.profile,
        "read": len(survey),
        **counts,
        **({} if survey.points is None else {"points": len(survey.points)}),
        "findings": {
            severity: {rule: n for (s, rule), n in sorted(by_rule.items()) if s == severity}
            for severity in ("error", "warning", "info")
        },
        "not_run": sorted(checked.idle),
        "crs": survey.crs.as_dict(),
        "encoding": survey.encoding.as_dict(),
        "fields": [match.as_dict() for match in survey.fields],
        "seconds": {
            stage: round(seconds, 3)
            for stage, seconds in (survey.seconds | checked.seconds).items()
        },
    }
