-- What Mayfly remembers. The previews table is also the queue: a row whose wake_at has come is due.

CREATE TABLE previews (
    id                uuid PRIMARY KEY,
    -- The namespace name: 'pr-7', 'shop-pr-7'.
    name              text NOT NULL,
    repository_id     bigint NOT NULL,
    repository        text NOT NULL,
    number            bigint NOT NULL CHECK (number > 0),
    author            text NOT NULL,
    -- What the forge said, and what people said. Shapes: src/ledger/shapes.rs.
    facts             jsonb NOT NULL,
    overrides         jsonb NOT NULL,
    hinted_at         timestamptz NOT NULL,
    hints             bigint NOT NULL DEFAULT 0,
    confirmed_at      timestamptz,
    born_at           timestamptz NOT NULL,
    active_at         timestamptz NOT NULL,
    database_password text NOT NULL,
    -- The queue.
    wake_at           timestamptz,
    pokes             bigint NOT NULL DEFAULT 0,
    epoch             bigint NOT NULL DEFAULT 0,
    lease_owner       uuid,
    lease_until       timestamptz,
    failures          integer NOT NULL DEFAULT 0,
    -- What the last pass found.
    phase             text NOT NULL DEFAULT 'Pending',
    conditions        jsonb NOT NULL DEFAULT '[]',
    outlook           text NOT NULL DEFAULT '',
    last_error        text,
    told              jsonb NOT NULL DEFAULT '"never"',
    expires_at        timestamptz,
    going_since       timestamptz,
    going_reason      text,
    receipt           jsonb,
    gone_at           timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    UNIQUE (repository_id, number),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
);

-- A name is free again when nothing is left of the preview that had it: a repository that is made
-- anew has another id.
CREATE UNIQUE INDEX previews_name ON previews (name) WHERE gone_at IS NULL;
CREATE INDEX previews_by_name ON previews (name, id);
CREATE INDEX previews_due ON previews (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX previews_by_phase ON previews (phase, id);
CREATE INDEX previews_by_author ON previews (author, id);
CREATE INDEX previews_going ON previews (going_since) WHERE going_since IS NOT NULL;

-- Every delivery that somebody learned from, written in the transaction that did.
CREATE TABLE deliveries (
    id            text PRIMARY KEY,
    event         text NOT NULL,
    preview_id    uuid REFERENCES previews (id),
    body          bytea NOT NULL,
    received_at   timestamptz NOT NULL
);

CREATE INDEX deliveries_by_age ON deliveries (received_at);

-- Who did what to which preview, and why. Append-only.
CREATE TABLE journal (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL,
    preview_id    uuid REFERENCES previews (id),
    actor         text NOT NULL,
    action        text NOT NULL,
    reason        text NOT NULL DEFAULT '',
    delivery_id   text
);

CREATE INDEX journal_by_preview ON journal (preview_id, id);

CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only';
END
$$;

CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_is_append_only();

-- Every outside thing, written before it is created and closed when it was seen to be gone.
CREATE TABLE resources (
    preview_id    uuid NOT NULL REFERENCES previews (id),
    kind          text NOT NULL,
    name          text NOT NULL,
    intended_at   timestamptz NOT NULL,
    gone_at       timestamptz,
    PRIMARY KEY (preview_id, kind)
);

CREATE INDEX resources_left ON resources (kind) WHERE gone_at IS NULL;

-- API tokens: only their SHA-256 is kept.
CREATE TABLE tokens (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash          bytea NOT NULL UNIQUE,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz
);

-- Work that one replica does now and then for all.
CREATE TABLE chores (
    name          text PRIMARY KEY,
    due_at        timestamptz NOT NULL
);

-- The mass-teardown brake; one row.
CREATE TABLE brake (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    released_until timestamptz,
    engaged_at     timestamptz
);

INSERT INTO brake DEFAULT VALUES;

-- Where previews' databases are on the same server, their roles must not get in here. Whoever may
-- not revoke this (not the database's owner) gets a warning.
DO $$
BEGIN
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
