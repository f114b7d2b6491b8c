"""The text of a layer: detecting its encoding from all of it, and decoding a block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landdata import characters
from landdata.survey import encodings
from landdata.survey.model import EncodingChoice

#: Field → its distinct texts that are not ASCII; ASCII is the same in all encodings.
Accented = Mapping[str, Sequence[str]]


def accented(columns: Mapping[str, pa.Array]) -> Accented:
    """Return the distinct texts of columns that are not ASCII; most of a file is."""
    distinct = {}
    for name, column in columns.items():
        if pa.types.is_string(column.type):
            plain = pc.string_is_ascii(column)
            if pc.all(plain).as_py() is False:
                distinct[name] = column.filter(pc.invert(plain)).unique().to_pylist()
    return distinct


class TextEvidence:
    """Statistics of a layer's text so far, by which to detect its encoding.

    The size grows by 8 bytes per distinct text that is not ASCII, and with the words of a
    language. `unicode`: the format defines its letters.
    """

    def __init__(self, names: Iterable[str], *, unicode: bool) -> None:
        self._unicode = unicode
        self._plain = encodings.EncodingEvidence()  # of the bytes, for Unicode those of UTF-8
        self._western = encodings.EncodingEvidence() if unicode else None
        self._seen: NDArray[np.int64] = np.empty(0, np.int64)
        self._add(names)

    def add(self, texts: Accented) -> None:
        """Add the text of a block."""
        self._add(text for distinct in texts.values() for text in distinct)

    def _add(self, texts: Iterable[str]) -> None:
        by_hash = {hash(text): text for text in texts if not text.isascii()}
        new = np.sort(np.fromiter(by_hash, np.int64, len(by_hash)))
        places = np.searchsorted(self._seen, new)
        is_seen = places < len(self._seen)
        is_seen[is_seen] = self._seen[places[is_seen]] == new[is_seen]
        new, places = new[~is_seen], places[~is_seen]
        self._seen = np.insert(self._seen, places, new)
        fresh = [by_hash[value] for value in new.tolist()]
        self._plain.add([_utf8(text) for text in fresh] if self._unicode else fresh)
        if self._western is not None:
            raw = [encodings.latin1_bytes(text) for text in fresh]
            if None in raw:
                self._western = None
            else:
                self._western.add([text for text in raw if text is not None])

    def choose(
        self, *, cpg: str | None, option: str | None, mend: bool
    ) -> tuple[EncodingChoice, Decoding]:
        """Return the encoding and the decoding; raises `BadRequest` for an unknown `option`.

        A program unaware of TCVN3, VNI or UTF-8 may have written their bytes as letters of
        Latin-1 into a Unicode format. If the whole file is like that, and more of it is valid
        as bytes, they are decoded as bytes.
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
        return choice, Decoding(
            encoding=choice.name,
            unicode=self._unicode,
            western=western,
            half_converted=choice.name == "UTF-8" and evidence.unfinished,
            mend=mend,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The decoded columns of a block; all arrays have one entry per row."""

    columns: dict[str, pa.Array]
    mangled: dict[str, pa.Array]  # field → whether the text is half converted
    proposed: dict[str, pa.Array]  # field → text with its conversion finished, null if it was
    unfinished: frozenset[str]  # distinct texts with an unfinished conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How the raw text of a layer is decoded.

    `western`: letters of Latin-1 stand for bytes, though the format is `unicode`.
    `half_converted`: a conversion of the text from TCVN3 was not finished; `mend`: finish it.
    """

    encoding: str
    unicode: bool
    western: bool
    half_converted: bool
    mend: bool

    def names(self, raw: Iterable[str]) -> dict[str, str]:
        """Return the decoded names of fields: raw → decoded."""
        names = list(raw)
        decoded = self._decode_all([name for name in names if not name.isascii()])
        return {name: characters.escape(decoded.text.get(name, name)) for name in names}

    def read(self, columns: Mapping[str, pa.Array], texts: Accented) -> Text:
        """Return the decoded columns of a block; `texts` are its accented texts."""
        distinct = dict.fromkeys(text for group in (columns, *texts.values()) for text in group)
        decoded = self._decode_all([text for text in distinct if not text.isascii()])
        result: dict[str, pa.Array] = {}
        mangled: dict[str, pa.Array] = {}
        proposed: dict[str, pa.Array] = {}
        for raw, column in columns.items():
            name = characters.escape(decoded.text.get(raw, raw))
            result[name] = column
            if raw not in texts:
                continue
            coded = column.dictionary_encode()
            values, places = coded.dictionary.to_pylist(), coded.indices
            texts_of_values = [decoded.text.get(value, value) for value in values]
            result[name] = pa.array(texts_of_values, pa.string()).take(places)
            if not decoded.mangled.isdisjoint(texts[raw]):
                bad = pa.array([value in decoded.mangled for value in values], pa.bool_())
                mangled[name] = pc.fill_null(bad.take(places), False)
            if not (self.mend or decoded.unfinished.keys().isdisjoint(texts[raw])):
                better = pa.array([decoded.unfinished.get(value) for value in values], pa.string())
                proposed[name] = better.take(places)
        return Text(
            columns=result,
            mangled=mangled,
            proposed=proposed,
            unfinished=frozenset(decoded.unfinished),
        )

    def decode(self, raw: Sequence[str]) -> list[str]:
        """Return raw texts decoded, with unfinished conversions unchanged."""
        if self.western:
            raw = [encodings.latin1_bytes(text) or text for text in raw]
        elif self.unicode:
            raw = [_utf8(text) for text in raw]
        return encodings.decode(raw, self.encoding)

    def _decode_all(self, raw: Sequence[str]) -> _Decoded:
        decoded = self.decode(raw)
        finished = encodings.finish_conversion(decoded) if self.half_converted else decoded
        pairs = zip(raw, decoded, finished, strict=True)
        flags = encodings.are_mangled(finished)
        return _Decoded(
            text=dict(zip(raw, finished if self.mend else decoded, strict=True)),
            unfinished={text: after for text, before, after in pairs if before != after},
            mangled={
                text
                for text, plain, flag in zip(raw, decoded, flags, strict=True)
                if flag and not _OTHER_SCRIPT.search(plain)
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded:
    """Raw texts → decoded, raw texts → finished conversions, and half-converted raw texts."""

    text: dict[str, str]
    unfinished: dict[str, str]
    mangled: set[str]


#: Letters of no Latin script: text with them is in another language, not half converted.
_OTHER_SCRIPT = re.compile(
    "[\u0370-\u1dbf\u2c00-\ud7ff\uf900-\ufdff\ufe70-\ufefe\U00010000-\U0003ffff]"
)


def _utf8(text: str) -> str:
    """Return the bytes of a text in UTF-8, as latin-1."""
    return text.encode("utf-8", "replace").decode("latin-1")
