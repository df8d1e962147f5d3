-- The files that jobs left for people. What is in them is kept once by content.

CREATE TABLE blobs (
    sha256 BYTEA PRIMARY KEY CHECK (length(sha256) = 32),
    size BIGINT NOT NULL CHECK (size >= 0),
    file TEXT NOT NULL, -- its name on the shelf
    stored_at BIGINT NOT NULL
);

-- A row stays when its bytes were removed, and says when. `sha256` has no foreign key for that reason.
CREATE TABLE artifacts (
    job BIGINT NOT NULL REFERENCES jobs (seq),
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    name TEXT NOT NULL CHECK (name <> ''),
    size BIGINT NOT NULL CHECK (size >= 0),
    sha256 BYTEA NOT NULL CHECK (length(sha256) = 32),
    stored_at BIGINT NOT NULL,
    removed_at BIGINT,
    PRIMARY KEY (job, attempt, name)
);
CREATE INDEX artifacts_oldest ON artifacts (stored_at) WHERE removed_at IS NULL;
CREATE INDEX artifacts_content ON artifacts (sha256) WHERE removed_at IS NULL;
