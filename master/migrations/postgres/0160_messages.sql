-- What the bus is to be told of jobs: written with the move that it tells of, gone when the broker has it.

-- Jobs that the bus is told of, until their end is on its way: what began to be told is told to its end.
CREATE TABLE announced (
    job BIGINT PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);

-- The words of a message are made from the job when it is sent; its id comes from job, stage and attempt.
CREATE TABLE messages (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job BIGINT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('queued', 'running', 'ended')),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    CHECK ((stage = 'running') = (attempt > 0))
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
CREATE INDEX messages_job ON messages (job, seq);
