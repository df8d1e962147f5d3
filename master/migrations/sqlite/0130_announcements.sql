-- Whether it tells of a job beside what that found: it is queued, it runs, it ended unjudged.
ALTER TABLE outbox ADD COLUMN announces BOOLEAN NOT NULL DEFAULT FALSE;
