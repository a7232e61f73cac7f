//! The life of a preview, from the first event to the receipt, on fakes and a real ledger.

use chrono::TimeDelta;
use mayfly::ledger::Learned;
use mayfly::preview::{Notice, Phase, PullState, Reason, Revision};

use crate::world::faults::Mode;
use crate::world::{World, number, pr, sha};

#[tokio::test]
async fn an_opened_pull_request_becomes_ready_and_serves_its_commit() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    let preview = world.preview(7).await;
    assert_eq!(preview.phase, Phase::Ready, "{preview:#?}");
    assert!(world.serves(7, 'a'));
    assert!(world.forge.deployment_active(&pr(7)));
    let said = world.forge.said(number(7));
    assert_eq!(said.len(), 2, "one word at the start, one when ready: {said:#?}");
    assert_eq!(said[1].url, "http://pr-7.preview.example.test/");
    let (_, order) = world.cluster.orders().pop().unwrap();
    let env: std::collections::HashMap<_, _> = order.env.into_iter().collect();
    assert_eq!(env["PR_NUMBER"], "7");
    assert_eq!(env["COMMIT_SHA"], "a".repeat(40));
    assert!(env["DATABASE_URL"].ends_with("@fake/pr_7"), "{}", env["DATABASE_URL"]);
}

#[tokio::test]
async fn a_closed_pull_request_leaves_nothing_and_has_a_receipt() {
    for state in [PullState::Closed, PullState::Merged] {
        let world = World::new().await;
        world.open(7, 'a').await;
        world.settle().await;
        let mut facts = world.facts(7, 'a');
        facts.state = state;
        world.change("closed", facts).await;
        world.settle().await;
        let preview = world.preview(7).await;
        assert_eq!(preview.phase, Phase::Gone, "{preview:#?}");
        assert_eq!(world.leftovers(), Vec::<String>::new());
        assert!(!world.forge.deployment_active(&pr(7)));
        let receipt = preview.receipt.expect("a receipt");
        let asked: Vec<_> = receipt.lines.iter().map(|line| line.what.as_str()).collect();
        let all = ["DNS record", "route", "namespace", "database", "role", "deployment"];
        assert_eq!(asked, all);
        assert!(receipt.lines.iter().all(|l| l.answer == "not there" || l.answer == "none active"));
        let last = world.forge.comment(number(7)).unwrap();
        let reason = if state == PullState::Merged { Reason::Merged } else { Reason::Closed };
        assert_eq!(last.notice, Notice::Gone { reason });
        assert_eq!(last.receipt.len(), 6, "the receipt is on the pull request");
        assert_eq!(world.ledger.intended(preview.id).await.unwrap(), Vec::<String>::new());
        assert_eq!(preview.wake_at, None, "nothing to look at any more");
    }
}

#[tokio::test]
async fn a_push_is_served_under_the_same_url_and_the_old_commit_until_then() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.never_ready("the image is being pulled");
    world.push(7, 'b').await;
    for _ in 0..10 {
        world.reconciler.turn().await.unwrap();
    }
    assert_eq!(world.phase(7).await, Phase::Updating);
    let routed: Vec<_> = world.cluster.routes().into_iter().map(|(_, r)| r.commit).collect();
    assert_eq!(routed, [sha('a')], "the old commit is routed until the new one is ready");
    world.cluster.ready_again();
    world.settle().await;
    assert!(world.serves(7, 'b'));
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert_eq!(world.forge.comments(number(7)), 1, "one comment, edited");
}

#[tokio::test]
async fn ten_pushes_before_the_loop_looks_are_one_deployment_of_the_last() {
    let world = World::new().await;
    for digit in "0123456789".chars() {
        world.push(7, digit).await;
    }
    world.settle().await;
    assert!(world.serves(7, '9'));
    assert_eq!(world.cluster.orders().len(), 1, "only the last commit was ever started");
}

#[tokio::test]
async fn a_reopened_pull_request_comes_back_even_from_the_middle_of_its_removal() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.auto(false);
    world.close(7, 'a').await;
    world.settle_for(TimeDelta::seconds(2)).await;
    assert_eq!(world.phase(7).await, Phase::Stopping);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::seconds(1)).await;
    world.cluster.finish_removal(&pr(7));
    world.cluster.auto(true);
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(world.serves(7, 'a'));
}

