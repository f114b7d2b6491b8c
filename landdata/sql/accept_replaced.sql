-- The official states that a batch's acceptable rows replace.
CREATE TEMPORARY TABLE replaced ON COMMIT DROP AS
SELECT s.row, v.id, v.parcel_id, v.version
FROM staged_parcels AS s
  JOIN parcel_versions AS v ON (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number)
WHERE s.batch_id = :batch AND s.status = 0 AND v.valid_to IS NULL
