-- The cells in which something changed, each with its parents, always in the same order.
INSERT INTO changed_cells (level, x, y, stamp)
SELECT DISTINCT level, x >> level, y >> level, CAST(:stamp AS bigint)
FROM (SELECT DISTINCT x0, x1, y0, y1 FROM published_boxes) AS boxes,
  generate_series(x0, x1) AS x,
  generate_series(y0, y1) AS y,
  generate_series(0, 13) AS level
ORDER BY 1, 2, 3
ON CONFLICT (level, x, y) DO UPDATE SET stamp = excluded.stamp
