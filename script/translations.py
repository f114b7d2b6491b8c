"""Keeps the catalogue of sentences: what the sources say and the catalogue lacks, and the reverse.

    script/translations           add new sentences to landdata/translations/vi/landdata.po
    script/translations --check   name what is missing or superfluous; exit 1 where anything is

A sentence is the literal in `sentence("…")` or `_("…")`, the message and hint of an error, the help
of a command or option, and `say("…")` in a script of a page.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_javascript
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from landdata import errors
from portal.serve import cli

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "landdata/translations/vi/landdata.po"
HEADER = b"""# Vietnamese sentences of landdata; script/translations adds new ones.
msgid ""
msgstr ""
"Language: vi\\n"
"Content-Type: text/plain; charset=utf-8\\n"

"""
MARKS = {"sentence", "_", "say"}
ERRORS = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
PLACEHOLDER = re.compile(r"\{(\w+)(?:!r)?\}")


def sentences() -> dict[str, set[str]]:
    """Return every sentence of the sources with the files that hold it."""
    files: dict[str, set[str]] = defaultdict(set)
    for package in ("landdata", "ogc", "portal"):
        for path in sorted((ROOT / package).rglob("*")):
            if "vendor" in path.parts:
                continue
            for text in _read(path):
                files[text].add(str(path.relative_to(ROOT)))
    for text in _help(cli):
        files[text].add("landdata/cli")
    return files


def _read(path: Path) -> Iterator[str]:
    if path.suffix == ".py":
        yield from python_sentences(ast.parse(path.read_text("utf-8")))
    elif path.suffix == ".html":
        with path.open("rb") as file:
            for _, _, message, _ in babel_extract(file, MARKS, [], {"silent": "false"}):
                yield message if isinstance(message, str) else message[0]
    elif path.suffix == ".js":
        with path.open("rb") as file:
            for _, _, message, _ in extract_javascript(
                file, MARKS, [], {"parse_template_string": True}
            ):
                yield message if isinstance(message, str) else message[0]


def python_sentences(tree: ast.AST) -> Iterator[str]:
    """Yield the sentences of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            arguments = node.args[:1] if name in MARKS | ERRORS else []
            arguments += [word.value for word in node.keywords if word.arg == "hint"]
            for argument in arguments:
                choices = (
                    [argument.body, argument.orelse]
                    if isinstance(argument, ast.IfExp)
                    else [argument]
                )
                for part in choices:
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def _help(command: click.Command) -> Iterator[str]:
    if command.help:
        yield inspect.cleandoc(command.help)
    for parameter in command.params:
        if text := getattr(parameter, "help", None):
            yield text
    for part in getattr(command, "commands", {}).values():
        yield from _help(part)


def problems(catalogue: Catalog, files: dict[str, set[str]]) -> list[str]:
    """Return what is wrong with a catalogue, a line each."""
    translated = {str(message.id): str(message.string) for message in catalogue if message.id}
    lines = [f"no translation: {text}" for text in files if not translated.get(text)]
    lines += [f"in no source: {text}" for text in translated if text not in files]
    lines += [
        f"other values: {text}"
        for text, vi in translated.items()
        if vi and set(PLACEHOLDER.findall(text)) != set(PLACEHOLDER.findall(vi))
    ]
    return lines


def load() -> Catalog:
    """Return the catalogue."""
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="vi")


def main() -> None:
    """Check or update the catalogue."""
    files = sentences()
    before = load()
    if "--check" not in sys.argv:
        known = {str(message.id): str(message.string) for message in before if message.id}
        after = Catalog(locale="vi")
        for text in sorted(files):
            after.add(text, known.get(text, ""), [(name, 0) for name in sorted(files[text])])
        with CATALOGUE.open("wb") as file:
            file.write(HEADER)
            write_po(file, after, width=0, omit_header=True, include_lineno=False)
        before = load()
    found = problems(before, files)
    print("\n".join(found) or f"{len(files)} sentences, all translated.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
