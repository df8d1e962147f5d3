-- What results leave behind when they go: the keys they were posted under, and terms that no result has any more. A term
-- is deleted long after it was found unused (microseconds since 1970), when no writer remembers it to be there.
CREATE INDEX idempotency_keys_by_result ON idempotency_keys (result);
ALTER TABLE terms ADD COLUMN unused_since INTEGER;
CREATE INDEX terms_unused ON terms (unused_since) WHERE unused_since IS NOT NULL;
