-- The holders of the states that a batch brought, in their own table.
WITH states AS MATERIALIZED (
  SELECT id, batch_row
  FROM parcel_versions
  WHERE id > :after AND batch_id = :batch
), held AS MATERIALIZED (
  SELECT row, owner, owner_type
  FROM staged_parcels
  WHERE batch_id = :batch AND status = 0 AND (owner IS NOT NULL OR owner_type IS NOT NULL)
)
INSERT INTO holders (version_id, name, kind)
SELECT s.id, h.owner, h.owner_type
FROM states AS s
  JOIN held AS h ON h.row = s.batch_row
