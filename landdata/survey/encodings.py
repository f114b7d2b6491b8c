"""Bytes to Vietnamese text.

A DBF does not state its encoding reliably: `.cpg` is often missing or wrong, and general detectors
do not know TCVN3 and VNI. So the whole file is decoded by every candidate, and the one that
yields most valid Vietnamese syllables is chosen.

Raw text is passed as latin-1 `str`, one character per byte, which loses nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Literal

from landdata.errors import BadRequest
from landdata.survey.model import EncodingChoice

#: In order of preference for equal scores.
ENCODINGS = ("UTF-8", "TCVN3", "VNI", "CP1258", "CP1252")

_TABLES: dict[str, dict[str, str]] = json.loads(
    resources.files("landdata.reference")
    .joinpath("data/encodings.json")
    .read_text(encoding="utf-8")
)["tables"]


def _table(name: str, keys: str) -> dict[str, str]:
    """Return key → letter of a table."""
    table = _TABLES[name]
    return dict(zip(table[keys].split(), table["letters"].split(), strict=True))


TCVN3 = {chr(int(byte, 16)): letter for byte, letter in _table("tcvn3", "bytes").items()}
#: Capitals of the standard that the fonts of its time lacked: they use free bytes.
TCVN3_CAPITALS = {
    chr(int(byte, 16)): letter for byte, letter in _table("tcvn3_capitals", "bytes").items()
}
#: Sequences in all cases in use; the base letter has the letter's case.
VNI = {
    cased: letter.upper() if cased[0].isupper() else letter
    for sequence, letter in _table("vni", "sequences").items()
    for cased in (sequence, sequence.upper(), sequence[0].upper() + sequence[1:])
}
_TCVN3_TABLE = str.maketrans(TCVN3_CAPITALS | TCVN3)
_VNI_SEQUENCE = re.compile("|".join(sorted(map(re.escape, VNI), key=len, reverse=True)))

_LETTERS = (
    "aăâbcdđeêghiklmnoôơpqrstuưvxyáàảãạắằẳẵặấầẩẫậéèẻẽẹếềểễệíìỉĩịóòỏõọốồổỗộớờởỡợúùủũụứừửữựýỳỷỹỵ"
)
VIETNAMESE = frozenset(_LETTERS + _LETTERS.upper())
#: TCVN3 bytes that are not Vietnamese letters in latin-1: `ª` in UTF-8 is a remnant.
_REMNANTS = {raw: letter for raw, letter in TCVN3.items() if raw not in VIETNAMESE}
_REMNANT_TABLE = str.maketrans(_REMNANTS)

_WORD = re.compile(r"(?:[A-Za-z]|[^\x00-\x7f])+")
_ACCENTED = re.compile(r"[^\x00-\x7f]")
_ACCENTED_WORD = re.compile(r"[A-Za-z]*[^\x00-\x7f](?:[A-Za-z]|[^\x00-\x7f])*")
# A word with accents and no lower-case plain letter: its case may be lost.
_UNSURE = re.compile(
    r"(?<![A-Za-z])(?<![^\x00-\x7f])[A-Z]*[^\x00-\x7f](?:[A-Z]|[^\x00-\x7f])*(?![a-z])"
)
_REMNANT = re.compile(f"[{re.escape(''.join(_REMNANTS))}]")
_REMNANT_WORD = re.compile(
    rf"(?:[A-Za-z]|[^\x00-\x7f])*[{re.escape(''.join(_REMNANTS))}](?:[A-Za-z]|[^\x00-\x7f])*"
)
# A capital in the middle of a word begins a second one: VănTrường.
_SMALL = "a-z" + _LETTERS
_CASE_EDGE = re.compile(f"(?<=[{_SMALL}])(?=[A-Z{_LETTERS.upper()}][{_SMALL}])")

# -- Vietnamese syllables: onset, rime, tone

_TONES = "\u0300\u0301\u0303\u0309\u0323"  # grave, acute, tilde, hook above, dot below
_ONSETS = "b c ch d đ g gh gi h k kh l m n ng ngh nh p ph q qu r s t th tr v x"
# Languages of the highlands, whose names of places and people are common in a cadastre.
_FOREIGN_ONSETS = "bl br đh đr dr gr j kl kr ml mr pl pr w f z st sr hr mn tl dl"
_OPEN_RIMES = (
    "a ai ao au ay ă âu ây e eo ê êu i ia iêu iu o oa oai oao oay oe oeo oi ô ôi ơ ơi"
    " u ua uê ui uơ uy uya uyu uôi uây ư ưa ưi ưu ươi ươu y yêu ya yê uâu ưo"
)
_NASAL_RIMES = (
    "am an ang anh ăm ăn ăng âm ân âng em en eng ên êm ênh im in inh iêm iên iêng om on ong oong"
    " oam oan oang oanh oăm oăn oăng oen oem ôm ôn ông ôông ơm ơn um un ung uân uâng uông uôm uôn"
    " uênh uyn uynh uyên ưm ưn ưng ươm ươn ương yêm yên yêng uang uan uanh uăn uăng uên uen"
)
_STOP_RIMES = (
    "ac ach ap at ăc ăp ăt âc âp ât ec ep et êch êp êt ich ip it iêc iêp iêt oc ooc op ot oac oach"
    " oap oat oăc oăt oet ôc ôp ôt ơp ơt uc up ut uât uôc uôp uôt uêch uyt uych uyêt uyp ưc ưt ưp"
    " ươc ươp ươt yêt uac uat uăt uăc uach uet uêt"
)
_SONORANT = frozenset((_OPEN_RIMES + " " + _NASAL_RIMES).split())
_STOP = frozenset(_STOP_RIMES.split())


def _choice(items: Iterable[str]) -> str:
    """Return a regex alternation, longest first, so that `ngh` precedes `ng`."""
    return "(?:" + "|".join(sorted(items, key=len, reverse=True)) + ")"


_SYLLABLE = re.compile(f"({_choice(_ONSETS.split())}?)({_choice(_SONORANT | _STOP)})")
_LOOSE_ONSET = _choice((_ONSETS + " " + _FOREIGN_ONSETS).split())
_LOOSE_RIME = _choice(
    _SONORANT
    | _STOP
    | {rime + coda for rime in _OPEN_RIMES.split() for coda in ("k", "l", "r", "h", "s", "n", "ng")}
    | {"iêk", "uôk", "ươk", "ec", "ac"}
)
_POSSIBLE = re.compile(f"{_LOOSE_ONSET}?{_LOOSE_RIME}(?:{_LOOSE_ONSET}{_LOOSE_RIME})*")


def _toneless(word: str) -> tuple[str, str]:
    """Return a word's letters without tones, and its tones."""
    apart = unicodedata.normalize("NFD", word)
    letters = unicodedata.normalize("NFC", "".join(c for c in apart if c not in _TONES))
    return letters, "".join(c for c in apart if c in _TONES)


