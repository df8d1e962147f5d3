-- How far the results of another ResultsDB have been read over its API: all that were submitted before this time are here.
CREATE TABLE imports (
    origin TEXT PRIMARY KEY,
    submit_time BIGINT NOT NULL
);
