//! A preview's migrations from the first event to the receipt, on fakes and a real ledger.

use chrono::TimeDelta;
use mayfly::database::history::{Entry, History, Tool};
use mayfly::preview::{Ended, Notice, Part, Phase, Status};

use crate::world::cluster::Fate;
use crate::world::faults::Mode;
use crate::world::rehearsals::report;
use crate::world::{World, migrating, number, pr, sha};

async fn world() -> World {
    let mut world = World::new().await;
    world.configure(migrating());
    world
}

/// The step words of a preview's journal, in order.
async fn steps(world: &World, n: u32) -> Vec<String> {
    let preview_id = world.preview(n).await.id;
    let page = mayfly::ledger::JournalPage { preview_id, after: 0, limit: 200 };
    world.ledger.journal(page).await.unwrap().into_iter().map(|entry| entry.action).collect()
}

async fn condition(world: &World, n: u32) -> (Status, String) {
    let all = world.preview(n).await.conditions;
    let found = all.into_iter().find(|it| it.part == Part::Migrations).unwrap();
    (found.status, found.message)
}

fn sqlx(ids: &str) -> Vec<History> {
    let entry = |id: &str| Entry {
        id: id.trim_end_matches('!').to_owned(),
        checksum: None,
        finished: !id.ends_with('!'),
    };
    let entries = ids.split_whitespace().map(entry).collect();
    vec![History { tool: Tool::Sqlx, table: "public._sqlx_migrations".to_owned(), entries }]
}

#[tokio::test]
async fn migrations_run_once_before_the_workload_and_are_watched_and_reported() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "{:#?}", world.preview(7).await);
    let steps = steps(&world, 7).await;
    let at = |step: &str| {
        let found: Vec<_> = steps.iter().enumerate().filter(|(_, it)| *it == step).collect();
        assert_eq!(found.len(), 1, "{step} once: {steps:?}");
        found[0].0
    };
    assert!(at("ensure_database") < at("ensure_migration"), "{steps:?}");
    assert!(at("ensure_migration") < at("ensure_report"), "{steps:?}");
    assert!(at("ensure_report") < at("ensure_workload"), "{steps:?}");
    let migrated = world.cluster.migrated();
    let [(name, order)] = migrated.as_slice() else { panic!("{migrated:?}") };
    assert_eq!((name, &order.revision.commit), (&pr(7), &sha('a')));
    let env = |key: &str| order.env.iter().find(|(it, _)| it == key).map(|(_, value)| &**value);
    assert_eq!(env("PGAPPNAME"), Some("mayfly-migration"));
    assert!(env("DATABASE_URL").is_some_and(|url| url.ends_with("@fake/pr_7")));
    assert_eq!(world.rehearsals.watched(), [(pr(7), order.revision.clone())]);
    let (_, kept) =
        world.ledger.newest_rehearsal(world.preview(7).await.id).await.unwrap().expect("a report");
    assert_eq!(kept.ended, Ended::Done);
    assert_eq!(kept.report, report(&order.revision, true), "it is read as it was written");
    assert_eq!(world.forge.comment(number(7)).unwrap().rehearsal, Some(kept.report));
    assert_eq!(condition(&world, 7).await, (Status::True, String::new()));
}

#[tokio::test]
async fn migrations_that_fail_are_told_with_their_log_and_what_served_before_serves_on() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.fate(Fate::Fail("its migrations failed: exit code 1".to_owned()));
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    let (status, message) = condition(&world, 7).await;
    assert_eq!(status, Status::False);
    assert_eq!(message, "its migrations failed: exit code 1\nERROR: column \"x\" exists");
    let Notice::Failing { commit, why, serves } = world.forge.comment(number(7)).unwrap().notice
    else {
        panic!("it is not told")
    };
    assert_eq!((commit, serves), (sha('b'), Some(sha('a'))));
    assert_eq!(why, "its migrations failed: exit code 1");
    assert!(world.serves(7, 'a'), "the last good commit serves");
    // Looking again, and losing the run, is no reason to try again.
    world.cluster.forget_migration(&pr(7));
    world.settle_for(TimeDelta::hours(1)).await;
    assert_eq!(world.cluster.migrated().len(), 2);
    // A redeploy is.
    world.cluster.fate(Fate::DoneAfter(1));
    world.wish(7, |memory| memory.overrides.redeploys += 1).await;
    world.settle().await;
    assert!(world.serves(7, 'b'));
    assert_eq!(world.cluster.migrated().len(), 3);
}

