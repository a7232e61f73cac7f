-- The migrations of each revision that ran them: how they ended, and what they did to the database.

CREATE TABLE rehearsals (
    preview_id    uuid NOT NULL REFERENCES previews (id),
    -- The commit and how often its start was asked for again.
    revision      text NOT NULL,
    -- Which data they ran on: a database of this generation has had them.
    generation    bigint NOT NULL,
    -- Written before they were started.
    begun_at      timestamptz NOT NULL,
    -- When this was found, how they ended, and the report. Shapes: src/ledger/reports.rs.
    ended_at      timestamptz,
    ended         jsonb,
    report        jsonb,
    PRIMARY KEY (preview_id, revision)
);

CREATE INDEX rehearsals_by_age ON rehearsals (preview_id, begun_at);
