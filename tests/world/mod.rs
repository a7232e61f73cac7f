//! The world in which the loop is tested: stateful fakes of the four seams.

// Each fake offers more ways to fail and to look than today's tests use.
#![allow(dead_code)]

pub mod cluster;
pub mod database;
pub mod dns;
pub mod faults;
pub mod forge;
pub mod postgres;
