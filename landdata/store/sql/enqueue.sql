-- Enqueue the check of a batch; returns the job's number. One waits and one runs at a time.
SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[
  ROW(
    :queue, :task, 0, 'batch ' || :batch, 'batch ' || :batch,
    jsonb_build_object('number', CAST(:batch AS bigint)), NULL
  )::procrastinate_job_to_defer_v1
]))
