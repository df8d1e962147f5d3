-- Times are microseconds since 1970 UTC, JSON is TEXT, ids are BLOBs of 16 bytes: the same statements run on both engines.
--
-- A job's state is the table it is in: waiting, queued, leases or ended. Those four refer to jobs without a foreign key:
-- its check would lock a row of `jobs` for each of the moves; `Store::invariants` proves what it would have.

-- What jobs need of a worker, each distinct set once.
CREATE TABLE label_sets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    labels TEXT NOT NULL UNIQUE -- JSON: an array of texts, sorted
);

-- Versions of tasks, by content.
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL CHECK (name <> ''),
    definition TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32)
);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    content BLOB NOT NULL CHECK (length(content) = 32),
    topic TEXT NOT NULL,
    sent_at TEXT,
    recorded_at INTEGER NOT NULL,
    recorder TEXT NOT NULL,
    recorder_seq INTEGER NOT NULL CHECK (recorder_seq >= 1),
    generation INTEGER NOT NULL,
    source TEXT NOT NULL,
    matched TEXT NOT NULL, -- JSON: the names of rules
    document TEXT NOT NULL -- JSON: {headers, body}
);
CREATE INDEX events_topic ON events (topic, seq);

-- What was asked. Immutable.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    task TEXT NOT NULL,
    item TEXT NOT NULL,
    item_type TEXT NOT NULL,
    arch TEXT NOT NULL,
    rule TEXT NOT NULL,
    priority INTEGER NOT NULL,
    needs INTEGER NOT NULL, -- label_sets.id; no foreign key, it would lock that one row for all
    rank INTEGER NOT NULL,
    task_version INTEGER NOT NULL, -- tasks.id; the same
    params TEXT NOT NULL,
    event INTEGER REFERENCES events (seq),
    event_id TEXT, -- the id of a cause that is not among the events
    recorder TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    expires_at INTEGER,
    supersede_key TEXT,
    supersede_policy TEXT
        CHECK (supersede_policy IN ('none', 'keep-latest-queued', 'cancel-previous', 'serial')),
    rerun_of BLOB,
    created_at INTEGER NOT NULL,
    CHECK (event IS NULL OR event_id IS NULL),
    CHECK ((supersede_key IS NULL) = (supersede_policy IS NULL))
);
CREATE INDEX jobs_task ON jobs (task, seq);
CREATE INDEX jobs_item ON jobs (item, seq);
CREATE INDEX jobs_rule ON jobs (rule, seq);
CREATE INDEX jobs_event ON jobs (event) WHERE event IS NOT NULL;
CREATE INDEX jobs_event_id ON jobs (event_id) WHERE event_id IS NOT NULL;

-- For a time or for a key; `attempt` is the number of the attempt to come.
CREATE TABLE waiting (
    job INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    until_at INTEGER,
    key TEXT,
    reason TEXT NOT NULL,
    expires_at INTEGER,
    CHECK (until_at IS NOT NULL OR key IS NOT NULL)
);
CREATE INDEX waiting_until ON waiting (until_at);
CREATE INDEX waiting_expires ON waiting (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE queued (
    job INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    needs INTEGER NOT NULL,
    rank INTEGER NOT NULL, -- the least runs first
    expires_at INTEGER
);
CREATE INDEX queued_next ON queued (needs, rank, job);
CREATE INDEX queued_expires ON queued (expires_at) WHERE expires_at IS NOT NULL;

-- `expires_at` has no index on purpose: so a renewal changes none.
CREATE TABLE leases (
    job INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    needs INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    secret BLOB NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    incarnation BLOB NOT NULL,
    claim BLOB NOT NULL,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, -- 0: given up, because its worker has started anew
    cancel TEXT, -- why it is to be stopped
    requeue BOOLEAN NOT NULL DEFAULT FALSE, -- stopped only to be queued again
    CHECK (cancel IS NOT NULL OR NOT requeue)
);
CREATE INDEX leases_worker ON leases (worker, claim);

-- One row an ended attempt. Append-only.
CREATE TABLE attempts (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    worker TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    ran INTEGER, -- by the worker's clock, where it reported
    how TEXT NOT NULL, -- JSON: its end
    outcome TEXT CHECK (outcome IN ('PASSED', 'INFO', 'NEEDS_INSPECTION', 'FAILED', 'ERROR')),
    note TEXT,
    log_size INTEGER NOT NULL CHECK (log_size >= 0),
    secret BLOB CHECK (length(secret) = 16), -- of the lease whose report ended it; null where nobody reported
    PRIMARY KEY (job, attempt)
);

-- A job's one end. Append-only.
CREATE TABLE ended (
    job INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('finished', 'cancelled', 'superseded', 'expired')),
    reason TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('PASSED', 'INFO', 'NEEDS_INSPECTION', 'FAILED', 'ERROR')),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    successor INTEGER,
    ended_at INTEGER NOT NULL,
    CHECK (state <> 'finished' OR attempts > 0),
    CHECK (successor IS NULL OR state = 'superseded')
);
-- The ordinary ends are found by walking the table; the others would be far between.
CREATE INDEX ended_state ON ended (state, job) WHERE state <> 'finished';
CREATE INDEX ended_outcome ON ended (outcome, job) WHERE outcome <> 'PASSED';

-- Reports that came after their lease was lost.
CREATE TABLE stale_reports (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    secret BLOB NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    how TEXT NOT NULL,
    note TEXT,
    findings TEXT NOT NULL,
    log_size INTEGER NOT NULL,
    PRIMARY KEY (job, attempt, secret)
);

-- Totals of what ended, as steps that are added up: one row a total would make all finishers wait for each other.
CREATE TABLE tally (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL, -- state:finished, outcome:PASSED …
    delta INTEGER NOT NULL
);

-- What is decided and not yet delivered.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    job INTEGER NOT NULL,
    body TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE INDEX outbox_due ON outbox (due_at, seq);
