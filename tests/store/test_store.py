"""The schema: models and migrations agree, and a migration can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
import sqlalchemy as sa
from alembic import command
from sqlalchemy.exc import IntegrityError
from support import stored

from landdata.embedded.cluster import Cluster
from landdata.errors import Conflict, Unavailable
from landdata.reference.vn2000 import transformer
from landdata.settings import Settings
from landdata.store import database

SCHEMA = """
SELECT 'column', table_name, column_name, data_type, udt_name, column_default, is_nullable
FROM information_schema.columns WHERE table_schema = 'public'
  AND table_name NOT IN ('geography_columns', 'geometry_columns', 'spatial_ref_sys')
UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '', ''
FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'spatial_ref_sys'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '',
  '', '' FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  AND conrelid NOT IN (0, 'spatial_ref_sys'::regclass)
UNION ALL SELECT 'geometry', f_table_name, f_geometry_column, type, srid::text, '', ''
FROM geometry_columns
ORDER BY 1, 2, 3
"""


def schema(engine: sa.Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(SCHEMA))]


@pytest.mark.parametrize("srid", [9212, 5897])
def test_models_and_migrations_agree(make_store: Callable[..., Settings], srid: int) -> None:
    settings = make_store(srid)
    engine = database.engine(settings)
    with engine.begin() as connection:
        command.check(database.alembic_config(settings, connection))
    engine.dispose()


def test_downgrade_and_upgrade_leave_the_same_schema(settings: Settings, engine: sa.Engine) -> None:
    before = schema(engine)
    assert len(before) > 80
    database.migrate(settings, "base")
    left = {row[1] for row in schema(engine)}
    assert left == {"alembic_version"}
    database.migrate(settings)
    assert schema(engine) == before


def test_a_store_of_another_crs_is_refused(make_store: Callable[..., Settings]) -> None:
    other = make_store(9212).model_copy(update={"srid": 5899})
    with pytest.raises(Conflict, match=r"EPSG:9212, but LANDDATA_SRID is 5899"):
        database.engine(other)


def test_an_empty_database_is_reported(cluster: object, settings: Settings) -> None:
    database.migrate(settings, "base")
    with pytest.raises(Conflict, match="no tables"):
        database.engine(settings)


def test_an_unreachable_database_is_reported(settings: Settings) -> None:
    gone = settings.model_copy(
        update={"database_url": "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"}
    )
    with pytest.raises(Unavailable, match="can't be reached"):
        database.engine(gone)


def test_a_role_without_the_rights_to_migrate_is_reported(
    settings: Settings, cluster: Cluster
) -> None:
    bare = sa.create_engine(cluster.url("postgres"), isolation_level="AUTOCOMMIT")
    with bare.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE no_extensions"))
    bare.dispose()
    url = cluster.url("no_extensions").render_as_string(hide_password=False)
    with pytest.raises(Unavailable, match="permission denied to create extension") as told:
        database.migrate(settings.model_copy(update={"database_url": url}))
    assert told.value.code == "no-rights"


def test_options_of_the_url_are_kept(settings: Settings) -> None:
    url = sa.make_url(settings.database_url or "")
    of = url.update_query_dict({"options": "-csearch_path=app,public"})
    text = of.render_as_string(hide_password=False)
    made = database.bare_engine(settings.model_copy(update={"database_url": text}))
    with made.connect() as connection:
        assert connection.scalar(sa.text("SHOW search_path")) == "app,public"
        assert connection.scalar(sa.text("SHOW timezone")) == "UTC"
    made.dispose()


def test_two_communes_never_have_one_code_at_a_time(engine: sa.Engine) -> None:
    add = sa.text("INSERT INTO communes (code, valid_from, name) VALUES ('99901', :d, 'x')")
    with engine.begin() as connection:
        connection.execute(add, {"d": "2025-07-01"})
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(add, {"d": "2026-01-01"})


def test_a_parcel_has_one_current_version_and_each_past_version_once(engine: sa.Engine) -> None:
    batch = stored.batch(engine, "a")
    past: dict[str, Any] = {"valid_to": stored.SECOND}
    key = stored.parcel(engine, batch, stored.square(0, 0), **past)
    stored.parcel(engine, batch, stored.square(0, 0), parcel_id=key, version=2)
    with pytest.raises(IntegrityError, match="uq_parcel_versions_past"):
        stored.parcel(engine, batch, stored.square(0, 0), parcel_id=key, **past)
    with pytest.raises(IntegrityError, match="uq_parcel_versions_current"):
        stored.parcel(engine, batch, stored.square(0, 0), parcel_id=key, version=3, number="2")


@pytest.mark.parametrize("srid", [9212, 5899, 5897, 3405, 4756])
def test_postgis_and_proj_use_the_same_datum_operation(engine: sa.Engine, srid: int) -> None:
    # Biên Hòa lies in the box where PROJ would switch to operation 5194, Đồng Xoài does not
    places = np.array([(106.82, 10.95), (106.89, 11.53), (107.4, 11.03), (106.5, 12.2)])
    x, y = transformer(4326, srid).transform(*places.T)
    there = sa.text(
        "SELECT ST_X(p), ST_Y(p) FROM (SELECT ST_Transform("
        "ST_SetSRID(ST_MakePoint(:x, :y), 910000 + :srid), 4326) AS p) AS q"
    )
    with engine.connect() as connection:
        back = np.array(
            [
                tuple(connection.execute(there, {"x": a, "y": b, "srid": srid}).one())
                for a, b in zip(x, y, strict=True)
            ]
        )
    # 1e-8 degrees are a millimetre
    np.testing.assert_allclose(back, places, rtol=0, atol=1e-8)


def test_the_store_has_the_zones_that_postgis_lacks(engine: sa.Engine) -> None:
    point = shapely.Point(548000, 1281000).wkt
    with engine.connect() as connection:
        lon = connection.scalar(
            sa.text("SELECT ST_X(ST_Transform(ST_GeomFromText(:p, 9212), 4326))"), {"p": point}
        )
    assert lon == pytest.approx(106.69, abs=0.01)
