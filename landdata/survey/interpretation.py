"""The blocks of a layer become parts of a survey, each as it comes.

How text is spelled, which fields mean what and in which CRS the coordinates are is decided from
the whole file. But the first block mostly shows it already, so all blocks are understood by what
that one shows, while evidence is gathered from each; when the last has come, the decision is
taken from all of it. If it is another, the parts are made again, from the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata.errors import BadSurvey, LandDataError
from landdata.findings import Finding
from landdata.settings import Settings
from landdata.survey import crs_detection, fields, formats, profiles, shapefile, shapes
from landdata.survey import text as texts
from landdata.survey.dataset import Dataset
from landdata.survey.model import CrsChoice, EncodingChoice, FieldMatch, Part
from landdata.survey.reader import Block, Layer
from landdata.survey.shapes import Shapes
from landdata.survey.text import Accented, Spelling, Text

#: Told of each stage as it goes on: its name and the share of the work done, 0 to 1.
Progress = Callable[[str, float], None]

_MAX_ID = 2**31 - 1
_UNPACKED = 0.05  # the share of the work that is over then


class Options(TypedDict, total=False):
    """What the surveyor says of a file, and what is known of it: see `landdata.survey.read`."""

    layer: str | None
    encoding: str | None
    crs: int | None
    fields: Mapping[str, str] | None
    engine: str | None
    mend_text: bool
    profile: profiles.Profile | None
    commune: crs_detection.Box | None


class Source(Protocol):
    """A layer that comes in blocks; once it is whole, it can be gone through again.

    A block that starts at row 0 takes back all that came before it.
    """

    @property
    def layer(self) -> Layer:
        """What it is: known with the first block."""

    @property
    def whole(self) -> bool:
        """Whether all has come."""

    def blocks(self) -> Iterator[Block]:
        """Go through it."""


class Clock:
    """Measures the stages, and tells of them."""

    def __init__(self, progress: Progress | None) -> None:
        self._seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done meanwhile as a part of a stage."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - since

    def tell(self, stage: str, share: float) -> None:
        """Tell how far all is."""
        if self._progress:
            self._progress(stage, share)

    @property
    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage."""
        return {stage: round(seconds, 4) for stage, seconds in self._seconds.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a layer is read. `refusal` says why it is not."""

    rows: int  # by how many it was taken
    own_ids: bool  # rows are numbered as the file numbers them, or else by their places
    encoding: EncodingChoice
    spelling: Spelling
    matches: tuple[FieldMatch, ...]
    crs: CrsChoice
    refusal: BadSurvey | None

    def same(self, other: Decision | None) -> bool:
        """Tell whether the parts are the same by either."""
        return other is not None and self._key == other._key

    @property
    def _key(self) -> tuple[object, ...]:
        matches = [(each.source, each.attribute, each.how) for each in self.matches]
        return self.own_ids, self.spelling, matches, self.crs.epsg, self.refusal is None


class Evidence:
    """What the blocks of a layer tell of it, in as far as they came.

    What it keeps does not grow with them, but for 8 bytes a distinct text with accents.
    """

    def __init__(self, first: Block, source: Source, dataset: Dataset, options: Options) -> None:
        self._source, self._dataset, self._options = source, dataset, options
        self._texts = texts.Evidence(first.columns, unicode=source.layer.unicode)
        self._filled = dict.fromkeys(first.columns, 0)
        self._sample = crs_detection.Sample()
        self._last, self._largest, self._ordered = -_MAX_ID, 0, True
        self.rows = 0

    def add(self, block: Block, accented: Accented, coordinates: NDArray[np.float64]) -> None:
        """Take in a block."""
        self._texts.add(accented)
        for name, column in block.columns.items():
            self._filled[name] += fields.count_filled(column)
        self._sample.add(coordinates)
        if len(block.ids):
            self._ordered &= self._last < block.ids[0] and bool((np.diff(block.ids) > 0).all())
            self._last = block.ids[-1]
            self._largest = max(self._largest, int(np.abs(block.ids).max()))
        self.rows += len(block.ids)

    def spell(self) -> tuple[EncodingChoice, Spelling]:
        """Decide on the text by what came."""
        profile = self._options.get("profile")
        return self._texts.choose(
            cpg=self._dataset.cpg,
            option=self._options.get("encoding") or (profile.encoding if profile else None),
            mend=self._options.get("mend_text", False) or bool(profile and profile.mend_text),
        )

    def decide(self, srid: int) -> Decision:
        """Decide by what came; `srid` is the storage CRS.

        Raises `BadRequest` for an option that makes no sense, `BadSurvey` where no row has a
        usable shape.
        """
        options = self._options
        profile = options.get("profile")
        encoding, spelling = self.spell()
        names = spelling.names(self._filled)
        filled = {names[name]: count for name, count in self._filled.items()}
        given = profile.fields if profile else None
        matches = fields.match(filled, options.get("fields"), given)
        bounds = self._sample.bounds()
        if bounds is None:
            raise BadSurvey(
                f"No row of {self._dataset.layer} has a usable shape.",
                hint="Export the survey again.",
                code="no-shapes",
            )
        code = options.get("crs")
        code = profile.crs if code is None and profile else code
        prj, commune = self._dataset.prj, options.get("commune")
        choice, refusal = crs_detection.choose(prj, bounds, srid, code, commune)
        return Decision(
            rows=self.rows,
            own_ids=self._own_ids(),
            encoding=encoding,
            spelling=spelling,
            matches=matches,
            crs=choice,
            refusal=refusal or fields.lacking(matches),
        )

    def _own_ids(self) -> bool:
        """Tell whether the sender's ids of the rows are of use as such."""
        if self._ordered or self._largest > _MAX_ID or not self._source.whole:
            return self._largest <= _MAX_ID
        ids = np.concatenate([block.ids for block in self._source.blocks()])
        return len(np.unique(ids)) == len(ids)


class Stream:
    """The parts of a survey; iterating makes them.

    What the survey is as a whole is known when the last has come, from the file itself
    (`dataset`, `layer`) and by the `decision`.
    """

    dataset: Dataset
    decision: Decision
    _evidence: Evidence

    def __init__(
        self,
        source: Source,
        dataset: Dataset,
        settings: Settings,
        options: Options,
        clock: Clock,
    ) -> None:
        self.dataset = dataset
        self._bare, self._source = dataset, source
        self._settings, self._options, self._clock = settings, options, clock
        self._unfinished: set[str] = set()

    @property
    def layer(self) -> Layer:
        """What the layer is."""
        return self._source.layer

    def __iter__(self) -> Iterator[Part]:
        """Make the parts. Raises `BadSurvey` where the file cannot be read or is refused."""
        guess: Decision | None = None
        for block, accented, polygons in self._gather():
            if block.start == 0:
                guess = self._guess()
            elif guess and accented and guess.spelling.encoding == "ASCII":
                # what was read till now is the same in each encoding
                encoding, spelling = self._evidence.spell()
                guess = replace(guess, encoding=encoding, spelling=spelling)
            if guess:
                yield self._part(guess, block, accented, polygons)
        decision = self._evidence.decide(self._settings.srid)
        if decision.refusal is not None:
            raise decision.refusal
        if not decision.same(guess):
            for block in self._source.blocks():
                yield self._part(decision, block, *self._prepare(block))
        self._decide(decision)

    def look(self, rows: int) -> tuple[dict[str, str], ...]:
        """Decide without making parts; return the text of the `rows` that show it best."""
        for _ in self._gather():
            pass
        decision = self._evidence.decide(self._settings.srid)
        best: list[tuple[int, int, dict[str, str]]] = []
        for block in self._source.blocks():
            text = self._read(decision.spelling, block, texts.accented(block.columns))
            best = sorted([*best, *_accents(text, block.start, rows)], key=lambda each: each[:2])
            del best[rows:]
        self._decide(decision)
        return tuple(row for *_, row in sorted(best, key=lambda each: each[1]))

    def _gather(self) -> Iterator[tuple[Block, Accented, Shapes]]:
        """Go through the blocks as they come, and take each in."""
        blocks = self._source.blocks()
        while True:
            with self._clock.stage("read"):
                block = next(blocks, None)
            if block is None:
                return
            if block.start == 0:
                self.dataset = _described(self._bare, self.layer)
                self._evidence = Evidence(block, self._source, self.dataset, self._options)
            accented, polygons = self._prepare(block)
            with self._clock.stage("decode"):
                self._evidence.add(block, accented, polygons.coordinates)
            yield block, accented, polygons
            expected = self.layer.expected
            share = min(1.0, self._evidence.rows / expected) if expected else 0.0
            self._clock.tell("read", _UNPACKED + (1 - _UNPACKED) * share)

    def _prepare(self, block: Block) -> tuple[Accented, Shapes]:
        """Do with a block what no decision is needed for."""
        with self._clock.stage("decode"):
            accented = texts.accented(block.columns)
        with self._clock.stage("shapes"):
            return accented, shapes.build(block, self.dataset, self._settings.max_vertices)

    def _guess(self) -> Decision | None:
        try:
            guess = self._evidence.decide(self._settings.srid)
        except LandDataError:
            return None
        return guess if guess.refusal is None else None

    def _decide(self, decision: Decision) -> None:
        count = len(self._unfinished)
        mended = count if decision.spelling.mend else 0
        encoding = replace(decision.encoding, unfinished=count, mended=mended)
        self.decision = replace(decision, encoding=encoding)

    def _read(self, spelling: Spelling, block: Block, accented: Accented) -> Text:
        with self._clock.stage("decode"):
            text = spelling.read(block.columns, accented)
            if block.start == 0:
                self._unfinished.clear()
            self._unfinished |= text.unfinished
        return text

    def _part(self, decision: Decision, block: Block, accented: Accented, polygons: Shapes) -> Part:
        """Read a block by a decision."""
        places = np.arange(block.start, block.start + len(block.ids), dtype=np.int64)
        rows = block.ids if decision.own_ids else places
        text = self._read(decision.spelling, block, accented)
        with self._clock.stage("attributes"):
            attributes, findings = _attributes(
                self.dataset, decision.matches, text, block.ids, rows
            )
        with self._clock.stage("transform"):
            assert decision.crs.epsg is not None  # no refusal without a code
            geometry, measured = polygons.stored(decision.crs.epsg, self._settings.srid)
        unread = rows[np.isin(block.ids, block.unread)].tolist()
        return Part(
            start=block.start,
            rows=rows,
            geometry=geometry,
            measured_area=measured,
            attributes=attributes,
            findings=(
                *(Finding("unreadable-row", row=row, detail={"row": str(row)}) for row in unread),
                *polygons.findings(rows),
                *findings,
            ),
        )


def _described(dataset: Dataset, layer: Layer) -> Dataset:
    """Fill in what only reading tells of a format."""
    if dataset.format is formats.SHAPEFILE:
        return dataset
    alone = len(dataset.layers) == 1
    # What has no name of its own is called as our copy is: its sender calls it otherwise.
    ours = "" if dataset.format.layered else dataset.file.stem
    named = layer.layer if alone and layer.layer != ours else None
    return replace(
        dataset,
        layer=named or dataset.layer,
        layers=layer.layers if named else dataset.layers,
        shape=layer.shape,
        prj=layer.crs,
    )


def _attributes(
    dataset: Dataset,
    matches: Sequence[FieldMatch],
    text: Text,
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[pa.Table, list[Finding]]:
    """Read the attributes of a block; what could not be read becomes a finding."""
    columns = dict(text.columns)
    no_numbers: list[Finding] = []
    for match in matches:
        name = match.source
        if match.attribute is None or not (bad := shapefile.garbage(dataset, name, ids)):
            continue
        lost = np.zeros(len(rows), np.bool_)
        lost[list(bad)] = True
        kind = columns[name].type
        columns[name] = pc.if_else(pa.array(lost), pa.scalar(None, kind), columns[name])
        no_numbers += [
            Finding("bad-value", row=int(rows[at]), detail={"field": name, "value": repr(value)})
            for at, value in bad.items()
        ]
    table, findings = fields.read(columns, matches, rows)
    findings += no_numbers
    by_row: dict[int, list[str]] = {}
    for match in matches:
        if match.attribute is not None and match.source in text.mangled:
            flags = text.mangled[match.source].to_numpy(zero_copy_only=False)
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
        for match in matches
        if match.attribute is not None and match.source in text.proposed
        for index in np.flatnonzero(
            text.proposed[match.source].is_valid().to_numpy(zero_copy_only=False)
        ).tolist()
    ]
    return table, findings


def _proposal(text: Text, match: FieldMatch, index: int) -> dict[str, str]:
    """Tell what stands in a field and what is proposed; of persons and places neither."""
    if match.attribute in fields.PERSONAL:
        return {"change": ""}
    now = text.columns[match.source][index].as_py()
    return {"change": f" ({now} → {text.proposed[match.source][index].as_py()})"}


def _accents(text: Text, start: int, count: int) -> list[tuple[int, int, dict[str, str]]]:
    """Return the rows with the most accents, `count` at most: -accents, place, text by field."""
    textual = {n: c for n, c in text.columns.items() if pa.types.is_string(c.type)}
    if not textual:
        return []
    accents = np.zeros(len(next(iter(textual.values()))), np.int64)
    for column in textual.values():
        extra = pc.subtract(pc.binary_length(column), pc.utf8_length(column))
        accents += np.asarray(pc.fill_null(extra, 0).to_numpy(zero_copy_only=False), np.int64)
    best = np.argsort(-accents, kind="stable")[:count].tolist()
    return [
        (
            -int(accents[index]),
            start + index,
            {n: value for n, c in textual.items() if (value := c[index].as_py())},
        )
        for index in best
    ]
