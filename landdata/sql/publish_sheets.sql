-- The sheets on which something changed, as their parcels make them now.
INSERT INTO sheets (id, commune, sheet, parcels, geom)
SELECT
  concat_ws('-', t.commune, t.sheet), t.commune, t.sheet, count(*),
  ST_ConvexHull(ST_Collect(v.geom))
FROM (SELECT DISTINCT commune, sheet FROM published_states) AS t
  JOIN parcel_versions AS v
    ON (v.commune, v.sheet) = (t.commune, t.sheet) AND v.valid_to IS NULL
GROUP BY t.commune, t.sheet
ON CONFLICT (id) DO UPDATE SET parcels = excluded.parcels, geom = excluded.geom
