"""Runs migrations on the connection that `landdata.store.database.migrate` passes.

Run from the shell (`alembic -c setup.cfg …`), it opens one of its own from the settings.
"""

from typing import Any

from alembic import context
from geoalchemy2 import Geometry, alembic_helpers

from landdata.reference.vn2000 import check_storage
from landdata.settings import Settings
from landdata.store import database
from landdata.store.tables import Base


def include_object(obj: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    """Leave PostGIS's own tables, and its own indexes, out of the comparison."""
    if kind == "table" and reflected and name not in Base.metadata.tables:
        return False
    return bool(alembic_helpers.include_object(obj, name, kind, reflected, other))


def run(connection: Any, srid: int) -> None:
    """Run the migrations with the geometry columns in the deployment's CRS.

    Raises `BadRequest` for a storage CRS that does not measure metres.
    """
    check_storage(srid)
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, Geometry):
                column.type.srid = srid
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
        process_revision_directives=alembic_helpers.writer,
        render_item=alembic_helpers.render_item,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


attributes = context.config.attributes
if "connection" in attributes:
    run(attributes["connection"], attributes["srid"])
else:
    settings = Settings.load()
    with database.bare_engine(settings).begin() as own:
        run(own, settings.srid)
