-- What is official around a batch, as one value: the same value, the same neighbours.
SELECT md5(coalesce(string_agg(v.id::text, ',' ORDER BY v.id), ''))
FROM parcel_versions AS v
WHERE v.valid_to IS NULL
  AND (
    v.geom && ST_MakeEnvelope(:xmin, :ymin, :xmax, :ymax, :srid)
    OR (v.commune = :commune AND v.sheet = ANY (:sheets))
  )
