-- The sheets and cells of the ground of the states that begin or end with a publication.
CREATE TEMPORARY TABLE published_ground ON COMMIT DROP AS
SELECT DISTINCT
  commune, sheet,
  floor(ST_XMin(geom) / 256)::integer AS x0, floor(ST_XMax(geom) / 256)::integer AS x1,
  floor(ST_YMin(geom) / 256)::integer AS y0, floor(ST_YMax(geom) / 256)::integer AS y1
FROM (
  SELECT commune, sheet, geom
  FROM parcel_versions
  WHERE id BETWEEN :first AND :last AND batch_id = :batch
  UNION ALL
  SELECT v.commune, v.sheet, v.geom
  FROM parcel_versions AS b
    JOIN parcel_versions AS v ON (v.parcel_id, v.version) = (b.parcel_id, b.version - 1)
  WHERE b.id BETWEEN :first AND :last AND b.batch_id = :batch AND b.version > 1
  UNION ALL
  SELECT commune, sheet, geom FROM parcel_versions WHERE id = ANY (:retired)
) AS states
