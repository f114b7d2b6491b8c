"""Stored features whose positions lead back to the stored ones: see ogc.crs.outgoing."""

import sqlalchemy as sa
from alembic import context, op

from landdata.reference.vn2000 import height_plane

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The SRIDs of VN-2000 in revision 0001; each has a twin, pinned to one datum operation.
VN2000 = {3405, 3406, 4756, *range(5896, 5900), *range(9205, 9219)}
PINNED = 910000


def upgrade() -> None:
    srid = context.config.attributes["srid"]
    if srid in VN2000:
        _rewrite(*_texts(srid))


def downgrade() -> None:
    srid = context.config.attributes["srid"]
    if srid in VN2000:
        _rewrite(*reversed(_texts(srid)))


def _texts(srid: int) -> tuple[str, str]:
    """How the function of revision 0002 transforms, and how it does it now."""
    rings = f"ST_SetSRID(ST_ForcePolygonCCW(NEW.geom), {PINNED + srid})"
    a, b, c = height_plane(srid)
    plane = f"1, 0, 0, 0, 1, 0, {-b:.9f}, {-c:.9f}, 1, 0, 0, {-a:.3f}"
    return (
        f"ST_Transform({rings}, 4326)",
        f"ST_Force2D(ST_Transform(ST_Affine(ST_Force3DZ({rings}), {plane}), 4326))",
    )


def _rewrite(old: str, new: str) -> None:
    connection = op.get_bind()
    text = connection.scalar(sa.text("SELECT pg_get_functiondef('write_feature'::regproc)"))
    assert text.count(old) == 1
    # not as SQLAlchemy's text, to which a colon is a parameter
    connection.exec_driver_sql(text.replace(old, new))
    op.execute("UPDATE parcel_versions SET feature = NULL")
