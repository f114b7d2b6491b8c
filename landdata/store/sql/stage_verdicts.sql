-- Mark the rows that are not acceptable; all were staged before the verdict.
UPDATE staged_parcels AS s
SET status = v.status
FROM unnest(CAST(:rows AS bigint[]), CAST(:verdicts AS smallint[])) AS v (row, status)
WHERE s.batch_id = :batch AND s.row = v.row
