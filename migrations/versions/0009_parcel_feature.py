"""The text of a feature as a function of its own, for bulk inserts; the text is unchanged."""

from alembic import context, op

revision = "0009"
down_revision = "0008"
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
    # not as SQLAlchemy's text, in which a colon begins a parameter
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
    # an INSERT may have the text already, written by the same function
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
    """Return the text of revisions 0002 and 0006; the columns are named `of` + name."""
    srid = context.config.attributes["srid"]
    rings = f"ST_ForcePolygonCCW({of}geom)"
    position = f"ST_Transform({rings}, 4326)"
    if srid in HEIGHT_PLANES:
        rings = f"ST_SetSRID({rings}, {PINNED + srid})"
        a, b, c = HEIGHT_PLANES[srid]
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
