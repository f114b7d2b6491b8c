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
from landdata.translations import sentence, translate


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check; `hint` says what to do where it is not `ok`."""

    subject: str
    ok: bool
    found: str
    hint: str | None = None

    def as_dict(self, language: str = "en") -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            name: translate(value, language) if isinstance(value, str) else value
            for name, value in asdict(self).items()
        }


def examine(settings: Settings, more: Sequence[Callable[[Settings], Result]] = ()) -> list[Result]:
    """Run all checks, each after those that it depends on; `more` come last."""
    checks = (_home, _disk, _reader, _store, _schema, *more)
    return [check(settings) for check in checks]


def _home(settings: Settings) -> Result:
    place = settings.home
    while not place.exists():
        place = place.parent
    ok = os.access(place, os.W_OK)
    hint = None if ok else sentence("Set LANDDATA_HOME to a folder that you may write to.")
    return Result(sentence("data folder"), ok, str(settings.home), hint)


def _disk(settings: Settings) -> Result:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    hint = sentence("Free some space: imports need about 2 GB a million parcels.")
    found = sentence("{free} GB free", free=round(free, 1))
    return Result(sentence("disk"), free > 2, found, None if free > 2 else hint)


def _reader(_: Settings) -> Result:
    subject, repair = sentence("survey reader"), sentence("Run script/setup again.")
    try:
        missing, network = gdal_runner.examine()
    except LandDataError as error:
        return Result(subject, False, error.message, repair)
    if missing:
        found = sentence("drivers are missing: {drivers}", drivers=", ".join(missing))
        return Result(subject, False, found, repair)
    if network != "none":
        # It can read, within its other limits: many containers forbid namespaces.
        return Result(
            subject, True, sentence("confined, but the network is {network}", network=network)
        )
    return Result(subject, True, sentence("confined, without network"))


def _store(settings: Settings) -> Result:
    try:
        engine = database.engine(settings)
    except LandDataError as error:
        return Result(sentence("store"), False, error.message, error.hint)
    with engine.connect() as connection:
        version = connection.scalar(sa.text("SELECT postgis_full_version()"))
    engine.dispose()
    return Result(sentence("store"), True, str(version).split(" PGSQL", maxsplit=1)[0])


def _schema(settings: Settings) -> Result:
    subject = sentence("schema")
    try:
        engine = database.bare_engine(settings)
        with engine.connect() as connection:
            there = MigrationContext.configure(connection).get_current_revision()
            config = database.alembic_config(settings, connection)
            head = ScriptDirectory.from_config(config).get_current_head()
        engine.dispose()
    except LandDataError as error:
        return Result(subject, False, error.message, error.hint)
    except sa.exc.OperationalError:
        return Result(subject, False, sentence("not reachable"), sentence("See the line above."))
    hint = None if there == head else sentence("Run `landdata migrate`.")
    found = sentence("revision {there} of {head}", there=there, head=head)
    return Result(subject, there == head, found, hint)
