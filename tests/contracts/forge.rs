//! What every forge promises the loop, kept by the fake and by GitHub alike.

use chrono::TimeDelta;
use mayfly::clock::machine_time;
use mayfly::forge::Forge;
use mayfly::preview::desired::Reason;
use mayfly::preview::{Notice, PullKey, PullState, RepositoryId, Seen};

use super::forge_stage::{
    Fake, REPO_ID, Real, Stage, gone, number, preparing, ready, repo, say, sha,
};
use crate::world::faults::{Faults, Mode};
use crate::world::forge::FakeForge;

async fn a_pull_request_is_read_as_it_is(stage: impl Stage) {
    stage.open(7);
    let facts = stage.forge().pull(&repo(), number(7)).await.unwrap();
    assert_eq!(facts.key, PullKey { repository: RepositoryId(REPO_ID), number: number(7) });
    assert_eq!((facts.state, &facts.head), (PullState::Open, &sha(7)));
    assert!(!facts.fork && facts.trusted_author && !facts.draft);
    assert_eq!((facts.title.as_str(), facts.author.as_str()), ("Change 7", "octavia"));
    for (merged, state) in [(false, PullState::Closed), (true, PullState::Merged)] {
        stage.close(7, merged);
        assert_eq!(stage.forge().pull(&repo(), number(7)).await.unwrap().state, state);
    }
}

async fn an_unknown_pull_request_is_a_fault(stage: impl Stage) {
    assert!(stage.forge().pull(&repo(), number(7)).await.is_err());
    assert!(stage.forge().publish(&repo(), number(7), &gone(7)).await.is_err());
}

async fn a_file_of_the_base_branch_is_read_as_it_is_and_one_that_is_missing_is_none(
    stage: impl Stage,
) {
    let read = async |n| stage.forge().base_file(&repo(), number(n), "values-preview.yaml").await;
    stage.open(7);
    assert_eq!(read(7).await.unwrap(), None);
    for text in ["replicas: 2\n", "# größer\nreplicas: 3\n"] {
        stage.put_file("values-preview.yaml", text);
        assert_eq!(read(7).await.unwrap().as_deref(), Some(text));
    }
    assert!(read(8).await.is_err(), "of an unknown pull request nothing is known");
}

async fn a_listing_is_complete_and_only_of_open_ones(stage: impl Stage) {
    (1..=250).for_each(|n| stage.open(n));
    stage.close(3, false);
    stage.close(4, true);
    let pulls = stage.forge().open_pulls(&repo()).await.unwrap();
    let mut numbers: Vec<u32> = pulls.iter().map(|facts| facts.key.number.get()).collect();
    numbers.sort_unstable();
    let wanted: Vec<u32> = (1..=250).filter(|n| !matches!(n, 3 | 4)).collect();
    assert_eq!(numbers, wanted);
}

async fn saying_it_twice_is_the_same_as_once(stage: impl Stage) {
    stage.open(7);
    for _ in 0..2 {
        stage.forge().publish(&repo(), number(7), &ready(7)).await.unwrap();
    }
    assert_eq!(stage.comments(7), 1);
    assert!(stage.comment_says(7, &ready(7)));
}

async fn the_one_comment_says_the_latest(stage: impl Stage) {
    stage.open(7);
    let blocked = say(7, Notice::Blocked { conflict: "namespace: somebody's".to_owned() });
    let approval = say(7, Notice::AwaitingApproval { commit: sha(7) });
    let stopping = say(7, Notice::Stopping { reason: Reason::Stopped });
    for announcement in [approval, preparing(7), ready(7), blocked, stopping, gone(7)] {
        stage.forge().publish(&repo(), number(7), &announcement).await.unwrap();
        assert_eq!(stage.comments(7), 1);
        assert!(stage.comment_says(7, &announcement), "{announcement:?}");
    }
}

async fn a_deployment_is_seen_from_the_first_word_to_the_last(stage: impl Stage) {
    stage.open(7);
    let name = preparing(7).name;
    assert_eq!(stage.forge().observe(&repo(), &name).await, Seen::Absent);
    for announcement in [preparing(7), ready(7)] {
        stage.forge().publish(&repo(), number(7), &announcement).await.unwrap();
        assert_eq!(stage.forge().observe(&repo(), &name).await, Seen::Present(()));
    }
    for _ in 0..2 {
        stage.forge().publish(&repo(), number(7), &gone(7)).await.unwrap();
        assert_eq!(stage.forge().observe(&repo(), &name).await, Seen::Absent);
    }
    // And again, for the same commit: the pull request was reopened.
    stage.forge().publish(&repo(), number(7), &ready(7)).await.unwrap();
    assert_eq!(stage.forge().observe(&repo(), &name).await, Seen::Present(()));
}

async fn an_approval_that_ran_out_leaves_no_active_deployment(stage: impl Stage) {
    stage.open(7);
    stage.forge().publish(&repo(), number(7), &ready(7)).await.unwrap();
    let approval = say(7, Notice::AwaitingApproval { commit: sha(8) });
    stage.forge().publish(&repo(), number(7), &approval).await.unwrap();
    assert_eq!(stage.forge().observe(&repo(), &approval.name).await, Seen::Absent);
}

