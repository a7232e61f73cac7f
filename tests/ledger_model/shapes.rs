//! What is written is what is read: random values of every column, through the real ledger.

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::clock::fresh_id;
use mayfly::ledger::{Findings, Heard, Learned, Ledger, PullHint};
use mayfly::preview::receipt::ReceiptLine;
use mayfly::preview::{
    Choice, CommitSha, Condition, Memory, Notice, Overrides, Part, Phase, PreviewName, PullFacts,
    PullKey, PullState, Reason, Receipt, Revision, RolledBack, Status, Told,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::start;
use crate::world::{SHOP, number, postgres, sha, shop};

/// An open pull request that nothing is special about.
pub fn plain(n: u32) -> PullFacts {
    PullFacts {
        key: PullKey { repository: SHOP, number: number(n) },
        state: PullState::Open,
        head: sha('a'),
        fork: false,
        trusted_author: true,
        draft: false,
        labels: Vec::new(),
        author: "ada".to_owned(),
        title: "A change".to_owned(),
        updated_at: start(),
    }
}

/// Any text that PostgreSQL can keep, hostile to SQL, JSON and terminals.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("'; DROP TABLE previews; --\\u0000\"{}\u{202e}\u{feff}\u{10ffff}\n\t".to_owned()),
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let microseconds = prop_oneof![Just(0), -1_000_000_000..1_000_000_000_000i64];
    microseconds.prop_map(|us| start() + TimeDelta::microseconds(us))
}

fn commit() -> impl Strategy<Value = CommitSha> {
    "[0-9a-f]{40}([0-9a-f]{24})?".prop_map(|text| CommitSha::parse(&text).unwrap())
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL.to_vec())
}

fn facts() -> impl Strategy<Value = PullFacts> {
    let state = prop::sample::select(vec![PullState::Open, PullState::Closed, PullState::Merged]);
    let labels = prop::collection::vec(text(), 0..4);
    (state, commit(), any::<[bool; 3]>(), labels, text(), text(), instant()).prop_map(
        |(state, head, [fork, trusted_author, draft], labels, author, title, updated_at)| {
            let facts = plain(1);
            let key = facts.key;
            PullFacts {
                key,
                state,
                head,
                fork,
                trusted_author,
                draft,
                labels,
                author,
                title,
                updated_at,
            }
        },
    )
}

fn overrides() -> impl Strategy<Value = Overrides> {
    let back =
        prop::option::of((commit(), commit()).prop_map(|(from, to)| RolledBack { from, to }));
    let commits = (prop::option::of(commit()), prop::option::of(commit()), back);
    (prop::option::of(instant()), any::<[bool; 2]>(), commits, any::<[u32; 2]>()).prop_map(
        |(
            extended_until,
            [pinned, stopped],
            (deleted_at, approved, rolled_back),
            [redeploys, data_generation],
        )| {
            Overrides {
                extended_until,
                pinned,
                stopped,
                deleted_at,
                approved,
                redeploys,
                data_generation,
                rotations: 0,
                rolled_back,
            }
        },
    )
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        Just(Told::Never),
        Just(Told::Unsure),
        commit().prop_map(|commit| Told::Said(Notice::Preparing { commit })),
        (commit(), any::<u32>(), choice(), instant(), any::<bool>()).prop_map(
            |(commit, restart, choice, expires_at, expiring)| {
                let revision = Revision { commit, restart };
                Told::Said(Notice::Ready { revision, choice, expires_at, expiring })
            }
        ),
        (commit(), text(), prop::option::of(commit())).prop_map(|(commit, why, serves)| {
            Told::Said(Notice::Failing { commit, why, serves })
        }),
        text().prop_map(|conflict| Told::Said(Notice::Blocked { conflict })),
        commit().prop_map(|commit| Told::Said(Notice::AwaitingApproval { commit })),
        reason().prop_map(|reason| Told::Said(Notice::Stopping { reason })),
        reason().prop_map(|reason| Told::Said(Notice::Gone { reason })),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    let flags = prop::collection::btree_map("[a-z]{1,4}", any::<bool>(), 0..3);
    (prop::option::of("[a-z]{1,4}"), prop::collection::vec("[a-z]{1,4}", 0..3), flags)
        .prop_map(|(tier, passed_over, flags)| Choice { tier, passed_over, flags })
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let part = prop::sample::select(Part::ALL.to_vec());
    let status = prop::sample::select(vec![Status::True, Status::False, Status::Unknown]);
    let one = (part, status, text(), instant())
        .prop_map(|(part, status, message, since)| Condition { part, status, message, since });
    prop::collection::vec(one, 0..8)
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let line = (text(), text(), text()).prop_map(|(what, name, answer)| ReceiptLine {
        what,
        name,
        answer,
    });
    (instant(), prop::collection::vec(line, 0..7))
        .prop_map(|(asked_at, lines)| Receipt { asked_at, lines })
}

