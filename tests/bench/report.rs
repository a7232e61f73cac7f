//! What was measured, as a table for people and as JSON for whoever compares runs.
//!
//! Refuses to say "held" of a goal without the baseline of the same run beside it.

use std::fmt::Write as _;

use serde::Serialize;

/// Several rounds of one figure: the median speaks, the rest says how sure that is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of at least one round.
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        Self { median, least: rounds[0], most: rounds[rounds.len() - 1] }
    }
}

/// A time in milliseconds.
pub fn milliseconds(of: std::time::Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}

/// The least of these that so many of a hundred do not exceed; of fewer than a hundred, the 99th is the most.
pub fn percentile(mut of: Vec<f64>, of_hundred: usize) -> f64 {
    of.sort_by(f64::total_cmp);
    let at = (of.len() * of_hundred).div_ceil(100).max(1) - 1;
    of.get(at).copied().unwrap_or(f64::NAN)
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, by: f64) -> bool {
        match self {
            Self::AtLeast(least) => by >= least,
            Self::AtMost(most) => by <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which row of docs/performance.md.
    pub number: &'static str,
    pub what: String,
    /// `None` where measuring failed before it was known what.
    pub goal: Option<Goal>,
    /// What it is measured against, in its own unit; empty where the goal is absolute.
    pub baseline: String,
    pub ours: String,
    /// `None`: not run.
    pub figure: Option<Spread>,
    pub held: Option<bool>,
}

impl Row {
    pub fn new(
        number: &'static str,
        what: &str,
        goal: Goal,
        (baseline, ours): (String, String),
        figure: Spread,
    ) -> Self {
        let held = Some(goal.is_met(figure.median));
        let goal = Some(goal);
        Self { number, what: what.to_owned(), goal, baseline, ours, figure: Some(figure), held }
    }

    /// What this machine cannot measure, and why.
    pub fn not_run(number: &'static str, what: &str, goal: Goal, why: &str) -> Self {
        let (what, ours, goal) = (what.to_owned(), why.to_owned(), Some(goal));
        Self { number, what, goal, baseline: String::new(), ours, figure: None, held: None }
    }

    /// What was begun, and came to nothing.
    pub fn failed(number: &'static str, why: &anyhow::Error) -> Self {
        let (what, ours) = ("this row, and those measured with it".to_owned(), format!("{why:#}"));
        Self { number, what, goal: None, baseline: String::new(), ours, figure: None, held: None }
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub cores: usize,
    pub quick: bool,
    /// How much of the machine others had meanwhile, from 0 to 1.
    pub foreign_cpu: f64,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn table(&self) -> String {
        let mut lines = vec![
            ["#", "what", "goal", "baseline", "ours", "figure (least … most)", "held"]
                .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let figure =
                |it: Spread| format!("{:.2} ({:.2} … {:.2})", it.median, it.least, it.most);
            [
                row.number.to_owned(),
                row.what.clone(),
                row.goal.map(Goal::text).unwrap_or_default(),
                row.baseline.clone(),
                row.ours.clone(),
                row.figure.map(figure).unwrap_or_default(),
                match row.held {
                    Some(true) => "held",
                    Some(false) => "NOT HELD",
                    None => "not run",
                }
                .to_owned(),
            ]
        }));
        let width = |column: usize| lines.iter().map(|it| it[column].chars().count()).max();
        let widths: Vec<_> = (0..lines[0].len()).map(|at| width(at).unwrap_or_default()).collect();
        let mut text = String::new();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "{cell:<width$}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        let foreign = self.foreign_cpu * 100.0;
        let _ =
            writeln!(text, "\n{} cores; others had {foreign:.0} % of them meanwhile", self.cores);
        text
    }
}
