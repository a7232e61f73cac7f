//! The demo's room: stand-ins for what a laptop does not have.
//!
//! The production code talks to them as to the real thing. No production room may import anything
//! from here.

pub mod github;
pub mod postgres;
