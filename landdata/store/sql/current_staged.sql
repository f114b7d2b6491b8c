-- The current versions of a batch's sheets, as they will be when it is accepted.
SELECT CAST(:commune AS text) AS commune, sheet, geom
FROM staged_parcels
WHERE batch_id = :batch AND status = 0
UNION ALL
SELECT :commune, v.sheet, v.geom
FROM unnest(CAST(:sheets AS text[])) AS t (sheet)
  CROSS JOIN LATERAL (
    SELECT sheet, number, geom
    FROM parcel_versions
    WHERE (commune, sheet) = (:commune, t.sheet) AND valid_to IS NULL
    OFFSET 0  -- sheet by sheet, however many others there are
  ) AS v
WHERE NOT EXISTS (
  SELECT FROM staged_parcels AS s
  WHERE s.batch_id = :batch AND s.status = 0 AND (s.sheet, s.number) = (v.sheet, v.number)
)
