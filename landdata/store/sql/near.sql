-- The numbers of the official versions in boxes.
SELECT n.id
FROM unnest(
    CAST(:xmin AS float8[]), CAST(:ymin AS float8[]),
    CAST(:xmax AS float8[]), CAST(:ymax AS float8[])
  ) AS w(xmin, ymin, xmax, ymax)
  JOIN parcel_versions AS n
    ON n.geom && ST_MakeEnvelope(w.xmin, w.ymin, w.xmax, w.ymax, :srid)
    AND n.valid_to IS NULL
