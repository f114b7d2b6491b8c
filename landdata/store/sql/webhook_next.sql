-- The next publication to deliver to a webhook, if it is due and no other process delivers it; dead
-- letters first.
SELECT
  n.publication, n.dead, p.published_at, cardinality(p.retired) AS retired,
  s.created, s.changed
FROM (
  SELECT
    w.id, w.delivered,
    (SELECT min(d.publication) FROM dead_letters AS d WHERE d.webhook_id = w.id AND d.again) AS again
  FROM webhooks AS w
  WHERE w.id = :webhook AND (w.next_at IS NULL OR w.next_at <= clock_timestamp())
  FOR UPDATE SKIP LOCKED
) AS w
  CROSS JOIN LATERAL (
    SELECT coalesce(w.again, w.delivered + 1) AS publication, w.again IS NOT NULL AS dead
  ) AS n
  JOIN publications AS p ON p.number = n.publication
  CROSS JOIN LATERAL (
    SELECT
      count(*) FILTER (WHERE v.version = 1) AS created,
      count(*) FILTER (WHERE v.version > 1) AS changed
    FROM parcel_versions AS v
    WHERE v.id BETWEEN p.first_version AND p.last_version AND v.batch_id = p.batch_id
  ) AS s
