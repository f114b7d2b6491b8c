-- The versions that will begin or end when a batch is accepted.
SELECT CAST(:commune AS text) AS commune, sheet, geom
FROM staged_parcels
WHERE batch_id = :batch AND status = 0
UNION ALL
SELECT v.commune, v.sheet, v.geom
FROM staged_parcels AS s
  JOIN parcel_versions AS v
    ON (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number) AND v.valid_to IS NULL
WHERE s.batch_id = :batch AND s.status = 0
