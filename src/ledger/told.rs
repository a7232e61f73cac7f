//! What a pull request was told, as it is written into its `jsonb` column, and read back.
//!
//! A word that is added here must be readable before anybody writes it: the version before goes on
//! serving while the next one rolls out. A new field has a default.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::shapes::{bad, commit, kept, reason};
use crate::preview::{Choice, CommitSha, Notice, Revision, Told};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToldShape {
    Never,
    Unsure,
    Preparing {
        commit: String,
    },
    Ready {
        revision: String,
        #[serde(default)]
        choice: ChoiceShape,
        expires_at: DateTime<Utc>,
        expiring: bool,
    },
    Failing {
        commit: String,
        why: String,
        serves: Option<String>,
    },
    Blocked {
        conflict: String,
    },
    AwaitingApproval {
        commit: String,
    },
    Stopping {
        reason: String,
    },
    Gone {
        reason: String,
    },
}

impl ToldShape {
    pub(super) fn of(told: &Told) -> Self {
        let notice = match told {
            Told::Never => return Self::Never,
            Told::Unsure => return Self::Unsure,
            Told::Said(notice) => notice,
        };
        match notice {
            Notice::Preparing { commit } => Self::Preparing { commit: commit.to_string() },
            Notice::Ready { revision, choice, expires_at, expiring } => Self::Ready {
                revision: revision.to_string(),
                choice: ChoiceShape::of(choice),
                expires_at: *expires_at,
                expiring: *expiring,
            },
            Notice::Failing { commit, why, serves } => Self::Failing {
                commit: commit.to_string(),
                why: kept(why),
                serves: serves.as_ref().map(CommitSha::to_string),
            },
            Notice::Blocked { conflict } => Self::Blocked { conflict: kept(conflict) },
            Notice::AwaitingApproval { commit } => {
                Self::AwaitingApproval { commit: commit.to_string() }
            }
            Notice::Stopping { reason } => Self::Stopping { reason: reason.as_str().to_owned() },
            Notice::Gone { reason } => Self::Gone { reason: reason.as_str().to_owned() },
        }
    }

    pub(super) fn told(self) -> Result<Told, LedgerError> {
        let notice = match self {
            Self::Never => return Ok(Told::Never),
            Self::Unsure => return Ok(Told::Unsure),
            Self::Preparing { commit: sha } => {
                Notice::Preparing { commit: commit("told.commit", &sha)? }
            }
            Self::Ready { revision, choice, expires_at, expiring } => Notice::Ready {
                revision: Revision::parse(&revision).ok_or_else(|| bad("told", &revision))?,
                choice: choice.choice(),
                expires_at,
                expiring,
            },
            Self::Failing { commit: sha, why, serves } => Notice::Failing {
                commit: commit("told.commit", &sha)?,
                why,
                serves: serves.map(|sha| commit("told.serves", &sha)).transpose()?,
            },
            Self::Blocked { conflict } => Notice::Blocked { conflict },
            Self::AwaitingApproval { commit: sha } => {
                Notice::AwaitingApproval { commit: commit("told.commit", &sha)? }
            }
            Self::Stopping { reason: word } => Notice::Stopping { reason: reason(&word)? },
            Self::Gone { reason: word } => Notice::Gone { reason: reason(&word)? },
        };
        Ok(Told::Said(notice))
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct ChoiceShape {
    tier: Option<String>,
    passed_over: Vec<String>,
    flags: BTreeMap<String, bool>,
}

impl ChoiceShape {
    fn of(choice: &Choice) -> Self {
        Self {
            tier: choice.tier.clone(),
            passed_over: choice.passed_over.clone(),
            flags: choice.flags.clone(),
        }
    }

    fn choice(self) -> Choice {
        Choice { tier: self.tier, passed_over: self.passed_over, flags: self.flags }
    }
}