#[tokio::test]
async fn migrations_that_hang_hold_up_nobody_and_the_last_good_commit_serves() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.fate(Fate::Hang);
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(9)).await;
    assert_eq!(condition(&world, 7).await, (Status::False, "they run".to_owned()));
    assert!(world.serves(7, 'a'));
    assert!(world.cluster.orders().iter().all(|(_, order)| order.revision.commit == sha('a')));
    world.close(7, 'b').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_that_cannot_begin_is_told_and_goes_on_when_it_can() {
    let world = world().await;
    world.cluster.fate(Fate::Stuck("its image cannot be pulled".to_owned()));
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    let told = world.forge.comment(number(7)).unwrap().notice;
    assert!(matches!(told, Notice::Failing { why, .. } if why == "its image cannot be pulled"));
    world.cluster.fate(Fate::DoneAfter(1));
    world.settle().await;
    assert!(world.serves(7, 'a'));
    assert_eq!(world.cluster.migrated().len(), 1, "it was not started again");
}

#[tokio::test]
async fn a_push_during_migrations_ends_them_and_only_the_newer_commit_is_ever_ready() {
    let world = world().await;
    world.cluster.fate(Fate::Hang);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(1)).await;
    world.push(7, 'b').await;
    for _ in 0..5 {
        world.reconciler.turn().await.unwrap();
    }
    world.cluster.fate(Fate::DoneAfter(1));
    world.settle().await;
    assert!(world.serves(7, 'b'));
    let commits: Vec<_> =
        world.cluster.migrated().into_iter().map(|(_, order)| order.revision.commit).collect();
    assert_eq!(commits, [sha('a'), sha('b')]);
    let said = world.forge.said(number(7));
    let ready = said.iter().filter_map(|it| match &it.notice {
        Notice::Ready { revision, .. } => Some(revision.commit.clone()),
        _ => None,
    });
    assert_eq!(ready.collect::<Vec<_>>(), [sha('b')]);
    assert!(world.cluster.orders().iter().all(|(_, order)| order.revision.commit == sha('b')));
}

#[tokio::test]
async fn a_history_that_the_commit_does_not_go_on_from_is_answered_with_a_fresh_clone() {
    let world = world().await;
    world.forge.put_files(&sha('a'), "db/migrations", &["0001_a.sql", "0002_b.sql"]);
    world.forge.put_files(&sha('b'), "db/migrations", &["0001_a.sql", "0003_c.sql"]);
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.databases.databases()["pr_7"], 0);
    world.rehearsals.put_history(&pr(7), sqlx("1 2"));
    world.push(7, 'b').await;
    world.settle().await;
    assert!(world.serves(7, 'b'));
    assert_eq!(world.databases.databases()["pr_7"], 1, "it is a database of its own");
    let preview_id = world.preview(7).await.id;
    let page = mayfly::ledger::JournalPage { preview_id, after: 0, limit: 200 };
    let journal = world.ledger.journal(page).await.unwrap();
    let fresh: Vec<_> = journal.iter().filter(|entry| entry.action == "fresh_data").collect();
    assert_eq!(fresh.len(), 1, "{journal:#?}");
    let why = "public._sqlx_migrations: 2 is not among the commit's migrations";
    assert_eq!((fresh[0].actor.as_str(), fresh[0].reason.as_str()), ("mayfly", why));
}

