"""Options of any length in the unique index by which the same file is the same batch."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SAME = "uq_batches_same_file"


def upgrade() -> None:
    _index(sa.literal_column("md5(options::text)"))


def downgrade() -> None:
    _index("options")


def _index(options: str | sa.ColumnClause[str]) -> None:
    op.drop_index(_SAME, table_name="batches")
    op.create_index(
        _SAME,
        "batches",
        ["sha256", "commune", options],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('withdrawn', 'superseded')"),
    )