@lru_cache(maxsize=100_000)
def is_syllable(word: str) -> bool:
    """Tell whether a word is one valid Vietnamese syllable: onset, rime and tone."""
    letters, tones = _toneless(word.lower())
    match = _SYLLABLE.fullmatch(letters)
    if match is None or len(tones) > 1:
        return False
    # Rimes that end in a stop have only the acute and the dot below.
    return match[2] not in _STOP or tones in ("\u0301", "\u0323")


@lru_cache(maxsize=100_000)
def is_mangled(word: str) -> bool:
    """Tell whether a word has Vietnamese accents as no word can: `Đđi`, `Trưêng`.

    More tolerant than `is_syllable`: a missing tone, joined words and names of the highlands
    (Đắk, Krông) are not damage.
    """
    for part in _CASE_EDGE.split(word):
        if not _ACCENTED.search(part):
            continue
        letters, tones = _toneless(part.lower())
        syllables = len(re.findall(r"[aăâeêioôơuưy]+", letters))
        if len(tones) > max(1, syllables) or _POSSIBLE.fullmatch(letters) is None:
            return True
    return False


# -- decoding


def _utf8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8")


def _cp(codec: str) -> Callable[[str], str]:
    """Return a decoder of a code page that keeps undefined bytes."""
    table = {}
    for byte in range(128, 256):
        letter = bytes([byte]).decode(codec, "ignore")
        table[byte] = letter or chr(byte)
    return lambda text: unicodedata.normalize("NFC", text.translate(table))


