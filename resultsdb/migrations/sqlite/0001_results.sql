-- Results are append-only. A result is one row that holds all a listing prints, so that a page of results is one
-- index walk and one lookup a row; what results are searched by stands beside it in `facts`.

-- Names may be longer than an index entry: they are unique by hash, and sorted and searched by their head.
CREATE TABLE testcases (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL CHECK (name <> ''),
    head TEXT NOT NULL,
    ref_url TEXT
) STRICT;
CREATE INDEX testcases_by_head ON testcases (head);

-- `term` is the group's in `facts`.
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) BETWEEN 1 AND 36),
    term BLOB NOT NULL,
    description TEXT,
    description_hash BLOB,
    ref_url TEXT
) STRICT;
CREATE INDEX groups_by_description ON groups (description_hash, id);

-- `data` and `groups` are kept as the very JSON that the API prints: keys sorted, ASCII only.
CREATE TABLE results (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    testcase INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (length(outcome) BETWEEN 1 AND 32),
    submit_time INTEGER NOT NULL,
    note TEXT,
    ref_url TEXT,
    data TEXT NOT NULL,
    groups TEXT NOT NULL
) STRICT;
CREATE INDEX results_by_time ON results (submit_time, id, testcase, outcome);
CREATE INDEX results_by_testcase ON results (testcase, submit_time, id, outcome);

-- One narrow row for each different key and value of a result's data, and for each of its groups.
CREATE TABLE facts (
    term BLOB NOT NULL,
    submit_time INTEGER NOT NULL,
    result INTEGER NOT NULL,
    testcase INTEGER NOT NULL,
    PRIMARY KEY (term, submit_time, result)
) STRICT, WITHOUT ROWID;

-- What the terms of data say, once each: patterns are matched here and not against results.
CREATE TABLE terms (
    id BLOB PRIMARY KEY,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    place TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX terms_by_place ON terms (place);

-- What was posted under an idempotency key.
CREATE TABLE idempotency_keys (
    key BLOB PRIMARY KEY,
    result INTEGER NOT NULL,
    made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
