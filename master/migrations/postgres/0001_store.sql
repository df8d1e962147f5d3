-- Times are microseconds since 1970 UTC, JSON is TEXT, ids are UUID: the same statements run on both engines.
--
-- A job's state is the table it is in: waiting, queued, leases or ended. Those four refer to jobs without a foreign key:
-- its check would lock a row of `jobs` for each of the moves; `Store::invariants` proves what it would have.

-- What jobs need of a worker, each distinct set once.
CREATE TABLE label_sets (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    labels TEXT NOT NULL UNIQUE -- JSON: an array of texts, sorted
);

-- Versions of tasks, by content.
CREATE TABLE tasks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL CHECK (name <> ''),
    definition TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE CHECK (length(hash) = 32)
);

CREATE TABLE events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    content BYTEA NOT NULL CHECK (length(content) = 32),
    topic TEXT COLLATE "C" NOT NULL,
    sent_at TEXT,
    recorded_at BIGINT NOT NULL,
    recorder TEXT NOT NULL,
    recorder_seq BIGINT NOT NULL CHECK (recorder_seq >= 1),
    generation BIGINT NOT NULL,
    source TEXT NOT NULL,
    matched TEXT NOT NULL, -- JSON: the names of rules
    document TEXT NOT NULL -- JSON: {headers, body}
);
CREATE INDEX events_topic ON events (topic, seq);

-- What was asked. Immutable.
CREATE TABLE jobs (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    task TEXT NOT NULL,
    item TEXT NOT NULL,
    item_type TEXT NOT NULL,
    arch TEXT NOT NULL,
    rule TEXT NOT NULL,
    priority INTEGER NOT NULL,
    needs INTEGER NOT NULL, -- label_sets.id; no foreign key, it would lock that one row for all
    rank BIGINT NOT NULL,
    task_version BIGINT NOT NULL, -- tasks.id; the same
    params TEXT NOT NULL,
    event BIGINT REFERENCES events (seq),
    event_id TEXT COLLATE "C", -- the id of a cause that is not among the events
    recorder TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    expires_at BIGINT,
    supersede_key TEXT,
    supersede_policy TEXT
        CHECK (supersede_policy IN ('none', 'keep-latest-queued', 'cancel-previous', 'serial')),
    rerun_of UUID,
    created_at BIGINT NOT NULL,
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
    job BIGINT PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    until_at BIGINT,
    key TEXT,
    reason TEXT NOT NULL,
    expires_at BIGINT,
    CHECK (until_at IS NOT NULL OR key IS NOT NULL)
);
CREATE INDEX waiting_until ON waiting (until_at);
CREATE INDEX waiting_expires ON waiting (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE queued (
    job BIGINT PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    needs INTEGER NOT NULL,
    rank BIGINT NOT NULL, -- the least runs first
    expires_at BIGINT
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
CREATE INDEX queued_next ON queued (needs, rank, job);
CREATE INDEX queued_expires ON queued (expires_at) WHERE expires_at IS NOT NULL;

-- `expires_at` has no index on purpose, and pages are kept half empty: so a renewal changes no index.
CREATE TABLE leases (
    job BIGINT PRIMARY KEY,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    needs INTEGER NOT NULL,
    rank BIGINT NOT NULL,
    secret BYTEA NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    incarnation UUID NOT NULL,
    claim UUID NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- 0: given up, because its worker has started anew
    cancel TEXT, -- why it is to be stopped
    requeue BOOLEAN NOT NULL DEFAULT FALSE, -- stopped only to be queued again
    CHECK (cancel IS NOT NULL OR NOT requeue)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
CREATE INDEX leases_worker ON leases (worker, claim);

-- One row an ended attempt. Append-only.
CREATE TABLE attempts (
    job BIGINT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    worker TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    ran BIGINT, -- by the worker's clock, where it reported
    how TEXT NOT NULL, -- JSON: its end
    outcome TEXT CHECK (outcome IN ('PASSED', 'INFO', 'NEEDS_INSPECTION', 'FAILED', 'ERROR')),
    note TEXT,
    log_size BIGINT NOT NULL CHECK (log_size >= 0),
    secret BYTEA CHECK (length(secret) = 16), -- of the lease whose report ended it; null where nobody reported
    PRIMARY KEY (job, attempt)
);

-- A job's one end. Append-only.
CREATE TABLE ended (
    job BIGINT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('finished', 'cancelled', 'superseded', 'expired')),
    reason TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('PASSED', 'INFO', 'NEEDS_INSPECTION', 'FAILED', 'ERROR')),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    successor BIGINT,
    ended_at BIGINT NOT NULL,
    CHECK (state <> 'finished' OR attempts > 0),
    CHECK (successor IS NULL OR state = 'superseded')
);
-- The ordinary ends are found by walking the table; the others would be far between.
CREATE INDEX ended_state ON ended (state, job) WHERE state <> 'finished';
CREATE INDEX ended_outcome ON ended (outcome, job) WHERE outcome <> 'PASSED';

-- Reports that came after their lease was lost.
CREATE TABLE stale_reports (
    job BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    secret BYTEA NOT NULL CHECK (length(secret) = 16),
    worker TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    how TEXT NOT NULL,
    note TEXT,
    findings TEXT NOT NULL,
    log_size BIGINT NOT NULL,
    PRIMARY KEY (job, attempt, secret)
);

-- Totals of what ended, as steps that are added up: one row a total would make all finishers wait for each other.
CREATE TABLE tally (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL, -- state:finished, outcome:PASSED …
    delta BIGINT NOT NULL
);

-- What is decided and not yet delivered.
CREATE TABLE outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key UUID NOT NULL UNIQUE,
    job BIGINT NOT NULL,
    body TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE INDEX outbox_due ON outbox (due_at, seq);
