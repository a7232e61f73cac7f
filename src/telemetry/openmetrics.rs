//! The two texts in which metrics are read: OpenMetrics, and Prometheus' older one.
//!
//! They differ in where a counter's `_total` stands and in the last line. Refuses to know a metric.

use std::collections::HashSet;

/// Which text a reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which `promtool` and older readers take.
    Plain,
}

impl Exposition {
    /// The one for this `Accept` header: who does not ask for OpenMetrics may not know it.
    pub fn accepted(header: &str) -> Self {
        match header.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Rewrites what `prometheus_client` encodes, which is OpenMetrics.
    pub(super) fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Plain => plain(&openmetrics),
        }
    }
}

/// OpenMetrics calls a counter `passes` and its sample `passes_total`; the older text calls both
/// `passes_total`.
fn plain(openmetrics: &str) -> String {
    let counters: HashSet<_> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT "))
    {
        let about = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        match about.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(name) => {
                text.push_str(&format!("# {kind} {name}_total {rest}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn a_counter_has_one_name_in_the_older_text() {
        let open =
            "# HELP a_b Things.\n# TYPE a_b counter\na_b_total 1\n# TYPE c gauge\nc 2\n# EOF\n";
        let plain = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total 1\n\
                     # TYPE c gauge\nc 2\n";
        assert_eq!(Exposition::Plain.of(open.to_owned()), plain);
        assert_eq!(Exposition::OpenMetrics.of(open.to_owned()), open);
    }
}
