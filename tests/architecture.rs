//! The shape of the program, held by reading its text: who may know whom, where SQL is, how long a
//! file is, and what is not in it.
//!
//! A new room fails here until its edges are written down; that is the moment to think about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each room may use of the others, as `use crate::…` or a path. A trailing `*` stands for
/// everything below. What is not listed is not allowed; `*` alone is a composition root.
const EDGES: [(&str, &[&str]); 22] = [
    // The core knows nobody.
    ("preview", &[]),
    // Words that every room shares.
    ("fault", &[]),
    ("door", &[]),
    ("address", &[]),
    ("clock", &["database::Password"]),
    ("workload", &["preview*"]),
    ("repository", &["database::Seed", "forge::RepositoryRef", "preview*", "workload*"]),
    // The seams and their adapters: never the ledger, the loop, or whoever calls them.
    ("cluster", &["fault*", "preview*", "workload*", "cluster*", "clock*", "door*"]),
    ("database", &["fault*", "preview*", "database*", "clock*"]),
    ("dns", &["fault*", "preview*", "dns*", "clock*"]),
    ("forge", &["fault*", "preview*", "forge*", "clock*"]),
    // Looks at what a visitor gets; knows neither who serves it nor who asks.
    ("visit", &["fault*", "preview*", "workload*", "visit*"]),
    // The one that only looks.
    ("image", &["address::Reach", "clock*", "fault*", "image*", "preview*", "workload*"]),
    // Memory: values of two seams, no trait and no adapter of any.
    (
        "ledger",
        &["clock*", "database::Login", "database::Password", "forge::RepositoryRef", "preview*"],
    ),
    (
        "telemetry",
        &["fault::Disposition", "ledger::Preview", "ledger::Survey", "preview*", "telemetry*"],
    ),
    // The loop: the traits of the seams, never an adapter.
    (
        "reconcile",
        &[
            "clock*",
            "cluster::Cluster",
            "cluster::ClusterSeen",
            "config::duration::human",
            "database::DatabaseOrder",
            "database::Databases",
            "database::Rehearsals",
            "database::listed::diverged",
            "database::rehearsal::MIGRATION_APPLICATION",
            "dns::Dns",
            "fault*",
            "forge::Announcement",
            "forge::Forge",
            "image::Found",
            "image::Images",
            "ledger*",
            "preview*",
            "repository*",
            "telemetry::Metrics",
            "visit::Visit",
            "visit::Visitor",
            "workload*",
        ],
    ),
    (
        "sweep",
        &["config::SweepConfig", "fault*", "ledger*", "preview*", "reconcile*", "repository*"],
    ),
    // Doors: they learn and poke; no cluster, DNS or database of a preview is known there.
    (
        "http",
        &[
            "clock*",
            "config::duration*",
            "forge::RepositoryRef",
            "forge::event*",
            "forge::signature*",
            "http*",
            "ledger*",
            "preview*",
            "reconcile::Reconciler",
            "repository*",
            "telemetry*",
            "workload::ImageTemplate",
        ],
    ),
    (
        "config",
        &[
            "address*",
            "config*",
            "cluster::kubernetes::config*",
            "database::Seed",
            "database::postgres::PostgresConfig",
            "database::postgres::SslMode",
            "dns::GateConfig",
            "dns::Target",
            "dns::external_dns::ExternalDnsConfig",
            "dns::rfc2136::Key",
            "dns::rfc2136::Rfc2136Config",
            "forge::RepositoryRef",
            "forge::github*",
            "forge::signature::WebhookSecrets",
            "image::Login",
            "image::Registry",
            "preview*",
            "reconcile::Limits",
            "reconcile::Pacing",
            "reconcile::Renderer",
            "repository*",
            "telemetry::LogFormat",
            "telemetry::OtlpConfig",
            "visit::VisitConfig",
            "workload*",
        ],
    ),
    // The stage and the composition roots.
    (
        "demo",
        &[
            "app*",
            "clock*",
            "config*",
            "database*",
            "demo*",
            "forge*",
            "ledger*",
            "preview*",
            "workload::Image",
        ],
    ),
    ("cli", &["*"]),
    ("app", &["*"]),
];

/// Files in which SQL may be written, and why.
const SQL: [(&str, &str); 4] = [
    ("ledger/", "all SQL about previews"),
    ("database/postgres/", "all SQL about a preview's own database"),
    ("demo/", "waits for the server that it started"),
    ("http/error.rs", "tells a ledger that does not answer from one that refuses"),
];

