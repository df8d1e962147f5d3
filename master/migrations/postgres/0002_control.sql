-- Who is there, and what people have set.

CREATE TABLE triggers (
    recorder TEXT PRIMARY KEY,
    next BIGINT NOT NULL CHECK (next >= 1), -- the number of the event that is wanted next
    last_heard BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    recorded BIGINT NOT NULL,
    forwarded BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    repeated BIGINT NOT NULL DEFAULT 0 -- events that it sent and that were stored before
);

CREATE TABLE workers (
    name TEXT PRIMARY KEY CHECK (name <> ''),
    incarnation UUID NOT NULL,
    labels TEXT NOT NULL, -- JSON: an array of texts, sorted
    slots INTEGER NOT NULL,
    version TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE mode (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    mode TEXT NOT NULL CHECK (mode IN ('active', 'draining', 'idle')),
    set_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    deadline BIGINT,
    on_deadline TEXT NOT NULL DEFAULT 'wait' CHECK (on_deadline IN ('wait', 'requeue', 'kill')),
    finish_through BIGINT, -- jobs.seq: what came up to here still runs while draining
    CHECK (mode = 'draining' OR (deadline IS NULL AND finish_through IS NULL))
);
INSERT INTO mode (one, mode, set_by, reason, since)
VALUES (1, 'active', 'setup', 'a new installation', (extract(epoch FROM now()) * 1000000)::bigint);

-- Each time of being idle, with the position of every recorder at both edges (JSON).
CREATE TABLE windows (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    idle_at BIGINT NOT NULL,
    positions_at_idle TEXT NOT NULL,
    resumed_at BIGINT,
    positions_at_resume TEXT,
    CHECK ((resumed_at IS NULL) = (positions_at_resume IS NULL))
);
CREATE UNIQUE INDEX windows_open ON windows ((resumed_at IS NULL)) WHERE resumed_at IS NULL;

-- The epoch is the fence of every transaction; it only grows.
CREATE TABLE site (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    active TEXT NOT NULL,
    epoch BIGINT NOT NULL CHECK (epoch >= 1)
);

-- Who does what must be done by one master at a time.
CREATE TABLE duties (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);

CREATE TABLE audit (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    reason TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
);
