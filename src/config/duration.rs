//! Durations as people write them: `90m`, `36h`, `2d`, `P3D`.
//!
//! Refuses negative ones, and months and years, whose length nobody agrees on.

use chrono::TimeDelta;
use jiff::{Span, SpanRelativeTo};

/// The longest duration that anything here takes, in days.
pub const MAX_DAYS: i64 = 3650;

/// Parses a duration; a day is 24 hours.
pub fn parse(text: &str) -> Result<TimeDelta, String> {
    let bad = || format!("{text:?} is not a duration such as 90m, 36h or 2d");
    let span: Span = text.trim().parse().map_err(|_| bad())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("{text:?}: use days, hours, minutes or seconds"));
    }
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    let length = TimeDelta::try_milliseconds(i64::try_from(length.as_millis()).map_err(|_| bad())?)
        .ok_or_else(bad)?;
    if length < TimeDelta::zero() {
        return Err(format!("{text:?} is negative"));
    }
    if length > TimeDelta::days(MAX_DAYS) {
        return Err(format!("{text:?} is longer than {MAX_DAYS} days"));
    }
    Ok(length)
}

/// Writes a duration for people, to the second: `2d 4h`.
pub fn human(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let words: Vec<_> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .take(2)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}
