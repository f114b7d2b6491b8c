"""CQL2 filters as SQL, compiled from an allow-list of typed queryables.

`parsing` reads both encodings into one tree (CQL2-JSON), `compiler` turns the tree into SQL with
the operators of `operators` and the values of `literals`. Only constants of ours become SQL; every
value is bound. What is unknown, or of the wrong type, is refused in one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from landdata.features.collections import Collection
from landdata.features.cql2 import parsing
from landdata.features.cql2.compiler import Compiler
from landdata.features.crs import Crs

#: Encodings of a filter, the default first; the last is GDAL's older name of the first.
LANGUAGES = ("cql2-text", "cql2-json", "cql-text")

_MAX_CACHED_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter as SQL over a row of its collection's table, and its parameters.

    `is_selective`: whether it matches in a small area only, so that the spatial index is always
    best. `spatial`: whether it has a condition on geometry.
    """

    sql: str
    parameters: Mapping[str, Any]
    is_selective: bool
    spatial: bool


def read(
    text: str, language: str, collection: Collection, *, filter_crs: Crs, storage: int
) -> Condition:
    """Compile a filter in `language` (one of `LANGUAGES`) on a collection's queryables.

    Its geometries are in `filter_crs`, in its axis order. Raises `BadRequest`: a syntax error, an
    unknown property or operator, a value of the wrong type.
    """
    compiled = _compile if len(text) > _MAX_CACHED_LENGTH else _compile_cached
    return compiled(text, language == "cql2-json", collection, filter_crs, storage)


def _compile(
    text: str, is_json: bool, collection: Collection, filter_crs: Crs, storage: int
) -> Condition:
    tree = parsing.parse(text, is_json=is_json)
    compiler = Compiler(collection, filter_crs, storage)
    sql = compiler.condition(tree, required=True)
    return Condition(f"({sql})", compiler.parameters, compiler.is_selective, compiler.spatial)


#: A client that pages, or draws a map through a filter, sends the same filter again and again.
_compile_cached = lru_cache(500)(_compile)
