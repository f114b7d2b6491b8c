-- A batch's check into the queue; its job's number. One at a time waits, and one is done.
SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[
  ROW(
    :queue, :task, 0, 'batch ' || :batch, 'batch ' || :batch,
    jsonb_build_object('number', CAST(:batch AS bigint)), NULL
  )::procrastinate_job_to_defer_v1
]))
