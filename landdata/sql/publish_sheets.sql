-- The sheets on which something changed, as their parcels make them now.
INSERT INTO sheets (id, commune, sheet, parcels, geom)
SELECT concat_ws('-', t.commune, t.sheet), t.commune, t.sheet, now.parcels, now.hull
FROM (SELECT DISTINCT commune, sheet FROM published_ground) AS t
  CROSS JOIN LATERAL (
    SELECT count(*) AS parcels, ST_ConvexHull(ST_Collect(v.geom)) AS hull
    FROM parcel_versions AS v
    WHERE (v.commune, v.sheet) = (t.commune, t.sheet) AND v.valid_to IS NULL
  ) AS now
WHERE now.parcels > 0
ON CONFLICT (id) DO UPDATE SET parcels = excluded.parcels, geom = excluded.geom
