//! The mass-teardown brake: how many previews may be doubted or expire at once.
//!
//! Every positive fact can be wrong in bulk: a listing that answers an empty page, a clock that
//! jumps. This file refuses to let one such mistake empty the fleet.

/// A brake holds when more than this many previews, or [`MAX_SHARE_PERCENT`] of all, would go.
pub const MAX_COUNT: u64 = 5;

/// See [`MAX_COUNT`]; the larger of both counts.
pub const MAX_SHARE_PERCENT: u64 = 20;

/// How many of `live` previews may go at once.
pub fn allowance(live: u64) -> u64 {
    MAX_COUNT.max(live.saturating_mul(MAX_SHARE_PERCENT) / 100)
}

/// Whether taking `going` of `live` previews at once is more than a person would expect.
pub fn holds(live: u64, going: u64) -> bool {
    going > allowance(live)
}
