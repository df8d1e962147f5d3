-- PostgreSQL finds patterns in the middle of values by trigrams. Here they are found by reading the values of their key.
SELECT 1;
