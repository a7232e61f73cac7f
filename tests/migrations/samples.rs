//! Rows as each version of the schema holds them.
//!
//! A new migration gets a line here: rows for the tables and columns that it adds, written as the
//! program of that time writes them. Old lines are never edited.

/// What is written after the migration of this version; `None` when nobody thought of it.
pub fn after(version: i64) -> Option<&'static str> {
    Some(match version {
        1 => LEDGER,
        2 => COMMITS,
        3 => IMAGES,
        4 => REHEARSALS,
        5 => LOGINS,
        6 => COMPONENTS,
        7 => BODIES,
        8 => UNLEARNED,
        _ => return None,
    })
}

const BODIES: &str = r"
INSERT INTO deliveries (id, event, preview_id, body, received_at) VALUES
('a-delivery-after-7', 'pull_request', '01890000-0000-7000-8000-000000000001',
 decode(repeat('00ff', 5000), 'hex'), '2026-03-01T12:00:00Z');
";

const UNLEARNED: &str = r"
INSERT INTO deliveries (id, event, body, received_at) VALUES
('a-delivery-after-8', 'pull_request', decode('7b7d', 'hex'), '2026-03-01T12:00:00Z');
INSERT INTO unlearned (delivery_id, due_at) VALUES
('a-delivery-after-8', '2026-03-01T12:00:00Z');
";

const REHEARSALS: &str = r#"
INSERT INTO rehearsals (preview_id, revision, generation, begun_at, ended_at, ended, report)
VALUES
('01890000-0000-7000-8000-000000000001', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.3', 2,
 '2026-03-01T12:00:00Z', '2026-03-01T12:00:02Z', '"done"',
 '{"revision": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.3", "samples": 80, "period_micros": 15000,
   "statements_left_out": 0, "gap": null,
   "statements": [{"text": "ALTER TABLE orders", "times": 1, "micros": 1200000, "ended": true,
     "waited_micros": 0, "locks": [{"relation": "shop.orders", "mode": "AccessExclusiveLock"}],
     "waits_for": null}],
   "rewrites": {"known": {"since_start": true, "tables": ["shop.orders"], "indexes": []}},
   "schema": {"known": {"changes": [{"kind": "column", "name": "shop.orders.note", "from": null,
     "to": "text"}], "left_out": 0}}}'),
('01890000-0000-7000-8000-000000000001', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.2', 2,
 '2026-03-01T11:00:00Z', '2026-03-01T11:00:02Z', '{"failed": {"why": "exit code 1", "log": "x"}}',
 '{"revision": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.2", "samples": 0, "period_micros": 15000,
   "statements_left_out": 0, "gap": "nobody watched", "statements": [],
   "rewrites": {"unknown": "the database was dropped"}, "schema": {"unknown": "the same"}}'),
('01890000-0000-7000-8000-000000000001', 'cccccccccccccccccccccccccccccccccccccccc.0', 2,
 '2026-03-01T13:00:00Z', NULL, NULL, NULL);
"#;

const COMPONENTS: &str = r#"
INSERT INTO component_images (preview_id, sha, component, image)
VALUES ('01890000-0000-7000-8000-000000000001', 'cccccccccccccccccccccccccccccccccccccccc', 'api',
        'registry.example.com/acme/shop-api@sha256:' || repeat('0b', 32));
UPDATE previews SET hosted = '{api}' WHERE id = '01890000-0000-7000-8000-000000000001';
"#;

const LOGINS: &str = r#"
UPDATE previews SET rotations = 1, second_password = repeat('b', 64)
WHERE id = '01890000-0000-7000-8000-000000000001';
"#;

const IMAGES: &str = r#"
UPDATE commits SET image = 'registry.example.com/acme/shop@sha256:' || repeat('0a', 32)
WHERE sha = 'cccccccccccccccccccccccccccccccccccccccc';
"#;

