"""No table of parcels beside their versions, and a smaller unique index of versions.

The first version of a parcel has the batch that brought it. Only past versions need a unique index:
a parcel has one current version.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_HOLDERS = "fk_holders_version_id_parcel_versions"
_VERSION = "uq_parcel_versions_parcel_id_version"
_PAST = "uq_parcel_versions_past"


def upgrade() -> None:
    op.drop_table("parcels")
    op.drop_constraint(_HOLDERS, "holders", type_="foreignkey")
    op.create_index(
        _PAST,
        "parcel_versions",
        ["parcel_id", "version"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NOT NULL"),
    )
    op.drop_constraint(_VERSION, "parcel_versions", type_="unique")


def downgrade() -> None:
    op.create_unique_constraint(_VERSION, "parcel_versions", ["parcel_id", "version"])
    op.drop_index(_PAST, table_name="parcel_versions")
    op.create_foreign_key(_HOLDERS, "holders", "parcel_versions", ["version_id"], ["id"])
    op.create_table(
        "parcels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by_batch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_parcels"),
    )
    op.execute(
        "INSERT INTO parcels (id, created_by_batch)"
        " SELECT parcel_id, batch_id FROM parcel_versions WHERE version = 1"
    )
