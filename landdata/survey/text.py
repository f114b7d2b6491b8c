"""The text of a layer: what all of it tells of its encoding, and a block of it read so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata.survey import encodings
from landdata.survey.model import EncodingChoice

#: Field → the distinct texts of it that are not ASCII, which is the same in all encodings.
Accented = Mapping[str, Sequence[str]]


def accented(columns: Mapping[str, pa.Array]) -> Accented:
    """Return the distinct texts of columns that are not ASCII; most of a file is."""
    found = {}
    for name, column in columns.items():
        if pa.types.is_string(column.type):
            plain = pc.string_is_ascii(column)
            if pc.all(plain).as_py() is False:
                found[name] = column.filter(pc.invert(plain)).unique().to_pylist()
    return found


class Evidence:
    """What the text of a layer tells of its encoding, in as far as it came.

    It grows by 8 bytes for each distinct text that is not ASCII, and else with the words of a
    language. `unicode` tells that the format says what its letters are.
    """

    def __init__(self, names: Iterable[str], *, unicode: bool) -> None:
        self._unicode = unicode
        self._plain = encodings.Evidence()  # of the bytes; of Unicode, of those of UTF-8
        self._western = encodings.Evidence() if unicode else None  # null: it has other letters
        self._seen: NDArray[np.int64] = np.empty(0, np.int64)
        self._add(names)

    def add(self, texts: Accented) -> None:
        """Take in the text of a block."""
        self._add(text for each in texts.values() for text in each)

    def _add(self, texts: Iterable[str]) -> None:
        marks = {hash(text): text for text in texts if not text.isascii()}
        new = np.sort(np.fromiter(marks, np.int64, len(marks)))
        places = np.searchsorted(self._seen, new)
        known = places < len(self._seen)
        known[known] = self._seen[places[known]] == new[known]
        new, places = new[~known], places[~known]
        self._seen = np.insert(self._seen, places, new)
        fresh = [marks[mark] for mark in new.tolist()]
        self._plain.add([_utf8(text) for text in fresh] if self._unicode else fresh)
        if self._western is not None:
            raw = [encodings.bytes_of(text) for text in fresh]
            if None in raw:
                self._western = None
            else:
                self._western.add([text for text in raw if text is not None])

    def choose(
        self, *, cpg: str | None, option: str | None, mend: bool
    ) -> tuple[EncodingChoice, Spelling]:
        """Choose the encoding. An unknown `option` raises `BadRequest`.

        A program that knew nothing of TCVN3, VNI or UTF-8 may have written their bytes as so
        many letters of Latin-1, into a format that says what its letters are. Where the whole
        file is like that, and makes more sense so, they are bytes again.
        """
        wanted = encodings.canonical(option) if option is not None else None
        evidence, western = self._plain, False
        if self._western is not None and wanted != "UTF-8":
            choice = encodings.detect(self._western, option=option)
            scores = dict(choice.candidates)
            better = scores.get(choice.name, 0.0) > max(0.5, scores.get("CP1252", 0.0) + 0.2)
            if wanted is not None or (choice.name in ("UTF-8", "TCVN3", "VNI") and better):
                evidence, western = self._western, True
        if not self._unicode:
            choice = encodings.detect(evidence, cpg=cpg, option=option)
        elif not western:
            choice = encodings.detect(evidence, option=option if wanted == "UTF-8" else None)
            if choice.name != "ASCII":
                choice = replace(choice, name="UTF-8", confidence=1.0)
        return choice, Spelling(
            encoding=choice.name,
            unicode=self._unicode,
            western=western,
            begun=choice.name == "UTF-8" and evidence.unfinished,
            mend=mend,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The columns of a block, decoded. All arrays have one entry per row."""

    columns: dict[str, pa.Array]
    mangled: dict[str, pa.Array]  # field → whether its text is half converted
    proposed: dict[str, pa.Array]  # field → the text with its conversion finished, null: it is
    unfinished: frozenset[str]  # distinct texts whose conversion is not finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How the raw text of a layer becomes what it means.

    `western` tells that letters of Latin-1 stand for so many bytes, though the format is
    `unicode`. `begun` tells that somebody began to convert the text from TCVN3, and `mend` that
    this is to be finished.
    """

    encoding: str
    unicode: bool
    western: bool
    begun: bool
    mend: bool

    def names(self, raw: Iterable[str]) -> dict[str, str]:
        """Return the names of fields: as they are in the file → as they are meant."""
        given = list(raw)
        known = self._understand([name for name in given if not name.isascii()])
        return {name: known.meaning.get(name, name) for name in given}

    def read(self, columns: Mapping[str, pa.Array], texts: Accented) -> Text:
        """Read the columns of a block, whose accented texts are given."""
        everything = dict.fromkeys(text for each in (columns, *texts.values()) for text in each)
        known = self._understand([text for text in everything if not text.isascii()])
        made: dict[str, pa.Array] = {}
        mangled: dict[str, pa.Array] = {}
        proposed: dict[str, pa.Array] = {}
        for raw, column in columns.items():
            name = known.meaning.get(raw, raw)
            made[name] = column
            if raw not in texts:
                continue
            coded = column.dictionary_encode()
            values, places = coded.dictionary.to_pylist(), coded.indices
            meaning = pa.array([known.meaning.get(value, value) for value in values], pa.string())
            made[name] = meaning.take(places)
            if not known.mangled.isdisjoint(texts[raw]):
                bad = pa.array([value in known.mangled for value in values], pa.bool_())
                mangled[name] = pc.fill_null(bad.take(places), False)
            if not (self.mend or known.unfinished.keys().isdisjoint(texts[raw])):
                better = pa.array([known.unfinished.get(value) for value in values], pa.string())
                proposed[name] = better.take(places)
        return Text(
            columns=made,
            mangled=mangled,
            proposed=proposed,
            unfinished=frozenset(known.unfinished),
        )

    def decode(self, raw: Sequence[str]) -> list[str]:
        """Decode raw texts, conversions left as they are."""
        if self.western:
            raw = [encodings.bytes_of(text) or text for text in raw]
        elif self.unicode:
            raw = [_utf8(text) for text in raw]
        return encodings.decode(raw, self.encoding)

    def _understand(self, raw: Sequence[str]) -> _Known:
        decoded = self.decode(raw)
        finished = encodings.finish(decoded) if self.begun else decoded
        pairs = zip(raw, decoded, finished, strict=True)
        flags = encodings.mangled(finished)
        return _Known(
            meaning=dict(zip(raw, finished if self.mend else decoded, strict=True)),
            unfinished={text: after for text, before, after in pairs if before != after},
            mangled={text for text, flag in zip(raw, flags, strict=True) if flag},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What raw texts mean, what they would be, and which are half converted."""

    meaning: dict[str, str]
    unfinished: dict[str, str]
    mangled: set[str]


def _utf8(text: str) -> str:
    """Return the bytes of a text in UTF-8, as latin-1."""
    return text.encode("utf-8", "replace").decode("latin-1")
