//! What teams run: their charts rendered by the real helm and kubectl, and the gate that judges what
//! comes of it.

mod bounds;
mod fuzz;
mod gate;
mod leaks;
pub mod programs;
mod pull;
mod rendering;
