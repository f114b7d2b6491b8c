-- The states that begin or end with a publication.
CREATE TEMPORARY TABLE published_states ON COMMIT DROP AS
WITH begun AS (
  SELECT parcel_id, version, commune, sheet, geom
  FROM parcel_versions
  WHERE id BETWEEN :first AND :last AND batch_id = :batch
)
SELECT commune, sheet, geom FROM begun
UNION ALL
SELECT v.commune, v.sheet, v.geom
FROM begun AS b
  JOIN parcel_versions AS v ON (v.parcel_id, v.version) = (b.parcel_id, b.version - 1)
WHERE b.version > 1
UNION ALL
SELECT commune, sheet, geom FROM parcel_versions WHERE id = ANY (:retired)
