-- The survey points of a batch, each with the parcels that it bounds.
SELECT
  p.line, p.name, p.north, p.east, p.srid, p.rows, ST_X(p.geom) AS x, ST_Y(p.geom) AS y,
  (
    SELECT array_agg(concat_ws('/', b.commune, s.sheet, s.number) ORDER BY s.row)
    FROM staged_parcels AS s
    WHERE s.batch_id = p.batch_id AND s.row = ANY (p.rows)
  ) AS parcels
FROM survey_points AS p
JOIN batches AS b ON b.id = p.batch_id
WHERE p.batch_id = :batch
ORDER BY p.line
