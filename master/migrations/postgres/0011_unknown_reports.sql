-- Late reports of jobs that are not here: a database that was put back from a backup has lost them, or its triggers have
-- not yet sent them again.
CREATE TABLE unknown_reports (
    id UUID NOT NULL, -- the job's
    attempt INTEGER NOT NULL,
    secret BYTEA NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    how TEXT NOT NULL,
    note TEXT,
    findings TEXT NOT NULL,
    log_size BIGINT NOT NULL,
    PRIMARY KEY (id, attempt, secret)
);
CREATE INDEX unknown_reports_received ON unknown_reports (received_at);
