"""The report of a check: HTML or PDF with maps, GeoPackage, GeoJSON, CSV, XLSX or JSON.

The HTML needs nothing beside itself: maps are inline SVG, styles are inside. The same report
gives the same bytes. No finding is left out, and nothing of owners is ever read.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jinja2
import numpy as np
import shapely
from markupsafe import Markup
from shapely.geometry.base import BaseGeometry

from landdata.documents import tables
from landdata.documents.drawing import Box, Frame, bounds, nice, scale_bar
from landdata.errors import BadRequest, Unavailable
from landdata.findings import RULES, Finding
from landdata.translations import decimal, sentence, translate, translator

if TYPE_CHECKING:
    from landdata.survey import Survey
    from landdata.topology import Checked

Language = Literal["vi", "en"]
Format = Literal["html", "pdf", "gpkg", "geojson", "csv", "xlsx", "json"]
FORMATS: tuple[Format, ...] = ("html", "pdf", "gpkg", "geojson", "csv", "xlsx", "json")

#: Rules whose defect can be too small to be seen beside the whole parcels.
CLOSE = frozenset({"invalid-ring", "containment", "overlap", "gap", "unmatched-vertex"})


def report_format(path: Path) -> Format:
    """Return the format that the suffix of `path` names; `BadRequest` for another suffix."""
    for suffix in FORMATS:
        if path.suffix.lower() == f".{suffix}":
            return suffix
    raise BadRequest(
        "A report can't be written as {suffix!r}.",
        hint="Name a file that ends in {names}.",
        code="bad-report-format",
        suffix=path.suffix or path.name,
        names=", ".join("." + name for name in FORMATS),
    )


def write_report(
    path: Path,
    summary: Mapping[str, Any],
    survey: Survey,
    checked: Checked,
    language: Language = "vi",
) -> None:
    """Write the report in the format that the suffix of `path` names.

    Raises `BadRequest` for another suffix and `Unavailable` where the file can't be written.
    """
    match report_format(path):
        case "html":
            written = report_html(summary, survey, checked, language).encode()
        case "pdf":
            written = report_pdf(summary, survey, checked, language)
        case "gpkg":
            written = tables.report_gpkg(
                checked.findings,
                checked.parcels,
                survey.geometry,
                checked.status,
                survey.srid,
                survey.points,
            )
        case "geojson":
            written = report_geojson(checked.findings, survey.srid).encode()
        case "csv":
            written = tables.report_csv(checked.findings)
        case "xlsx":
            if len(checked.findings) > tables.MAX_ROWS:
                raise BadRequest(
                    "An .xlsx can't hold {count} findings.",
                    hint="Name a file that ends in .csv or .gpkg.",
                    code="too-many-findings",
                    count=len(checked.findings),
                )
            written = tables.report_xlsx(checked.findings)
        case "json":
            # Without the seconds, which are others each time.
            said = {key: value for key, value in summary.items() if key != "seconds"}
            whole = {"summary": said, "findings": [f.as_dict() for f in checked.findings]}
            written = (json.dumps(whole, ensure_ascii=False, indent=1) + "\n").encode()
    try:
        path.write_bytes(written)
    except OSError as error:
        raise Unavailable(
            "The report can't be written to {path}: {strerror}.",
            hint="Name a folder that exists and can be written to.",
            code="unwritable",
            path=path,
            strerror=error.strerror,
        ) from None


def report_geojson(findings: Iterable[Finding], srid: int) -> str:
    """Return the findings as RFC 7946 GeoJSON: WGS 84, longitude before latitude, to 0.1 mm.

    `srid` is the CRS of the findings; `point` and `geometry` of the properties keep it, and
    the member `storage_crs` names it. A finding without a place has a null geometry.
    """
    from landdata.reference.vn2000 import transformer  # noqa: PLC0415  # the one reader that needs PROJ

    to_wgs84 = transformer(srid, 4326)
    listed = list(findings)
    shapes = np.array(
        [f.geometry or (shapely.Point(f.point) if f.point else None) for f in listed], dtype=object
    )
    present = np.array([shape is not None for shape in shapes], dtype=bool)
    shapes[present] = shapely.orient_polygons(
        shapely.transform(
            shapes[present],
            lambda xy: np.round(np.column_stack(to_wgs84.transform(xy[:, 0], xy[:, 1])), 9),
        )
    )
    features = [
        {
            "type": "Feature",
            "id": place,
            "geometry": shapely.geometry.mapping(shape) if shape is not None else None,
            "properties": {k: v for k, v in finding.as_dict().items() if k != "geometry"},
        }
        for place, (finding, shape) in enumerate(zip(listed, shapes, strict=True))
    ]
    collection = {
        "type": "FeatureCollection",
        "storage_crs": f"EPSG:{srid}",
        "features": features,
    }
    return json.dumps(collection, ensure_ascii=False) + "\n"


def report_html(
    summary: Mapping[str, Any], survey: Survey, checked: Checked, language: Language = "vi"
) -> str:
    """Return the report as one self-contained HTML page in `language`.

    `summary` is that of `landdata.batches.validation.summarise` for the same survey and verdict.
    """
    index = {int(row): place for place, row in enumerate(survey.rows)}
    box = bounds(survey.geometry)
    found = {finding.rule for finding in checked.findings}
    return _template(language).render(
        language=language,
        _=translator(language),
        summary=summary,
        survey=survey,
        findings=_rows(survey, checked, index, language),
        rules=[
            (rule, rule.title(language), count)
            for severity in ("error", "warning", "info")
            for rule in RULES.values()
            if rule.severity == severity
            and (count := summary["findings"][severity].get(rule.id, 0))
        ],
        clean=[
            (rule, rule.title(language))
            for rule in RULES.values()
            if rule.id not in found | checked.idle and rule.severity != "info"
        ],
        idle=[(rule, rule.title(language)) for rule in RULES.values() if rule.id in checked.idle],
        totals={s: sum(summary["findings"][s].values()) for s in summary["findings"]},
        overview=_overview(survey, checked, box, language) if box else None,
        box=box,
    )


def report_pdf(
    summary: Mapping[str, Any], survey: Survey, checked: Checked, language: Language = "vi"
) -> bytes:
    """Return the HTML report as PDF pages, A4 lying.

    Raises `Unavailable` where the libraries that draw letters are missing.
    """
    try:
        import weasyprint  # noqa: PLC0415  # slow to load, and needs Pango
    except OSError as error:
        raise Unavailable(
            "PDF can't be written: {error}.",
            hint="Install libpango-1.0-0, libpangoft2-1.0-0 and libharfbuzz-subset0.",
            code="no-pango",
            error=error,
        ) from None
    page = report_html(summary, survey, checked, language)
    sheet = re.sub(r"(?s).*?<style>(.*?)</style>.*", r"\1", page)
    colours = dict(re.findall(r"--(\w+): (#\w+)", sheet))
    plain = re.sub(r"var\(--(\w+)\)", lambda name: colours.get(name[1], "#000"), sheet)
    # What WeasyPrint can't lay out yet.
    plain = re.sub(r"inline-flex|(?<=display: )(?:flex|grid)", "block", plain)
    plain = re.sub(r"[^{}]*::marker \{[^}]*\}", "", plain.partition("@media")[0])
    page = page.replace(sheet, plain, 1)
    drawing = r'(?s)<svg class="(overview|small)"([^>]*)>(.*?)</svg>'
    # Behind the page's own rules, which count as much and would win from further down.
    page = page.replace(plain, plain + _ON_PAPER, 1)
    page = re.sub(drawing, partial(_as_image, plain), page)
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it tells every rule it passes over
    written: bytes = weasyprint.HTML(string=page).write_pdf()
    return written


_ON_PAPER = (
    "@page { size: A4 landscape; margin: 12mm; @bottom-right { content: counter(page) ' / '"
    " counter(pages); font: 8pt sans-serif; color: #5c6966; } }"
    " html, body { background: #fff; } body { font-size: 9pt; }"
    " main { max-width: none; padding: 0; } h2 { margin: 6mm 0 2mm; break-after: avoid; }"
    " .pick label { display: none; } figure { break-inside: avoid; text-align: center; }"
    " figcaption { text-align: left; } .overview { height: 122mm; width: auto; max-width: 100%; }"
    " .maps { white-space: nowrap; } .small { width: 34mm; height: 25.5mm; display: inline-block; }"
    " .list td:nth-child(2) { width: 73mm; } tr { break-inside: avoid; }"
    " .card { display: inline-block; width: 31%; vertical-align: top; margin-right: 1.5mm; }"
    " .sum > div, .key, .key i { display: inline-block; } .key { margin-right: 4mm; }"
    " .key i { margin-right: 1mm; } .clean { list-style: none; padding: 0; }"
    " summary { list-style: none; } table { font-size: 8pt; } th, td { padding: 1.4mm 2mm; }"
    " .list thead th { position: static; }"
)


#: Units of a drawing to a CSS pixel on paper, where no line keeps its width when scaled.
_UNITS = {"overview": 4.0, "small": 12.0}


def _as_image(sheet: str, tag: re.Match[str]) -> str:
    """Make a drawing an image with the page's rules inside, as those don't reach into it."""
    kind = tag[1]
    rules = []
    for rule in map(str.strip, re.findall(r"[^{}]+\{[^{}]*\}", sheet)):
        head, _, body = rule.partition("{")
        heads = [
            each.replace(f".{kind} ", "").strip()
            for each in head.split(",")
            if f".{kind} " in each
            or each.strip().startswith((".mark", "path.", "text.", "svg path"))
        ]
        heads = [each.replace("svg path", "path") for each in heads if each and "[" not in each]
        if heads:
            if "font:" not in body and "text" not in head:
                body = re.sub(
                    r"stroke-width: ([\d.]+)",
                    lambda width: f"stroke-width: {float(width[1]) * _UNITS[kind]:g}",
                    body,
                )
            if "paint-order" in body:  # which it does not know: the rim would hide the letters
                body = re.sub(r"(?:paint-order|stroke|stroke-width): [^;}]*;?", "", body)
            body = re.sub(r"font: (\d+px) [^;}]*", r"font-size: \1; font-family: sans-serif", body)
            rules.append(f"{','.join(heads)} {{{body}")
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg"{tag[2]}><style>{"".join(rules)}</style>'
        f"{re.sub(r'</?a(?: [^>]*)?>', '', tag[3])}</svg>"
    )
    data = base64.b64encode(whole.encode()).decode()
    return f'<img class="{kind}" alt="" src="data:image/svg+xml;base64,{data}">'


@dataclass(frozen=True, slots=True)
class _Row:
    """A finding as the table shows it."""

    finding: Finding
    title: str
    unit: str
    message: str
    source: str | None
    context: Markup | None
    closeup: Markup | None


def _rows(
    survey: Survey, checked: Checked, index: dict[int, int], language: Language
) -> Iterator[_Row]:
    for finding in checked.findings:
        rule = RULES[finding.rule]
        places = [index[r] for r in (finding.row, finding.other_row) if r in index]
        context, closeup = _small_maps(finding, [(p, survey.geometry[p]) for p in places], checked)
        yield _Row(
            finding=finding,
            title=rule.title(language),
            unit=rule.unit or "",
            message=finding.message[language],
            source=_source(finding, language),
            context=context,
            closeup=closeup,
        )


#: How a reference to the law begins in Vietnamese.
_LAW = {"Circular": "Thông tư", "Decision": "Quyết định", "annex": "phụ lục", "art.": "điều"}


def _source(finding: Finding, language: Language) -> str | None:
    """Say where the limit of a finding comes from."""
    rule = RULES[finding.rule]
    source = finding.source or rule.source
    if source is None or language == "en":
        return source
    if source == rule.source and rule.source_vi:
        return rule.source_vi
    return re.sub("Circular|Decision|annex|art\\.", lambda word: _LAW[word[0]], source)


# -- maps


def _overview(survey: Survey, checked: Checked, box: Box, language: Language) -> Markup:
    """Draw all parcels by their verdict, a coordinate grid, and a link for each finding."""
    tall = (box[3] - box[1]) / max(box[2] - box[0], 1e-3)
    frame = Frame.around(box, 4000, int(np.clip(4000 * tall, 1600, 4400)), 0.03)
    drawn = []
    for status, name in ((0, "ok"), (2, "twice"), (1, "bad")):
        shapes = survey.geometry[checked.status == status]
        data = "".join(frame.path(shape) for shape in shapes if shape is not None)
        if data:
            drawn.append(f'<path class="{name}" d="{data}"/>')
    order = {"info": 0, "warning": 1, "error": 2}
    marks = sorted(
        ((order[f.severity], n, f) for n, f in enumerate(checked.findings, 1) if f.point),
        key=lambda mark: mark[:2],
    )
    for _, number, finding in marks:
        x, y = frame.at(finding.point or (0, 0))
        title = Markup("{}").format(f"{number}. {finding.message[language]}")
        drawn.append(
            f'<a href="#f{number}"><circle class="mark {finding.severity}" cx="{x}" cy="{y}"'
            f' r="28"><title>{title}</title></circle></a>'
        )
    lines, labels = _grid(frame)
    name = translate(sentence("Map of the parcels and findings"), language)
    return Markup(  # noqa: S704  # numbers of ours, and titles escaped above
        f'<svg class="overview" role="img" aria-label="{name}"'
        f' viewBox="0 0 {frame.width} {frame.height}">'
        f"{lines}{''.join(drawn)}{labels}{scale_bar(frame, 56)}</svg>"
    )


def _small_maps(
    finding: Finding, parcels: list[tuple[int, BaseGeometry | None]], checked: Checked
) -> tuple[Markup | None, Markup | None]:
    """Draw the parcels of a finding whole, and the defect close up where it is much smaller."""
    shapes = [(place, shape) for place, shape in parcels if shape is not None]
    defect = finding.geometry or (shapely.Point(finding.point) if finding.point else None)
    box = bounds(np.array([s for _, s in shapes] + ([defect] if defect else []), dtype=object))
    if box is None:
        return None, None
    frame = Frame.around(box, 1600, 1200, 0.08)
    drawn = _parcels(frame, shapes)
    for place, shape in shapes:
        key = checked.parcels[place]
        spot = shape.representative_point() if shapely.is_valid(shape) else shape.centroid
        if key and not spot.is_empty:
            x, y = frame.at((spot.x, spot.y))
            number = Markup("{}").format(key.rsplit("/", 1)[-1])
            drawn += f'<text class="no" x="{x}" y="{y}">{number}</text>'
    if defect is not None:
        kind = f"defect {finding.severity}" + " spot" * (defect.geom_type == "Point")
        drawn += f'<path class="{kind}" d="{frame.path(defect)}"/>'
    window = _window(finding, defect)
    closeup = None
    if window and defect is not None and window < 0.4 * max(box[2] - box[0], box[3] - box[1]):
        e, n = finding.point or defect.representative_point().coords[0]
        half = window / 2
        close = Frame.around((e - half, n - half, e + half, n + half), 1600, 1200, 0)
        cut = [(place, _cut(shape, close.box)) for place, shape in shapes]
        inside = _parcels(close, cut)
        inside += f'<path class="{kind}" d="{close.path(defect)}"/>'
        for letter, (_, shape) in zip("ab", cut, strict=False):
            inside += f'<path class="dot {letter}" d="{close.dots(shape)}"/>'
        closeup = _svg(close, inside)
        low, high = frame.at((close.box[0], close.box[3])), frame.at((close.box[2], close.box[1]))
        wide, up = max(high[0] - low[0], 60), max(high[1] - low[1], 45)
        middle = frame.at((e, n))
        drawn += (
            f'<rect class="lens" x="{middle[0] - wide // 2}" y="{middle[1] - up // 2}"'
            f' width="{wide}" height="{up}"/>'
        )
    return _svg(frame, drawn), closeup


def _parcels(frame: Frame, shapes: list[tuple[int, BaseGeometry]]) -> str:
    """Draw the first parcel and the other one, each in its own colour."""
    return "".join(
        f'<path class="{letter}" d="{frame.path(shape)}"/>'
        for letter, (_, shape) in zip("ab", shapes, strict=False)
    )


def _window(finding: Finding, defect: BaseGeometry | None) -> float | None:
    """Return how many metres a close-up should show across, so that the defect can be seen."""
    if defect is None or finding.rule not in CLOSE:
        return None
    if defect.geom_type in ("Polygon", "MultiPolygon") and defect.length > 0:
        return max(float(24 * defect.area / defect.length), 0.3)
    wide = finding.measured if RULES[finding.rule].unit == "m" and finding.measured else 0.0
    return max(10 * wide, 1.0)


def _cut(shape: BaseGeometry, box: Box) -> BaseGeometry:
    """Cut a shape to thrice the box, to write less; an invalid one can't be cut and stays."""
    if not shapely.is_valid(shape):
        return shape
    across, up = box[2] - box[0], box[3] - box[1]
    return shapely.clip_by_rect(shape, box[0] - across, box[1] - up, box[2] + across, box[3] + up)


