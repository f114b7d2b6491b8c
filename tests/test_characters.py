"""Control and bidirectional characters reach no key, terminal, title or table."""

from __future__ import annotations

import json

import pytest

from landdata import characters
from landdata.documents.echo import echo, echo_json
from landdata.errors import BadSurvey

HOSTILE = "a\x1b[31mb\u202ec\x00d\x9b\u2028e"


def test_escaped_characters_can_be_seen() -> None:
    assert characters.escape(HOSTILE) == "a<U+001B>[31mb<U+202E>c<U+0000>d<U+009B><U+2028>e"
    assert characters.escape("Thửa 12a, tờ 3") == "Thửa 12a, tờ 3"
    assert characters.escape("a\r\nb\x07", lines=True) == "a\r\nb<U+0007>"
    assert characters.escape("\ud800") == "<U+D800>"


def test_stripped_text_keeps_its_words() -> None:
    assert characters.remove(" Xã\tSuối\n\u202eMẫu\x00 ") == "Xã Suối Mẫu"
    assert characters.remove("\x00") == ""
    assert characters.remove("tr\u00adng") == "tr\u00adng"  # a half-converted ư of TCVN3 stays


def test_escaped_json_means_the_same() -> None:
    text = characters.escape_json(json.dumps({"name": HOSTILE}, ensure_ascii=False))
    assert text.isprintable()
    assert json.loads(text) == {"name": HOSTILE}


def test_what_is_written_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    echo_json({"name": HOSTILE}, err=True)
    written = capsys.readouterr()
    assert (written.out + written.err).replace("\n", "").isprintable()


def test_errors_are_escaped_for_every_medium() -> None:
    error = BadSurvey(f"{HOSTILE} cannot be read.", hint=HOSTILE)
    assert error.message.isprintable()
    assert str(error).isprintable()
    assert error.hint is not None
    assert error.hint.isprintable()
