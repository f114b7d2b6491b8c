-- Store the shapes of parcels whose rings were taken apart.
UPDATE staged_parcels AS s
SET geom = ST_GeomFromWKB(a.shape, ST_SRID(s.geom))
FROM unnest(CAST(:rows AS bigint[]), CAST(:shapes AS bytea[])) AS a (row, shape)
WHERE s.batch_id = :batch AND s.row = a.row
