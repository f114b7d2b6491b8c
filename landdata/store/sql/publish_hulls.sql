-- The number of parcels and the hull of each sheet.
SELECT
  commune, sheet, count(geom)::integer AS parcels, ST_ConvexHull(ST_Collect(geom)) AS hull
FROM versions
GROUP BY commune, sheet
