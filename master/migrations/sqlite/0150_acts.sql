-- Waits for a person: for no moment and no key, so its `until_at` is the end of time.
ALTER TABLE waiting ADD COLUMN unsettled BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX waiting_unsettled ON waiting (job) WHERE unsettled;

-- Requests that were answered: one that comes again is answered the same.
CREATE TABLE requests (
    key TEXT PRIMARY KEY,
    content BLOB NOT NULL CHECK (length(content) = 32),
    at INTEGER NOT NULL,
    answer TEXT NOT NULL -- JSON
);
CREATE INDEX requests_at ON requests (at);
