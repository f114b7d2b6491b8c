"""The one settings object, read once from `LANDDATA_*` and passed down.

No other module reads the environment. `docs/operating.md` has the same table; a test compares
them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from landdata.errors import BadRequest


def _default_home() -> Path:
    """Return `.landdata` in the working folder, or a folder that `postgres` can enter.

    PostgreSQL refuses to run as root, so root's cluster runs as `postgres`, who must be able to
    enter every parent of the data folder, unlike /root.
    """
    here = Path.cwd() / ".landdata"
    if os.geteuid() == 0 and any(not p.stat().st_mode & 0o001 for p in here.parents):
        mark = hashlib.sha256(os.fsencode(here)).hexdigest()[:12]
        return Path("/var/lib/landdata") / mark
    return here


class Settings(BaseSettings):
    """The settings of a deployment; frozen.

    Raises `BadRequest` from `Settings.load` where a value makes no sense.
    """

    model_config = SettingsConfigDict(env_prefix="LANDDATA_", frozen=True, extra="ignore")

    home: Annotated[Path, Field(description="Data folder: cluster, kept survey files.")] = Field(
        default_factory=_default_home
    )
    database_url: Annotated[
        str | None, Field(repr=False, description="PostgreSQL URL; unset: the embedded cluster.")
    ] = None
    read_url: Annotated[
        str | None,
        Field(
            repr=False,
            description="PostgreSQL URL for readers (replicas); unset: as described below.",
        ),
    ] = None
    host: Annotated[str, Field(description="Address that `serve` listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port that `serve` listens on.")] = 5000
    url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~-]+)*/?$",
            description="Public URL of the service; unset: the one in the request.",
        ),
    ] = None
    srid: Annotated[
        int, Field(ge=1024, le=32767, description="EPSG code of the storage CRS (projected).")
    ] = 9212
    language: Annotated[
        Literal["vi", "en"], Field(description="Language of messages where a client names none.")
    ] = "vi"
    rules: Annotated[
        Path | None,
        Field(description="TOML file of limits, and of rules that are off (docs/topology.md)."),
    ] = None
    publish_address: Annotated[
        bool,
        Field(description="Whether a parcel's address is public; it may be personal data."),
    ] = False
    collections: Annotated[
        Path | None,
        Field(description="TOML file of more collections: tables and views of the database."),
    ] = None
    tile_cache_mb: Annotated[
        int, Field(ge=0, description="Memory for cached vector tiles, in MB, of each process.")
    ] = 256
    max_file_mb: Annotated[
        int,
        Field(ge=1, description="Largest survey file, uploaded and unpacked, in MB."),
    ] = 4096
    max_members: Annotated[int, Field(ge=1, description="Most members in a zip.")] = 1000
    max_ratio: Annotated[
        int, Field(ge=1, description="Largest unpacked/packed ratio of a zip member.")
    ] = 200
    max_rows: Annotated[int, Field(ge=1, description="Most parcels in a survey file.")] = 5_000_000
    max_vertices: Annotated[int, Field(ge=4, description="Most vertices of one parcel.")] = (
        1_000_000
    )
    read_seconds: Annotated[
        int, Field(ge=1, description="Time limit for reading a survey file, in seconds.")
    ] = 600
    read_memory_mb: Annotated[
        int, Field(ge=256, description="Memory limit of the process that reads a file, in MB.")
    ] = 4096

    job_seconds: Annotated[
        int, Field(ge=1, description="Time limit for the check of a file, in seconds.")
    ] = 3600

    export_jobs: Annotated[
        int, Field(ge=1, le=64, description="Export jobs that run at a time.")
    ] = 1
    export_seconds: Annotated[
        int, Field(ge=1, description="Time limit for an export job, in seconds.")
    ] = 3600
    export_hours: Annotated[
        int, Field(ge=1, description="Hours that the file of an export job is kept.")
    ] = 24
    export_gb: Annotated[
        float, Field(gt=0, description="Disk space for the files of export jobs, in GB.")
    ] = 20
    export_free_gb: Annotated[
        float, Field(ge=0, description="Disk space that export jobs leave free, in GB.")
    ] = 1

    @classmethod
    def load(cls) -> Settings:
        """Read the environment; a value that makes no sense raises `BadRequest`."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = "LANDDATA_" + str(first["loc"][0]).upper()
            raise BadRequest(
                "Setting {name} is not usable: {msg} (given: {input!r}).",
                hint="Correct or unset {name}; docs/operating.md lists all settings.",
                code="bad-setting",
                name=name,
                msg=first["msg"],
                input=first["input"],
            ) from None
