-- On PostgreSQL the statement that adds results counts them. Here a trigger does, which costs next to nothing.
SELECT 1;
