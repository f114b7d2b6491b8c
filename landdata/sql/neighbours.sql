-- The official parcels around a survey: in its box, or on its sheets, in a stable order.
SELECT v.id, concat_ws('/', v.commune, v.sheet, v.number) AS parcel, ST_AsBinary(v.geom) AS geom
FROM parcel_versions AS v
WHERE v.valid_to IS NULL
  AND (
    v.geom && ST_MakeEnvelope(:xmin, :ymin, :xmax, :ymax, :srid)
    OR (v.commune = :commune AND v.sheet = ANY (:sheets))
  )
ORDER BY v.id
