"""Sentences for people, in the languages of the deployment.

A sentence is written in English where it is raised or printed, and translated when it is shown:

    error = NotFound("There is no batch {number}.", number=7)
    translate(error.message, "vi")

Its translation stands in `vi/landdata.po`, a Babel catalogue (CONTRIBUTING.md says how it is kept).
Numbers and dates among the values are written as each language writes them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from landdata import characters

if TYPE_CHECKING:
    from babel.messages import Catalog

Language = Literal["vi", "en"]
#: Returns a sentence in one language, from its template and values.
Translator = Callable[..., str]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Sentence(str):
    """An English sentence that can be translated.

    `template` is the message id, with the names of `values` in braces.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, Any]


def sentence(template: str, /, **values: Any) -> Sentence:
    """Return a sentence that can be translated; one that is filled in already, as it is.

    `template` must be a literal, since the catalogue is made from the source.
    """
    if isinstance(template, Sentence):
        if template.values:
            return template
        template = template.template
    text = Sentence(_fill(template, values, "en"))
    text.template, text.values = template, values
    return text


def translate(text: str, language: str) -> str:
    """Return a sentence in `language`; text that is not marked is returned as it is."""
    if not isinstance(text, Sentence) or language == "en":
        return str(text)
    template = catalogue(language).get(text.template, text.template)
    return _fill(template, text.values, language)


def translator(language: str) -> Translator:
    """Return the function `_` of a page, which translates: `_("Parcel {number}", number=7)`."""

    def _(template: str, /, **values: Any) -> str:
        return translate(sentence(template, **values), language)

    return _


def of_file(path: str, language: str) -> dict[str, str]:
    """Return the translations of the sentences in a source file, such as a script of a page."""
    if language == "en":
        return {}
    return {
        str(message.id): str(message.string)
        for message in _messages(language)
        if path in {place for place, _ in message.locations}
    }


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return the translations into `language` by message id."""
    return {str(message.id): str(message.string) for message in _messages(language)}


@cache
def _messages(language: str) -> Catalog:
    from babel.messages.pofile import read_po  # noqa: PLC0415  # slow to import

    with (Path(__file__).parent / language / "landdata.po").open("rb") as file:
        return read_po(file, locale=language)


def localize(value: Any, language: str) -> str:
    """Return a value as `language` writes it: 128,5 and 01/12/2026 in Vietnamese.

    Integers are not grouped, since most are codes or row numbers.
    """
    if isinstance(value, float | Decimal):
        from babel import numbers  # noqa: PLC0415  # slow to import, and rarely needed

        return numbers.format_decimal(value, "0.######", locale=language)
    if isinstance(value, dt.datetime):
        return value.strftime("%d/%m/%Y %H:%M" if language == "vi" else "%Y-%m-%d %H:%M")
    if isinstance(value, dt.date):
        return value.strftime("%d/%m/%Y" if language == "vi" else "%Y-%m-%d")
    return translate(value, language) if isinstance(value, str) else str(value)


def decimal(value: float, places: int, language: str) -> str:
    """Return a number with that many decimals, as `language` writes it."""
    text = f"{value:.{places}f}"
    return text.replace(".", ",") if language == "vi" else text


def _fill(template: str, values: dict[str, Any], language: str) -> str:
    """Fill `{name}` and, in quotes, `{name!r}`; other braces stay, as in a path."""

    def filled(match: re.Match[str]) -> str:
        name, quoted = match.groups()
        if name not in values:
            return match[0]
        text = localize(values[name], language)
        return repr(text) if quoted else text

    text = re.sub(r"\{(\w+)(!r)?\}", filled, template) if values else template
    return characters.escape(text, lines=True)
