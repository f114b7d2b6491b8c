"""The blocks of a layer become parts of a survey as they are read.

The text encoding, the meaning of fields and the CRS are decided from the whole file. As the first
block mostly shows them already, blocks are interpreted by a decision from the first one, while
evidence is collected from all; after the last block the final decision is taken from all
evidence. If it differs, all parts are built again from the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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
from landdata.survey import crs_candidates, crs_detection, extent, fields, formats, profiles, shapes
from landdata.survey import text as texts
from landdata.survey.attributes import count_filled, read_block
from landdata.survey.dataset import Dataset
from landdata.survey.model import CrsChoice, EncodingChoice, FieldMatch, Part
from landdata.survey.reader import Block, Layer
from landdata.survey.shapes import Shapes
from landdata.survey.text import Accented, Decoding, Text

#: Called as stages go on: the name of the stage and the share of all work done, 0 to 1.
Progress = Callable[[str, float], None]

_MAX_ID = 2**31 - 1
_UNPACKED = 0.05  # share of the work done after unpacking


class Options(TypedDict, total=False):
    """The surveyor's options for a file: see `landdata.survey.read`."""

    layer: str | None
    encoding: str | None
    crs: int | None
    fields: Mapping[str, str] | None
    engine: str | None
    mend_text: bool
    profile: profiles.Profile | None
    commune: crs_candidates.Box | None


