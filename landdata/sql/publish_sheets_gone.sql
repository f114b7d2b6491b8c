-- A sheet without a parcel is none.
DELETE FROM sheets AS s
USING (SELECT DISTINCT commune, sheet FROM published_ground) AS t
WHERE (s.commune, s.sheet) = (t.commune, t.sheet)
  AND NOT EXISTS (
    SELECT FROM parcel_versions AS v
    WHERE (v.commune, v.sheet) = (t.commune, t.sheet) AND v.valid_to IS NULL
  )
