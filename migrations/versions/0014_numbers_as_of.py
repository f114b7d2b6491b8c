"""One index for the numbers of any one time, the present included."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ALL, _PAST = "ix_parcel_versions_number", "ix_parcel_versions_number_past"
_NUMBER = ["commune", "sheet", "number"]


def upgrade() -> None:
    op.create_index(
        _ALL,
        "parcel_versions",
        [*_NUMBER, "valid_from", sa.literal_column("coalesce(valid_to, 'infinity')")],
    )
    op.drop_index(_PAST, table_name="parcel_versions")


def downgrade() -> None:
    op.create_index(
        _PAST,
        "parcel_versions",
        [*_NUMBER, "valid_to", "valid_from"],
        postgresql_where=sa.text("valid_to IS NOT NULL"),
    )
    op.drop_index(_ALL, table_name="parcel_versions")
