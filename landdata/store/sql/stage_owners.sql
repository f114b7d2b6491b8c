-- Join the owners of parcels whose co-owners have rows of their own.
UPDATE staged_parcels AS s
SET owner = o.owner
FROM unnest(CAST(:rows AS bigint[]), CAST(:owners AS text[])) AS o (row, owner)
WHERE s.batch_id = :batch AND s.row = o.row
