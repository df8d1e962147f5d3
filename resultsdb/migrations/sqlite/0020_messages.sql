-- The bus is to be told of these results: a row is written with its result, and goes when the broker has it. `id` is the
-- message's, the same however often it is sent; `root` is what the links in it begin with.
CREATE TABLE messages (
    result INTEGER PRIMARY KEY,
    id BLOB NOT NULL DEFAULT (randomblob(16)),
    root TEXT NOT NULL,
    due_at INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT
) STRICT;

-- Which of the stores over this database tells the bus, and until when without saying so again.
CREATE TABLE teller (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;
INSERT INTO teller (one, holder, until) VALUES (1, randomblob(16), 0);
