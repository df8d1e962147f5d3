-- What an attempt's process was kept within, and by what; JSON: texts by name.
ALTER TABLE attempts ADD COLUMN enforced TEXT;
