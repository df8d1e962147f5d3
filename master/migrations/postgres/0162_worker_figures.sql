-- What a worker last said of its machine, JSON; null from one that says nothing of it.
ALTER TABLE workers ADD COLUMN figures TEXT;