async fn what_we_own_is_what_is_active(stage: impl Stage) {
    for n in [7, 8, 9] {
        stage.open(n);
        stage.forge().publish(&repo(), number(n), &ready(n)).await.unwrap();
    }
    stage.forge().publish(&repo(), number(8), &gone(8)).await.unwrap();
    let mut owned = stage.forge().owned(&repo()).await.unwrap();
    owned.sort();
    assert_eq!(owned, [ready(7).name, ready(9).name]);
}

async fn a_delivery_that_failed_is_listed_until_it_is_too_old(stage: impl Stage) {
    let forge = stage.forge();
    let now = machine_time();
    stage.fail_delivery("one", now - TimeDelta::hours(30));
    stage.fail_delivery("two", now - TimeDelta::hours(20));
    stage.fail_delivery("three", now - TimeDelta::hours(10));
    for (hours, wanted) in
        [(40, vec!["one", "two", "three"]), (25, vec!["two", "three"]), (1, vec![])]
    {
        let since = now - TimeDelta::hours(hours);
        let found = forge.failed_deliveries(&[repo()], since).await.unwrap();
        assert_eq!(found.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), wanted);
        for delivery in &found {
            forge.redeliver(delivery).await.unwrap();
        }
    }
    assert_eq!(stage.redelivered(), ["one", "two", "three", "two", "three"]);
}

async fn a_directory_is_listed_as_it_was_at_each_commit(stage: impl Stage) {
    let forge = stage.forge();
    stage.put_files(&sha(1), "db/migrations", &["0001_a.sql"]);
    stage.put_files(&sha(2), "db/migrations", &["0001_a.sql", "0002_b.sql"]);
    let listed = async |n| forge.files(&repo(), &sha(n), "db/migrations").await;
    assert_eq!(listed(1).await.unwrap(), ["0001_a.sql"]);
    assert_eq!(listed(2).await.unwrap(), ["0001_a.sql", "0002_b.sql"]);
    assert_eq!(listed(1).await.unwrap(), ["0001_a.sql"], "asked again");
    // What is not found may be hidden: that is no empty list.
    listed(3).await.unwrap_err();
    forge.files(&repo(), &sha(2), "db/other").await.unwrap_err();
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod fake {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Fake::start().await).await; })*
        }
        mod github {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Real::start().await).await; })*
        }
    };
}

contract!(
    a_pull_request_is_read_as_it_is,
    an_unknown_pull_request_is_a_fault,
    a_file_of_the_base_branch_is_read_as_it_is_and_one_that_is_missing_is_none,
    a_listing_is_complete_and_only_of_open_ones,
    saying_it_twice_is_the_same_as_once,
    the_one_comment_says_the_latest,
    a_deployment_is_seen_from_the_first_word_to_the_last,
    an_approval_that_ran_out_leaves_no_active_deployment,
    what_we_own_is_what_is_active,
    a_delivery_that_failed_is_listed_until_it_is_too_old,
    a_directory_is_listed_as_it_was_at_each_commit,
);

#[tokio::test]
async fn the_fake_fails_to_order_and_its_effects_are_as_told() {
    let (repo, faults) = (repo(), Faults::default());
    let fake = Fake(FakeForge::new(faults.clone()));
    fake.open(7);
    faults.plan("forge.publish", 1, Mode::FailBefore);
    faults.plan("forge.publish", 2, Mode::FailAfter);
    faults.plan("forge.publish", 3, Mode::Repeat);
    for (announcement, heard) in [(preparing(7), false), (ready(7), true)] {
        assert!(fake.0.publish(&repo, number(7), &announcement).await.is_err());
        assert_eq!(fake.0.deployment_active(&announcement.name), heard);
    }
    fake.0.publish(&repo, number(7), &gone(7)).await.unwrap();
    assert_eq!(fake.0.said(number(7)), [ready(7), gone(7)]);
    assert!(!fake.0.deployment_active(&gone(7).name));
    assert_eq!(faults.calls(), ["forge.publish"; 3]);

    faults.always("forge.observe", Mode::FailBefore);
    assert!(matches!(fake.0.observe(&repo, &gone(7).name).await, Seen::Unknown(_)));
    faults.heal();
    assert_eq!(fake.0.observe(&repo, &gone(7).name).await, Seen::Absent);
}

#[tokio::test]
async fn a_lost_pull_request_is_a_fault_and_not_in_the_list() {
    let fake = Fake::start().await;
    fake.open(7);
    fake.0.lose(number(7));
    assert!(fake.0.pull(&repo(), number(7)).await.is_err());
    assert_eq!(fake.0.open_pulls(&repo()).await.unwrap(), []);
    fake.open(7);
    assert!(fake.0.pull(&repo(), number(7)).await.is_ok());
}
