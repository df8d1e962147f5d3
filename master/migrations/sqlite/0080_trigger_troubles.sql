-- What keeps a trigger from its work, as it last said it. JSON: an array of {what, since}.
ALTER TABLE triggers ADD COLUMN troubles TEXT NOT NULL DEFAULT '[]';
