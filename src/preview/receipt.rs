//! The teardown receipt: what each backend answered when it was asked after the removal.
//!
//! Refuses to be written from what was done; it is made only of what was seen.

use chrono::{DateTime, Utc};

use super::name::{PreviewName, Suffix};
use super::notice::Told;
use super::observed::{Observed, Seen};

/// One backend's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    /// What was asked for: `database`.
    pub what: String,
    /// Its name: `pr_7`.
    pub name: String,
    /// The answer: `not there`, or who holds the name.
    pub answer: String,
}

/// Proof that nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the backends were asked.
    pub asked_at: DateTime<Utc>,
    /// Their answers.
    pub lines: Vec<ReceiptLine>,
}

impl Receipt {
    /// Makes the receipt, unless something of ours is or may be left.
    pub fn of(
        seen: &Observed,
        name: &PreviewName,
        suffix: &Suffix,
        asked_at: DateTime<Utc>,
    ) -> Option<Self> {
        let seen_told = seen.told.clone();
        let records = seen.records.iter();
        let records = records.map(|(host, seen)| ("DNS record", host.full(suffix), seen.clone()));
        let asked = [
            ("route", name.host(suffix), seen.route.without_detail()),
            ("namespace", name.namespace(), seen.namespace.without_detail()),
            ("database", name.database(), seen.database.without_detail()),
            ("role", name.role(), seen.role.clone()),
            ("deployment", name.namespace(), seen.deployment.clone()),
        ];
        let lines = records
            .chain(asked)
            .map(|(what, name, seen)| {
                let answer = match seen {
                    Seen::Absent if what == "deployment" && seen_told == Told::Never => {
                        "none was ever announced".to_owned()
                    }
                    Seen::Absent if what == "deployment" => "none active".to_owned(),
                    Seen::Absent => "not there".to_owned(),
                    Seen::Foreign(whose) => format!("not ours, left alone: {whose}"),
                    Seen::Present(()) | Seen::Leaving(_) | Seen::Unknown(_) => return None,
                };
                Some(ReceiptLine { what: what.to_owned(), name, answer })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { asked_at, lines })
    }

    /// One line per backend, for people.
    pub fn sentences(&self) -> Vec<String> {
        self.lines.iter().map(|l| format!("{} {}: {}", l.what, l.name, l.answer)).collect()
    }
}
