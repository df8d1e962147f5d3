-- The search that found a job in a folder of its task's repository; its own id where it is that search.
ALTER TABLE jobs ADD COLUMN search UUID;
CREATE INDEX jobs_search ON jobs (search) WHERE search IS NOT NULL;

-- A search finishes without an attempt, and has no outcome.
ALTER TABLE ended DROP CONSTRAINT ended_check;
ALTER TABLE ended ADD CONSTRAINT ended_attempted CHECK (state <> 'finished' OR attempts > 0 OR outcome IS NULL);
