//! What is remembered of a pull request, under every order of events; and that the ledger gives
//! back what it was given.

mod shapes;

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::preview::memory::LAG_SECONDS;
use mayfly::preview::{Desired, Memory, Policy, PullFacts, PullState, Reason};
use proptest::prelude::*;

use crate::world::policy;

fn start() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc()
}

/// Facts of the one pull request, as the forge might say them at some time.
fn facts() -> impl Strategy<Value = PullFacts> {
    let state =
        prop_oneof![Just(PullState::Open), Just(PullState::Closed), Just(PullState::Merged)];
    (state, 0..4u32, any::<bool>(), -300..300i64).prop_map(|(state, head, draft, at)| {
        let mut facts = shapes::plain(1);
        facts.state = state;
        facts.head = crate::world::sha(char::from_digit(head, 10).unwrap());
        facts.draft = draft;
        facts.updated_at = start() + TimeDelta::seconds(at);
        facts
    })
}

#[derive(Clone, Debug)]
enum Deed {
    Hear(PullFacts),
    Confirm(PullFacts),
    Extend(i64),
    Pin(bool),
    Stop,
    Start,
    Vanish,
}

fn deed() -> impl Strategy<Value = (i64, Deed)> {
    let deed = prop_oneof![
        4 => facts().prop_map(Deed::Hear),
        4 => facts().prop_map(Deed::Confirm),
        2 => (0..400i64).prop_map(Deed::Extend),
        1 => any::<bool>().prop_map(Deed::Pin),
        1 => Just(Deed::Stop),
        1 => Just(Deed::Start),
        1 => Just(Deed::Vanish),
    ];
    // Time passes between deeds: nothing, a little, or more than the lag and the TTL.
    (prop_oneof![Just(0), 1..120i64, 3600..400_000i64], deed)
}

/// Does one deed at this time, and checks what it alone promises.
fn act(memory: &mut Memory, deed: &Deed, policy: &Policy, now: DateTime<Utc>) {
    let before = memory.clone();
    match deed {
        Deed::Hear(facts) => {
            memory.hear(facts.clone(), now);
            assert_eq!((memory.hinted_at, memory.confirmed_at), (now, None), "hearsay");
            let newest = before.facts.updated_at.max(facts.updated_at);
            assert_eq!(memory.facts.updated_at, newest, "never back to an older event");
            if facts.updated_at <= before.facts.updated_at {
                assert_eq!((&memory.facts, memory.life), (&before.facts, before.life));
            }
        }
        Deed::Confirm(facts) => {
            let lag = now - before.hinted_at < TimeDelta::seconds(LAG_SECONDS);
            let older = facts.updated_at < before.facts.updated_at;
            let outcome = memory.confirm(facts.clone(), now);
            assert_eq!(outcome.is_err(), older && lag, "believed, unless it may be a lagging copy");
            if outcome.is_ok() {
                assert_eq!((&memory.facts, memory.confirmed_at), (facts, Some(now)));
            } else {
                assert_eq!(*memory, before, "a stale reading changes nothing");
            }
        }
        Deed::Extend(hours) => {
            let expired = before.expires_at(policy);
            let (until, clamped) = memory.extend(policy, TimeDelta::hours(*hours), now);
            assert_eq!(memory.expires_at(policy), until, "what was promised holds");
            assert!(until >= expired, "never earlier than before");
            assert_eq!(clamped, until - expired.max(now) < TimeDelta::hours(*hours));
        }
        Deed::Pin(pinned) => memory.overrides.pinned = *pinned,
        Deed::Stop => memory.overrides.stopped = true,
        Deed::Start => {
            memory.start(now);
            assert!(!memory.overrides.stopped && !memory.gone);
            assert_eq!(memory.life.active_at, now);
        }
        Deed::Vanish => memory.gone = true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_what_is_remembered(
        first in facts(),
        deeds in proptest::collection::vec(deed(), 0..30),
    ) {
        let policy = policy();
        let mut now = start();
        let mut memory = Memory::begin(first, now);
        for (seconds, deed) in deeds {
            now += TimeDelta::seconds(seconds);
            let before = memory.clone();
            act(&mut memory, &deed, &policy, now);
            let life = memory.life;
            prop_assert!(life.active_at >= before.life.active_at, "activity goes back");
            prop_assert!(life.born_at >= before.life.born_at, "a birth goes back");
            prop_assert!(life.born_at <= life.active_at && life.active_at <= now);
            prop_assert!(memory.expires_at(&policy) <= life.born_at + policy.max_life);
            prop_assert!(memory.confirmed_at.is_none_or(|at| at >= memory.hinted_at));
            if life.born_at > before.life.born_at && before.gone {
                prop_assert_eq!(memory.overrides.extended_until, None, "a new life is not extended");
            }
            let desired = memory.desired(&policy, now);
            if let Desired::Up(spec) = &desired {
                prop_assert!(spec.expires_at > now, "nothing is up after its expiry");
                prop_assert_eq!(memory.facts.state, PullState::Open);
            }
            if memory.facts.state != PullState::Open {
                prop_assert!(matches!(desired, Desired::Down(Reason::Closed | Reason::Merged)));
            }
            if memory.is_confirmed(&desired, &policy) {
                prop_assert!(memory.confirmed_at.is_some());
            }
        }
    }

    #[test]
    fn the_newest_event_wins_whatever_the_order_in_which_they_come(
        events in proptest::collection::vec(facts(), 1..8),
        order in any::<prop::sample::Index>(),
    ) {
        let mut heard = events.clone();
        heard.rotate_left(order.index(events.len()));
        let mut memory = Memory::begin(heard[0].clone(), start());
        for facts in heard.iter().chain(&events) {
            memory.hear(facts.clone(), start());
        }
        let newest = events.iter().map(|facts| facts.updated_at).max();
        prop_assert_eq!(Some(memory.facts.updated_at), newest);
    }
}

#[test]
fn a_reading_that_is_older_than_an_event_is_believed_once_no_lag_explains_it() {
    let mut memory = Memory::begin(shapes::plain(1), start());
    let mut event = shapes::plain(1);
    event.updated_at += TimeDelta::seconds(9);
    event.state = PullState::Closed;
    memory.hear(event, start());
    let almost = start() + TimeDelta::seconds(LAG_SECONDS) - TimeDelta::microseconds(1);
    assert!(memory.confirm(shapes::plain(1), almost).is_err());
    assert_eq!(memory.facts.state, PullState::Closed);
    let later = start() + TimeDelta::seconds(LAG_SECONDS);
    memory.confirm(shapes::plain(1), later).unwrap();
    assert_eq!((memory.facts.state, memory.confirmed_at), (PullState::Open, Some(later)));
}
