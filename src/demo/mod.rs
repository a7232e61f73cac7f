//! The demo's room: stand-ins for what a laptop does not have.
//!
//! The production code talks to them as to the real thing. Refuses to be imported by any other
//! room.

pub mod github;
