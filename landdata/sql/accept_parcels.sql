-- The parcels that are new get their identity.
INSERT INTO parcels (id, created_by_batch)
SELECT s.id, s.batch_id
FROM staged_parcels AS s
WHERE s.batch_id = :batch
  AND s.status = 0
  AND NOT EXISTS (SELECT FROM replaced AS r WHERE r.row = s.row)
