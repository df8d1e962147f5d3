-- The bus is to be told of these results: a row is written with its result, and goes when the broker has it. `id` is the
-- message's, the same however often it is sent; `root` is what the links in it begin with.
CREATE TABLE messages (
    result BIGINT PRIMARY KEY,
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    root TEXT NOT NULL,
    due_at BIGINT NOT NULL DEFAULT 0,
    tries INT NOT NULL DEFAULT 0,
    error TEXT
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_threshold = 10000);

-- Which of the stores over this database tells the bus, and until when without saying so again.
CREATE TABLE teller (
    one BOOLEAN PRIMARY KEY CHECK (one),
    holder UUID NOT NULL,
    until BIGINT NOT NULL
);
INSERT INTO teller (one, holder, until) VALUES (true, gen_random_uuid(), 0);
