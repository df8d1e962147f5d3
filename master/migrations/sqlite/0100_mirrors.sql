-- The repositories of tasks, as they were when all of them were last known to be whole. `mirror_set` is the pointer: it
-- counts the changes, and rows change only together with it.
CREATE TABLE mirror_set (
    version INTEGER NOT NULL
);
INSERT INTO mirror_set (version) VALUES (0);
CREATE TABLE mirrors (
    url TEXT PRIMARY KEY,
    heads TEXT NOT NULL, -- JSON: {branches: {name: commit}, tags: {name: commit}}
    fetched_at INTEGER, -- null: never
    failed TEXT, -- why it could not be fetched since
    failed_since INTEGER,
    notes TEXT NOT NULL, -- JSON: an array of {what, since}
    wanted_at INTEGER NOT NULL, -- when a task or a job last wanted it
    CHECK ((failed IS NULL) = (failed_since IS NULL))
);

-- The branch or tag of its task's repository, and the commit that it was when the job was queued. Without a commit the
-- job waits for one.
ALTER TABLE jobs ADD COLUMN source_ref TEXT;
ALTER TABLE jobs ADD COLUMN source_commit TEXT;
CREATE INDEX waiting_source ON waiting (job) WHERE key = 'source';