_DECODERS: dict[str, Callable[[str], str]] = {
    "UTF-8": _utf8,
    "TCVN3": lambda text: text.translate(_TCVN3_TABLE),
    "VNI": lambda text: _VNI_SEQUENCE.sub(lambda match: VNI[match[0]], text),
    "CP1258": _cp("cp1258"),
    "CP1252": _cp("cp1252"),
}
_CPG = {
    "utf-8": "UTF-8", "utf8": "UTF-8", "65001": "UTF-8",
    "1258": "CP1258", "cp1258": "CP1258", "windows-1258": "CP1258", "ansi 1258": "CP1258",
    "1252": "CP1252", "cp1252": "CP1252", "windows-1252": "CP1252", "ansi 1252": "CP1252",
    "iso-8859-1": "CP1252", "iso88591": "CP1252", "88591": "CP1252", "latin1": "CP1252",
    "tcvn3": "TCVN3", "vni": "VNI",
}  # fmt: skip

#: CP1252's own letters (€, œ …) → their bytes.
_WESTERN = {
    ord(letter): chr(byte)
    for byte in range(0x80, 0xA0)
    if (letter := bytes([byte]).decode("cp1252", "ignore"))
}

_JOINT = "\x00"  # in no DBF value: the driver ends a text there


def _bulk(values: Sequence[str], decode: Callable[[str], str]) -> list[str]:
    """Return the values decoded in one call."""
    if not values:
        return []
    return decode(_JOINT.join(values)).split(_JOINT)


def _decode_utf8(value: str) -> str | None:
    """Return a value decoded, without a letter truncated by the field's width; null: not UTF-8."""
    raw = value.encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(raw) - error.start < 4:
            return raw[: error.start].decode("utf-8")
        return None


def _words(texts: Iterable[str]) -> Counter[str]:
    """Count the words with accents; in raw text, with bytes above 127."""
    return Counter(_ACCENTED_WORD.findall(_JOINT.join(texts)))


def _score(words: Counter[str], decode: Callable[[str], str]) -> float:
    """Return the share of valid syllables among raw words after decoding."""
    # All words in one call; a high byte never ends a word, so decoded words stay whole.
    decoded = _bulk(list(words), decode)
    good = sum(
        count
        for word, count in zip(decoded, words.values(), strict=True)
        if is_syllable(word) or all(map(is_syllable, _CASE_EDGE.split(word)))
    )
    return good / words.total() if words else 0.0


class EncodingEvidence:
    """Statistics of the distinct accented texts of a file, by which to detect its encoding.

    Texts are raw, as latin-1. The size grows with the words of a language, not with the file.
    """

    def __init__(self, values: Sequence[str] = ()) -> None:
        self._count = self._utf8 = 0
        self._words: Counter[str] = Counter()
        self.add(values)

    def add(self, values: Sequence[str]) -> None:
        """Add texts that were not added before."""
        accented = [value for value in values if not value.isascii()]
        if not accented:
            return
        self._count += len(accented)
        self._words.update(_words(accented))
        try:
            _bulk(accented, _utf8)
            self._utf8 += len(accented)
        except UnicodeDecodeError:
            self._utf8 += sum(_decode_utf8(value) is not None for value in accented)

    def __bool__(self) -> bool:
        """Tell whether there are any accented texts."""
        return self._count > 0

    @property
    def unfinished(self) -> bool:
        """Whether the file is UTF-8 from an unfinished conversion from TCVN3.

        That is if most words with TCVN3 letters are syllables once these are converted; otherwise
        the letters are degree signs or trade marks.
        """
        decoded = ((_decode_utf8(word) or word, count) for word, count in self._words.items())
        remnants = [
            (word, count)
            for word, count in decoded
            if _REMNANT.search(word) and re.search(r"[A-Za-zÀ-ỹ]", word)
        ]
        good = sum(c for word, c in remnants if is_syllable(word.translate(_REMNANT_TABLE)))
        return 0 < sum(count for _, count in remnants) <= good * 2

    def scores(self) -> dict[str, float]:
        """Return for each encoding the share of texts or words that are valid in it."""
        # A letter truncated at the end of a field does not count against UTF-8.
        scores = {"UTF-8": self._utf8 / self._count}
        scores |= {name: _score(self._words, _DECODERS[name]) for name in ENCODINGS[1:]}
        if scores["UTF-8"] < 1 and max(scores.values()) > scores["UTF-8"] - 0.05:
            scores["UTF-8"] *= 0.5  # in short words, other bytes often happen to be valid
        return scores


def canonical(name: str) -> str:
    """Return the canonical name of an encoding; raises `BadRequest` for an unknown one."""
    names = {"ascii": "ASCII", "abc": "TCVN3", "vni-windows": "VNI", **_CPG}
    names |= {encoding.lower(): encoding for encoding in ENCODINGS}
    encoding = names.get(name.strip().lower())
    if encoding is None:
        raise BadRequest(
            "Encoding {name!r} is not known.",
            hint="Give one of {encodings}.",
            code="unknown-encoding",
            name=name,
            encodings=", ".join(ENCODINGS),
        )
    return encoding


