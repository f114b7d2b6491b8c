-- The sheets and cells of the ground of the states that begin or end with a publication. By the
-- box that a geometry carries, which is rounded outwards: read, where exact ones are computed.
CREATE TEMPORARY TABLE published_ground ON COMMIT DROP AS
SELECT DISTINCT
  commune, sheet,
  floor(ST_XMin(box) / 256)::integer AS x0, floor(ST_XMax(box) / 256)::integer AS x1,
  floor(ST_YMin(box) / 256)::integer AS y0, floor(ST_YMax(box) / 256)::integer AS y1
FROM (
  SELECT commune, sheet, box3d(box2d(geom)) AS box
  FROM parcel_versions
  WHERE id BETWEEN :first AND :last AND batch_id = :batch
  UNION ALL
  SELECT v.commune, v.sheet, box3d(box2d(v.geom))
  FROM parcel_versions AS b
    JOIN parcel_versions AS v ON (v.parcel_id, v.version) = (b.parcel_id, b.version - 1)
  WHERE b.id BETWEEN :first AND :last AND b.batch_id = :batch AND b.version > 1
  UNION ALL
  SELECT commune, sheet, box3d(box2d(geom)) FROM parcel_versions WHERE id = ANY (:retired)
) AS states
