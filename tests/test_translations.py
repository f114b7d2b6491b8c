"""Every sentence for people has its Vietnamese, and each is shown in the reader's language."""

from __future__ import annotations

import ast
import datetime as dt
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from landdata.errors import BadSurvey, NotFound
from landdata.translations import LANGUAGES, localize, sentence, translate

ROOT = Path(__file__).parents[1]
#: Another place of the tone mark in the same syllable, and another word for a batch.
OTHER_SPELLINGS = re.compile(r"\b\w*(?:oạ|oá|oà|oả|oã|uỷ|uý|uỳ|uỵ)\b|\blô\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def catalogue() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "script/translations.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("catalogue", None)


def test_every_sentence_has_its_vietnamese_and_the_catalogue_holds_no_other(
    catalogue: ModuleType,
) -> None:
    assert catalogue.problems(catalogue.load(), catalogue.sentences()) == []


def test_a_missing_and_a_superfluous_sentence_are_found(catalogue: ModuleType) -> None:
    files = catalogue.sentences() | {"There is no moon.": {"x.py"}}
    removed = files.pop("Try again later.")
    assert removed
    assert catalogue.problems(catalogue.load(), files) == [
        "no translation: There is no moon.",
        "in no source: Try again later.",
    ]


@pytest.mark.parametrize("package", ["landdata", "ogc", "portal"])
def test_messages_of_errors_are_literals(catalogue: ModuleType, package: str) -> None:
    built = [
        f"{path.relative_to(ROOT)}:{argument.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _makes_a_sentence(node, catalogue.ERRORS)
        for argument in [*node.args[:1], *(w.value for w in node.keywords if w.arg == "hint")]
        if any(isinstance(part, ast.JoinedStr | ast.BinOp) for part in ast.walk(argument))
    ]
    assert built == [], "pass the values by name: they are filled in in each language"


def _makes_a_sentence(call: ast.Call, errors: set[str]) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in errors | {"sentence"} or ast.unparse(call.func) == "super().__init__"


def test_vietnamese_is_spelled_alike_throughout(catalogue: ModuleType) -> None:
    texts = {str(message.string) for message in catalogue.load() if message.id}
    for folder in ("landdata", "ogc", "portal", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".html", ".js", ".md") and "vendor" not in path.parts:
                texts.add(path.read_text("utf-8"))
    assert [match[0] for text in texts for match in OTHER_SPELLINGS.finditer(text)] == []


@pytest.mark.parametrize(
    ("value", "vi", "en"),
    [
        (128.5, "128,5", "128.5"),
        (dt.date(2026, 12, 1), "01/12/2026", "2026-12-01"),
        (9212, "9212", "9212"),
        (sentence("now"), "hiện nay", "now"),
        ("Xã Suối Mẫu", "Xã Suối Mẫu", "Xã Suối Mẫu"),
    ],
)
def test_values_are_written_as_each_language_writes_them(value: Any, vi: str, en: str) -> None:
    assert [localize(value, language) for language in LANGUAGES] == [vi, en]


def test_braces_of_a_value_stay() -> None:
    error = BadSurvey("There is no file {name}.", hint="Look at {it}.", name="a{name}b.zip")
    assert error.message == "There is no file a{name}b.zip."
    assert error.hint == "Look at {it}."


def test_an_error_is_raised_anew_in_another_process_in_every_language() -> None:
    error = NotFound("There is no batch {number}.", hint="`landdata batches` lists them.", number=7)
    again = NotFound(**error.as_record())
    for language in LANGUAGES:
        assert again.as_dict(language) == error.as_dict(language)
    assert translate(again.message, "vi") == "Không có đợt 7."
