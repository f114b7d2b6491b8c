"""Characters that a text must not carry into keys, terminals, titles or the database.

They are control characters (C0, C1, line and paragraph separators), which move the cursor of a
terminal, bidirectional controls, by which `12<U+202E>3` shows as another number, and halves of
surrogate pairs, which no encoding can write.
"""

from __future__ import annotations

import re
from typing import TypeVar

_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u2028\u2029"  # control characters and separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\ud800-\udfff"
)
_ANY = re.compile(f"[{_UNSAFE}]")
_LINE = re.compile(f"(?!\t|\r?\n)[{_UNSAFE}]")
#: The form in which `escape` shows a character.
ESCAPED = re.compile(r"<U\+[0-9A-F]{4}>")

T = TypeVar("T")


def are_in(text: str) -> bool:
    """Tell whether a text holds such a character."""
    return not text.isprintable() and _ANY.search(text) is not None


def escape(text: str, *, lines: bool = False) -> str:
    """Return a text with such characters as `<U+202E>`; with `lines`, line breaks and tabs stay."""
    if text.isprintable():
        return text
    return (_LINE if lines else _ANY).sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def remove(text: str) -> str:
    """Return a text without such characters; white space becomes a single space."""
    text = " ".join(text.split())
    return text if text.isprintable() else " ".join(_ANY.sub("", text).split())


def escape_json(text: str) -> str:
    r"""Return a JSON text with such characters as `\u202e`, which means the same."""
    return text if text.isprintable() else _LINE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def escape_all(value: T) -> T:
    """Return a value of JSON with every text escaped."""
    if isinstance(value, str):
        return escape(value, lines=True)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {key: escape_all(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(map(escape_all, value))
    return value
