"""The whole life of a batch: corrected, withdrawn, refused; its progress; the queue."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BEFORE = "state IN ('received', 'checking', 'checked', 'accepted', 'rejected')"
AFTER = (
    "state IN ('received', 'checking', 'checked', 'refused', 'accepted', 'rejected',"
    " 'withdrawn', 'superseded')"
)
# The queue's tables as procrastinate 3.10.0 creates them. A newer version with other tables gets a
# revision of its own here, made of the migrations that it ships.
QUEUE = Path(__file__).with_name("0005_procrastinate.sql")


def upgrade() -> None:
    op.drop_constraint(op.f("ck_batches_state"), "batches", type_="check")
    op.create_check_constraint(op.f("ck_batches_state"), "batches", AFTER)
    op.add_column("batches", sa.Column("corrects", sa.BigInteger(), nullable=True))
    op.add_column(
        "batches", sa.Column("refusal", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.create_foreign_key(
        op.f("fk_batches_corrects_batches"), "batches", "batches", ["corrects"], ["id"]
    )
    op.create_check_constraint(op.f("ck_batches_corrects_earlier"), "batches", "corrects < id")
    op.drop_constraint(op.f("uq_batches_sha256_commune_options"), "batches", type_="unique")
    op.create_index(
        "uq_batches_same_file",
        "batches",
        ["sha256", "commune", "options"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('withdrawn', 'superseded')"),
    )
    op.create_index(
        "ix_batches_corrects",
        "batches",
        ["corrects"],
        postgresql_where=sa.text("corrects IS NOT NULL"),
    )
    op.create_table(
        "batch_progress",
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("share", sa.Double(), server_default="0", nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_batch_progress_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batch_progress")),
    )
    # many statements with literal percent signs, so not through the driver's parameters
    op.get_bind().connection.cursor().execute(QUEUE.read_text("utf-8"))


def downgrade() -> None:
    # its functions depend on its tables, and the tables' triggers on the functions
    op.execute(
        "DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs,"
        " procrastinate_workers CASCADE"
    )
    op.execute(
        "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid::regprocedure FROM pg_proc"
        " WHERE proname LIKE 'procrastinate\\_%' AND pronamespace = 'public'::regnamespace"
        " LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP; END $$"
    )
    op.execute("DROP TYPE procrastinate_job_to_defer_v1")
    op.execute("DROP TYPE procrastinate_job_event_type, procrastinate_job_status")
    op.drop_table("batch_progress")
    op.drop_index("ix_batches_corrects", table_name="batches")
    op.drop_index("uq_batches_same_file", table_name="batches")
    op.drop_constraint(op.f("ck_batches_corrects_earlier"), "batches", type_="check")
    op.drop_constraint(op.f("fk_batches_corrects_batches"), "batches", type_="foreignkey")
    # the earlier schema lacks these states; such a batch counts as rejected
    op.execute(
        "UPDATE batches SET state = 'rejected'"
        " WHERE state IN ('refused', 'withdrawn', 'superseded')"
    )
    op.execute(
        "UPDATE batches SET options = options || jsonb_build_object('batch', id)"
        " WHERE id NOT IN (SELECT max(id) FROM batches GROUP BY sha256, commune, options)"
    )
    op.drop_column("batches", "refusal")
    op.drop_column("batches", "corrects")
    op.create_unique_constraint(
        op.f("uq_batches_sha256_commune_options"), "batches", ["sha256", "commune", "options"]
    )
    op.drop_constraint(op.f("ck_batches_state"), "batches", type_="check")
    op.create_check_constraint(op.f("ck_batches_state"), "batches", BEFORE)