def detect(
    evidence: EncodingEvidence, *, cpg: str | None = None, option: str | None = None
) -> EncodingChoice:
    """Return the encoding of a file.

    `cpg` is the text of the `.cpg` (a hint for equal scores); `option` is the surveyor's and
    decides. Raises `BadRequest` for an unknown `option`.
    """
    by: Literal["cpg", "detected", "option"] = "detected"
    scores = evidence.scores() if evidence else {}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], ENCODINGS.index(item[0])))
    candidates = tuple((name, round(score, 4)) for name, score in ranked)
    if option is not None:
        name = canonical(option)
        return EncodingChoice(name=name, confidence=1.0, candidates=candidates, by="option")
    if not evidence:
        return EncodingChoice(name="ASCII", confidence=1.0, candidates=(("ASCII", 1.0),))
    name, best = ranked[0]
    hinted = _CPG.get((cpg or "").strip().lower())
    if hinted and hinted != name and scores[hinted] >= best - 0.02:
        name, by = hinted, "cpg"
    if name == "UTF-8" and best == 1.0:
        confidence = 1.0
    else:
        second = max((score for other, score in ranked if other != name), default=0.0)
        confidence = max(0.0, best * (1 - (second / best) ** 2)) if best else 0.0
    return EncodingChoice(name=name, confidence=round(confidence, 3), candidates=candidates, by=by)


def decode(values: Sequence[str], name: str) -> list[str]:
    """Return raw texts (latin-1) decoded to Unicode NFC.

    The case of TCVN3 text is restored, word by word. A value that is not valid in the encoding is
    returned unchanged.
    """
    name = canonical(name)
    if name == "ASCII":
        return list(values)
    if name == "UTF-8":
        try:
            texts = _bulk(values, _utf8)
        except UnicodeDecodeError:
            texts = [value if (text := _decode_utf8(value)) is None else text for value in values]
    else:
        texts = _bulk(values, _DECODERS[name])
        if name == "TCVN3":
            texts = [_mend_case(text) if _UNSURE.search(text) else text for text in texts]
    return _bulk(texts, lambda text: unicodedata.normalize("NFC", text))


def latin1_bytes(text: str) -> str | None:
    """Return the bytes, as latin-1, of a text of western letters; null for other text."""
    raw = text.translate(_WESTERN)
    return raw if max(raw, default="") <= "\xff" else None


def finish_conversion(texts: Sequence[str]) -> list[str]:
    """Return texts with an unfinished conversion from TCVN3 finished.

    Remaining letters of TCVN3 (`Lª` for `Lê`) are converted, and lost capitals restored. Only for
    a file with `EncodingEvidence.unfinished`.
    """
    mended = [
        _REMNANT_WORD.sub(
            lambda match: match[0].translate(_REMNANT_TABLE) if len(match[0]) > 1 else match[0],
            text,
        )
        if _REMNANT.search(text)
        else text
        for text in texts
    ]
    # The conversion also lost the case of the letters that it converted.
    return [_mend_case(text) if _UNSURE.search(text) else text for text in mended]


def _mend_case(text: str) -> str:
    """Return a text with the capitals that TCVN3 encodes as small letters.

    A word is in capitals if its plain letters are; one with too few plain letters follows the
    rest of the value.
    """
    plain = re.findall(r"[A-Za-z]+", text)
    # UBND, HTX and the like are in capitals beside words that are not.
    all_capitals = all(map(str.isupper, plain)) and any(
        len(re.findall(r"[A-Z]", word)) > 1 and is_syllable(word) for word in _WORD.findall(text)
    )

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        letters = re.sub(r"[^A-Za-z]", "", word)
        if letters and not letters.isupper():
            return word
        certain = len(letters) > 1 or (len(letters) == 1 and word[0] != letters)
        return word.upper() if certain or all_capitals else word

    return _WORD.sub(mend, text)


def are_mangled(texts: Sequence[str]) -> list[bool]:
    """Return for decoded texts whether they are half converted: broken letters or words."""
    bad = {word for word in _words(texts) if is_mangled(word)}
    if not bad:
        return [False] * len(texts)
    return [not text.isascii() and not bad.isdisjoint(_WORD.findall(text)) for text in texts]
