"""The GeoJSON feature of each version of a parcel, written once and read unchanged."""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The SRIDs of VN-2000 in revision 0001; each has a twin, pinned to one datum operation.
VN2000 = {3405, 3406, 4756, *range(5896, 5900), *range(9205, 9219)}
PINNED = 910000


def upgrade() -> None:
    srid = context.config.attributes["srid"]
    op.add_column(
        "parcel_versions",
        sa.Column(
            "feature",
            sa.Text(),
            nullable=True,
            comment="GeoJSON in CRS84, written by a trigger",
        ),
    )
    # Long texts stay uncompressed: compressing and unpacking them costs more than reading them.
    op.execute("ALTER TABLE parcel_versions ALTER COLUMN feature SET STORAGE EXTERNAL")
    rings = "ST_ForcePolygonCCW(NEW.geom)"
    if srid in VN2000:
        rings = f"ST_SetSRID({rings}, {PINNED + srid})"
    # The same text as the OGC API renders (ogc/items.py), which a test compares. No address: it
    # may be personal data. Times are in UTC, whatever the session's time zone.
    # not as SQLAlchemy's text, in which a colon begins a parameter
    op.get_bind().exec_driver_sql(
        f"""
        CREATE FUNCTION write_feature() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          NEW.feature := '{{"type":"Feature","id":"' || NEW.parcel_id
            || '","properties":{{"id":"' || NEW.parcel_id
            || '","national_id":' || coalesce(to_json(NEW.national_id)::text, 'null')
            || ',"commune":' || to_json(NEW.commune)
            || ',"sheet":' || to_json(NEW.sheet)
            || ',"number":' || to_json(NEW.number)
            || ',"scale":' || coalesce(NEW.scale::text, 'null')
            || ',"area":' || coalesce(
                 (CASE WHEN NEW.area BETWEEN -1e15 AND 1e15 THEN NEW.area END)::text, 'null')
            || ',"legal_area":' || coalesce(
                 (CASE WHEN NEW.legal_area BETWEEN -1e15 AND 1e15 THEN NEW.legal_area END)::text,
                 'null')
            || ',"land_use":' || coalesce(NEW.land_use::text, '[]')
            || ',"address":null,"label":' || coalesce(to_json(NEW.label)::text, 'null')
            || ',"surveyed_on":' || coalesce(to_json(NEW.surveyed_on)::text, 'null')
            || ',"valid_from":'
            || replace(to_json(NEW.valid_from AT TIME ZONE 'UTC')::text || 'Z"', '"Z', 'Z')
            || ',"valid_to":' || coalesce(
                 replace(to_json(NEW.valid_to AT TIME ZONE 'UTC')::text || 'Z"', '"Z', 'Z'), 'null')
            || ',"version":' || NEW.version
            || '}},"geometry":' || ST_AsGeoJSON(ST_Transform({rings}, 4326), 9, 0) || '}}';
          RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER write_feature BEFORE INSERT OR UPDATE ON parcel_versions"
        " FOR EACH ROW EXECUTE FUNCTION write_feature()"
    )
    op.execute("UPDATE parcel_versions SET feature = NULL")


def downgrade() -> None:
    op.execute("DROP TRIGGER write_feature ON parcel_versions")
    op.execute("DROP FUNCTION write_feature()")
    op.drop_column("parcel_versions", "feature")
