"""Mapping profiles: how to read a surveyor's files, versioned.

A profile is YAML: which fields hold which attributes and, if the files do not state them, encoding,
CRS and columns. Options of a file overrule its profile. A surveyor may have a profile remembered
for all files without one; every version that was remembered is kept.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from landdata.errors import BadRequest, NotFound
from landdata.survey import fields as survey_fields
from landdata.survey import points

_SHIPPED = resources.files("landdata.reference").joinpath("data/profiles")
_MAX_BYTES = 65_536
_CURRENT = "current.yaml"  # not a version's name: these end in a number

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
]


class Profile(BaseModel):
    """A profile.

    `fields` is attribute → its fields, of which the first in a file is used (or `=constant`).
    `columns` are the names of the columns of text without a header.
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
        unknown = sorted(set(value) - set(survey_fields.NAMES))
        if unknown:
            raise ValueError(
                f"{unknown[0]} is no attribute; they are {', '.join(survey_fields.NAMES)}"
            )
        return value

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError(
                "a column is named twice; columns of points are " + ", ".join(points.NAMES)
            )
        return value

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.name} {self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Return the values that are set, as JSON values for `parse`."""
        return self.model_dump(mode="json", exclude_none=True)


def names() -> list[str]:
    """Return the names of the profiles that come with landdata."""
    return sorted(Path(entry.name).stem for entry in _SHIPPED.iterdir())


def load(name: str) -> Profile:
    """Return a profile by its name, or from a YAML file by its path.

    Raises `NotFound` if there is none, `BadRequest` if it is invalid.
    """
    if name in names():
        text = _SHIPPED.joinpath(f"{name}.yaml").read_text("utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            raise NotFound(
                "There is no profile {name}.",
                hint="Give the path of a YAML file, or one of {names}.",
                code="no-profile",
                name=name,
                names=", ".join(names()),
            )
        if path.stat().st_size > _MAX_BYTES:
            raise _bad(path.name, f"it has over {_MAX_BYTES} bytes")
        text = path.read_text("utf-8", "replace")
    try:
        return parse(yaml.safe_load(text), Path(name).name)
    except (yaml.YAMLError, RecursionError):
        raise _bad(Path(name).name, "it is no YAML") from None


def remember(home: Path, surveyor: str, profile: Profile) -> None:
    """Use a profile for all later files of a surveyor without one.

    Raises `BadRequest` if another profile of this name and version was remembered before.
    """
    folder = _folder(home, surveyor)
    version = folder / f"{profile.name}-{profile.version}.yaml"
    if version.exists() and load(str(version)) != profile:
        raise BadRequest(
            "Another version {version} of {name} was remembered before.",
            hint="Increase its version.",
            code="same-version",
            version=profile.version,
            name=profile.name,
        )
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(profile.as_dict(), allow_unicode=True, sort_keys=False)
    for place in (version, folder / _CURRENT):
        new = place.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(place)


def recall(home: Path, surveyor: str) -> Profile | None:
    """Return the profile that is remembered for a surveyor, null if none is."""
    place = _folder(home, surveyor) / _CURRENT
    return load(str(place)) if place.is_file() else None


def forget(home: Path, surveyor: str) -> None:
    """Stop using a profile for a surveyor's files; its versions are kept."""
    (_folder(home, surveyor) / _CURRENT).unlink(missing_ok=True)


def _folder(home: Path, surveyor: str) -> Path:
    return home / "profiles" / quote(surveyor, safe="").replace(".", "%2E")


def parse(value: Any, source: str = "profile") -> Profile:
    """Return the profile of JSON values; raises `BadRequest` if they are invalid."""
    try:
        return Profile.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _bad(source, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _bad(source: str, why: str) -> BadRequest:
    return BadRequest(
        "The profile {source} is not valid: {why}.",
        hint="docs/survey-files.md shows a profile.",
        code="bad-profile",
        source=source,
        why=why,
    )
