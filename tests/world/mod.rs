//! The world in which the loop is tested: stateful fakes of the four seams.

pub mod faults;
pub mod forge;
