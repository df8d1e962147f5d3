-- What tells a restarted worker from another one of its name, where it runs, and how wrong its clock is.
ALTER TABLE workers ADD COLUMN identity UUID;
ALTER TABLE workers ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN clock_ahead BIGINT; -- microseconds before the database's
