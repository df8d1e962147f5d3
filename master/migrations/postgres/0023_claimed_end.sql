-- When an attempt ended by its worker's wall clock: what it claims, and nothing goes by.
ALTER TABLE attempts ADD COLUMN claimed_end BIGINT;
