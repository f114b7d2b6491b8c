"""One layer of a file of a stranger's, made safe to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from landdata.survey import formats
from landdata.survey.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One layer, safe to read: its parts bear names of our own and agree with each other.

    Of a shapefile all is known before it is read: `rows` counts the records of the .dbf,
    `deleted` those of them that are marked deleted, which no reader returns, and `numbers`
    are the numeric fields, each `(offset, width)` in a record. Of other formats `layer`,
    `layers`, `shape` and `prj` are what reading tells, and `rows` is null; `inner` is the layer
    that is asked for within the file.
    """

    layer: str
    layers: tuple[str, ...]  # all that the file has
    folder: Path
    format: Format = formats.SHAPEFILE
    inner: str | None = None
    rows: int | None = None
    deleted: int = 0
    shape: str = ""
    prj: str | None = None
    cpg: str | None = None
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The file that a driver opens."""
        return self.folder / f"survey{self.format.suffix}"
