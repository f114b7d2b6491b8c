"""The database: engine, sessions, named SQL, migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path

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

# A client that is killed gives up its locks within seconds, also amid a long statement.
_OPTIONS = "-c timezone=UTC -c client_connection_check_interval=2s"


def url(settings: Settings) -> sa.URL:
    """Return the database's URL: the configured one, or that of the embedded cluster.

    Raises `Unavailable` where the embedded cluster does not run.
    """
    if settings.database_url:
        given = sa.make_url(settings.database_url)
        return given.set(drivername="postgresql+psycopg")
    cluster = Cluster(settings.home)
    if not cluster.status().running:
        raise Unavailable(
            "The embedded PostGIS is not running.",
            hint="Start it with `landdata up`, or set LANDDATA_DATABASE_URL.",
            code="database-down",
        )
    return cluster.url()


def reading_url(settings: Settings) -> sa.URL:
    """Return the URL for what only reads: as a role that sees no person and changes nothing.

    That of `LANDDATA_READ_URL`, else of the embedded cluster's own reader, else the database's
    (an administrator who names a database names its reader too).
    """
    if settings.read_url:
        return sa.make_url(settings.read_url).set(drivername="postgresql+psycopg")
    if settings.database_url:
        return url(settings)
    return Cluster(settings.home).url(role=READER)


def engine(settings: Settings) -> sa.Engine:
    """Return an engine with its pool, checked to be a PostGIS of this deployment's CRS.

    Raises `Unavailable` where it can't be reached and `Conflict` where the store is not
    migrated, or was made for another `LANDDATA_SRID`.
    """
    made = bare_engine(settings)
    try:
        with made.connect() as connection:
            if not sa.inspect(connection).has_table("deployment"):
                raise Conflict(
                    "The store has no tables yet.", hint="Run `landdata migrate`.", code="no-schema"
                )
            _agree(connection, settings)
    except sa.exc.OperationalError as error:
        made.dispose()
        raise as_public_error(error, Phase.CONNECT) from None
    except BaseException:
        made.dispose()
        raise
    return made


def bare_engine(settings: Settings) -> sa.Engine:
    """Return an engine to whatever is there: for migrations and health checks."""
    address = url(settings)
    given = address.query.get("options", ())  # such as a search_path; ours come last
    options = " ".join([*([given] if isinstance(given, str) else given), _OPTIONS])
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
    """Return the statement `name` on others: alias → name of the statement that it stands for."""
    given = ", ".join(f"{alias} AS ({sql(part).text})" for alias, part in parts.items())
    return sa.text(f"WITH {given} {sql(name).text}")


def migrate(settings: Settings, revision: str = "head") -> None:
    """Bring the schema to `revision`; many callers at once wait for one another.

    Raises `Unavailable` where the database can't be reached or its role may not do it,
    `Conflict` where the store was made for another storage CRS.
    """
    made = bare_engine(settings)
    try:
        with made.begin() as connection:
            locks.lock_schema(connection)
            config = alembic_config(settings, connection)
            if revision == "head" or revision.startswith("+"):
                command.upgrade(config, revision)
            else:
                command.downgrade(config, revision)
            if revision == "head":
                _agree(connection, settings)
                _let_read(connection)
    except sa.exc.DBAPIError as error:
        raise as_public_error(error, Phase.MIGRATE) from None
    finally:
        made.dispose()


def alembic_config(settings: Settings, connection: sa.Connection) -> Config:
    """Return the Alembic configuration that works on `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("migrations")))))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["srid"] = settings.srid
    return config


def _let_read(connection: sa.Connection) -> None:
    """Let the reader's role, where the server has it, read what holds no person.

    With every migration and not in one: the role may be made later, and a table is readable
    because `READABLE` says so, never by default.
    """
    there = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    if connection.scalar(there, {"role": READER}):
        tables = ", ".join(READABLE)
        connection.execute(sa.text(f"GRANT SELECT ON {tables} TO {READER}"))


def _agree(connection: sa.Connection, settings: Settings) -> None:
    """Refuse to work on a store whose coordinates are of another CRS than the settings say."""
    srid = connection.scalar(sa.text("SELECT srid FROM deployment"))
    if srid != settings.srid:
        raise Conflict(
            f"The store holds coordinates in EPSG:{srid}, but LANDDATA_SRID is {settings.srid}.",
            hint=f"Set LANDDATA_SRID={srid}, or name another database or LANDDATA_HOME.",
            code="other-srid",
        )
