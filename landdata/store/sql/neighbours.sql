-- The official parcels around a survey: in its boxes, or of a number of its own (of any number of
-- a sheet where the number is null), in a stable order.
SELECT v.id, concat_ws('/', v.commune, v.sheet, v.number) AS parcel, ST_AsBinary(v.geom) AS geom
FROM parcel_versions AS v
WHERE v.id IN (
    SELECT id FROM near
    UNION
    SELECT n.id
    FROM unnest(CAST(:sheets AS text[]), CAST(:numbers AS text[])) AS k(sheet, number)
      JOIN parcel_versions AS n
        ON n.commune = :commune AND n.sheet = k.sheet AND n.valid_to IS NULL
        AND n.number = coalesce(k.number, n.number)
  )
ORDER BY v.id
