-- Patterns with something in their middle, as `*foo*`, find their values by trigrams. The extension comes with PostgreSQL
-- but need not be installed, and whoever owns a database may add it; without it such patterns read all values.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX terms_by_value ON terms USING gin (value gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'patterns in the middle of values will be slow: %', SQLERRM;
END $$;
