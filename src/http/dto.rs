//! What the API says, field by field.
//!
//! Refuses to let the domain's own types out, so that they can change without breaking a client,
//! and to show a secret.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::ledger::{Entry, Preview};
use crate::preview::{PullState, Receipt, Told};
use crate::reconcile::Reconciler;

/// One preview.
#[derive(Serialize, ToSchema)]
pub struct PreviewDto {
    /// Its identifier; the name works wherever this does.
    id: Uuid,
    /// The name of its namespace: `pr-7`.
    name: String,
    /// `acme/shop`.
    repository: String,
    /// The pull request's number.
    number: u32,
    /// The pull request's title.
    title: String,
    /// The pull request's author.
    author: String,
    /// `open`, `closed` or `merged`.
    pull_request: &'static str,
    /// The commit at the tip of the pull request.
    head: String,
    /// The commit that a person went back to, which runs instead of the head; `null` usually.
    rolled_back_to: Option<String>,
    /// The tier that its labels choose; `null` where its repository has none.
    tier: Option<String>,
    /// Tiers that its labels ask for too, and do not get: the first in the configuration goes before.
    tiers_passed_over: Vec<String>,
    /// Its repository's feature flags, and whether its labels switch them on.
    flags: BTreeMap<String, bool>,
    /// One word: `Starting`, `Ready`, `Updating`, `Stopping`, `Gone` …
    phase: &'static str,
    /// The URL; it serves `head` when the phase is `Ready`.
    url: String,
    /// The URL of each component that has a host of its own, by its name.
    components: BTreeMap<String, String>,
    /// How each part stands.
    conditions: Vec<ConditionDto>,
    /// What is being done or waited for; empty when there is nothing to do.
    plan: String,
    /// The last pass's fault, if it ended in one.
    last_error: Option<String>,
    /// When the loop looks again; `null` when only an event wakes it.
    next_look_at: Option<DateTime<Utc>>,
    /// When it expires unless somebody pushes or extends; `null` when it is not up.
    expires_at: Option<DateTime<Utc>>,
    /// Exempt from expiry by inactivity.
    pinned: bool,
    /// Stopped by a person.
    stopped: bool,
    /// The commit of a fork that a person approved.
    approved: Option<String>,
    /// Why it is being removed, or was; `null` when it is not.
    going_for: Option<&'static str>,
    /// What the pull request was told: `nothing`, `unsure`, `said`.
    told: &'static str,
    /// When it was first learned.
    created_at: DateTime<Utc>,
    /// When its row last changed.
    updated_at: DateTime<Utc>,
}

/// How one part stands.
#[derive(Serialize, ToSchema)]
pub struct ConditionDto {
    /// `PullRequest`, `Image`, `Namespace`, `Database`, `Migrations`, `Workload`, `Route`, `Dns`,
    /// `Served`, `Parity` or `Notice`.
    part: &'static str,
    /// `True`, `False` or `Unknown`.
    status: &'static str,
    /// Why, where there is something to add.
    message: String,
    /// Since when the status is this one.
    since: DateTime<Utc>,
}

impl PreviewDto {
    pub(super) fn of(preview: &Preview, reconciler: &Reconciler) -> Self {
        let site = &reconciler.site;
        let repository = reconciler.repository_of(preview);
        let choice = repository.map(|it| preview.memory.choice(&it.policy)).unwrap_or_default();
        let facts = &preview.memory.facts;
        let overrides = &preview.memory.overrides;
        Self {
            id: preview.id,
            name: preview.name.namespace(),
            repository: preview.repository.full_name(),
            number: facts.key.number.get(),
            title: facts.title.clone(),
            author: facts.author.clone(),
            pull_request: match facts.state {
                PullState::Open => "open",
                PullState::Closed => "closed",
                PullState::Merged => "merged",
            },
            head: facts.head.to_string(),
            rolled_back_to: (preview.memory.commit() != &facts.head)
                .then(|| preview.memory.commit().to_string()),
            tier: choice.tier,
            tiers_passed_over: choice.passed_over,
            flags: choice.flags,
            phase: preview.phase.as_str(),
            url: site.url(&preview.name),
            components: reconciler.components(preview),
            conditions: preview
                .conditions
                .iter()
                .map(|condition| ConditionDto {
                    part: condition.part.as_str(),
                    status: condition.status.as_str(),
                    message: condition.message.clone(),
                    since: condition.since,
                })
                .collect(),
            plan: preview.outlook.clone(),
            last_error: preview.last_error.clone(),
            next_look_at: preview.wake_at,
            expires_at: preview.expires_at,
            pinned: overrides.pinned,
            stopped: overrides.stopped,
            approved: overrides.approved.as_ref().map(ToString::to_string),
            going_for: preview.going.map(|going| going.reason.as_str()),
            told: match preview.told {
                Told::Never => "nothing",
                Told::Unsure => "unsure",
                Told::Said(_) => "said",
            },
            created_at: preview.created_at,
            updated_at: preview.updated_at,
        }
    }
}

