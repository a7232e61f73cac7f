//! The demo's room: stand-ins for what a laptop does not have, and the story that is told with
//! them.
//!
//! The production code talks to the stand-ins as to the real thing. No production room may import
//! anything from here; the command line opens the door.

pub mod github;
pub mod leftovers;
pub mod place;
pub mod postgres;
pub mod screen;
pub mod script;
pub mod stage;
pub mod story;
mod visitor;
mod watch;
pub mod witness;
