//! The gate before GitHub, by table and by chance: a clock by hand, and no network.

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::forge::github::gate::{
    Closed, FIRST_CLOSED, Gate, Heard, Kind, Limits, MAX_CLOSED, MAX_WAIT,
};
use proptest::prelude::*;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn limits(points_per_minute: u32, writes_per_minute: u32, writes_per_hour: u32) -> Limits {
    Limits { calls_at_once: 1, points_per_minute, writes_per_minute, writes_per_hour }
}

fn refusal() -> Heard {
    Heard { refused: true, ..Heard::default() }
}

#[test]
fn a_refusal_closes_the_gate_for_as_long_as_it_says_and_at_most_an_hour() {
    let seconds = TimeDelta::seconds;
    let spent = Heard { remaining: Some(0), ..refusal() };
    let table = [
        ("a word", Heard { retry_after: Some(seconds(30)), ..refusal() }, seconds(30)),
        ("a reset", Heard { resets_in: Some(seconds(600)), ..spent }, seconds(600)),
        ("no word", refusal(), FIRST_CLOSED),
        (
            "a reset of what is not spent",
            Heard { resets_in: Some(seconds(9)), ..refusal() },
            FIRST_CLOSED,
        ),
        ("an absurd word", Heard { retry_after: Some(seconds(1 << 40)), ..refusal() }, MAX_CLOSED),
        ("a word of the past", Heard { retry_after: Some(seconds(-5)), ..refusal() }, seconds(1)),
        (
            "the last call, which was answered",
            Heard { refused: false, resets_in: Some(seconds(90)), ..spent },
            seconds(90),
        ),
    ];
    for (what, heard, span) in table {
        let mut gate = Gate::new(Limits::default());
        gate.hear(&heard, start());
        let until = start() + span;
        for kind in [Kind::Read, Kind::Write] {
            let early = gate.admit(kind, until - TimeDelta::milliseconds(1));
            assert!(
                matches!(early, Err(Closed { until: told, .. }) if told == until),
                "{what}: {early:?}"
            );
        }
        assert!(gate.admit(Kind::Read, until).is_ok(), "{what}");
    }
}

#[test]
fn a_refusal_without_a_word_that_goes_on_closes_it_for_longer_each_time() {
    let mut gate = Gate::new(Limits::default());
    let mut now = start();
    let mut spans = Vec::new();
    for _ in 0..9 {
        gate.hear(&refusal(), now);
        let Err(closed) = gate.admit(Kind::Read, now) else { panic!("it is closed") };
        spans.push((closed.until - now).num_minutes());
        now = closed.until;
    }
    assert_eq!(spans, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    gate.hear(&Heard::default(), now);
    gate.hear(&refusal(), now);
    assert_eq!(gate.admit(Kind::Read, now).unwrap_err().until, now + FIRST_CLOSED);
}

#[test]
fn a_clock_that_goes_back_does_not_keep_it_closed() {
    let mut gate = Gate::new(limits(10, 1, 1));
    let future = start() + TimeDelta::days(2);
    gate.hear(&Heard { retry_after: Some(TimeDelta::hours(1)), ..refusal() }, future);
    assert!(gate.admit(Kind::Write, start()).is_ok());
    let mut gate = Gate::new(limits(10, 1, 1));
    assert!(gate.admit(Kind::Write, future).is_ok());
    assert!(gate.admit(Kind::Write, start()).is_ok());
}

#[test]
fn a_few_writes_pass_at_once_and_the_others_get_turns() {
    let mut gate = Gate::new(Limits::default());
    let waits: Vec<_> = (0..10).map(|_| gate.admit(Kind::Write, start()).unwrap()).collect();
    assert!(waits.iter().all(TimeDelta::is_zero), "{waits:?}");
    let mut last = TimeDelta::zero();
    let refused = loop {
        match gate.admit(Kind::Write, start()) {
            Ok(wait) => {
                assert!(wait > last && wait <= MAX_WAIT, "{wait}");
                last = wait;
            }
            Err(closed) => break closed,
        }
    };
    assert!(last > TimeDelta::seconds(1), "{last}");
    assert!(refused.until > start() + MAX_WAIT && refused.until < start() + TimeDelta::seconds(5));
    assert!(gate.admit(Kind::Read, start()).is_ok(), "reads do not wait for writes");
    assert!(gate.admit(Kind::Write, refused.until).is_ok());
}

#[test]
fn a_token_is_asked_for_though_all_writes_are_spent_and_costs_points_only() {
    let mut gate = Gate::new(limits(15, 10, 1));
    assert!(gate.admit(Kind::Write, start()).is_ok());
    assert!(gate.admit(Kind::Write, start()).unwrap_err().until > start() + TimeDelta::minutes(59));
    for _ in 0..2 {
        assert_eq!(gate.admit(Kind::Token, start()), Ok(TimeDelta::zero()));
    }
    assert_eq!(
        gate.admit(Kind::Token, start()).unwrap_err().until,
        start() + TimeDelta::minutes(1)
    );
}

proptest! {
    /// Whatever is asked for when: no window ever sees more than its limit, no wait is long, and
    /// whoever is refused is told a time within the hour at which it is better.
    #[test]
    fn no_minute_and_no_hour_sees_more_than_is_allowed(
        steps in proptest::collection::vec((0_i64..20_000, any::<bool>()), 1..600),
        points in 5_u32..100,
        minute in 1_u32..40,
        hour in 1_u32..60,
    ) {
        let mut gate = Gate::new(limits(points, minute, hour));
        let (mut now, mut passed) = (start(), Vec::new());
        for (milliseconds, write) in steps {
            now += TimeDelta::milliseconds(milliseconds);
            let (kind, cost) = if write { (Kind::Write, 5) } else { (Kind::Read, 1) };
            match gate.admit(kind, now) {
                Ok(wait) => {
                    prop_assert!(wait >= TimeDelta::zero() && wait <= MAX_WAIT);
                    prop_assert!(write || wait.is_zero());
                    passed.push((now, now + wait, cost, write));
                }
                Err(closed) => {
                    prop_assert!(closed.until > now && closed.until <= now + MAX_CLOSED);
                }
            }
        }
        for (at, begun, ..) in &passed {
            let within = |instant: DateTime<Utc>, from: DateTime<Utc>, length: TimeDelta| {
                instant >= from && instant < from + length
            };
            let sum: u32 = passed.iter()
                .filter(|(other, ..)| within(*other, *at, TimeDelta::minutes(1)))
                .map(|(_, _, cost, _)| cost).sum();
            prop_assert!(sum <= points, "{sum} points in a minute");
            let begun_in_minute = passed.iter()
                .filter(|(_, other, _, write)| *write && within(*other, *begun, TimeDelta::minutes(1)))
                .count();
            prop_assert!(begun_in_minute <= minute as usize, "{begun_in_minute} writes in a minute");
            let in_hour = passed.iter()
                .filter(|(other, _, _, write)| *write && within(*other, *at, TimeDelta::hours(1)))
                .count();
            prop_assert!(in_hour <= hour as usize, "{in_hour} writes in an hour");
        }
    }
}
