//! The same as pictures: how far each figure is from its goal, an SVG for each row and one for all.
//!
//! On a logarithmic scale with the goal in the middle; a line from the least to the most of the rounds.
//! Refuses to stretch what is out of the picture: it ends at the border.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::report::{Goal, Report, Row, Spread};

const LABELS: f64 = 560.0;
const SCALE: f64 = 360.0;
const LINE: f64 = 22.0;

/// How far the picture goes on both sides of a goal: to a sixteenth and to sixteen times of it.
const REACH: f64 = 16.0;

/// Writes them beside the report.
pub fn write(report: &Report, place: &Path) -> Result<()> {
    let run = || report.rows.iter().filter_map(|row| Some((row, row.figure?)));
    std::fs::write(place.join("all.svg"), svg(&run().collect::<Vec<_>>()))?;
    let mut numbers: Vec<_> = run().map(|(row, _)| row.number).collect();
    numbers.dedup();
    for number in numbers {
        let rows: Vec<_> = run().filter(|(row, _)| row.number == number).collect();
        std::fs::write(place.join(format!("row-{number}.svg")), svg(&rows))?;
    }
    Ok(())
}

fn svg(rows: &[(&Row, Spread)]) -> String {
    let (width, height) = (LABELS + SCALE + 20.0, LINE * (rows.len() as f64 + 2.0));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for times in [1.0 / 16.0, 0.25, 1.0, 4.0, 16.0] {
        let (x, end) = (place(times), height - 4.0);
        let (colour, label) = match times {
            1.0 => ("#333", "goal".to_owned()),
            less if less < 1.0 => ("#ddd", format!("÷ {}", 1.0 / less)),
            more => ("#ddd", format!("× {more}")),
        };
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{LINE}\" x2=\"{x:.1}\" y2=\"{end}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"15\" text-anchor=\"middle\" fill=\"#333\">{label}</text>"
        );
    }
    for (at, (row, figure)) in rows.iter().enumerate() {
        let y = LINE * (at as f64 + 1.7);
        let colour = if row.held == Some(true) { "#1a7f37" } else { "#cf222e" };
        let [least, median, most] =
            [figure.least, figure.median, figure.most].map(|it| place(share(row, it)));
        let what = escaped(&format!("{}  {}", row.number, row.what));
        let _ = writeln!(
            text,
            "<text x=\"8\" y=\"{:.1}\" fill=\"#111\">{what}</text>\
             <line x1=\"{least:.1}\" y1=\"{y:.1}\" x2=\"{most:.1}\" y2=\"{y:.1}\" \
             stroke=\"{colour}\" stroke-width=\"2\"/>\
             <circle cx=\"{median:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>",
            y + 4.0
        );
    }
    text.push_str("</svg>\n");
    text
}

/// A figure as a share of its goal. A goal of nothing is met by nothing alone.
fn share(row: &Row, figure: f64) -> f64 {
    let Some(Goal::AtLeast(goal) | Goal::AtMost(goal)) = row.goal else { return f64::NAN };
    if goal > 0.0 { figure / goal } else { 1.0 + figure }
}

fn place(times: f64) -> f64 {
    let times = if times.is_finite() { times.clamp(1.0 / REACH, REACH) } else { REACH };
    LABELS + SCALE / 2.0 * (1.0 + times.log(REACH))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
