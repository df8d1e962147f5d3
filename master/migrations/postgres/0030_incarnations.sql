-- The last incarnations of a worker, newest first, so that what a dead one had asked is known for what it is.
ALTER TABLE workers ADD COLUMN incarnations TEXT NOT NULL DEFAULT '';
UPDATE workers SET incarnations = replace(incarnation::text, '-', '') || ' ';
