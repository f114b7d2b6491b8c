-- The acceptable rows become the official state, holders in their own table.
WITH official AS (
  INSERT INTO parcel_versions (
    parcel_id, version, valid_from, commune, sheet, number, scale, area, legal_area,
    measured_area, land_use, address, label, old_sheet, old_number, national_id, surveyed_on,
    geom, batch_id, batch_row
  )
  SELECT
    coalesce(r.parcel_id, s.id), coalesce(r.version, 0) + 1, :now, :commune, s.sheet, s.number,
    s.scale, s.area, s.legal_area, s.measured_area, s.land_use, s.address, s.label, s.old_sheet,
    s.old_number, s.national_id, s.surveyed_on, ST_Multi(s.geom), s.batch_id, s.row
  FROM staged_parcels AS s
    LEFT JOIN replaced AS r ON r.row = s.row
  WHERE s.batch_id = :batch AND s.status = 0
  ORDER BY s.row
  RETURNING id, batch_row
)
INSERT INTO holders (version_id, name, kind)
SELECT o.id, s.owner, s.owner_type
FROM official AS o
  JOIN staged_parcels AS s ON s.batch_id = :batch AND s.row = o.batch_row
WHERE s.owner IS NOT NULL OR s.owner_type IS NOT NULL
