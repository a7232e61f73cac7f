-- The images of a commit's components, each pinned as the commit's own is (0003). The version before
-- neither writes nor reads them.

CREATE TABLE component_images (
    preview_id uuid NOT NULL,
    sha text NOT NULL,
    -- As the configuration names it.
    component text NOT NULL,
    -- By digest, for good.
    image text NOT NULL CHECK (image LIKE '%@sha256:%'),
    PRIMARY KEY (preview_id, sha, component),
    FOREIGN KEY (preview_id, sha) REFERENCES commits (preview_id, sha) ON DELETE CASCADE
);

-- The components whose hosts may have a record: written before the record is, and kept until the preview
-- is gone, whatever the configuration says by then.
ALTER TABLE previews ADD COLUMN hosted text[] NOT NULL DEFAULT '{}';
