"""The programs of the installed PostgreSQL versions that have PostGIS."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from landdata.errors import Unavailable
from landdata.translations import sentence

INSTALL_HINT = sentence(
    "Install them: apt-get install postgresql-15 postgresql-15-postgis-3 (or run script/setup),"
    " or set LANDDATA_DATABASE_URL to a PostGIS of your own."
)


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder of one PostgreSQL's programs, and its major version."""

    folder: Path
    version: int

    def path(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.folder / name)


def find_programs(wanted: int | None, data: Path) -> Programs:
    """Return the newest PostgreSQL that has PostGIS, or the version `wanted` by the folder `data`.

    Raises `Unavailable` where it is not installed.
    """
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    for name in ("pg_config", "initdb"):
        if program := shutil.which(name):
            folders.append(Path(program).resolve().parent)
    installed: dict[int, Programs] = {}
    without_postgis: set[int] = set()
    for folder in dict.fromkeys(folders):
        version = _version(folder)
        if version is None:
            continue
        if _has_postgis(folder, version):
            installed.setdefault(version, Programs(folder, version))
        else:
            without_postgis.add(version)
    if wanted is not None and wanted not in installed:
        others = ", ".join(map(str, sorted(installed))) or sentence("none")
        raise Unavailable(
            "{data} is of PostgreSQL {wanted}, which is not installed with PostGIS "
            "(installed: {others}).",
            hint="Install postgresql-{wanted} and postgresql-{wanted}-postgis-3; or dump with "
            "the old version and load into a new LANDDATA_HOME.",
            code="cluster-version",
            data=data,
            wanted=wanted,
            others=others,
        )
    if not installed:
        raise Unavailable(
            "PostGIS for PostgreSQL {version} is not installed."
            if without_postgis
            else "PostgreSQL and PostGIS are not installed.",
            hint=INSTALL_HINT,
            code="no-postgis",
            version=max(without_postgis, default=None),
        )
    return installed[wanted if wanted is not None else max(installed)]


def _version(folder: Path) -> int | None:
    if not all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
        return None
    number = re.search(r"\s(\d+)", _output(folder / "postgres", "--version"))
    return int(number[1]) if number else None


def _has_postgis(folder: Path, version: int) -> bool:
    shares = [Path("/usr/share/postgresql", str(version))]
    if (folder / "pg_config").exists() and (share := _output(folder / "pg_config", "--sharedir")):
        shares.append(Path(share))
    return any((share / "extension" / "postgis.control").exists() for share in shares)


def _output(program: Path, option: str) -> str:
    command = [str(program), option]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
