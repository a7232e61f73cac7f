//! How each part of a preview stands, for people, the API and metrics.
//!
//! A projection of what was seen. Refuses to be written by anyone, or to be read to decide what to do.

use chrono::{DateTime, Utc};

use super::desired::Desired;
use super::migration::{Ended, MigrationState};
use super::notice::{Notice, Told};
use super::observed::{
    Confirmation, Health, ImageSeen, Observed, Resolution, Seen, Served, Standing,
};
use super::parity::Parity;
use super::revision::Revision;

/// A part of a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The pull request itself: have we read it since it last changed?
    PullRequest,
    /// The image of the wanted commit, by digest.
    Image,
    /// The namespace.
    Namespace,
    /// The database and its role.
    Database,
    /// The migrations of the wanted revision.
    Migrations,
    /// The workload at the wanted revision.
    Workload,
    /// The route to that revision.
    Route,
    /// The DNS record, asked of a resolver.
    Dns,
    /// The commit that the public URL serves.
    Served,
    /// Whether it differs from production in more than values. Keeps nothing from being served.
    Parity,
    /// What the pull request was told.
    Notice,
}

impl Part {
    /// Every part, in the order in which people read them.
    pub const ALL: [Part; 11] = [
        Part::PullRequest,
        Part::Image,
        Part::Namespace,
        Part::Database,
        Part::Migrations,
        Part::Workload,
        Part::Route,
        Part::Dns,
        Part::Served,
        Part::Parity,
        Part::Notice,
    ];

    /// The part's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PullRequest => "PullRequest",
            Self::Image => "Image",
            Self::Namespace => "Namespace",
            Self::Database => "Database",
            Self::Migrations => "Migrations",
            Self::Workload => "Workload",
            Self::Route => "Route",
            Self::Dns => "Dns",
            Self::Served => "Served",
            Self::Parity => "Parity",
            Self::Notice => "Notice",
        }
    }

    /// Whether Ready is more than what can be said without it: the word to the pull request follows,
    /// and what differs from production keeps nothing from being served.
    pub fn is_of_ready(self) -> bool {
        !matches!(self, Self::Notice | Self::Parity)
    }

    /// Reads [`Part::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == text)
    }
}

/// Whether a part is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is there as wanted.
    True,
    /// It is not.
    False,
    /// We could not tell.
    Unknown,
}

impl Status {
    /// The status's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads [`Status::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::True, Self::False, Self::Unknown].into_iter().find(|s| s.as_str() == text)
    }
}

/// How one part stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which part.
    pub part: Part,
    /// Whether it is there.
    pub status: Status,
    /// A sentence for people; empty where there is nothing to add.
    pub message: String,
    /// Since when the status is this one.
    pub since: DateTime<Utc>,
}

