"""Parcels and their versions, communes, batches, staged parcels, findings; VN-2000 in PostGIS."""

import sqlalchemy as sa
from alembic import context, op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# EPSG codes of VN-2000 with central meridian (degrees) and scale; false easting 500 000 m.
# PostGIS 3.3's table ends before 9205. Source: EPSG registry, v12.
VN2000 = {
    9205: (103.0, 0.9999), 9206: (104.0, 0.9999), 9207: (104.5, 0.9999), 9208: (104.75, 0.9999),
    9209: (105.5, 0.9999), 9210: (105.75, 0.9999), 9211: (106.0, 0.9999), 9212: (106.25, 0.9999),
    9213: (106.5, 0.9999), 9214: (107.0, 0.9999), 9215: (107.25, 0.9999), 9216: (107.5, 0.9999),
    9217: (108.25, 0.9999), 9218: (108.5, 0.9999), 5899: (107.75, 0.9999), 5896: (102.0, 0.9999),
    5897: (105.0, 0.9999), 5898: (108.0, 0.9999), 3405: (105.0, 0.9996), 3406: (111.0, 0.9996),
}  # fmt: skip

# PROJ picks between operations 6960 and 5194 point by point (0.8 m apart), and the switch runs
# through Đồng Nai. A twin of each CRS, numbered PINNED + code, knows 6960 alone: EPSG's
# coordinate-frame rotations, with the signs of PROJ's position-vector +towgs84.
PINNED = 910000
OPERATION_6960 = (
    "+towgs84=-191.90441429,-39.30318279,-111.45032835,"
    "0.00928836,-0.01975479,0.00427372,0.252906278"
)


def _reference_systems() -> None:
    insert = sa.text(
        "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text)"
        " VALUES (:srid, :auth_name, :auth_srid, :srtext, :proj4text) ON CONFLICT DO NOTHING"
    )
    connection = op.get_bind()
    for code, (meridian, scale) in VN2000.items():
        projection = (
            f"+proj=tmerc +lat_0=0 +lon_0={meridian} +k={scale} +x_0=500000 +y_0=0"
            f" +ellps=WGS84 {OPERATION_6960} +units=m +no_defs"
        )
        srtext = (
            f'PROJCS["VN-2000 / EPSG:{code}",GEOGCS["VN-2000",DATUM["Vietnam_2000",'
            'SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
            'AUTHORITY["EPSG","6756"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
            'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
            'AUTHORITY["EPSG","4756"]],PROJECTION["Transverse_Mercator"],'
            'PARAMETER["latitude_of_origin",0],'
            f'PARAMETER["central_meridian",{meridian}],PARAMETER["scale_factor",{scale}],'
            'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],'
            f'UNIT["metre",1,AUTHORITY["EPSG","9001"]],AUTHORITY["EPSG","{code}"]]'
        )
        official = {"auth_name": "EPSG", "auth_srid": code, "srtext": srtext}
        twin = {"auth_name": None, "auth_srid": None, "srtext": None}
        connection.execute(insert, {"srid": code, "proj4text": projection, **official})
        connection.execute(insert, {"srid": PINNED + code, "proj4text": projection, **twin})
    geographic = f"+proj=longlat +ellps=WGS84 {OPERATION_6960} +no_defs"
    connection.execute(insert, {"srid": PINNED + 4756, "proj4text": geographic, **twin})


