-- The image of a commit, by digest: asked of its registry once, and never changed.

ALTER TABLE commits ADD COLUMN image text;
