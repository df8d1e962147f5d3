-- Who is logged in to the pages. Secrets stand hashed; what a session may do its token says, by its hash, for as long as
-- that is known.
CREATE TABLE sessions (
    secret BYTEA PRIMARY KEY CHECK (length(secret) = 32),
    token BYTEA NOT NULL CHECK (length(token) = 32),
    expires_at BIGINT NOT NULL
);

-- Addresses that log their first visitor in.
CREATE TABLE logins (
    secret BYTEA PRIMARY KEY CHECK (length(secret) = 32),
    token BYTEA NOT NULL CHECK (length(token) = 32),
    expires_at BIGINT NOT NULL
);
