-- The cells of the ground on which something changed, each with its parents, in one order for all.
INSERT INTO changed_cells (level, x, y, stamp)
SELECT DISTINCT level, x >> level, y >> level, 1
FROM (
  SELECT DISTINCT
    floor(ST_XMin(geom) / 256)::integer AS x0, floor(ST_XMax(geom) / 256)::integer AS x1,
    floor(ST_YMin(geom) / 256)::integer AS y0, floor(ST_YMax(geom) / 256)::integer AS y1
  FROM published_states
) AS boxes,
  generate_series(x0, x1) AS x,
  generate_series(y0, y1) AS y,
  generate_series(0, 13) AS level
ORDER BY 1, 2, 3
ON CONFLICT (level, x, y) DO UPDATE SET stamp = changed_cells.stamp + 1
