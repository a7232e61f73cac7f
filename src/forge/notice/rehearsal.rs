//! What migrations did, in one paragraph of a comment.
//!
//! Refuses to say all of it, which is the API's, and to leave out that something is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quoted;
use crate::preview::rehearsal::{Change, Lock, Report, SchemaDiff, Took};

/// One paragraph about what the migrations did.
pub(super) fn paragraph(report: &Report) -> String {
    let mut parts = vec![statements(report)];
    parts.extend(strongest(report).map(lock));
    match &report.rewrites {
        Ok(rewrites) if rewrites.tables.is_empty() => parts.push("no table rewritten".to_owned()),
        Ok(rewrites) => {
            let mut names: Vec<_> = rewrites.tables.iter().take(3).map(|it| quoted(it)).collect();
            let more = rewrites.tables.len() - names.len();
            if more > 0 {
                names.push(format!("{more} more"));
            }
            let count = counted(rewrites.tables.len(), "table");
            parts.push(format!("{count} rewritten ({})", names.join(", ")));
        }
        Err(_) => {}
    }
    match &report.schema {
        Ok(diff) => parts.push(schema(diff)),
        Err(_) => parts.push("schema: not compared".to_owned()),
    }
    let caveat = match &report.watch.gap {
        _ if !report.is_partial() => String::new(),
        Some(gap) => format!(" This is not all of it: {}.", quoted(gap)),
        None => " This is not all of it; the API says what is missing.".to_owned(),
    };
    format!("**Migrations:** {}.{caveat}", parts.join("; "))
}

fn statements(report: &Report) -> String {
    let listed = report.statements.len();
    let left_out = usize::try_from(report.watch.left_out).unwrap_or(usize::MAX);
    if listed == 0 {
        return "no statement was seen".to_owned();
    }
    let total: Duration = report.statements.iter().map(|it| it.took.duration()).sum();
    let exact = report.statements.iter().all(|it| matches!(it.took, Took::Exactly(_)));
    let least = if exact && left_out == 0 { "" } else { "at least " };
    let count = counted(listed.saturating_add(left_out), "statement");
    format!("{count}, {least}{}", seconds(total))
}

fn strongest(report: &Report) -> Option<&Lock> {
    report.statements.iter().filter_map(|it| it.strongest()).max_by_key(|lock| lock.mode)
}

fn lock(lock: &Lock) -> String {
    let mode = lock.mode.as_str().trim_end_matches("Lock");
    let stops = match lock.mode {
        mode if mode.stops_reads() => " (stops reads)",
        mode if mode.stops_writes() => " (stops writes)",
        _ => "",
    };
    format!("strongest lock `{mode}` on {}{stops}", quoted(&lock.relation))
}

/// `schema: +2 columns, -1 index, 1 table altered`.
fn schema(diff: &SchemaDiff) -> String {
    let mut counts = BTreeMap::new();
    for change in &diff.changes {
        let sign = match change.change {
            Change::Added(_) => 0,
            Change::Removed(_) => 1,
            Change::Altered { .. } => 2,
        };
        *counts.entry((sign, change.kind)).or_insert(0_usize) += 1;
    }
    let mut words: Vec<_> = counts
        .into_iter()
        .map(|((sign, kind), count)| {
            let what = counted(count, kind.as_str());
            match sign {
                0 => format!("+{what}"),
                1 => format!("-{what}"),
                _ => format!("{what} altered"),
            }
        })
        .collect();
    if diff.left_out > 0 {
        words.push(format!("{} more", counted(diff.left_out, "change")));
    }
    match words.is_empty() {
        true => "schema: as the seed's".to_owned(),
        false => format!("schema: {}", words.join(", ")),
    }
}

fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y'), what.strip_suffix("ex")) {
        (1, ..) => format!("1 {what}"),
        (_, Some(stem), _) => format!("{count} {stem}ies"),
        (_, _, Some(_)) => format!("{count} {what}es"),
        _ => format!("{count} {what}s"),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::rehearsal::{
        LockMode, ObjectKind, Rewrites, SchemaChange, Since, Statement, Watch,
    };
    use crate::preview::{CommitSha, Revision};

    fn report() -> Report {
        let lock = |mode| Lock { relation: "shop.orders".to_owned(), mode };
        let statement = |millis, mode| Statement {
            text: "ALTER TABLE".to_owned(),
            times: 1,
            took: Took::Exactly(Duration::from_millis(millis)),
            waited: Duration::ZERO,
            locks: vec![lock(mode)],
            waits_for: None,
        };
        let added = |kind| SchemaChange {
            kind,
            name: "shop.orders.x".to_owned(),
            change: Change::Added("x".to_owned()),
        };
        let commit = CommitSha::parse(&"a".repeat(40)).expect("it is forty digits");
        Report {
            revision: Revision { commit, restart: 0 },
            watch: Watch { samples: 9, period: Duration::from_millis(15), left_out: 0, gap: None },
            statements: vec![
                statement(900, LockMode::AccessExclusive),
                statement(300, LockMode::Share),
            ],
            rewrites: Ok(Rewrites {
                since: Since::Start,
                tables: vec!["shop.orders".to_owned()],
                indexes: vec![],
            }),
            schema: Ok(SchemaDiff {
                changes: vec![
                    added(ObjectKind::Column),
                    added(ObjectKind::Column),
                    added(ObjectKind::Index),
                ],
                left_out: 0,
            }),
        }
    }

    #[test]
    fn a_report_is_one_paragraph_of_what_people_ask_first() {
        assert_eq!(
            paragraph(&report()),
            "**Migrations:** 2 statements, 1.2 s; strongest lock `AccessExclusive` on \
             `shop.orders` (stops reads); 1 table rewritten (`shop.orders`); schema: +2 columns, \
             +1 index."
        );
    }

    #[test]
    fn what_is_missing_is_said_and_is_no_markup() {
        let mut report = report();
        report.watch.gap = Some("lost `it` <b>".to_owned());
        report.schema = Err("no template".to_owned());
        report.statements.clear();
        let text = paragraph(&report);
        assert!(text.contains("no statement was seen"), "{text}");
        assert!(text.contains("schema: not compared"), "{text}");
        assert!(text.ends_with("This is not all of it: `lost 'it' <b>`."), "{text}");
    }
}
