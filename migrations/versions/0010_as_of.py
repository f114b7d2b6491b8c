"""Indexes for the versions of any one time."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_GEOM, _NUMBER = "ix_parcel_versions_geom_past", "ix_parcel_versions_number_past"
_PAST = "valid_to IS NOT NULL"


def upgrade() -> None:
    op.create_index(
        "ix_parcel_versions_as_of",
        "parcel_versions",
        ["parcel_id", "valid_from", sa.literal_column("coalesce(valid_to, 'infinity')")],
    )
    number = ["commune", "sheet", "number", "valid_to", "valid_from"]
    _past(number, ["geom", sa.literal_column("tstzrange(valid_from, valid_to)")])


def downgrade() -> None:
    op.drop_index("ix_parcel_versions_as_of", table_name="parcel_versions")
    _past(["commune", "sheet", "number"], ["geom"])


def _past(number: list[str], geom: list[str | sa.ColumnClause[str]]) -> None:
    for name in (_GEOM, _NUMBER):
        op.drop_index(name, table_name="parcel_versions")
    op.create_index(_NUMBER, "parcel_versions", number, postgresql_where=sa.text(_PAST))
    op.create_index(
        _GEOM, "parcel_versions", geom, postgresql_using="gist", postgresql_where=sa.text(_PAST)
    )
