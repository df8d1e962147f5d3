-- What a maintenance window needs: lanes for what has waited, sums that can be proven, and what was missed.

-- In the lane of a resume: the rank that the job gets when its time has come; it is behind what comes in meanwhile.
ALTER TABLE waiting ADD COLUMN rank INTEGER;

-- What a trigger says of its bus: since when its log lacks nothing, and up to when it has everything.
ALTER TABLE triggers ADD COLUMN listening_since INTEGER;
ALTER TABLE triggers ADD COLUMN caught_up INTEGER;

-- How many jobs were decided from an event, and how many of them were refused.
ALTER TABLE events ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_recorded ON events (recorded_at, seq);

-- The last event that was stored at each edge; null in windows of earlier versions.
ALTER TABLE windows ADD COLUMN events_at_idle INTEGER;
ALTER TABLE windows ADD COLUMN events_at_resume INTEGER;