def upgrade() -> None:
    srid = context.config.attributes["srid"]
    op.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    _reference_systems()
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("commune", sa.Text(), nullable=False),
        sa.Column(
            "options",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("state", sa.Text(), server_default=sa.text("'received'"), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("received_by", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'checking', 'checked', 'accepted', 'rejected')",
            name=op.f("ck_batches_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint(
            "sha256", "commune", "options", name=op.f("uq_batches_sha256_commune_options")
        ),
    )
    op.create_geospatial_table(
        "communes",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="MULTIPOLYGON",
                srid=srid,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
        ),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_communes_valid")),
        sa.PrimaryKeyConstraint("code", "valid_from", name=op.f("pk_communes")),
    )
    op.execute(
        "ALTER TABLE communes ADD CONSTRAINT ex_communes_code_valid"
        " EXCLUDE USING gist (code WITH =, daterange(valid_from, valid_to) WITH &&)"
    )
    op.create_geospatial_index(
        "ix_communes_geom",
        "communes",
        ["geom"],
        unique=False,
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_table(
        "commune_recodings",
        sa.Column("old_code", sa.Text(), nullable=False),
        sa.Column("new_code", sa.Text(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("new_name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "old_code", "new_code", "effective_on", name=op.f("pk_commune_recodings")
        ),
    )
    op.create_table(
        "deployment",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("srid", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_deployment_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
    )
    deployment = sa.table("deployment", sa.column("id"), sa.column("srid"))
    op.execute(deployment.insert().values(id=1, srid=srid))
    op.create_table(
        "findings",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=True),
        sa.Column("other_row", sa.BigInteger(), nullable=True),
        sa.Column(
            "finding",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="under the public JSON keys",
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_findings_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("batch_id", "seq", name=op.f("pk_findings")),
    )
    op.create_table(
        "parcels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parcels")),
    )
    op.create_geospatial_table(
        "staged_parcels",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sheet", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("scale", sa.Integer(), nullable=True),
        sa.Column("area", sa.Double(), nullable=True),
        sa.Column("legal_area", sa.Double(), nullable=True),
        sa.Column("measured_area", sa.Double(), nullable=True),
        sa.Column("land_use", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("owner_type", sa.Text(), nullable=True),
        sa.Column("old_sheet", sa.Text(), nullable=True),
        sa.Column("old_number", sa.Text(), nullable=True),
        sa.Column("national_id", sa.Text(), nullable=True),
        sa.Column("surveyed_on", sa.Date(), nullable=True),
        sa.Column(
            "geom",
            Geometry(
                srid=srid,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("batch_id", "row", name=op.f("pk_staged_parcels")),
    )
    op.create_geospatial_table(
        "parcel_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("parcel_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("commune", sa.Text(), nullable=False),
        sa.Column("sheet", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("scale", sa.Integer(), nullable=True),
        sa.Column("area", sa.Double(), nullable=True),
        sa.Column("legal_area", sa.Double(), nullable=True),
        sa.Column("measured_area", sa.Double(), nullable=False),
        sa.Column("land_use", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("old_sheet", sa.Text(), nullable=True),
        sa.Column("old_number", sa.Text(), nullable=True),
        sa.Column("national_id", sa.Text(), nullable=True),
        sa.Column("surveyed_on", sa.Date(), nullable=True),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="MULTIPOLYGON",
                srid=srid,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_row", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_parcel_versions_valid")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parcel_versions")),
        sa.UniqueConstraint(
            "parcel_id", "version", name=op.f("uq_parcel_versions_parcel_id_version")
        ),
    )
    op.create_geospatial_index(
        "ix_parcel_versions_geom_current",
        "parcel_versions",
        ["geom"],
        unique=False,
        postgresql_using="gist",
        postgresql_where=sa.text("valid_to IS NULL"),
        postgresql_ops={},
    )
    op.create_geospatial_index(
        "ix_parcel_versions_geom_past",
        "parcel_versions",
        ["geom"],
        unique=False,
        postgresql_using="gist",
        postgresql_where=sa.text("valid_to IS NOT NULL"),
        postgresql_ops={},
    )
    op.create_index(
        "uq_parcel_versions_current",
        "parcel_versions",
        ["parcel_id"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_index(
        "uq_parcel_versions_number",
        "parcel_versions",
        ["commune", "sheet", "number"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_index(
        "ix_parcel_versions_number_past",
        "parcel_versions",
        ["commune", "sheet", "number"],
        postgresql_where=sa.text("valid_to IS NOT NULL"),
    )
    op.create_index(
        "ix_parcel_versions_national_id",
        "parcel_versions",
        ["national_id"],
        postgresql_where=sa.text("national_id IS NOT NULL"),
    )
    op.create_table(
        "holders",
        sa.Column("version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["parcel_versions.id"],
            name=op.f("fk_holders_version_id_parcel_versions"),
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_holders")),
    )


def downgrade() -> None:
    op.drop_table("holders")
    op.drop_index(
        "uq_parcel_versions_number",
        table_name="parcel_versions",
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.drop_index(
        "uq_parcel_versions_current",
        table_name="parcel_versions",
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.drop_geospatial_index(
        "ix_parcel_versions_geom_past",
        table_name="parcel_versions",
        postgresql_using="gist",
        postgresql_where=sa.text("valid_to IS NOT NULL"),
        column_name="geom",
    )
    op.drop_geospatial_index(
        "ix_parcel_versions_geom_current",
        table_name="parcel_versions",
        postgresql_using="gist",
        postgresql_where=sa.text("valid_to IS NULL"),
        column_name="geom",
    )
    op.drop_geospatial_table("parcel_versions")
    op.drop_geospatial_table("staged_parcels")
    op.drop_table("parcels")
    op.drop_table("findings")
    op.drop_table("deployment")
    op.drop_table("commune_recodings")
    op.drop_geospatial_index(
        "ix_communes_geom", table_name="communes", postgresql_using="gist", column_name="geom"
    )
    op.drop_geospatial_table("communes")
    op.drop_table("batches")
    # only the rows of the twins: other tables may use those of EPSG's own codes
    op.execute("DELETE FROM spatial_ref_sys WHERE srid BETWEEN 910000 AND 919999")
