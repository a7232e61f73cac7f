//! The demo's room: what a machine without a cluster, a database server and a forge needs to show
//! the whole of Mayfly.
//!
//! No production room may import anything from here.

pub mod postgres;
