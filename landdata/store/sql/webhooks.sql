-- The webhooks, with the numbers of undelivered publications and of dead letters.
SELECT
  w.id, w.url, w.added_at, w.delivered, w.delivered_at, w.attempts, w.failure, w.next_at,
  (SELECT count(*) FROM publications AS p WHERE p.number > w.delivered) AS waiting,
  (SELECT count(*) FROM dead_letters AS d WHERE d.webhook_id = w.id) AS dead
FROM webhooks AS w
ORDER BY w.id
