"""The database: engine, sessions, named SQL, migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.orm import Session

from landdata.embedded.cluster import Cluster
from landdata.embedded.roles import READER
from landdata.errors import Conflict, Unavailable
from landdata.settings import Settings
from landdata.store import locks
from landdata.store.errors import Phase, as_public_error
from landdata.store.tables import READABLE

# A killed client loses its locks within seconds, even during a long statement.
_OPTIONS = "-c timezone=UTC -c client_connection_check_interval=2s"


def url(settings: Settings) -> sa.URL:
    """Return the database's URL: the configured one, or that of the embedded cluster.

    Raises `Unavailable` where the embedded cluster does not run.
    """
    if settings.database_url:
        return sa.make_url(settings.database_url).set(drivername="postgresql+psycopg")
    cluster = Cluster(settings.home)
    if not cluster.status().running:
        raise Unavailable(
            "The embedded PostGIS is not running.",
            hint="Start it with `landdata up`, or set LANDDATA_DATABASE_URL.",
            code="database-down",
        )
    return cluster.url()


def reading_url(settings: Settings) -> sa.URL:
    """Return the URL for readers, whose role can't read personal data and changes nothing.

    It is `LANDDATA_READ_URL`; without it `LANDDATA_DATABASE_URL`, whose administrator configures
    the reader too; without both the reader of the embedded cluster.
    """
    if settings.read_url:
        return sa.make_url(settings.read_url).set(drivername="postgresql+psycopg")
    if settings.database_url:
        return url(settings)
    return Cluster(settings.home).url(role=READER)


def engine(settings: Settings) -> sa.Engine:
    """Return an engine with its pool, checked to be a PostGIS of this deployment's CRS.

    Raises `Unavailable` where it can't be reached and `Conflict` where the store is not
    migrated, or has another `LANDDATA_SRID`.
    """
    engine = bare_engine(settings)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("deployment"):
                raise Conflict(
                    "The store has no tables yet.", hint="Run `landdata migrate`.", code="no-schema"
                )
            _require_same_srid(connection, settings)
    except sa.exc.OperationalError as error:
        engine.dispose()
        raise as_public_error(error, Phase.CONNECT) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def bare_engine(settings: Settings) -> sa.Engine:
    """Return an engine without checking the store: for migrations and health checks."""
    address = url(settings)
    theirs = address.query.get("options", ())  # such as a search_path; ours come last
    options = " ".join([*([theirs] if isinstance(theirs, str) else theirs), _OPTIONS])
    return sa.create_engine(
        address,
        pool_pre_ping=True,
        connect_args={"application_name": "landdata", "options": options},
    )


@contextmanager
def session(engine: sa.Engine) -> Iterator[Session]:
    """Open a session on a transaction: committed at the end, rolled back on any error."""
    with Session(engine, expire_on_commit=False) as opened, opened.begin():
        yield opened


@cache
def sql(name: str) -> sa.TextClause:
    """Return the statement in `landdata/store/sql/<name>.sql`, parameters as `:name`."""
    return sa.text(files("landdata.store").joinpath("sql", f"{name}.sql").read_text("utf-8"))


def composed(name: str, **parts: str) -> sa.TextClause:
    """Return the statement `name` with common table expressions: alias → name of a statement."""
    tables = ", ".join(f"{alias} AS ({sql(part).text})" for alias, part in parts.items())
    return sa.text(f"WITH {tables} {sql(name).text}")


def migrate(settings: Settings, revision: str = "head") -> None:
    """Migrate the schema to `revision`; concurrent callers wait for each other.

    Raises `Unavailable` where the database can't be reached or its role lacks a right,
    `Conflict` where the store has another storage CRS.
    """
    engine = bare_engine(settings)
    try:
        with engine.begin() as connection:
            locks.lock_schema(connection)
            config = alembic_config(settings, connection)
            if revision == "head" or revision.startswith("+"):
                command.upgrade(config, revision)
            else:
                command.downgrade(config, revision)
            if revision == "head":
                _require_same_srid(connection, settings)
                _grant_reading(connection)
    except sa.exc.DBAPIError as error:
        raise as_public_error(error, Phase.MIGRATE) from None
    finally:
        engine.dispose()


def alembic_config(settings: Settings, connection: sa.Connection) -> Config:
    """Return the Alembic configuration for `connection`.

    The migrations lie beside `landdata` in a checkout and in it where it is installed.
    """
    scripts = files("landdata") / "migrations"
    if not scripts.is_dir():
        scripts = files("landdata") / ".." / "migrations"
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["srid"] = settings.srid
    return config


def _grant_reading(connection: sa.Connection) -> None:
    """Grant the reader's role, where it exists, the tables without personal data.

    After every migration and not in one: the role may be created later, and a table is readable
    because it is in `READABLE`, never by default.
    """
    exists = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    if connection.scalar(exists, {"role": READER}):
        tables = ", ".join(READABLE)
        connection.execute(sa.text(f"GRANT SELECT ON {tables} TO {READER}"))


def _require_same_srid(connection: sa.Connection, settings: Settings) -> None:
    """Raise `Conflict` for a store whose CRS is not that of the settings."""
    srid = connection.scalar(sa.text("SELECT srid FROM deployment"))
    if srid != settings.srid:
        raise Conflict(
            "The store holds coordinates in EPSG:{srid}, but LANDDATA_SRID is {srid2}.",
            hint="Set LANDDATA_SRID={srid}, or name another database or LANDDATA_HOME.",
            code="other-srid",
            srid=srid,
            srid2=settings.srid,
        )
