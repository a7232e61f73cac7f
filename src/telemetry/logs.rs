//! Log lines: text for people, or one JSON object a line, which holds the span that it is in.
//!
//! Refuses to choose what is logged: that is `MAYFLY_LOG`.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::traces::Spans;

/// What is logged where `MAYFLY_LOG` says nothing, and what is sent to a collector always.
const LEVELS: &str = "info,sqlx=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error, and spans to where they are collected, if anywhere; the level
/// comes from `MAYFLY_LOG` (for example `info`, or `mayfly=debug`).
pub fn init_logs(format: LogFormat, spans: Option<&Spans>) {
    let levels = std::env::var("MAYFLY_LOG").ok();
    // A second call, as in tests, changes nothing.
    let _ = subscriber(format, levels.as_deref(), std::io::stderr, spans).try_init();
}

/// What [`init_logs`] installs, over any writer. Levels that cannot be read are the default ones.
pub fn subscriber<W>(
    format: LogFormat,
    levels: Option<&str>,
    writer: W,
    spans: Option<&Spans>,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let levels = levels.and_then(|levels| EnvFilter::try_new(levels).ok());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Levels choose lines. Our spans are in a line's scope whatever its level, so that a warning
    // names its preview; and fewer lines are not fewer spans for the collector.
    let ours = filter_fn(|about| {
        about.is_span() && about.target().starts_with("mayfly") && *about.level() <= Level::INFO
    });
    let levels = levels.unwrap_or_else(|| EnvFilter::new(LEVELS));
    let levels = ours.with_max_level_hint(LevelFilter::INFO).or(levels);
    Registry::default()
        .with(lines.with_filter(levels))
        .with(spans.map(|spans| spans.layer().with_filter(EnvFilter::new(LEVELS))))
}
