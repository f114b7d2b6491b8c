"""`landdata doctor`: one function per check, with its result and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from landdata.errors import LandDataError
from landdata.settings import Settings
from landdata.store import database
from landdata.survey import gdal_runner


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check; `hint` says what to do where it is not `ok`."""

    subject: str
    ok: bool
    found: str
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


def examine(settings: Settings, more: Sequence[Callable[[Settings], Result]] = ()) -> list[Result]:
    """Run all checks, each after those that it depends on; `more` come last."""
    checks = (_home, _disk, _reader, _store, _schema, *more)
    return [check(settings) for check in checks]


def _home(settings: Settings) -> Result:
    place = settings.home
    while not place.exists():
        place = place.parent
    ok = os.access(place, os.W_OK)
    hint = None if ok else "Set LANDDATA_HOME to a folder that you may write to."
    return Result("data folder", ok, str(settings.home), hint)


def _disk(settings: Settings) -> Result:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    hint = None if free > 2 else "Free some space: imports need about 2 GB a million parcels."
    return Result("disk", free > 2, f"{free:.1f} GB free", hint)


def _reader(_: Settings) -> Result:
    try:
        missing, network = gdal_runner.examine()
    except LandDataError as error:
        return Result("survey reader", False, error.message, "Run script/setup again.")
    if missing:
        found = f"drivers are missing: {', '.join(missing)}"
        return Result("survey reader", False, found, "Run script/setup again.")
    if network != "none":
        # It can read, within its other limits: many containers forbid namespaces.
        return Result("survey reader", True, f"confined, but the network is {network}")
    return Result("survey reader", True, "confined, without network")


def _store(settings: Settings) -> Result:
    try:
        engine = database.engine(settings)
    except LandDataError as error:
        return Result("store", False, error.message, error.hint)
    with engine.connect() as connection:
        version = connection.scalar(sa.text("SELECT postgis_full_version()"))
    engine.dispose()
    return Result("store", True, str(version).split(" PGSQL", maxsplit=1)[0])


def _schema(settings: Settings) -> Result:
    try:
        engine = database.bare_engine(settings)
        with engine.connect() as connection:
            there = MigrationContext.configure(connection).get_current_revision()
            config = database.alembic_config(settings, connection)
            head = ScriptDirectory.from_config(config).get_current_head()
        engine.dispose()
    except LandDataError as error:
        return Result("schema", False, error.message, error.hint)
    except sa.exc.OperationalError:
        return Result("schema", False, "not reachable", "See the line above.")
    hint = None if there == head else "Run `landdata migrate`."
    return Result("schema", there == head, f"revision {there} of {head}", hint)
