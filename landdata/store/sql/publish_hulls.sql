-- The sheets as states make them.
SELECT
  commune, sheet, count(geom)::integer AS parcels, ST_ConvexHull(ST_Collect(geom)) AS hull
FROM states
GROUP BY commune, sheet
