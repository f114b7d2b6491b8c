-- What is official around a batch, as one value: the same value, the same neighbours.
SELECT md5(coalesce(string_agg(v.id::text, ',' ORDER BY v.id), ''))
FROM (
    SELECT n.id
    FROM unnest(
        CAST(:xmin AS float8[]), CAST(:ymin AS float8[]),
        CAST(:xmax AS float8[]), CAST(:ymax AS float8[])
      ) AS w(xmin, ymin, xmax, ymax)
      JOIN parcel_versions AS n
        ON n.geom && ST_MakeEnvelope(w.xmin, w.ymin, w.xmax, w.ymax, :srid)
        AND n.valid_to IS NULL
    UNION
    SELECT n.id
    FROM parcel_versions AS n
    WHERE n.valid_to IS NULL AND n.commune = :commune AND n.sheet = ANY (:sheets)
  ) AS v
