//! How many spare databases of a template are worth their place.
//!
//! Pure: instants come in. As many as arrived at once, at worst, while one was cloned; and one, since
//! somebody is next. Refuses to forget a rush before an hour is over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a rush is remembered.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// What comes within this, comes at once: people push in the same minute, and not in the same second.
const AT_ONCE: Duration = Duration::from_secs(10);

/// How many spares there are at most, and how many arrivals are remembered.
const MOST: usize = 64;

/// What is known of the demand for one template.
#[derive(Debug, Default)]
pub(super) struct Demand {
    arrivals: VecDeque<Instant>,
    /// How long the last clone took.
    clone: Duration,
}

impl Demand {
    /// A preview wanted one.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.arrivals.push_back(now);
        if self.arrivals.len() > MOST {
            self.arrivals.pop_front();
        }
    }

    /// One more was made, in this time.
    pub(super) fn cloned_in(&mut self, took: Duration) {
        self.clone = took;
    }

    /// How many there should be: the most that came within the time that it takes to clone as many as
    /// came, over the last hour, and one.
    pub(super) fn wanted(&mut self, now: Instant) -> usize {
        while self.arrivals.front().is_some_and(|at| now.duration_since(*at) > REMEMBERED) {
            self.arrivals.pop_front();
        }
        let window = AT_ONCE.max(self.clone * 2);
        let within = |end: &Instant| {
            let since = |at: &&Instant| **at <= *end && end.duration_since(**at) <= window;
            self.arrivals.iter().filter(since).count()
        };
        (self.arrivals.iter().map(within).max().unwrap_or_default() + 1).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn one_is_kept_for_whoever_is_next() {
        assert_eq!(Demand::default().wanted(Instant::now()), 1);
    }

    #[test]
    fn a_rush_is_remembered_for_an_hour_and_then_forgotten() {
        let (begin, mut demand) = (Instant::now(), Demand::default());
        for second in [0, 1, 2, 100, 200] {
            demand.arrived(after(begin, second));
        }
        assert_eq!(demand.wanted(after(begin, 200)), 4, "three came within ten seconds");
        assert_eq!(demand.wanted(after(begin, 3_650)), 2);
        assert_eq!(demand.wanted(after(begin, 4_000)), 1);
    }

    #[test]
    fn what_takes_long_to_clone_is_kept_for_all_that_come_meanwhile() {
        let (begin, mut demand) = (Instant::now(), Demand::default());
        for second in [0, 20, 40] {
            demand.arrived(after(begin, second));
        }
        assert_eq!(demand.wanted(after(begin, 40)), 2);
        demand.cloned_in(Duration::from_secs(30));
        assert_eq!(demand.wanted(after(begin, 40)), 4);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let (begin, mut demand) = (Instant::now(), Demand::default());
        (0..1_000).for_each(|_| demand.arrived(begin));
        assert_eq!(demand.wanted(begin), MOST);
    }
}
