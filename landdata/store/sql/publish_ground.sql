-- The sheets and cells of the ground of states. By the box that a geometry carries, which is
-- rounded outwards: read, where exact ones are computed.
SELECT DISTINCT
  commune, sheet,
  floor(ST_XMin(box) / 256)::integer AS x0, floor(ST_XMax(box) / 256)::integer AS x1,
  floor(ST_YMin(box) / 256)::integer AS y0, floor(ST_YMax(box) / 256)::integer AS y1
FROM (
  SELECT commune, sheet, box3d(box2d(geom)) AS box
  FROM states
  OFFSET 0  -- each box once, not for each of its sides
) AS boxes
