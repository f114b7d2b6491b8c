-- How a batch's rows differ from those of the batch that it corrects: each row of both once.
WITH rows AS (
  SELECT
    batch_id = :batch AS new, row, sheet, number, coalesce(sheet, '') AS on_sheet,
    coalesce(number, '') AS numbered, scale, area, legal_area, land_use, address, owner,
    owner_type, old_sheet, old_number, national_id, surveyed_on,
    md5(ST_AsBinary(geom)) AS shape, geom
  FROM staged_parcels
  WHERE batch_id IN (:batch, :earlier)
), contents AS (
  SELECT
    *,
    md5((
      scale, area, legal_area, land_use, address, owner, owner_type, old_sheet, old_number,
      national_id, surveyed_on, shape
    )::text) AS content
  FROM rows
), counted AS (
  -- a number may stand in a file twice: the first is compared with the first
  SELECT
    *, row_number() OVER (PARTITION BY new, on_sheet, numbered, content ORDER BY row) AS nth
  FROM contents
), same AS (
  SELECT n.sheet, n.number, n.row, e.row AS earlier_row
  FROM counted AS n
    JOIN counted AS e USING (on_sheet, numbered, content, nth)
  WHERE n.new AND NOT e.new
), matched AS (
  SELECT true AS new, row FROM same
  UNION ALL
  SELECT false, earlier_row FROM same
), other AS (
  SELECT
    c.*,
    CASE WHEN c.number IS NULL THEN concat(c.new, c.row, '?') ELSE c.numbered END AS key,
    row_number() OVER (PARTITION BY c.new, c.on_sheet, c.numbered ORDER BY c.row) AS again
  FROM counted AS c
  WHERE NOT EXISTS (SELECT FROM matched AS m WHERE (m.new, m.row) = (c.new, c.row))
)
SELECT
  CASE WHEN e.row IS NULL THEN 'added' WHEN n.row IS NULL THEN 'gone' ELSE 'changed' END AS change,
  coalesce(n.sheet, e.sheet) AS sheet, coalesce(n.number, e.number) AS number,
  n.row AS row, e.row AS earlier_row,
  array_remove(ARRAY[
    CASE WHEN n.shape IS DISTINCT FROM e.shape THEN 'geometry' END,
    CASE WHEN n.scale IS DISTINCT FROM e.scale THEN 'scale' END,
    CASE WHEN n.area IS DISTINCT FROM e.area THEN 'area' END,
    CASE WHEN n.legal_area IS DISTINCT FROM e.legal_area THEN 'legal_area' END,
    CASE WHEN n.land_use IS DISTINCT FROM e.land_use THEN 'land_use' END,
    CASE WHEN n.address IS DISTINCT FROM e.address THEN 'address' END,
    CASE
      WHEN (n.owner, n.owner_type) IS DISTINCT FROM (e.owner, e.owner_type) THEN 'owner'
    END,
    CASE
      WHEN (n.old_sheet, n.old_number) IS DISTINCT FROM (e.old_sheet, e.old_number)
        THEN 'old_number'
    END,
    CASE WHEN n.national_id IS DISTINCT FROM e.national_id THEN 'national_id' END,
    CASE WHEN n.surveyed_on IS DISTINCT FROM e.surveyed_on THEN 'surveyed_on' END
  ], NULL) AS what,
  -- of a changed shape: how far its boundary moves at most, and its change of area
  CASE WHEN n.shape <> e.shape
    THEN ST_HausdorffDistance(ST_Boundary(n.geom), ST_Boundary(e.geom))
  END AS shift,
  CASE WHEN n.shape <> e.shape THEN ST_Area(n.geom) - ST_Area(e.geom) END AS area_change
FROM (SELECT * FROM other WHERE new) AS n
  FULL JOIN (SELECT * FROM other WHERE NOT new) AS e USING (on_sheet, key, again)
UNION ALL
SELECT 'same', sheet, number, row, earlier_row, '{}', NULL, NULL FROM same