const MAX_LINES: usize = 300;

/// Longer files, and why. There is none.
const LONG: [(&str, &str); 0] = [];

/// Verbs of the seams that change the world.
const CHANGES: [&str; 3] = [".ensure_", ".remove_", ".publish("];

/// Sleeps that are allowed: a poll with a deadline, and moments that chance chooses to kill at.
const SLEEPS: [(&str, usize); 12] = [
    ("bench/data.rs", 1),
    // A benchmark of idleness is idle.
    ("bench/fleet.rs", 5),
    // An answer that takes as long as it is told to.
    ("bench/protocol.rs", 1),
    ("bench/intake.rs", 1),
    ("bench/pickup.rs", 5),
    ("bench/real.rs", 1),
    ("bench/rounds.rs", 1),
    ("world/wait.rs", 1),
    ("contracts/cluster.rs", 1),
    ("cluster/wait.rs", 1),
    ("sigkill.rs", 2),
    ("product/races.rs", 1),
];

struct File {
    path: String,
    text: String,
}

impl File {
    /// The first directory, or the file without its ending.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Its code without comments, and without the tests at its end.
    fn code(&self) -> String {
        let body = self.text.split("#[cfg(test)]").next().unwrap();
        body.lines()
            .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
            .filter(|line| !line.trim().is_empty())
            .fold(String::new(), |all, line| all + line + "\n")
    }
}

fn files(directory: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file in {directory}");
    let path = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found
        .into_iter()
        .map(|at| File { path: path(&at), text: std::fs::read_to_string(&at).unwrap() })
        .collect()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<File> {
    files("src")
}

fn refuse(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Every path below `crate::` that the code names, with `{…}` taken apart.
fn used(code: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        expand("", &code[at + "crate::".len()..], &mut all);
    }
    all
}

/// Reads one path or one `{…}` list after `prefix`; returns what is left of the text.
fn expand<'a>(prefix: &str, text: &'a str, all: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest, all).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
            if let Some(end) = rest.trim_start().strip_prefix('}') {
                return end;
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}::{word}") };
    match rest.strip_prefix("::") {
        Some(rest) => expand(&path, rest, all),
        None => {
            all.insert(path);
            rest
        }
    }
}

fn allows(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some("") => true,
        Some(room) => path == room || path.starts_with(&format!("{room}::")),
        None => path == rule,
    }
}

#[test]
fn each_room_knows_only_the_rooms_that_it_may() {
    let mut found = Vec::new();
    for file in sources() {
        if ["lib", "main"].contains(&file.room()) {
            continue;
        }
        let Some((_, rules)) = EDGES.iter().find(|(room, _)| *room == file.room()) else {
            found.push(format!("{}: the room {} has no line in EDGES", file.path, file.room()));
            continue;
        };
        for path in used(&file.code()) {
            if !path.starts_with(&format!("{}::", file.room()))
                && !rules.iter().any(|rule| allows(rule, &path))
            {
                found.push(format!("{} uses {path}", file.path));
            }
        }
    }
    refuse("edges that are not in the table", found);
}

#[test]
fn a_path_in_nested_braces_is_taken_apart() {
    let code = "use crate::{a::{B, c::D}, e}; fn f() { crate::g::h(1) }";
    let paths: Vec<_> = used(code).into_iter().collect();
    assert_eq!(paths, ["a::B", "a::c::D", "e", "g::h"]);
}

#[test]
fn the_core_uses_nothing_but_time_and_error_texts() {
    let mut found = Vec::new();
    let strangers = ["tokio", "sqlx", "serde", "kube", "octocrab", "axum", "rand", "uuid", "async"];
    for file in sources().into_iter().filter(|file| file.room() == "preview") {
        for line in file.code().lines() {
            let line = line.trim();
            let own = ["std", "chrono", "thiserror", "super", "self"];
            let outside = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use "));
            let root = outside.and_then(|path| path.split([':', ';', ' ']).next());
            let module = root.is_some_and(|root| file.text.contains(&format!("pub mod {root};")));
            if root.is_some_and(|root| !own.contains(&root) && !module)
                || strangers.iter().any(|stranger| line.contains(&format!("{stranger}::")))
                || line.contains("async fn")
                || line.contains("Utc::now")
            {
                found.push(format!("{}: {line}", file.path));
            }
        }
    }
    refuse("what the pure core may not use", found);
}