fn findings() -> impl Strategy<Value = Findings> {
    let memory = (facts(), overrides(), instant(), instant(), prop::option::of(instant()));
    let phase = prop::sample::select(Phase::ALL.to_vec());
    let words = (text(), prop::option::of(text()));
    let going = prop::option::of(reason());
    let times = (prop::option::of(instant()), prop::option::of(instant()), 0..i32::MAX as u32);
    (memory, phase, words, conditions(), told(), prop::option::of(receipt()), going, times)
        .prop_map(|(memory, phase, (outlook, error), conditions, told, receipt, going, times)| {
            let (facts, overrides, born_at, active_at, confirmed_at) = memory;
            let mut memory = Memory::begin(facts, start());
            memory.overrides = overrides;
            memory.life.born_at = born_at;
            memory.life.active_at = active_at;
            memory.confirmed_at = confirmed_at;
            memory.gone = receipt.is_some();
            let (expires_at, wake_at, failures) = times;
            let deeds = vec![("ensure_namespace", outlook.clone())];
            Findings {
                memory,
                phase,
                conditions,
                outlook,
                error,
                told: Some(told),
                deeds,
                expires_at,
                going,
                receipt,
                wake_at,
                failures,
            }
        })
}

async fn fresh(ledger: &Ledger, n: u32, facts: PullFacts) -> uuid::Uuid {
    let facts = PullFacts { key: PullKey { repository: SHOP, number: number(n) }, ..facts };
    let hint = PullHint {
        name: PreviewName::new(None, number(n)),
        repository: shop(),
        facts,
        source: "sweep",
        what: "found".to_owned(),
        choosing: Vec::new(),
        even_if_closed: true,
    };
    match ledger.learn(&Heard { hint, delivery: None, at: start() }).await.unwrap() {
        Learned::New(id) => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_pass_found_is_read_back_as_it_was_written() {
    let ledger = postgres::ledger().await;
    let mut runner = TestRunner::deterministic();
    for n in 1..=80 {
        let mut wanted = findings().new_tree(&mut runner).unwrap().current();
        wanted.memory.facts.key.number = number(n);
        let id = fresh(&ledger, n, plain(n)).await;
        let lease = TimeDelta::seconds(60);
        let mut leases = ledger.claim(fresh_id(), 1, lease, start()).await.unwrap();
        let lease = leases.pop().expect("the new row is due");
        let now = start() + TimeDelta::seconds(1);
        ledger.record(&lease, &wanted, now).await.unwrap().unwrap();
        let read = ledger.preview(id).await.unwrap().unwrap();
        // What is going has no life left to begin anew, as what is gone.
        wanted.memory.gone = wanted.receipt.is_some() || wanted.going.is_some();
        assert_eq!(read.memory, wanted.memory);
        assert_eq!((read.phase, read.conditions), (wanted.phase, wanted.conditions));
        assert_eq!((read.outlook, read.last_error), (wanted.outlook.clone(), wanted.error));
        assert_eq!((Some(read.told), read.receipt), (wanted.told, wanted.receipt));
        assert_eq!((read.expires_at, read.wake_at), (wanted.expires_at, wanted.wake_at));
        assert_eq!(read.failures, wanted.failures);
        assert_eq!(
            read.going.map(|going| (going.since, going.reason)),
            wanted.going.map(|r| (now, r))
        );
        assert_eq!(read.updated_at, now);
        let page = mayfly::ledger::JournalPage { preview_id: id, after: 0, limit: 10 };
        let journal = ledger.journal(page).await.unwrap();
        assert!(journal.iter().any(|entry| entry.reason == wanted.outlook), "{journal:?}");
        // It must not be claimed for the next case.
        let quiet = "UPDATE previews SET wake_at = NULL";
        sqlx::raw_sql(quiet).execute(ledger.pool()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_learned_and_asked_for_is_read_back_as_it_was_said() {
    let ledger = postgres::ledger().await;
    let mut runner = TestRunner::deterministic();
    for n in 1..=50 {
        let (facts, asked) = (facts(), overrides()).new_tree(&mut runner).unwrap().current();
        let id = fresh(&ledger, n, facts.clone()).await;
        let change = |preview: &mut mayfly::ledger::Preview| {
            preview.memory.overrides = asked.clone();
            Ok::<_, ()>(((), String::new()))
        };
        let now = start() + TimeDelta::seconds(1);
        ledger.amend(id, "ada", "ask", now, change).await.unwrap().unwrap().unwrap();
        let read = ledger.preview(id).await.unwrap().unwrap();
        let key = read.memory.facts.key;
        assert_eq!(read.memory.facts, PullFacts { key, ..facts });
        assert_eq!(read.memory.overrides, asked);
        assert_eq!(read.memory.hinted_at, start(), "a person's wish says nothing of the forge");
        assert_eq!(read.pokes, 1);
    }
}
