-- An export into the queue. Those that share a lock run one by one; it gets the least used lock.
SELECT procrastinate_defer_jobs_v1(ARRAY[
  ROW(
    :queue, :task, 0,
    (
      SELECT 'export ' || slot
      FROM generate_series(1, :slots) AS slot
      LEFT JOIN procrastinate_jobs AS j
        ON j.lock = 'export ' || slot AND j.status IN ('todo', 'doing')
      GROUP BY slot
      ORDER BY count(j.id), slot
      LIMIT 1
    ),
    NULL, jsonb_build_object('export', CAST(:export AS text)), NULL
  )::procrastinate_job_to_defer_v1
])
