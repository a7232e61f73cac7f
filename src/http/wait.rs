//! Waiting until a preview's URL serves a commit: what a workflow does before it tests the preview.
//!
//! Only reads, but for two doubts: a commit that nobody has heard of makes the loop read the pull
//! request again, and a URL that does not serve what it should makes it look. Refuses to take yesterday's
//! look for an answer, and to wait for what cannot come any more.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::dto::PreviewDto;
use super::error::{Path, Problem, Query};
use super::previews::find;
use super::{AppState, uncached};
use crate::config::duration;
use crate::ledger::Preview;
use crate::preview::{CommitSha, Desired, Phase, Reason};

/// How long to wait where nobody says.
const USUAL: Duration = Duration::from_secs(5 * 60);

/// The longest wait: below the hour after which proxies tend to cut a connection that is silent.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 60);

/// How many wait at once in one process.
const WAITING: usize = 128;

/// How often one waiter looks at most: passes of other previews wake it too.
const GAP: Duration = Duration::from_millis(250);

/// How soon what another replica recorded is seen; what this one did is seen after [`GAP`] at most.
const POLL: Duration = Duration::from_secs(1);

/// How long the URL may take to answer, where it is asked once more.
const ASK: Duration = Duration::from_secs(10);

static PLACES: Semaphore = Semaphore::const_new(WAITING);

/// What to wait for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// The full commit id that the URL has to serve.
    sha: String,
    /// How long to wait at most: `90s`, `10m`; 5 minutes by default, 30 at most.
    timeout: Option<String>,
}

/// How a wait stands.
enum Stand {
    Served,
    Never(Problem),
    NotYet { heard_of: bool },
}

/// Waits until the URL serves a commit: 200 when it does, 409 at once when it never will (another
/// commit was pushed, or the preview is going), 504 when the time is over.
#[utoipa::path(get, path = "/api/v1/previews/{id}/wait", tag = "previews",
    params(("id" = String, Path, description = "The id, or the name: pr-7"), WaitQuery),
    security(("token" = [])),
    responses((status = 200, body = PreviewDto), (status = "4XX", body = Problem,
        content_type = "application/problem+json"), (status = "5XX", body = Problem,
        content_type = "application/problem+json")))]
pub(super) async fn wait(
    State(site): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let sha = CommitSha::parse(&query.sha).ok_or_else(|| {
        Problem::unprocessable("sha: must be a full commit id, 40 or 64 hexadecimal digits")
    })?;
    let deadline = Instant::now() + patience(query.timeout.as_deref())?;
    let _place = PLACES.try_acquire().map_err(|_| Problem::busy())?;
    let mut doubted = false;
    loop {
        let mut instead = None;
        // Before the look: what is recorded meanwhile is not missed.
        let recorded = site.reconciler.recorded.notified();
        let preview = find(&site, &id).await?;
        match stand(&site, &preview, &sha).await? {
            Stand::Served => match ask(&site, &preview, &sha).await {
                Ok(()) => {
                    return Ok(uncached(axum::Json(PreviewDto::of(&preview, &site.reconciler))));
                }
                Err(why) => {
                    tracing::info!(preview = %preview.name, why, "Ready, and not served");
                    instead = Some(why);
                    let (reconciler, now) = (&site.reconciler, site.reconciler.clock.now());
                    reconciler.ledger.poke_named(&preview.name, now).await?;
                    reconciler.wake.notify_one();
                }
            },
            Stand::Never(problem) => return Err(problem),
            Stand::NotYet { heard_of: false } if !doubted => {
                let now = site.reconciler.clock.now();
                doubted = site.reconciler.ledger.doubt_again(preview.id, now).await?;
                site.reconciler.wake.notify_one();
            }
            Stand::NotYet { .. } => {}
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(late(&preview, &sha, instead));
        }
        let woken = async {
            tokio::time::sleep(GAP).await;
            recorded.await;
        };
        let _ = tokio::time::timeout_at(deadline.min(now + POLL), woken).await;
    }
}

/// What a pass saw may be minutes ago: the URL is asked again, whatever is left of the time.
async fn ask(site: &AppState, preview: &Preview, sha: &CommitSha) -> Result<(), String> {
    let asked = site.reconciler.serves(preview, sha);
    let late = |_| Err(format!("the URL did not answer within {} s", ASK.as_secs()));
    tokio::time::timeout(ASK, asked).await.unwrap_or_else(late)
}

async fn stand(site: &AppState, preview: &Preview, sha: &CommitSha) -> Result<Stand, Problem> {
    let reconciler = &site.reconciler;
    let (head, wanted) = (&preview.memory.facts.head, preview.memory.commit());
    if wanted != sha {
        if head == sha {
            let why = format!("somebody went back from it to {wanted}");
            return Ok(Stand::Never(Problem::conflict(why)));
        }
        if reconciler.ledger.was_head(preview.id, sha).await? {
            let why = format!("superseded: the head is {head} now");
            return Ok(Stand::Never(Problem::conflict(why)));
        }
        return Ok(Stand::NotYet { heard_of: false });
    }
    let policy = reconciler.repository_of(preview).map(|repository| &repository.policy);
    let desired = policy.map(|policy| preview.memory.desired(policy, reconciler.clock.now()));
    Ok(match desired {
        Some(Desired::Up(_)) if preview.phase == Phase::Ready => Stand::Served,
        // A person may still approve it.
        None | Some(Desired::Up(_) | Desired::Down(Reason::AwaitingApproval)) => {
            Stand::NotYet { heard_of: true }
        }
        Some(Desired::Down(reason)) => {
            let why = format!("it will not be served: {}", reason.as_str().replace('_', " "));
            Stand::Never(Problem::conflict(why))
        }
    })
}

fn patience(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    let refuse = |why: String| Problem::unprocessable(format!("timeout: {why}"));
    let given = duration::parse(text.trim()).map_err(|why| refuse(why.to_string()))?;
    let given = given.to_std().map_err(|_| refuse("must not be negative".to_owned()))?;
    if given > LONGEST {
        return Err(refuse("is longer than 30m; ask again after that".to_owned()));
    }
    Ok(given)
}

fn late(preview: &Preview, sha: &CommitSha, instead: Option<String>) -> Problem {
    let head = preview.memory.commit();
    if head != sha {
        return Problem::late(format!(
            "nobody has heard of {sha}: the head is {head}; see that this is the pull request's own \
             head, and not a merge commit"
        ));
    }
    if let Some(instead) = instead {
        return Problem::late(format!("{sha} is not served at this moment: {instead}"));
    }
    let phase = preview.phase.as_str();
    Problem::late(format!("{sha} is not served yet: {phase}; {}", preview.outlook))
}
