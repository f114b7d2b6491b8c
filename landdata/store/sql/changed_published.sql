-- The versions that begin or end with a publication.
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
