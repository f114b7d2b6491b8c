-- The versions that a batch's acceptable rows become, as they will be, in the order of the survey.
SELECT
  n.parcel_id, n.version, n.valid_from, n.commune, s.sheet, s.number, s.scale, s.area, s.legal_area,
  s.measured_area, s.land_use, s.address, s.label, s.old_sheet, s.old_number, s.national_id,
  s.surveyed_on, n.geom, s.batch_id, s.row AS batch_row,
  parcel_feature(
    n.parcel_id, n.version, n.valid_from, NULL, n.commune, s.sheet, s.number, s.scale, s.area,
    s.legal_area, s.land_use, s.label, s.national_id, s.surveyed_on, n.geom
  ) AS feature
FROM staged_parcels AS s
  LEFT JOIN parcel_versions AS v
    ON (v.commune, v.sheet, v.number) = (:commune, s.sheet, s.number) AND v.valid_to IS NULL
  CROSS JOIN LATERAL (
    SELECT
      coalesce(v.parcel_id, s.id) AS parcel_id, coalesce(v.version, 0) + 1 AS version,
      CAST(:now AS timestamptz) AS valid_from, CAST(:commune AS text) AS commune,
      ST_Multi(s.geom) AS geom
  ) AS n
WHERE s.batch_id = :batch AND s.status = 0
ORDER BY s.row
