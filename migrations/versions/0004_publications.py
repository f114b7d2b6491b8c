"""Publications in the order of their commits, the changed cells, and the map sheets."""

import sqlalchemy as sa
from alembic import context, op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    srid = context.config.attributes["srid"]
    op.create_table(
        "publications",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_version", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.Column(
            "retired", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_publications")),
    )
    op.create_table(
        "changed_cells",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("x", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("y", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("level", "x", "y", name=op.f("pk_changed_cells")),
    )
    op.create_geospatial_table(
        "sheets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("commune", sa.Text(), nullable=False),
        sa.Column("sheet", sa.Text(), nullable=False),
        sa.Column("parcels", sa.Integer(), nullable=False),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="POLYGON",
                srid=srid,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sheets")),
    )
    op.create_geospatial_index(
        "ix_sheets_geom",
        "sheets",
        ["geom"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    # existing versions count as published in the order of the decisions
    op.execute(
        "INSERT INTO publications (number, batch_id, published_at, first_version, last_version)"
        " SELECT row_number() OVER (ORDER BY began, batch_id), batch_id, began, least_id, last_id"
        " FROM (SELECT batch_id, min(valid_from) AS began, min(id) AS least_id,"
        " max(id) AS last_id FROM parcel_versions GROUP BY batch_id) AS batches"
    )
    op.execute(
        "INSERT INTO sheets (id, commune, sheet, parcels, geom)"
        " SELECT concat_ws('-', commune, sheet), commune, sheet, count(*),"
        " ST_ConvexHull(ST_Collect(geom)) FROM parcel_versions WHERE valid_to IS NULL"
        " GROUP BY commune, sheet"
    )
    # Communes are few and rarely written: one stamp for all of them.
    op.execute(
        """
        CREATE FUNCTION stamp_communes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          INSERT INTO changed_cells (level, x, y, stamp) VALUES (-1, 0, 0, 1)
          ON CONFLICT (level, x, y) DO UPDATE SET stamp = changed_cells.stamp + 1;
          RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER stamp_communes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON communes"
        " FOR EACH STATEMENT EXECUTE FUNCTION stamp_communes()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER stamp_communes ON communes")
    op.execute("DROP FUNCTION stamp_communes()")
    op.drop_geospatial_index(
        "ix_sheets_geom", table_name="sheets", postgresql_using="gist", column_name="geom"
    )
    op.drop_geospatial_table("sheets")
    op.drop_table("changed_cells")
    op.drop_table("publications")
