"""One layer of a survey file, made safe to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from landdata.survey import formats
from landdata.survey.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One layer, safe to read: its files have names of our own and agree with each other.

    For a shapefile all is known before reading: `rows` counts the records of the .dbf, `deleted`
    those marked deleted, which no driver returns, and `numbers` is numeric field → `(offset,
    width)` in a record. For other formats `layer`, `layers`, `shape` and `prj` are set by reading
    and `rows` is null; `inner` is the requested layer within the file.
    """

    layer: str
    layers: tuple[str, ...]  # all in the file
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
