-- Keys that only so many jobs have at once: what a job is serial on, and the limit of its task. There is one writer, so
-- nothing has to be locked while a key is settled.

-- At most so many jobs of its task with this key at once; '' is the task as a whole.
ALTER TABLE jobs ADD COLUMN limit_key TEXT;
ALTER TABLE jobs ADD COLUMN limit_most INTEGER
    CHECK (limit_most >= 1) CHECK ((limit_key IS NULL) = (limit_most IS NULL));

-- The keys that jobs hold which have not ended, and those that they stand in line for.
CREATE TABLE keys (
    job INTEGER NOT NULL,
    step INTEGER NOT NULL CHECK (step BETWEEN 0 AND 2), -- 0: only the newest is wanted; 1: serial; 2: its task's limit
    key TEXT NOT NULL CHECK (length(key) = 32), -- hex: a hash of what it is
    most INTEGER CHECK (most >= 1),
    rank INTEGER NOT NULL, -- the least is next
    held BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (job, step),
    CHECK ((step = 0) = (most IS NULL)),
    CHECK (held OR step > 0)
) WITHOUT ROWID;
CREATE INDEX keys_line ON keys (key, held, rank, job);
