-- A delivery is answered when it is stored, and learned from a moment later.

-- What is stored and not learned from yet. Whoever learns crosses it off in the same transaction; what is
-- still here when it is due was left behind, by a crash most likely. Apart from the deliveries themselves,
-- whose rows are written once.
CREATE TABLE unlearned (
    delivery_id text PRIMARY KEY,
    due_at      timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The journal says which preview a delivery was about. From this version on nobody writes it here, where
-- checking it would have each delivery wait for whoever has locked the previews.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_preview_id_fkey;
