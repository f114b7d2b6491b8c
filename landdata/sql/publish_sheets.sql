-- The sheets on which something changed, as their parcels make them now; one without a parcel is
-- none. Gives by how many parcels there are more: a statement sees `sheets` as it was before it.
WITH now AS (
  SELECT t.commune, t.sheet, n.parcels, n.hull
  FROM (SELECT DISTINCT commune, sheet FROM published_ground) AS t
    CROSS JOIN LATERAL (
      SELECT count(*) AS parcels, ST_ConvexHull(ST_Collect(v.geom)) AS hull
      FROM parcel_versions AS v
      WHERE (v.commune, v.sheet) = (t.commune, t.sheet) AND v.valid_to IS NULL
    ) AS n
), kept AS (
  INSERT INTO sheets (id, commune, sheet, parcels, geom)
  SELECT concat_ws('-', commune, sheet), commune, sheet, parcels, hull
  FROM now
  WHERE parcels > 0
  ON CONFLICT (id) DO UPDATE SET parcels = excluded.parcels, geom = excluded.geom
), gone AS (
  DELETE FROM sheets AS s
  USING now AS n
  WHERE (s.commune, s.sheet) = (n.commune, n.sheet) AND n.parcels = 0
)
SELECT coalesce(sum(n.parcels - coalesce(s.parcels, 0)), 0)::bigint
FROM now AS n LEFT JOIN sheets AS s ON (s.commune, s.sheet) = (n.commune, n.sheet)
