-- Who is logged in to the pages. Secrets stand hashed; what a session may do its token says, by its hash, for as long as
-- that is known.
CREATE TABLE sessions (
    secret BLOB PRIMARY KEY CHECK (length(secret) = 32),
    token BLOB NOT NULL CHECK (length(token) = 32),
    expires_at INTEGER NOT NULL
);

-- Addresses that log their first visitor in.
CREATE TABLE logins (
    secret BLOB PRIMARY KEY CHECK (length(secret) = 32),
    token BLOB NOT NULL CHECK (length(token) = 32),
    expires_at INTEGER NOT NULL
);