const COMMITS: &str = r#"
INSERT INTO commits (preview_id, sha, seen_at, served_at)
VALUES ('01890000-0000-7000-8000-000000000001', 'cccccccccccccccccccccccccccccccccccccccc',
        '2026-03-01T11:00:00Z', '2026-03-01T11:01:00Z');
"#;

const LEDGER: &str = r#"
INSERT INTO previews (id, name, repository_id, repository, number, author, facts, overrides,
    hinted_at, confirmed_at, born_at, active_at, database_password, wake_at, pokes, epoch,
    lease_owner, lease_until, failures, phase, conditions, outlook, last_error, told, expires_at,
    going_since, going_reason, receipt, gone_at, created_at, updated_at)
VALUES
('01890000-0000-7000-8000-000000000001', 'pr-7', 4711, 'acme/shop', 7, 'ada',
 '{"state": "open", "head": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "fork": false,
   "trusted_author": true, "draft": false, "labels": ["ui"], "author": "ada",
   "title": "A change", "updated_at": "2026-03-01T12:00:00Z"}',
 '{"extended_until": "2026-03-05T12:00:00Z", "pinned": false, "stopped": false,
   "deleted_at": null, "approved": null, "redeploys": 1, "data_generation": 2}',
 '2026-03-01T12:00:00Z', '2026-03-01T12:00:01Z', '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z',
 repeat('0', 64), '2026-03-01T13:00:00Z', 3, 4,
 '01890000-0000-7000-8000-00000000000a', '2026-03-01T12:01:00Z', 0, 'Ready',
 '[{"part": "Namespace", "status": "True", "message": "", "since": "2026-03-01T12:00:02Z"}]',
 '', NULL,
 '{"ready": {"revision": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.3",
   "expires_at": "2026-03-05T12:00:00Z", "expiring": false}}',
 '2026-03-05T12:00:00Z', NULL, NULL, NULL, NULL, '2026-03-01T12:00:00Z', '2026-03-01T12:00:03Z'),
('01890000-0000-7000-8000-000000000002', 'shop-pr-8', 4711, 'acme/shop', 8, 'grace',
 '{"state": "merged", "head": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "fork": true,
   "trusted_author": false, "draft": true, "labels": [], "author": "grace",
   "title": "", "updated_at": "2026-03-01T12:00:00Z"}',
 '{}',
 '2026-03-01T12:00:00Z', NULL, '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z',
 repeat('f', 64), NULL, 0, 0, NULL, NULL, 2, 'Gone', '[]', 'nothing', 'a fault',
 '{"gone": {"reason": "merged"}}', NULL,
 '2026-03-01T12:05:00Z', 'merged',
 '{"asked_at": "2026-03-01T12:06:00Z",
   "lines": [{"what": "database", "name": "shop_pr_8", "answer": "not there"}]}',
 '2026-03-01T12:06:00Z', '2026-03-01T12:00:00Z', '2026-03-01T12:06:00Z');

INSERT INTO deliveries (id, event, preview_id, body, received_at)
VALUES ('d-1', 'pull_request', '01890000-0000-7000-8000-000000000001', '\x7b7d',
        '2026-03-01T12:00:00Z');

INSERT INTO journal (at, preview_id, actor, action, reason, delivery_id)
VALUES ('2026-03-01T12:00:00Z', '01890000-0000-7000-8000-000000000001', 'github', 'learned',
        'opened', 'd-1');

INSERT INTO resources (preview_id, kind, name, intended_at, gone_at)
VALUES ('01890000-0000-7000-8000-000000000001', 'namespace', 'pr-7', '2026-03-01T12:00:01Z', NULL);

INSERT INTO tokens (id, name, role, hash, created_at, expires_at, revoked_at)
VALUES ('01890000-0000-7000-8000-00000000000b', 'ada', 'operator', '\x00',
        '2026-03-01T12:00:00Z', '2027-03-01T12:00:00Z', NULL);

INSERT INTO chores (name, due_at) VALUES ('orphans', '2026-03-01T12:10:00Z');
"#;
