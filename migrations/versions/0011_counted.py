"""The start, number of parcels and stamp of each publication."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COUNTED = "ix_publications_valid_from_number"
_SHEETS = "ix_sheets_commune_sheet"


def upgrade() -> None:
    for name, kind in (
        ("valid_from", sa.DateTime(timezone=True)),
        ("parcels", sa.BigInteger()),
        ("stamp", sa.BigInteger()),
    ):
        op.add_column("publications", sa.Column(name, kind))
    # A parcel counts from its first version until one ends without a successor. All existing
    # publications get the stamp of now, since clients may have been told anything of them.
    op.execute(
        """
        WITH brought AS (
          SELECT
            p.number,
            coalesce(min(v.valid_from), p.published_at) AS valid_from,
            count(v.id) FILTER (WHERE v.version = 1) - cardinality(p.retired) AS more
          FROM publications AS p
            LEFT JOIN parcel_versions AS v
              ON v.batch_id = p.batch_id AND v.id BETWEEN p.first_version AND p.last_version
          GROUP BY p.number
        ), counted AS (
          SELECT number, valid_from, sum(more) OVER (ORDER BY valid_from, number) AS parcels
          FROM brought
        )
        UPDATE publications AS p
        SET
          valid_from = c.valid_from,
          parcels = c.parcels,
          stamp = ceil(extract(epoch FROM now()))
        FROM counted AS c
        WHERE c.number = p.number
        """
    )
    op.execute("UPDATE changed_cells SET stamp = ceil(extract(epoch FROM now())) WHERE level >= 0")
    for name in ("valid_from", "parcels", "stamp"):
        op.alter_column("publications", name, nullable=False)
    op.create_index(_COUNTED, "publications", ["valid_from", "number"])
    op.create_index(_SHEETS, "sheets", ["commune", "sheet"])


def downgrade() -> None:
    op.drop_index(_SHEETS, table_name="sheets")
    op.drop_index(_COUNTED, table_name="publications")
    for name in ("stamp", "parcels", "valid_from"):
        op.drop_column("publications", name)
