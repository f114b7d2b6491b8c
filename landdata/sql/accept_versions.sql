-- The states become official: holders are in their own table.
WITH inserted AS (
  INSERT INTO parcel_versions (
    parcel_id, version, valid_from, commune, sheet, number, scale, area, legal_area,
    measured_area, land_use, address, label, old_sheet, old_number, national_id, surveyed_on,
    geom, batch_id, batch_row, feature
  )
  SELECT
    parcel_id, version, valid_from, commune, sheet, number, scale, area, legal_area,
    measured_area, land_use, address, label, old_sheet, old_number, national_id, surveyed_on,
    geom, :batch, row, feature
  FROM official
  RETURNING id, batch_row
)
INSERT INTO holders (version_id, name, kind)
SELECT i.id, s.owner, s.owner_type
FROM inserted AS i
  JOIN staged_parcels AS s ON s.batch_id = :batch AND s.row = i.batch_row
WHERE s.owner IS NOT NULL OR s.owner_type IS NOT NULL