/// How each part stands, keeping `since` of those in `before` whose status did not change.
pub fn conditions(
    desired: &Desired,
    seen: &Observed,
    now: DateTime<Utc>,
    before: &[Condition],
) -> Vec<Condition> {
    let want = match desired {
        Desired::Up(spec) => Some(&spec.revision),
        Desired::Down(_) => None,
    };
    let states = [
        (
            Part::PullRequest,
            match &seen.pull {
                Confirmation::Confirmed => (Status::True, String::new()),
                Confirmation::Unconfirmed(why) => (Status::Unknown, why.clone()),
            },
        ),
        (
            Part::Image,
            match &seen.image {
                _ if want.is_none() => (Status::True, "none is needed".to_owned()),
                ImageSeen::Known => (Status::True, String::new()),
                ImageSeen::Awaited(why) | ImageSeen::Refused(why) => (Status::False, why.clone()),
            },
        ),
        (
            Part::Namespace,
            state(&seen.namespace, |it| (!it.fenced).then(|| "its fences are not up".to_owned())),
        ),
        (
            Part::Database,
            match state(&seen.database, |db| (!db.ready).then(|| "being made".to_owned())) {
                (Status::True, _) => state(&seen.role, |()| None),
                other => other,
            },
        ),
        (Part::Migrations, migrations(want, seen)),
        (
            Part::Workload,
            state(&seen.workload, |workload| match &workload.health {
                _ if want.is_some_and(|want| *want != workload.revision) => {
                    Some(format!("runs {}", workload.revision.commit.short()))
                }
                Health::Ready => None,
                Health::Progressing(why) | Health::Dead(why) => Some(why.clone()),
                Health::Failing { why, log } => Some(with_log(why, log)),
            }),
        ),
        (
            Part::Route,
            state(&seen.route, |route| match &route.revision {
                None => Some("leads to no revision yet, or was changed by somebody".to_owned()),
                Some(to) if want.is_some_and(|want| want != to) => {
                    Some(format!("leads to {}", to.commit.short()))
                }
                Some(_) => match &route.standing {
                    Standing::Served => None,
                    Standing::Awaited(why) | Standing::Refused(why) => Some(why.clone()),
                },
            }),
        ),
        (
            Part::Dns,
            match (&seen.record, &seen.resolution) {
                (Seen::Present(()) | Seen::Absent, Resolution::Right { .. }) if want.is_some() => {
                    (Status::True, String::new())
                }
                (
                    Seen::Present(()) | Seen::Absent,
                    Resolution::NotYet(why) | Resolution::Wrong(why),
                ) if want.is_some() => (Status::False, why.clone()),
                (record, _) => state(record, |()| None),
            },
        ),
        (
            Part::Served,
            match &seen.served {
                _ if want.is_none() => (Status::False, "nothing is to be served".to_owned()),
                Served::Right => (Status::True, String::new()),
                Served::NotYet(why) | Served::Wrong(why) => (Status::False, why.clone()),
            },
        ),
        (
            Part::Parity,
            match &seen.parity {
                _ if want.is_none() => (Status::True, String::new()),
                Parity::Same => (Status::True, String::new()),
                Parity::Differs(what) => (Status::False, what.clone()),
                Parity::Unknown(why) => (Status::Unknown, why.clone()),
            },
        ),
        (
            Part::Notice,
            match &seen.told {
                Told::Never => (Status::False, "nothing said yet".to_owned()),
                Told::Unsure => (Status::Unknown, "said, but not known whether heard".to_owned()),
                Told::Said(notice) => match (notice, want) {
                    (Notice::Ready { revision, .. }, Some(want)) if revision == want => {
                        (Status::True, String::new())
                    }
                    (_, Some(_)) => (Status::False, "not told yet".to_owned()),
                    (Notice::Gone { .. } | Notice::AwaitingApproval { .. }, None) => {
                        (Status::True, String::new())
                    }
                    (_, None) => (Status::False, "not told yet".to_owned()),
                },
            },
        ),
    ];
    states
        .into_iter()
        .map(|(part, (status, message))| {
            let since = before
                .iter()
                .find(|old| old.part == part && old.status == status)
                .map_or(now, |old| old.since);
            Condition { part, status, message, since }
        })
        .collect()
}

/// Says of the part that a failed step was about why it is not there.
pub fn blame(conditions: &mut [Condition], part: Part, why: &str) {
    let missing = |c: &&mut Condition| c.part == part && c.status != Status::True;
    if let Some(condition) = conditions.iter_mut().find(missing) {
        condition.message = why.to_owned();
    }
}

/// Where nothing is to be migrated, nothing is missing.
fn migrations(want: Option<&Revision>, seen: &Observed) -> (Status, String) {
    let (Some(want), Some(migrations)) = (want, &seen.migrations) else {
        return (Status::True, "none are to run".to_owned());
    };
    match (&migrations.remembered, &migrations.run) {
        (Some(Ended::Done), _) => (Status::True, String::new()),
        (Some(Ended::Failed { why, log }), _) => (Status::False, with_log(why, log)),
        (None, Seen::Absent) => (Status::False, "not run yet".to_owned()),
        (None, run) => state(run, |run| match &run.state {
            _ if run.revision != *want => Some(format!("ran for {}", run.revision.commit.short())),
            MigrationState::Running(why) | MigrationState::Stuck(why) => Some(why.clone()),
            MigrationState::Ended(_) => Some("ended; their report is being written".to_owned()),
        }),
    }
}

fn with_log(why: &str, log: &str) -> String {
    if log.is_empty() { why.to_owned() } else { format!("{why}\n{log}") }
}

fn state<T>(seen: &Seen<T>, flaw: impl Fn(&T) -> Option<String>) -> (Status, String) {
    match seen {
        Seen::Absent => (Status::False, "not there".to_owned()),
        Seen::Present(value) => match flaw(value) {
            None => (Status::True, String::new()),
            Some(why) => (Status::False, why),
        },
        Seen::Leaving(why) => (Status::False, format!("on its way out: {why}")),
        Seen::Foreign(whose) => (Status::False, format!("not ours: {whose}")),
        Seen::Unknown(why) => (Status::Unknown, why.clone()),
    }
}
