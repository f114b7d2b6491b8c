-- The next publication. The caller holds the lock, so its number and stamp are the next for everyone.
-- A publication that holds from later on but was published before counts what this one brings.
WITH next AS (
  SELECT
    coalesce(max(number), 0) + 1 AS number,
    greatest(
      ceil(extract(epoch FROM clock_timestamp()))::bigint,
      (SELECT stamp + 1 FROM publications ORDER BY valid_from DESC, number DESC LIMIT 1)
    ) AS stamp
  FROM publications
), later AS (
  UPDATE publications AS p
  SET parcels = p.parcels + :more, stamp = n.stamp
  FROM next AS n
  WHERE p.valid_from > :valid_from
)
INSERT INTO publications (
  number, batch_id, published_at, first_version, last_version, retired, valid_from, parcels, stamp
)
SELECT
  number, :batch, clock_timestamp(), :first, :last, :retired, :valid_from,
  :more + coalesce(
    (
      SELECT parcels FROM publications WHERE valid_from <= :valid_from
      ORDER BY valid_from DESC, number DESC
      LIMIT 1
    ),
    0
  ),
  stamp
FROM next
RETURNING stamp
