-- Store the holders of the versions that a batch brought, in a table of their own.
INSERT INTO holders (version_id, name, kind)
SELECT v.id, s.owner, s.owner_type
FROM staged_parcels AS s
  JOIN parcel_versions AS v ON v.batch_id = s.batch_id AND v.batch_row = s.row
WHERE s.batch_id = :batch AND s.status = 0 AND (s.owner IS NOT NULL OR s.owner_type IS NOT NULL)
  AND v.id > :after AND v.batch_id = :batch