class BlockSource(Protocol):
    """A layer in blocks, which can be iterated again once it is whole.

    A block that starts at row 0 replaces all before it.
    """

    @property
    def layer(self) -> Layer:
        """The description of the layer; complete with the first block."""

    @property
    def whole(self) -> bool:
        """Whether all blocks were read."""

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks."""


class Clock:
    """Measures stages and reports progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the `with` block to a stage."""
        since = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - since

    def report(self, stage: str, share: float) -> None:
        """Report the share of all work that is done."""
        if self._progress:
            self._progress(stage, share)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds by stage."""
        return {stage: round(seconds, 4) for stage, seconds in self._seconds.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a layer is interpreted; `refusal` is the reason if it cannot be."""

    rows: int  # the number of rows that it is based on
    own_ids: bool  # rows have the ids of the file, else consecutive numbers
    encoding: EncodingChoice
    decoding: Decoding
    matches: tuple[FieldMatch, ...]
    crs: CrsChoice
    refusal: BadSurvey | None

    def is_equivalent(self, other: Decision | None) -> bool:
        """Tell whether both decisions lead to the same parts."""
        return other is not None and self._key == other._key

    @property
    def _key(self) -> tuple[object, ...]:
        matches = [(match.source, match.attribute, match.how) for match in self.matches]
        return self.own_ids, self.decoding, matches, self.crs.epsg, self.refusal is None


class LayerEvidence:
    """Evidence from the blocks of a layer so far: text, filled fields, coordinates, ids.

    The size does not grow with the blocks, but for 8 bytes per distinct text with accents.
    """

    def __init__(
        self, first: Block, source: BlockSource, dataset: Dataset, options: Options
    ) -> None:
        self._source, self._dataset, self._options = source, dataset, options
        self._texts = texts.TextEvidence(first.columns, unicode=source.layer.unicode)
        self._filled = dict.fromkeys(first.columns, 0)
        self._sample = extent.Sample()
        self._last, self._largest, self._ordered = -_MAX_ID, 0, True
        self.rows = 0

    def add(self, block: Block, accented: Accented, coordinates: NDArray[np.float64]) -> None:
        """Add a block."""
        self._texts.add(accented)
        for name, column in block.columns.items():
            self._filled[name] += count_filled(column)
        self._sample.add(coordinates)
        if len(block.ids):
            self._ordered &= self._last < block.ids[0] and bool((np.diff(block.ids) > 0).all())
            self._last = block.ids[-1]
            self._largest = max(self._largest, int(np.abs(block.ids).max()))
        self.rows += len(block.ids)

    def choose_encoding(self) -> tuple[EncodingChoice, Decoding]:
        """Return the encoding and decoding by the text so far."""
        profile = self._options.get("profile")
        return self._texts.choose(
            cpg=self._dataset.cpg,
            option=self._options.get("encoding") or (profile.encoding if profile else None),
            mend=self._options.get("mend_text", False) or bool(profile and profile.mend_text),
        )

    def decide(self, srid: int) -> Decision:
        """Return the decision by the evidence so far; `srid` is the storage CRS.

        Raises `BadRequest` for an invalid option, `BadSurvey` if no row has a usable shape.
        """
        options = self._options
        profile = options.get("profile")
        encoding, decoding = self.choose_encoding()
        names = decoding.names(self._filled)
        filled = {names[name]: count for name, count in self._filled.items()}
        profile_fields = profile.fields if profile else None
        matches = fields.match(filled, options.get("fields"), profile_fields)
        bounds = self._sample.bounds()
        if bounds is None:
            raise BadSurvey(
                "No row of {layer} has a usable shape.",
                hint="Export the survey again.",
                code="no-shapes",
                layer=self._dataset.layer,
            )
        code = options.get("crs")
        code = profile.crs if code is None and profile else code
        prj, commune = self._dataset.prj, options.get("commune")
        choice, refusal = crs_detection.choose(prj, bounds, srid, code, commune)
        return Decision(
            rows=self.rows,
            own_ids=self._own_ids(),
            encoding=encoding,
            decoding=decoding,
            matches=matches,
            crs=choice,
            refusal=refusal or fields.lacking(matches),
        )

    def _own_ids(self) -> bool:
        """Tell whether the ids of the file are unique and small enough to number the rows."""
        if self._ordered or self._largest > _MAX_ID or not self._source.whole:
            return self._largest <= _MAX_ID
        ids = np.concatenate([block.ids for block in self._source.blocks()])
        return len(np.unique(ids)) == len(ids)


class PartStream:
    """The parts of a survey, built by iterating.

    `dataset`, `layer` and `decision` describe the whole survey after the last part.
    """

    dataset: Dataset
    decision: Decision
    _evidence: LayerEvidence

    def __init__(
        self,
        source: BlockSource,
        dataset: Dataset,
        settings: Settings,
        options: Options,
        clock: Clock,
    ) -> None:
        self.dataset = dataset
        self._unpacked, self._source = dataset, source
        self._settings, self._options, self._clock = settings, options, clock
        self._unfinished: set[str] = set()

    @property
    def layer(self) -> Layer:
        """The description of the layer."""
        return self._source.layer

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts. Raises `BadSurvey` if the file cannot be read or is refused."""
        guess: Decision | None = None
        for block, accented, polygons in self._gather():
            if block.start == 0:
                guess = self._guess()
            elif guess and accented and guess.decoding.encoding == "ASCII":
                # All text so far is the same in every encoding.
                encoding, decoding = self._evidence.choose_encoding()
                guess = replace(guess, encoding=encoding, decoding=decoding)
            if guess:
                yield self._part(guess, block, accented, polygons)
        decision = self._evidence.decide(self._settings.srid)
        if decision.refusal is not None:
            raise decision.refusal
        if not decision.is_equivalent(guess):
            for block in self._source.blocks():
                yield self._part(decision, block, *self._prepare(block))
        self._decide(decision)

    def sample(self, rows: int) -> tuple[dict[str, str], ...]:
        """Decide without building parts; return the text of the `rows` with the most accents."""
        for _ in self._gather():
            pass
        decision = self._evidence.decide(self._settings.srid)
        best: list[tuple[int, int, dict[str, str]]] = []
        for block in self._source.blocks():
            text = self._read(decision.decoding, block, texts.accented(block.columns))
            best = sorted([*best, *_accents(text, block.start, rows)], key=lambda row: row[:2])
            del best[rows:]
        self._decide(decision)
        return tuple(row for *_, row in sorted(best, key=lambda row: row[1]))

    def _gather(self) -> Iterator[tuple[Block, Accented, Shapes]]:
        """Yield the blocks as they are read, adding them to the evidence."""
        blocks = self._source.blocks()
        while True:
            with self._clock.stage("read"):
                block = next(blocks, None)
            if block is None:
                return
            if block.start == 0:
                self.dataset = _describe(self._unpacked, self.layer)
                self._evidence = LayerEvidence(block, self._source, self.dataset, self._options)
            accented, polygons = self._prepare(block)
            with self._clock.stage("decode"):
                self._evidence.add(block, accented, polygons.coordinates)
            yield block, accented, polygons
            expected = self.layer.expected
            share = min(1.0, self._evidence.rows / expected) if expected else 0.0
            self._clock.report("read", _UNPACKED + (1 - _UNPACKED) * share)

    def _prepare(self, block: Block) -> tuple[Accented, Shapes]:
        """Return the accented texts and the polygons of a block: they need no decision."""
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
        mended = count if decision.decoding.mend else 0
        encoding = replace(decision.encoding, unfinished=count, mended=mended)
        self.decision = replace(decision, encoding=encoding)

    def _read(self, decoding: Decoding, block: Block, accented: Accented) -> Text:
        with self._clock.stage("decode"):
            text = decoding.read(block.columns, accented)
            if block.start == 0:
                self._unfinished.clear()
            self._unfinished |= text.unfinished
        return text

    def _part(self, decision: Decision, block: Block, accented: Accented, polygons: Shapes) -> Part:
        """Return the part for a block by a decision."""
        places = np.arange(block.start, block.start + len(block.ids), dtype=np.int64)
        rows = block.ids if decision.own_ids else places
        text = self._read(decision.decoding, block, accented)
        with self._clock.stage("attributes"):
            attributes, findings = read_block(self.dataset, decision.matches, text, block.ids, rows)
        with self._clock.stage("transform"):
            assert decision.crs.epsg is not None  # else the decision has a refusal
            geometry, measured = polygons.to_storage(decision.crs.epsg, self._settings.srid)
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


def _describe(dataset: Dataset, layer: Layer) -> Dataset:
    """Return the dataset with what only reading shows of its format."""
    if dataset.format is formats.SHAPEFILE:
        return dataset
    is_single = len(dataset.layers) == 1
    # A layer without a name gets that of our copy, which is not the sender's.
    copy_name = "" if dataset.format.layered else dataset.file.stem
    named = layer.layer if is_single and layer.layer != copy_name else None
    return replace(
        dataset,
        layer=named or dataset.layer,
        layers=layer.layers if named else dataset.layers,
        shape=layer.shape,
        prj=layer.crs,
    )


def _accents(text: Text, start: int, count: int) -> list[tuple[int, int, dict[str, str]]]:
    """Return up to `count` rows with the most accents: (-accents, place, text by field)."""
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
