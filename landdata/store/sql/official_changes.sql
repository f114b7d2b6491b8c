-- Acceptable rows that replace an official version, and the attributes that change.
SELECT
  s.row,
  array_remove(ARRAY[
    CASE WHEN s.scale IS DISTINCT FROM v.scale THEN 'scale' END,
    CASE WHEN s.area IS DISTINCT FROM v.area THEN 'area' END,
    CASE WHEN s.legal_area IS DISTINCT FROM v.legal_area THEN 'legal_area' END,
    CASE WHEN s.land_use IS DISTINCT FROM v.land_use THEN 'land_use' END,
    CASE WHEN s.address IS DISTINCT FROM v.address THEN 'address' END,
    CASE WHEN (s.owner, s.owner_type) IS DISTINCT FROM (h.name, h.kind) THEN 'owner' END,
    CASE
      WHEN (s.old_sheet, s.old_number) IS DISTINCT FROM (v.old_sheet, v.old_number)
        THEN 'old_number'
    END,
    CASE WHEN s.national_id IS DISTINCT FROM v.national_id THEN 'national_id' END,
    CASE WHEN s.surveyed_on IS DISTINCT FROM v.surveyed_on THEN 'surveyed_on' END
  ], NULL) AS what
FROM staged_parcels AS s
  JOIN parcel_versions AS v
    ON (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number) AND v.valid_to IS NULL
  LEFT JOIN holders AS h ON h.version_id = v.id
WHERE s.batch_id = :batch AND s.status = 0
