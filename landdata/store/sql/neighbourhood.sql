-- A fingerprint of the official versions around a batch: equal for equal neighbours.
SELECT md5(coalesce(string_agg(v.id::text, ',' ORDER BY v.id), ''))
FROM (
    SELECT id FROM near
    UNION
    SELECT n.id
    FROM parcel_versions AS n
    WHERE n.valid_to IS NULL AND n.commune = :commune AND n.sheet = ANY (:sheets)
  ) AS v
