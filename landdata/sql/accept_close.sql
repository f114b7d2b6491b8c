-- Those that they replace end now.
UPDATE parcel_versions AS v
SET valid_to = o.valid_from
FROM official AS o
WHERE v.id = o.replaces
