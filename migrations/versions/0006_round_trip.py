"""Stored features whose positions transform back to the stored geometry (`features.crs`)."""

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Revision 0001's zones of VN-2000 (EPSG code), each with a twin PINNED + code that is pinned to one
# datum operation: (a, b, c), its ellipsoid lies a + b·easting + c·northing m above that of WGS 84.
HEIGHT_PLANES = {
    3405: (-2.354, 0.000030639, -0.000017368), 3406: (18.865, 0.000030279, -0.000018242),
    5896: (-12.959, 0.000030683, -0.000016924), 5897: (-2.349, 0.000030629, -0.000017363),
    5898: (8.270, 0.000030491, -0.000017801), 5899: (7.386, 0.000030506, -0.000017765),
    9205: (-9.425, 0.000030675, -0.000017070), 9206: (-5.888, 0.000030657, -0.000017217),
    9207: (-4.118, 0.000030644, -0.000017290), 9208: (-3.233, 0.000030637, -0.000017326),
    9209: (-0.579, 0.000030612, -0.000017436), 9210: (0.307, 0.000030603, -0.000017473),
    9211: (1.192, 0.000030593, -0.000017509), 9212: (2.077, 0.000030582, -0.000017546),
    9213: (2.962, 0.000030571, -0.000017582), 9214: (4.732, 0.000030547, -0.000017655),
    9215: (5.616, 0.000030534, -0.000017692), 9216: (6.501, 0.000030520, -0.000017728),
    9217: (9.155, 0.000030476, -0.000017837), 9218: (10.039, 0.000030460, -0.000017874),
}  # fmt: skip
PINNED = 910000


def upgrade() -> None:
    srid = context.config.attributes["srid"]
    if srid in HEIGHT_PLANES:
        _rewrite(*_texts(srid))


def downgrade() -> None:
    srid = context.config.attributes["srid"]
    if srid in HEIGHT_PLANES:
        _rewrite(*reversed(_texts(srid)))


def _texts(srid: int) -> tuple[str, str]:
    """Return the transformation in the function of revision 0002, and the new one."""
    rings = f"ST_SetSRID(ST_ForcePolygonCCW(NEW.geom), {PINNED + srid})"
    a, b, c = HEIGHT_PLANES[srid]
    plane = f"1, 0, 0, 0, 1, 0, {-b:.9f}, {-c:.9f}, 1, 0, 0, {-a:.3f}"
    return (
        f"ST_Transform({rings}, 4326)",
        f"ST_Force2D(ST_Transform(ST_Affine(ST_Force3DZ({rings}), {plane}), 4326))",
    )


def _rewrite(old: str, new: str) -> None:
    connection = op.get_bind()
    text = connection.scalar(sa.text("SELECT pg_get_functiondef('write_feature'::regproc)"))
    assert text.count(old) == 1
    # not as SQLAlchemy's text, in which a colon begins a parameter
    connection.exec_driver_sql(text.replace(old, new))
    op.execute("UPDATE parcel_versions SET feature = NULL")
