"""The text of a feature as a function of its own, for who writes many at once; the same text."""

from alembic import context, op

from landdata.reference.vn2000 import height_plane

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# The SRIDs of VN-2000 in revision 0001; each has a twin, pinned to one datum operation.
VN2000 = {3405, 3406, 4756, *range(5896, 5900), *range(9205, 9219)}
PINNED = 910000
# What a feature is made of, in the order of the function's parameters.
PARAMETERS = {
    "parcel_id": "uuid", "version": "integer", "valid_from": "timestamptz",
    "valid_to": "timestamptz", "commune": "text", "sheet": "text", "number": "text",
    "scale": "integer", "area": "double precision", "legal_area": "double precision",
    "land_use": "jsonb", "label": "text", "national_id": "text", "surveyed_on": "date",
    "geom": "geometry",
}  # fmt: skip


def upgrade() -> None:
    parameters = ", ".join(f"{name} {kind}" for name, kind in PARAMETERS.items())
    # not as SQLAlchemy's text, to which a colon is a parameter
    op.get_bind().exec_driver_sql(
        f"CREATE FUNCTION parcel_feature({parameters}) RETURNS text"
        f" LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT {_feature('')} $$"
    )
    _trigger(f"parcel_feature({', '.join(f'NEW.{name}' for name in PARAMETERS)})")
    op.execute("DROP TRIGGER write_feature ON parcel_versions")
    op.execute(
        "CREATE TRIGGER write_feature BEFORE UPDATE ON parcel_versions"
        " FOR EACH ROW EXECUTE FUNCTION write_feature()"
    )
    # who inserts may have written it already, with the same function
    op.execute(
        "CREATE TRIGGER write_new_feature BEFORE INSERT ON parcel_versions"
        " FOR EACH ROW WHEN (NEW.feature IS NULL) EXECUTE FUNCTION write_feature()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER write_new_feature ON parcel_versions")
    op.execute("DROP TRIGGER write_feature ON parcel_versions")
    op.execute(
        "CREATE TRIGGER write_feature BEFORE INSERT OR UPDATE ON parcel_versions"
        " FOR EACH ROW EXECUTE FUNCTION write_feature()"
    )
    _trigger(_feature("NEW."))
    op.execute(f"DROP FUNCTION parcel_feature({', '.join(PARAMETERS.values())})")


def _trigger(feature: str) -> None:
    op.get_bind().exec_driver_sql(
        f"""
        CREATE OR REPLACE FUNCTION write_feature() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          NEW.feature := {feature};
          RETURN NEW;
        END $$
        """
    )


def _feature(of: str) -> str:
    """Return the text of revisions 0002 and 0006, of columns that are named `of` + name."""
    srid = context.config.attributes["srid"]
    rings = f"ST_ForcePolygonCCW({of}geom)"
    position = f"ST_Transform({rings}, 4326)"
    if srid in VN2000:
        rings = f"ST_SetSRID({rings}, {PINNED + srid})"
        a, b, c = height_plane(srid)
        plane = f"1, 0, 0, 0, 1, 0, {-b:.9f}, {-c:.9f}, 1, 0, 0, {-a:.3f}"
        position = f"ST_Force2D(ST_Transform(ST_Affine(ST_Force3DZ({rings}), {plane}), 4326))"
    return f"""'{{"type":"Feature","id":"' || {of}parcel_id
            || '","properties":{{"id":"' || {of}parcel_id
            || '","national_id":' || coalesce(to_json({of}national_id)::text, 'null')
            || ',"commune":' || to_json({of}commune)
            || ',"sheet":' || to_json({of}sheet)
            || ',"number":' || to_json({of}number)
            || ',"scale":' || coalesce({of}scale::text, 'null')
            || ',"area":' || coalesce(
                 (CASE WHEN {of}area BETWEEN -1e15 AND 1e15 THEN {of}area END)::text, 'null')
            || ',"legal_area":' || coalesce(
                 (CASE WHEN {of}legal_area BETWEEN -1e15 AND 1e15 THEN {of}legal_area END)::text,
                 'null')
            || ',"land_use":' || coalesce({of}land_use::text, '[]')
            || ',"address":null,"label":' || coalesce(to_json({of}label)::text, 'null')
            || ',"surveyed_on":' || coalesce(to_json({of}surveyed_on)::text, 'null')
            || ',"valid_from":'
            || replace(to_json({of}valid_from AT TIME ZONE 'UTC')::text || 'Z"', '"Z', 'Z')
            || ',"valid_to":' || coalesce(
                 replace(to_json({of}valid_to AT TIME ZONE 'UTC')::text || 'Z"', '"Z', 'Z'), 'null')
            || ',"version":' || {of}version
            || '}},"geometry":' || ST_AsGeoJSON({position}, 9, 0) || '}}'"""
