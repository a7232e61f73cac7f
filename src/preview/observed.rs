//! What a look at the world found, one answer per part.
//!
//! Refuses to guess: a look that failed is [`Seen::Unknown`], which is neither there nor not
//! there, and nothing acts on it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::host::Host;
use super::migration::MigrationsSeen;
use super::notice::Told;
use super::parity::Parity;
use super::revision::Revision;

/// One answer of one backend about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// The backend was asked and said: not here.
    Absent,
    /// It is here, it is ours, and this is what it looks like.
    Present(T),
    /// It is ours and on its way out; the text says what it waits for.
    Leaving(String),
    /// Something of this name is here that does not carry our stamp.
    Foreign(String),
    /// We do not know; the text says why.
    Unknown(String),
}

impl<T> Seen<T> {
    /// The present value, if it was seen.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the backend positively said that it is not here.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether a foreign thing holds the name.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }

    /// Whether nothing of ours is there: positively absent, or somebody else's.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Absent | Self::Foreign(_))
    }

    /// The same answer about something of the present value.
    pub fn map<U>(&self, of: impl FnOnce(&T) -> U) -> Seen<U> {
        match self {
            Self::Absent => Seen::Absent,
            Self::Present(value) => Seen::Present(of(value)),
            Self::Leaving(why) => Seen::Leaving(why.clone()),
            Self::Foreign(whose) => Seen::Foreign(whose.clone()),
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }

    /// The same answer with less detail.
    pub fn without_detail(&self) -> Seen<()> {
        self.map(|_| ())
    }
}

/// A preview's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSeen {
    /// Whether everything stands in it that has to be there before anything runs: limits, network
    /// policies, an identity without rights.
    pub fenced: bool,
}

/// A preview's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// Whether it is whole: seeded, granted, and open to its role.
    pub ready: bool,
    /// The data generation that it was made for; `None` when it was never finished, and so never
    /// used.
    pub generation: Option<u32>,
    /// Whether a login that nothing should use any more may still be open.
    pub stale_login: bool,
}

/// How the wanted workload is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers its readiness probe.
    Ready,
    /// On its way, or waiting to be started again; the text says what for.
    Progressing(String),
    /// It does not become ready, and most likely will not until a person changes something.
    Failing {
        /// What is wrong and what to do about it, in words that stay the same while it stays wrong.
        why: String,
        /// The last lines that it wrote; may be empty, and changes from look to look.
        log: String,
    },
    /// Not as it was ordered, or nothing runs; nobody will mend it unless we do.
    Dead(String),
}

/// The workload that was last asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSeen {
    /// What was asked for.
    pub revision: Revision,
    /// How it is doing.
    pub health: Health,
    /// Whether something of another revision is there too: what is served until the route moves,
    /// or what was served before.
    pub others: bool,
}

/// The route of the public host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    /// The revision that it leads to; `None` when it is not as we made it.
    pub revision: Option<Revision>,
    /// What whoever serves routes says of it.
    pub standing: Standing,
}

/// What whoever serves routes says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is served.
    Served,
    /// Nothing yet; the text says who is waited for.
    Awaited(String),
    /// It will not be served until a person changes something; the text says why.
    Refused(String),
}

/// Whether the public host leads reviewers to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Every authoritative server and the configured resolver say so.
    Right {
        /// The addresses to which a browser connects.
        addresses: BTreeSet<IpAddr>,
    },
    /// Not yet, or not known; the text says what it waits for.
    NotYet(String),
    /// It leads elsewhere; the text says where, and the cure.
    Wrong(String),
}

/// Whether the image of the wanted commit is known by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSeen {
    /// It is, or none is needed.
    Known,
    /// Not yet: it may still be built, or its registry could not be asked. The text says which.
    Awaited(String),
    /// It will not be until a person changes something; the text says what.
    Refused(String),
}

/// What the public URL answers, asked as a browser asks: through DNS, the route and TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The wanted commit.
    Right,
    /// Something else, or nothing, so far; the text says what.
    NotYet(String),
    /// The same, for so long that a person has to look; the text says what, and the cure.
    Wrong(String),
}

/// Whether the facts in hand are what the forge says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The pull request was read after the last hint that it changed.
    Confirmed,
    /// It could not be read; the text says why.
    Unconfirmed(String),
}

impl Observed {
    /// Whether every backend was asked and holds nothing of ours.
    pub fn holds_nothing(&self) -> bool {
        self.record.is_gone()
            && self.route.is_gone()
            && self.namespace.is_gone()
            && self.database.is_gone()
            && self.role.is_gone()
            && self.deployment.is_gone()
    }

    /// The first part whose name somebody else holds.
    pub fn conflict(&self) -> Option<String> {
        let parts = [
            ("namespace", self.namespace.without_detail()),
            ("database", self.database.without_detail()),
            ("role", self.role.clone()),
            ("route", self.route.without_detail()),
            ("DNS record", self.record.clone()),
        ];
        parts.into_iter().find_map(|(part, seen)| match seen {
            Seen::Foreign(whose) => Some(format!("{part}: {whose}")),
            _ => None,
        })
    }
}

/// All that one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Whether the facts can be acted upon where that cannot be undone.
    pub pull: Confirmation,
    /// The image of the wanted commit.
    pub image: ImageSeen,
    /// The namespace.
    pub namespace: Seen<NamespaceSeen>,
    /// The database.
    pub database: Seen<DatabaseSeen>,
    /// The database's role.
    pub role: Seen<()>,
    /// The migrations of the wanted revision; `None` where it has none to run.
    pub migrations: Option<MigrationsSeen>,
    /// The workload.
    pub workload: Seen<WorkloadSeen>,
    /// The route.
    pub route: Seen<RouteSeen>,
    /// The DNS records that we wrote, as one: see [`super::together::records`].
    pub record: Seen<()>,
    /// Each of them, the preview's own first.
    pub records: Vec<(Host, Seen<()>)>,
    /// Whether the public host resolves as it should.
    pub resolution: Resolution,
    /// Whether the public URL serves the wanted commit.
    pub served: Served,
    /// Whether the forge still shows an active deployment of this preview.
    pub deployment: Seen<()>,
    /// What the pull request was last told.
    pub told: Told,
    /// How it compares with production.
    pub parity: Parity,
}
