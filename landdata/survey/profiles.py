"""Mapping profiles: what a surveyor's files are like, written down once and versioned.

A profile is YAML: which field feeds which attribute, and, where the files do not say so, their
encoding, CRS and columns. Options given with a file overrule its profile.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from landdata.errors import BadRequest, NotFound
from landdata.survey import fields as known
from landdata.survey import points

_SHIPPED = resources.files("landdata").joinpath("data/profiles")
_MAX_BYTES = 65_536

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
]


class Profile(BaseModel):
    """A profile; frozen.

    `fields` is attribute → fields that feed it, the first that a file has (or `=constant`).
    `columns` names the columns of text without a header.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    version: int = Field(ge=1)
    fields: dict[str, Names] = Field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    encoding: str | None = None
    crs: int | None = None
    mend_text: bool | None = None

    @field_validator("fields")
    @classmethod
    def _attributes(cls, value: dict[str, Names]) -> dict[str, Names]:
        unknown = sorted(set(value) - set(known.NAMES))
        if unknown:
            raise ValueError(f"{unknown[0]} is no attribute; they are {', '.join(known.NAMES)}")
        return value

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError(
                "a column is named twice; columns of points are " + ", ".join(points.NAMES)
            )
        return value

    def as_dict(self) -> dict[str, Any]:
        """Return what is set, as JSON values; `of` reads it again."""
        return self.model_dump(mode="json", exclude_none=True)


def names() -> list[str]:
    """Name the profiles that come with landdata."""
    return sorted(Path(entry.name).stem for entry in _SHIPPED.iterdir())


def load(name: str) -> Profile:
    """Load a profile by its name, or from a YAML file by its path.

    Raises `NotFound` where there is none, `BadRequest` where it is not understood.
    """
    if name in names():
        text = _SHIPPED.joinpath(f"{name}.yaml").read_text("utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            raise NotFound(
                f"There is no profile {name}.",
                hint=f"Give the path of a YAML file, or one of {', '.join(names())}.",
                code="no-profile",
            )
        if path.stat().st_size > _MAX_BYTES:
            raise _bad(path.name, f"it has over {_MAX_BYTES} bytes")
        text = path.read_text("utf-8", "replace")
    try:
        return of(yaml.safe_load(text), Path(name).name)
    except (yaml.YAMLError, RecursionError):
        raise _bad(Path(name).name, "it is no YAML") from None


def of(value: Any, source: str = "profile") -> Profile:
    """Make a profile of JSON values; what is not understood raises `BadRequest`."""
    try:
        return Profile.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _bad(source, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _bad(source: str, why: str) -> BadRequest:
    return BadRequest(
        f"The profile {source} is not understood: {why}.",
        hint="docs/survey-files.md shows a profile.",
        code="bad-profile",
    )
