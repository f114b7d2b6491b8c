-- The current versions of the sheets on which something changed; of one that has none, one of nulls.
SELECT t.commune, t.sheet, v.geom
FROM (SELECT DISTINCT commune, sheet FROM published_boxes) AS t
  LEFT JOIN LATERAL (
    SELECT geom
    FROM parcel_versions
    WHERE (commune, sheet) = (t.commune, t.sheet) AND valid_to IS NULL
    OFFSET 0  -- sheet by sheet: nothing is known of how many there are
  ) AS v ON true
