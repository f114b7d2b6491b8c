"""A real PostGIS for the tests: one embedded cluster, one migrated template, a clone per test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import property_tests, stored

from landdata.embedded.cluster import Cluster
from landdata.settings import Settings
from landdata.store import database

os.environ.setdefault("LANDDATA_LANGUAGE", "en")  # tests read sentences in English
_store_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_configure(config: pytest.Config) -> None:
    property_tests.load_profile(slow=config.getoption("--slow"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out, unless they are asked for or named."""
    if config.getoption("--slow") or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real survey files, where it is there."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real survey files are not here")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # not pytest's own temporary folder: `postgres` could not traverse it where root runs the tests
    home = Path(tempfile.mkdtemp(prefix="landdata-test-"))
    home.chmod(0o755)
    embedded = Cluster(home, fast=True)
    try:
        embedded.up()
        yield embedded
    finally:
        embedded.down()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def make_store(cluster: Cluster) -> Iterator[Callable[..., Settings]]:
    """A function that makes a store of its own for an SRID: settings with its URL and home."""
    admin = sa.create_engine(cluster.url("postgres"), isolation_level="AUTOCOMMIT")
    templates: dict[int, str] = {}
    homes: list[Path] = []

    def execute(statement: str) -> None:
        with admin.connect() as connection:
            connection.execute(sa.text(statement))

    def settings_of(name: str, srid: int) -> Settings:
        home = Path(tempfile.mkdtemp(prefix="landdata-home-"))
        homes.append(home)
        url = cluster.url(name).render_as_string(hide_password=False)
        return Settings(home=home, database_url=url, srid=srid, language="en")

    def make(srid: int = 9212, **changes: object) -> Settings:
        if srid not in templates:
            name = f"template_{srid}"
            execute(f"CREATE DATABASE {name} TEMPLATE landdata")
            database.migrate(settings_of(name, srid))
            templates[srid] = name
        name = f"store_{next(_store_numbers)}"
        execute(f"CREATE DATABASE {name} TEMPLATE {templates[srid]} STRATEGY FILE_COPY")
        return settings_of(name, srid).model_copy(update=changes)

    yield make
    admin.dispose()
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def settings(make_store: Callable[..., Settings]) -> Settings:
    """The settings of an empty, migrated store of the test's own, in EPSG:9212."""
    return make_store()


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """An engine on that store."""
    engine = database.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def towns(engine: sa.Engine) -> None:
    """Three communes in that store."""
    stored.towns(engine)
