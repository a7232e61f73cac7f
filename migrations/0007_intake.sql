-- What a storm of deliveries does to the tables that it writes.

-- A row of previews is written many times a minute: room beside it lets the server put the new version
-- there without touching the indexes (a heap-only tuple), and what is dead is cleared away soon.
ALTER TABLE previews SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 200
);

-- A delivery's body is compressed with lz4, several times as fast as the server's own way, where the
-- server was built with it.

DO $$
BEGIN
    ALTER TABLE deliveries ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
