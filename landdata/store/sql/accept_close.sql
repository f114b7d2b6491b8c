-- End the official versions that a batch's acceptable rows replace.
UPDATE parcel_versions AS v
SET valid_to = :now
FROM staged_parcels AS s
WHERE s.batch_id = :batch AND s.status = 0
  AND (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number) AND v.valid_to IS NULL
