-- Mark as duplicates the acceptable rows that repeat the official version exactly.
UPDATE staged_parcels AS s
SET status = 2
FROM parcel_versions AS v
  LEFT JOIN holders AS h ON h.version_id = v.id
WHERE s.batch_id = :batch
  AND s.status = 0
  AND v.valid_to IS NULL
  AND (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number)
  AND ST_Multi(s.geom) = v.geom
  AND (
    s.scale, s.area, s.legal_area, s.land_use, s.address, s.old_sheet, s.old_number,
    s.national_id, s.surveyed_on, s.owner, s.owner_type
  ) IS NOT DISTINCT FROM (
    v.scale, v.area, v.legal_area, v.land_use, v.address, v.old_sheet, v.old_number,
    v.national_id, v.surveyed_on, h.name, h.kind
  )
RETURNING s.row
