//! The world in which the loop is tested: stateful fakes of the four seams.

pub mod cluster;
pub mod faults;
