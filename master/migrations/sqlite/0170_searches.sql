-- The search that found a job in a folder of its task's repository; its own id where it is that search.
ALTER TABLE jobs ADD COLUMN search BLOB;
CREATE INDEX jobs_search ON jobs (search) WHERE search IS NOT NULL;

-- A search finishes without an attempt, and has no outcome. SQLite changes no CHECK of a table that there is.
CREATE TABLE ended_anew (
    job INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('finished', 'cancelled', 'superseded', 'expired')),
    reason TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('PASSED', 'INFO', 'NEEDS_INSPECTION', 'FAILED', 'ERROR')),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    successor INTEGER,
    ended_at INTEGER NOT NULL,
    CHECK (state <> 'finished' OR attempts > 0 OR outcome IS NULL),
    CHECK (successor IS NULL OR state = 'superseded')
);
INSERT INTO ended_anew (job, state, reason, outcome, attempts, successor, ended_at)
SELECT job, state, reason, outcome, attempts, successor, ended_at FROM ended ORDER BY job;
DROP TABLE ended;
ALTER TABLE ended_anew RENAME TO ended;
CREATE INDEX ended_state ON ended (state, job) WHERE state <> 'finished';
CREATE INDEX ended_outcome ON ended (outcome, job) WHERE outcome <> 'PASSED';
