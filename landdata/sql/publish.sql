-- The next publication: the lock has been had, so the number is the next also for others.
INSERT INTO publications (
  number, batch_id, published_at, first_version, last_version, retired
)
SELECT
  coalesce(max(number), 0) + 1, :batch, clock_timestamp(), :first, :last, :retired
FROM publications
