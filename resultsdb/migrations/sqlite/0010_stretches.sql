-- How many results each stretch of time has, 2^35 microseconds or some nine hours, so that a page far down the list of
-- all results is found without reading what stands before it. Kept by triggers: whoever writes results need not know.
CREATE TABLE stretches (
    stretch INTEGER PRIMARY KEY,
    results INTEGER NOT NULL
) STRICT;

CREATE TRIGGER results_were_added AFTER INSERT ON results BEGIN
    INSERT INTO stretches (stretch, results) VALUES (NEW.submit_time >> 35, 1)
    ON CONFLICT (stretch) DO UPDATE SET results = results + 1;
END;

CREATE TRIGGER results_were_deleted AFTER DELETE ON results BEGIN
    UPDATE stretches SET results = results - 1 WHERE stretch = OLD.submit_time >> 35;
END;

INSERT INTO stretches (stretch, results) SELECT submit_time >> 35, count(*) FROM results GROUP BY 1;
