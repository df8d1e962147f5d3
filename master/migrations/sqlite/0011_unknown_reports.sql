-- Late reports of jobs that are not here: a database that was put back from a backup has lost them, or its triggers have
-- not yet sent them again.
CREATE TABLE unknown_reports (
    id BLOB NOT NULL, -- the job's
    attempt INTEGER NOT NULL,
    secret BLOB NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    how TEXT NOT NULL,
    note TEXT,
    findings TEXT NOT NULL,
    log_size INTEGER NOT NULL,
    PRIMARY KEY (id, attempt, secret)
);
CREATE INDEX unknown_reports_received ON unknown_reports (received_at);
