-- The webhooks with something to deliver now.
SELECT w.id
FROM webhooks AS w
WHERE (w.next_at IS NULL OR w.next_at <= clock_timestamp())
  AND (
    EXISTS (SELECT FROM publications AS p WHERE p.number > w.delivered)
    OR EXISTS (SELECT FROM dead_letters AS d WHERE d.webhook_id = w.id AND d.again)
  )
ORDER BY w.id