#[tokio::test]
async fn a_namespace_that_hangs_keeps_neither_the_data_nor_the_name() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.cluster.auto(false);
    world.close(7, 'a').await;
    for _ in 0..20 {
        world.reconciler.turn().await.unwrap();
        world.clock.advance(TimeDelta::seconds(2));
    }
    assert_eq!(world.leftovers(), ["namespace pr-7"]);
    let preview = world.preview(7).await;
    assert_eq!(preview.phase, Phase::Stopping);
    assert!(preview.outlook.contains("namespace"), "{}", preview.outlook);
    world.cluster.finish_removal(&pr(7));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
}

#[tokio::test]
async fn an_idle_preview_is_warned_about_and_then_expires() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::hours(22) + TimeDelta::minutes(1));
    world.settle().await;
    let warning = world.forge.comment(number(7)).unwrap().notice;
    assert!(matches!(warning, Notice::Ready { expiring: true, .. }), "{warning:?}");
    assert!(world.serves(7, 'a'));
    world.clock.advance(TimeDelta::hours(2));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    let last = world.forge.comment(number(7)).unwrap().notice;
    assert_eq!(last, Notice::Gone { reason: Reason::Idle });
}

#[tokio::test]
async fn a_push_that_nobody_told_us_of_keeps_an_idle_preview_alive() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::hours(23));
    let pushed = world.facts(7, 'b');
    world.silently(&pushed);
    world.clock.advance(TimeDelta::hours(2));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(world.serves(7, 'b'));
}

#[tokio::test]
async fn an_extension_counts_from_the_current_expiry_and_ends_at_the_maximum_life() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    let id = world.preview(7).await.id;
    let born = world.preview(7).await.memory.life.born_at;
    let policy = crate::world::policy();
    for (by, expected, clamped) in [
        (TimeDelta::hours(24), born + TimeDelta::hours(48), false),
        (TimeDelta::days(30), born + TimeDelta::days(7), true),
    ] {
        let now = world.now();
        let given = world
            .ledger
            .amend(id, "test", "extend", now, |preview| {
                Ok::<_, ()>((preview.memory.extend(&policy, by, now), String::new()))
            })
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(given, (expected, clamped));
    }
    world.settle().await;
    assert_eq!(world.preview(7).await.expires_at, Some(born + TimeDelta::days(7)));
    world.clock.advance(TimeDelta::days(6));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    world.clock.advance(TimeDelta::days(1));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone, "the maximum life is over");
}

#[tokio::test]
async fn a_push_after_the_end_begins_a_new_life() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.clock.advance(TimeDelta::days(8));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Gone);
    world.push(7, 'b').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert!(world.serves(7, 'b'));
    let preview = world.preview(7).await;
    assert!(preview.receipt.is_none(), "the old receipt says nothing about the new life");
    assert!(preview.expires_at.unwrap() > world.now() + TimeDelta::hours(23));
}

#[tokio::test]
async fn a_strangers_fork_gets_nothing_until_that_very_commit_is_approved() {
    let world = World::new().await;
    let stranger = |digit| {
        let mut facts = world.facts(7, digit);
        facts.fork = true;
        facts.trusted_author = false;
        facts
    };
    world.change("opened", stranger('a')).await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::AwaitingApproval);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert!(world.cluster.orders().is_empty());
    assert_eq!(world.forge.said(number(7)).len(), 1, "one comment");
    world.wish(7, |memory| memory.overrides.approved = Some(sha('a'))).await;
    world.settle().await;
    assert!(world.serves(7, 'a'));
    world.change("synchronize", stranger('b')).await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::AwaitingApproval);
    assert_eq!(world.leftovers(), Vec::<String>::new(), "an approval is for one commit");
    assert!(!world.forge.deployment_active(&pr(7)));
}

#[tokio::test]
async fn data_that_is_reset_is_new_and_the_workload_starts_afresh() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.wish(7, |memory| memory.overrides.data_generation += 1).await;
    world.settle().await;
    assert_eq!(world.databases.databases()["pr_7"], 1);
    let running = world.cluster.running(&pr(7));
    assert_eq!(running, Some(Revision { commit: sha('a'), restart: 1 }));
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn drift_is_healed_whatever_was_taken_away() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    for thing in ["namespace", "database", "record", "workload"] {
        match thing {
            "namespace" => world.cluster.destroy(&pr(7)),
            "database" => world.databases.destroy(&pr(7)),
            "record" => world.dns.erase(&pr(7)),
            _ => world.cluster.crash(&pr(7)),
        }
        assert!(!world.serves(7, 'a'), "{thing} is away");
        world.clock.advance(TimeDelta::minutes(7));
        world.settle().await;
        assert!(world.serves(7, 'a'), "{thing} was healed");
        assert_eq!(world.phase(7).await, Phase::Ready);
    }
}