/// A page of previews.
#[derive(Serialize, ToSchema)]
pub struct PreviewPage {
    /// The previews, in the order in which they were learned.
    pub(super) previews: Vec<PreviewDto>,
    /// Give this as `cursor` to get the next page; `null` on the last.
    pub(super) next_cursor: Option<Uuid>,
}

/// Which previews to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only this repository: `acme/shop`.
    pub(super) repository: Option<String>,
    /// Only this phase.
    pub(super) phase: Option<String>,
    /// Only this author's.
    pub(super) author: Option<String>,
    /// Where the last page ended.
    pub(super) cursor: Option<Uuid>,
    /// How many, 1 to 200; 50 by default.
    pub(super) limit: Option<i64>,
}

/// Proof that nothing is left.
#[derive(Serialize, ToSchema)]
pub struct ReceiptDto {
    /// The preview.
    name: String,
    /// When the backends were asked.
    asked_at: DateTime<Utc>,
    /// What each answered.
    answers: Vec<AnswerDto>,
}

/// One backend's answer.
#[derive(Serialize, ToSchema)]
pub struct AnswerDto {
    /// What was asked for: `database`.
    what: String,
    /// Its name: `pr_7`.
    name: String,
    /// The answer: `not there`.
    answer: String,
}

impl ReceiptDto {
    pub(super) fn of(preview: &Preview, receipt: &Receipt) -> Self {
        Self {
            name: preview.name.namespace(),
            asked_at: receipt.asked_at,
            answers: receipt
                .lines
                .iter()
                .map(|line| AnswerDto {
                    what: line.what.clone(),
                    name: line.name.clone(),
                    answer: line.answer.clone(),
                })
                .collect(),
        }
    }
}

/// One thing that happened to a preview.
#[derive(Serialize, ToSchema)]
pub struct EntryDto {
    /// Its place in the order.
    id: i64,
    /// When.
    at: DateTime<Utc>,
    /// Who: `mayfly`, `github`, `sweep`, or a token's name.
    actor: String,
    /// What: a step, `phase`, `learned`, `extend` …
    action: String,
    /// Why, or how it ended; empty when it simply succeeded.
    reason: String,
    /// The webhook delivery behind it.
    delivery_id: Option<String>,
}

impl From<Entry> for EntryDto {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            reason: entry.reason,
            delivery_id: entry.delivery_id,
        }
    }
}

/// A page of a preview's journal.
#[derive(Serialize, ToSchema)]
pub struct JournalDto {
    /// What happened, oldest first.
    pub(super) entries: Vec<EntryDto>,
    /// Give this as `cursor` to get the next page; `null` on the last.
    pub(super) next_cursor: Option<i64>,
}

/// Which part of a journal.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JournalQuery {
    /// Where the last page ended.
    pub(super) cursor: Option<i64>,
    /// How many, 1 to 200; 100 by default.
    pub(super) limit: Option<i64>,
}

/// How long to extend.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// A duration such as `90m`, `24h` or `2d`.
    #[schema(example = "24h")]
    pub(super) by: String,
}

/// What an extension gave.
#[derive(Serialize, ToSchema)]
pub struct ExtendedDto {
    /// The preview.
    pub(super) preview: PreviewDto,
    /// When it expires now.
    pub(super) expires_at: DateTime<Utc>,
    /// Whether the maximum life cut the extension short.
    pub(super) clamped: bool,
    /// The same in words.
    pub(super) message: String,
}

/// Which commit to approve.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The full commit id, which has to be the pull request's head.
    pub(super) sha: String,
}

/// How the brake stands.
#[derive(Serialize, ToSchema)]
pub struct BrakeDto {
    /// When it last held something back.
    pub(super) engaged_at: Option<DateTime<Utc>>,
    /// Until when a person let everything pass.
    pub(super) released_until: Option<DateTime<Utc>>,
}
