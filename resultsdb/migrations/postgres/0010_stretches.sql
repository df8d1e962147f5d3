-- How many results each stretch of time has, 2^35 microseconds or some nine hours, so that a page far down the list of
-- all results is found without reading what stands before it. Kept by triggers: whoever writes results need not know.
CREATE TABLE stretches (
    stretch BIGINT PRIMARY KEY,
    results BIGINT NOT NULL
) WITH (fillfactor = 20);

CREATE FUNCTION results_were_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stretches AS s (stretch, results)
    SELECT submit_time >> 35, count(*) FROM added GROUP BY 1 ORDER BY 1
    ON CONFLICT (stretch) DO UPDATE SET results = s.results + excluded.results;
    RETURN NULL;
END $$;

CREATE FUNCTION results_were_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stretches AS s (stretch, results)
    SELECT submit_time >> 35, -count(*) FROM deleted GROUP BY 1 ORDER BY 1
    ON CONFLICT (stretch) DO UPDATE SET results = s.results + excluded.results;
    RETURN NULL;
END $$;

CREATE TRIGGER results_were_added AFTER INSERT ON results
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION results_were_added();

CREATE TRIGGER results_were_deleted AFTER DELETE ON results
REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION results_were_deleted();

INSERT INTO stretches (stretch, results) SELECT submit_time >> 35, count(*) FROM results GROUP BY 1;
