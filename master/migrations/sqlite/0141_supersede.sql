-- Jobs of which only the newest is wanted.

-- Among whom: hex, a hash of the task, the arch and the key; none where no newer job may end it.
ALTER TABLE jobs ADD COLUMN scope TEXT CHECK (length(scope) = 32);
-- When its event was sent, or recorded where that was earlier or nobody knows: who is newer.
ALTER TABLE jobs ADD COLUMN ordered_at INTEGER CHECK ((scope IS NULL) = (ordered_at IS NULL));
CREATE INDEX jobs_scope ON jobs (scope, ordered_at, recorded_at, seq) WHERE scope IS NOT NULL;

-- The newer job that takes the place of one that runs: it is not tried again, and where it is stopped ends superseded.
ALTER TABLE leases ADD COLUMN successor INTEGER;

-- Since when the jobs of its scope have waited for the bus to be quiet; null where it waits for something else.
ALTER TABLE waiting ADD COLUMN quiet_since INTEGER;
