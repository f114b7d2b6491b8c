-- The rows that are not acceptable, of rows that were staged before the verdict was known.
UPDATE staged_parcels AS s
SET status = v.status
FROM unnest(CAST(:rows AS bigint[]), CAST(:verdicts AS smallint[])) AS v (row, status)
WHERE s.batch_id = :batch AND s.row = v.row
