-- Two triggers that see the same events: which of a pair each is, what only the one has sent so far, how far the other
-- has come in that, and where they decided differently. An event that stays in `unpaired` although the other has come
-- past it is one that the other did not see; nothing has to be written down for that.

ALTER TABLE triggers ADD COLUMN pair TEXT;
ALTER TABLE triggers ADD COLUMN member TEXT;

CREATE TABLE unpaired (
    event BIGINT PRIMARY KEY, -- events.seq
    pair TEXT NOT NULL,
    member TEXT NOT NULL, -- who has sent it
    since BIGINT NOT NULL,
    decided BYTEA NOT NULL CHECK (length(decided) % 16 = 0) -- the keys of its jobs, sorted
);
CREATE INDEX unpaired_since ON unpaired (since);

-- Which events of `other` `member` has sent too: `since`, as it was in `unpaired`, of the first and of the last.
CREATE TABLE pairings (
    pair TEXT NOT NULL,
    member TEXT NOT NULL,
    other TEXT NOT NULL,
    began BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    PRIMARY KEY (pair, member, other)
);

CREATE TABLE divergences (
    event BIGINT PRIMARY KEY, -- events.seq
    pair TEXT NOT NULL,
    first TEXT NOT NULL, -- who sent it first; the generation is the event's
    second TEXT NOT NULL,
    second_generation BIGINT NOT NULL,
    only_first TEXT NOT NULL, -- JSON: an array of job keys
    only_second TEXT NOT NULL, -- JSON: an array of job keys
    found_at BIGINT NOT NULL
);
CREATE INDEX divergences_found ON divergences (found_at);
