-- Replace the sheets on which something changed; a sheet without a parcel is deleted.
-- Returns by how many parcels there are more: a statement sees `sheets` as it was before it.
WITH kept AS (
  INSERT INTO sheets (id, commune, sheet, parcels, geom)
  SELECT concat_ws('-', commune, sheet), commune, sheet, parcels, hull
  FROM published_sheets
  WHERE parcels > 0
  ON CONFLICT (id) DO UPDATE SET parcels = excluded.parcels, geom = excluded.geom
), gone AS (
  DELETE FROM sheets AS s
  USING published_sheets AS n
  WHERE (s.commune, s.sheet) = (n.commune, n.sheet) AND n.parcels = 0
)
SELECT coalesce(sum(n.parcels - coalesce(s.parcels, 0)), 0)::bigint
FROM published_sheets AS n LEFT JOIN sheets AS s ON (s.commune, s.sheet) = (n.commune, n.sheet)