#[tokio::test]
async fn a_name_that_somebody_else_holds_is_a_conflict_and_stays_untouched() {
    let world = World::new().await;
    world.cluster.plant_foreign(&pr(7));
    world.dns.plant(&pr(8), "mayfly=somebody-else/pr-8");
    world.databases.plant_foreign(&pr(9));
    for n in [7, 8, 9] {
        world.open(n, 'a').await;
    }
    world.settle().await;
    for n in [7, 8, 9] {
        assert_eq!(world.phase(n).await, Phase::Conflict, "pr-{n}");
        let notice = world.forge.comment(number(n)).unwrap().notice;
        assert!(matches!(notice, Notice::Blocked { .. }), "{notice:?}");
        world.close(n, 'a').await;
    }
    world.settle().await;
    assert!(world.cluster.foreign_is_there(&pr(7)));
    assert_eq!(world.dns.records()["pr-8"], "mayfly=somebody-else/pr-8");
    for n in [7, 8, 9] {
        assert_eq!(world.phase(n).await, Phase::Gone, "nothing of ours is left of pr-{n}");
    }
}

#[tokio::test]
async fn old_events_out_of_order_and_again_change_nothing() {
    let world = World::new().await;
    let opened = world.facts(7, 'a');
    let mut closed = world.facts(7, 'a');
    closed.state = PullState::Closed;
    let reopened = world.facts(7, 'b');
    world.change("reopened", reopened).await;
    world.settle().await;
    for (what, facts) in [("opened", &opened), ("closed", &closed), ("opened", &opened)] {
        world.deliver(what, facts.clone()).await;
        world.settle().await;
        assert!(world.serves(7, 'b'), "after an old {what}");
        assert_eq!(world.phase(7).await, Phase::Ready);
    }
}

#[tokio::test]
async fn a_closing_event_that_is_not_true_removes_nothing() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    let mut lie = world.facts(7, 'a');
    lie.state = PullState::Closed;
    world.deliver("closed", lie).await;
    for _ in 0..5 {
        world.reconciler.turn().await.unwrap();
    }
    assert!(world.serves(7, 'a'), "the forge still says open");
    world.settle().await;
    world.clock.advance(TimeDelta::minutes(5));
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "and is believed in the end");
}

#[tokio::test]
async fn a_closed_pull_request_that_was_never_heard_of_needs_no_row() {
    let world = World::new().await;
    let mut facts = world.facts(7, 'a');
    facts.state = PullState::Closed;
    assert_eq!(world.change("closed", facts).await, Learned::Ignored);
    assert_eq!(world.ledger.preview_named(&pr(7)).await.unwrap().map(|p| p.id), None);
}

#[tokio::test]
async fn a_settled_fleet_makes_no_further_change() {
    let world = World::new().await;
    for n in 1..=5 {
        world.open(n, 'a').await;
    }
    world.settle().await;
    let changes = |calls: Vec<String>| calls.iter().filter(|c| !is_a_look(c)).count();
    let before = changes(world.faults.calls());
    for _ in 0..3 {
        world.clock.advance(TimeDelta::minutes(7));
        world.settle().await;
    }
    assert_eq!(changes(world.faults.calls()), before);
    assert!(world.faults.calls().len() > before, "it did look");
}

fn is_a_look(call: &str) -> bool {
    [".observe", ".resolve", ".owned", ".pull", ".open_pulls"]
        .iter()
        .any(|look| call.ends_with(look))
}

#[tokio::test]
async fn labels_and_drafts_decide_as_configured() {
    let world = World::new().await;
    let mut facts = world.facts(7, 'a');
    facts.labels = vec!["no-preview".to_owned()];
    world.change("opened", facts).await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::NotSelected);
    assert!(world.forge.said(number(7)).is_empty(), "nobody asked for one: no word about it");
    world.change("unlabeled", world.facts(7, 'a')).await;
    world.settle().await;
    assert!(world.serves(7, 'a'));
}

#[tokio::test]
async fn a_forge_that_does_not_listen_does_not_hold_up_what_is_starting() {
    let world = World::new().await;
    world.cluster.ready_after(12);
    world.faults.always("forge.publish", Mode::FailBefore);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::minutes(2)).await;
    assert!(world.serves(7, 'a'));
    assert_eq!(world.phase(7).await, Phase::Ready, "only the word is missing");
}
