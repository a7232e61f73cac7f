//! What the process says about itself: logs, metrics, and spans where somebody collects them.
//!
//! Refuses to label a metric with anything that a contributor can choose, and to log a secret.

pub mod logs;
pub mod metrics;
mod openmetrics;
mod process;
pub mod traces;

pub use logs::{LogFormat, init_logs};
pub use metrics::Metrics;
pub use openmetrics::Exposition;
pub use traces::{OtlpConfig, Spans};
