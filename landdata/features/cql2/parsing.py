"""Filters as trees: CQL2 text and CQL2-JSON, read within limits that a walk survives."""

from __future__ import annotations

import json
import re
from typing import Any

import cql2

from landdata.errors import BadRequest
from landdata.translations import sentence

_MAX_LENGTH = 50_000
_MAX_DEPTH = 60
_MAX_NODES = 5_000

# The native parser of text recurses at each level; a deep filter would end the process.
_CHAIN = re.compile(r"(?:\bnot\b[\s(]*){20}|(?:[-+*/^%][\s(]*){20}", re.IGNORECASE)
_POSITION = re.compile(r"--> (\d+):(\d+)")


def parse(text: str, *, is_json: bool = False) -> Any:
    """Return a filter as the tree of its CQL2-JSON. Raises `BadRequest`."""
    if len(text) > _MAX_LENGTH:
        raise bad_filter(sentence("it is longer than {count} characters", count=_MAX_LENGTH))
    tree = _from_json(text) if is_json else _from_text(text)
    _check_size(tree)
    return tree


def bad_filter(reason: str) -> BadRequest:
    """Return the error for a filter that can't be used."""
    return BadRequest(
        "Parameter filter is not usable: {reason}.",
        hint="The collection's queryables name the properties and their types.",
        reason=reason,
    )


def _from_text(text: str) -> Any:
    bare = re.sub(r"'(?:[^']|'')*'", "''", text)
    depth = deepest = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    operators = sum(bare.count(sign) for sign in "+*/^%") + len(re.findall(r"\w\s*-", bare))
    if deepest > _MAX_DEPTH or operators > _MAX_DEPTH or _CHAIN.search(bare):
        raise _too_deep()
    try:
        return cql2.parse_text(text).to_json()
    except Exception as error:  # some empty geometries raise no class of the library
        position = _POSITION.search(str(error))
        if position is None:
            raise bad_filter(sentence("it is not CQL2 text")) from None
        raise bad_filter(
            sentence(
                "it is not CQL2 text (line {line}, column {column})",
                line=position[1],
                column=position[2],
            )
        ) from None


def _from_json(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise bad_filter(sentence("it is not JSON")) from None


def _check_size(tree: Any) -> None:
    """Refuse a tree too deep or too large to be walked, counted without recursion."""
    count, level = 0, [tree]
    for _ in range(_MAX_DEPTH + 10):
        if not level:
            return
        count += sum(isinstance(node, dict) for node in level)
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                # coordinates are limited by the length of the text
                below += [value for name, value in node.items() if name != "coordinates"]
            elif isinstance(node, list):
                below += node
        level = below
        if count > _MAX_NODES:
            raise bad_filter(sentence("it has more than {count} parts", count=_MAX_NODES))
    raise _too_deep()


def _too_deep() -> BadRequest:
    return bad_filter(sentence("it is nested deeper than {count} levels", count=_MAX_DEPTH))