#[test]
fn sql_is_written_in_the_rooms_that_are_for_it() {
    let stray = sources().into_iter().filter(|file| {
        file.code().contains("sqlx::") && !SQL.iter().any(|(room, _)| file.path.starts_with(room))
    });
    refuse("SQL outside its rooms", stray.map(|file| file.path).collect());
}

#[test]
fn only_the_one_hand_changes_the_outside_world() {
    let mut found = Vec::new();
    for file in sources() {
        let adapter = ["cluster", "database", "dns", "forge"].contains(&file.room());
        if adapter || file.path == "reconcile/apply.rs" {
            continue;
        }
        for line in file.code().lines() {
            if CHANGES.iter().any(|verb| line.contains(verb)) {
                found.push(format!("{}: {}", file.path, line.trim()));
            }
        }
    }
    refuse("changes of the world outside reconcile/apply.rs", found);
    let hand = sources().into_iter().find(|file| file.path == "reconcile/apply.rs").unwrap();
    assert!(CHANGES.iter().all(|verb| hand.code().contains(verb)), "the verbs are still these");
}

#[test]
fn only_the_command_line_knows_the_demo() {
    let users = sources().into_iter().filter(|file| {
        !["demo", "cli", "main", "lib"].contains(&file.room())
            && used(&file.code()).iter().any(|path| allows("demo*", path))
    });
    refuse("users of the demo", users.map(|file| file.path).collect());
}

#[test]
fn no_source_file_is_longer_than_a_person_reads_at_once() {
    let long = sources().into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        let excused = LONG.iter().any(|(path, _)| *path == file.path);
        (lines > MAX_LINES && !excused).then(|| format!("{}: {lines} lines", file.path))
    });
    refuse("split these", long.collect());
}

#[test]
fn every_file_opens_with_its_purpose() {
    for directory in ["src", "tests", "examples"] {
        let mute = files(directory).into_iter().filter(|file| !file.text.starts_with("//! "));
        let mute = mute.map(|file| format!("{directory}/{}", file.path));
        refuse("files that do not say what they are for", mute.collect());
    }
}

#[test]
fn nothing_in_the_program_panics_on_purpose() {
    let banned =
        [".unwrap()", ".unwrap_err()", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];
    let mut found = Vec::new();
    for file in sources() {
        for line in file.code().lines() {
            if banned.iter().any(|word| line.contains(word)) {
                found.push(format!("{}: {}", file.path, line.trim()));
            }
        }
    }
    refuse("panics outside tests", found);
}

#[test]
fn an_expect_says_why_it_holds() {
    let mut found = Vec::new();
    for file in sources() {
        let code = file.code();
        for (at, _) in code.match_indices(".expect(\"") {
            let reason = code[at + ".expect(\"".len()..].split('"').next().unwrap();
            if reason.split_whitespace().count() < 3 {
                found.push(format!("{}: {reason:?}", file.path));
            }
        }
    }
    refuse("expectations without a reason", found);
}

#[test]
fn the_name_of_each_test_is_a_sentence() {
    let mut found = Vec::new();
    let mut count = 0;
    for file in files("tests").into_iter().chain(sources()) {
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if line.starts_with("#[ignore") {
                // Run by another test, which calls it by a name of its own.
                marked = false;
            } else if marked && !line.starts_with("#[") {
                let Some((_, name)) = line.split_once("fn ") else { continue };
                let name = name.split(['(', '<']).next().unwrap();
                count += 1;
                marked = false;
                if name.split('_').filter(|word| !word.is_empty()).count() < 4 {
                    found.push(format!("{}: {name}", file.path));
                }
            }
        }
    }
    assert!(count > 100, "only {count} tests were found: the search is broken");
    refuse("names that promise too little", found);
}

#[test]
fn tests_wait_for_states_and_never_for_a_time() {
    let mut found = Vec::new();
    for file in files("tests").into_iter().filter(|file| file.path != "architecture.rs") {
        let sleeps = file.code().matches("time::sleep(").count()
            + file.code().matches("thread::sleep(").count();
        let listed = SLEEPS.iter().find(|(path, _)| *path == file.path);
        let allowed = listed.map_or(0, |(_, sleeps)| *sleeps);
        if sleeps > allowed {
            found.push(format!("{}: {sleeps}", file.path));
        }
    }
    refuse("sleeps outside the polling helpers", found);
}