#[tokio::test]
async fn a_history_that_goes_on_or_is_in_doubt_leaves_the_data_as_it_is() {
    let kept = async |world: &World| {
        world.push(7, 'b').await;
        world.settle().await;
        assert!(world.serves(7, 'b'));
        world.databases.databases()["pr_7"] == 0
    };
    let begin = async || {
        let world = world().await;
        world.forge.put_files(&sha('a'), "db/migrations", &["0001_a.sql", "0002_b.sql"]);
        world.open(7, 'a').await;
        world.settle().await;
        world.rehearsals.put_history(&pr(7), sqlx("1 2"));
        world
    };
    let world = begin().await;
    world.forge.put_files(&sha('b'), "db/migrations", &["0001_a.sql", "0002_b.sql", "3_c.sql"]);
    assert!(kept(&world).await, "it goes on");
    // The forge does not find the directory, or does not answer at all.
    assert!(kept(&begin().await).await);
    let world = begin().await;
    world.faults.always("forge.files", Mode::FailBefore);
    assert!(kept(&world).await);
    // The database does not tell.
    let world = begin().await;
    world.forge.put_files(&sha('b'), "db/migrations", &[]);
    world.faults.always("rehearsals.history", Mode::Refuse);
    assert!(kept(&world).await);
}

#[tokio::test]
async fn data_that_somebody_dropped_is_cloned_and_migrated_again() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.databases.destroy(&pr(7));
    world.ledger.poke_named(&pr(7), world.now()).await.unwrap();
    world.settle().await;
    assert!(world.serves(7, 'a'));
    assert_eq!(world.cluster.migrated().len(), 2, "the fresh clone had them too");
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn a_reopened_pull_request_migrates_its_new_database() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.close(7, 'a').await;
    world.settle().await;
    world.change("reopened", world.facts(7, 'a')).await;
    world.settle().await;
    assert!(world.serves(7, 'a'));
    assert_eq!(world.cluster.migrated().len(), 2);
    assert_eq!(world.databases.databases()["pr_7"], 0);
}

#[tokio::test]
async fn what_is_closed_and_opened_again_before_anything_went_is_ready_again() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::minutes(1));
    world.close(7, 'a').await;
    world.clock.advance(TimeDelta::seconds(2));
    world.change("reopened", world.facts(7, 'a')).await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "{:#?}", world.preview(7).await);
    assert!(world.serves(7, 'a'));
    assert_eq!(world.cluster.migrated().len(), 1, "its database never went");
}

#[tokio::test]
async fn migrations_of_any_commit_run_again_on_a_database_that_was_made_anew() {
    let world = world().await;
    world.open(7, 'a').await;
    world.settle().await;
    // While another commit is wanted, somebody drops the database; then the branch goes back.
    world.cluster.fate(Fate::Fail("no".to_owned()));
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    world.databases.destroy(&pr(7));
    world.ledger.poke_named(&pr(7), world.now()).await.unwrap();
    world.settle_for(TimeDelta::minutes(2)).await;
    world.cluster.fate(Fate::DoneAfter(1));
    let before = world.cluster.migrated().len();
    world.push(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "{:#?}", world.preview(7).await);
    assert!(world.cluster.migrated().len() > before, "what ran is not on this database");
}

#[tokio::test]
async fn every_call_of_a_migration_may_fail_be_lost_or_come_twice() {
    for mode in [Mode::FailBefore, Mode::FailAfter, Mode::Repeat] {
        for call in ["cluster.ensure_migration", "cluster.ensure_workload", "cluster.observe"] {
            let world = world().await;
            world.faults.plan(call, 1, mode);
            world.open(7, 'a').await;
            world.settle().await;
            assert!(world.serves(7, 'a'), "{call} {mode:?}");
            assert_eq!(world.cluster.migrated().len(), 1, "{call} {mode:?}");
        }
    }
}
