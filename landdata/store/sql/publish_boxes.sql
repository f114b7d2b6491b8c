-- The sheets and cells that the boxes of versions touch. PostGIS keeps with each geometry a box that
-- is rounded outwards: it is read, where an exact one would be computed.
SELECT DISTINCT
  commune, sheet,
  floor(ST_XMin(box) / 256)::integer AS x0, floor(ST_XMax(box) / 256)::integer AS x1,
  floor(ST_YMin(box) / 256)::integer AS y0, floor(ST_YMax(box) / 256)::integer AS y1
FROM (
  SELECT commune, sheet, box3d(box2d(geom)) AS box
  FROM versions
  OFFSET 0  -- each box once, not for each of its sides
) AS boxes