def _svg(frame: Frame, drawn: str) -> Markup:
    return Markup(  # noqa: S704  # numbers of ours, and labels escaped where they are made
        f'<svg class="small" role="img" aria-hidden="true" viewBox="0 0 {frame.width}'
        f' {frame.height}">{drawn}{scale_bar(frame, 110)}</svg>'
    )


def _grid(frame: Frame) -> tuple[str, str]:
    """Draw grid lines, and their X (northing) and Y (easting) as Vietnamese sheets name them."""
    west, south, east, north = frame.box
    step = nice((east - west) / 4)
    lines, labels = "", []
    for e in np.arange(np.ceil(west / step) * step, east, step):
        x, _ = frame.at((e, south))
        lines += f"M{x} 0v{frame.height}"
        labels.append(f'<text class="grid" x="{x + 12}" y="56">Y {e:.0f}</text>')
    for n in np.arange(np.ceil(south / step) * step, north, step):
        _, y = frame.at((west, n))
        lines += f"M0 {y}h{frame.width}"
        if 130 < y < frame.height - 130:  # clear of the eastings and of the scale bar
            labels.append(f'<text class="grid" x="12" y="{y - 12}">X {n:.0f}</text>')
    return f'<path class="grid" d="{lines}"/>', "".join(labels)


# -- the page


@cache
def _template(language: Language) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("landdata.documents"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["measure"] = partial(_measure, language=language)
    environment.filters["metres"] = partial(decimal, places=3, language=language)
    environment.filters["translate"] = partial(translate, language=language)
    return environment.get_template("report.html")


def _measure(value: float | None, language: str) -> str:
    """Write a measure: four digits where it is small, two decimals where it is not."""
    if value is None:
        return "–"
    text = f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return text.replace(".", ",") if language == "vi" else text
