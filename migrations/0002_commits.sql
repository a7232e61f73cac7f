-- Every commit that was the head of a preview's pull request, so that one that was pushed over is told
-- from one that nobody has heard of yet.

CREATE TABLE commits (
    preview_id    uuid NOT NULL REFERENCES previews (id),
    sha           text NOT NULL,
    -- When it was first seen to be the head.
    seen_at       timestamptz NOT NULL,
    -- When the URL was first seen to serve it.
    served_at     timestamptz,
    PRIMARY KEY (preview_id, sha)
);

-- Noted here, and not by whoever writes the facts, so that the version before notes it too.
CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO commits (preview_id, sha, seen_at)
        VALUES (NEW.id, NEW.facts->>'head', NEW.updated_at) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER previews_first_commit AFTER INSERT ON previews
    FOR EACH ROW EXECUTE FUNCTION note_commit();

CREATE TRIGGER previews_next_commit AFTER UPDATE OF facts ON previews
    FOR EACH ROW WHEN (OLD.facts->>'head' <> NEW.facts->>'head') EXECUTE FUNCTION note_commit();

-- After the triggers: what is written from here on is noted by them.
INSERT INTO commits (preview_id, sha, seen_at)
    SELECT id, facts->>'head', updated_at FROM previews ON CONFLICT DO NOTHING;
