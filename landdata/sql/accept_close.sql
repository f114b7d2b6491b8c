-- They end now.
UPDATE parcel_versions AS v
SET valid_to = :now
FROM replaced AS r
WHERE v.id = r.id
