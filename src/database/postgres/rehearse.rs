//! Rehearsals: from the start of a revision's migrations to the report of what they did.
//!
//! The watch lives in this process's memory and ends with it; what the database itself tells does
//! not. Refuses to watch without a bound on how many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::watch::{PERIOD, Watcher};
use super::{PostgresDatabases, baseline, catalogue, history};
use crate::database::catalogue::Catalogue;
use crate::database::history::History;
use crate::database::{Password, Rehearsals, Seed};
use crate::fault::Fault;
use crate::preview::rehearsal::{Report, Rewrites, SchemaDiff, Since, Statement, Watch};
use crate::preview::{PreviewName, Revision};

/// How long each of the two looks of a report may take; both fit into a pass.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// How many watches are kept, those that have ended among them; each that goes on has a session.
const RUNS_MAX: usize = 16;

/// The migrations of one revision.
pub(super) struct Run {
    revision: Revision,
    /// The preview's catalogue when they began.
    before: Result<Catalogue, Fault>,
    watcher: Watcher,
}

/// The last migrations of each preview; the lock is held for no longer than a look.
pub(super) type Runs = Mutex<HashMap<PreviewName, Arc<Run>>>;

#[async_trait]
impl Rehearsals for PostgresDatabases {
    async fn watch(&self, name: &PreviewName, revision: &Revision) {
        let inner = &self.inner;
        let runs = || inner.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |run: &Arc<Run>| run.revision == *revision && run.watcher.is_running();
        if runs().get(name).is_some_and(goes_on) {
            return;
        }
        let before = catalogue::read(&inner.admin, &name.database()).await;
        let watcher = Watcher::start(inner, name).await;
        let mut runs = runs();
        runs.remove(name);
        if runs.len() >= RUNS_MAX {
            runs.retain(|_, run| run.watcher.is_running());
        }
        if runs.len() >= RUNS_MAX {
            tracing::warn!(preview = %name, "its migrations are not watched: too many at once");
            return;
        }
        runs.insert(name.clone(), Arc::new(Run { revision: revision.clone(), before, watcher }));
    }

    async fn report(&self, name: &PreviewName, revision: &Revision, seed: &Seed) -> Report {
        let inner = &self.inner;
        let run = inner.runs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let run = run.filter(|run| run.revision == *revision);
        if let Some(run) = &run {
            run.watcher.stop().await;
        }
        let after = in_time(catalogue::read(&inner.admin, &name.database())).await;
        // Begun, it is done: a template must not stay open, and the next report has it.
        let (own, of) = (inner.clone(), seed.clone());
        let template = tokio::spawn(async move { baseline::of(&own, &of).await });
        let ended = async { template.await.unwrap_or_else(|error| Err(late(error))) };
        let template = in_time(ended).await;
        let before = run.as_ref().and_then(|run| run.before.as_ref().ok());
        let (watch, statements) = match &run {
            Some(run) => watched(run, before.or(template.as_deref().ok())),
            None => (unwatched(), Vec::new()),
        };
        Report {
            revision: revision.clone(),
            watch,
            statements,
            rewrites: rewrites(before, &template, &after),
            schema: schema(&template, &after),
        }
    }

    async fn history(
        &self,
        name: &PreviewName,
        password: &Password,
    ) -> Result<Vec<History>, Fault> {
        history::read(&self.inner.admin, name, password).await
    }
}

/// Waits for a look, but not until the pass is over: what is late is told as not known.
async fn in_time<T>(look: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let in_time = tokio::time::timeout(LOOK_TIMEOUT, look).await;
    in_time.unwrap_or_else(|_| Err(late(format!("it took more than {LOOK_TIMEOUT:?}"))))
}

fn late(why: impl std::fmt::Display) -> Fault {
    Fault::transient("reading what the migrations left", why)
}

fn watched(run: &Run, known: Option<&Catalogue>) -> (Watch, Vec<Statement>) {
    let seen = run.watcher.seen();
    let statements = &seen.statements;
    let watch = Watch {
        samples: statements.samples(),
        period: PERIOD,
        left_out: statements.left_out(),
        gap: seen.gap.clone(),
    };
    (watch, statements.statements(known.unwrap_or(&Catalogue::default())))
}

fn unwatched() -> Watch {
    let gap = "nobody watched these migrations: the controller was started again since, another \
               replica has the watch, or there were too many at once";
    Watch { samples: 0, period: PERIOD, left_out: 0, gap: Some(gap.to_owned()) }
}

fn rewrites(
    before: Option<&Catalogue>,
    template: &Result<Arc<Catalogue>, Fault>,
    after: &Result<Catalogue, Fault>,
) -> Result<Rewrites, String> {
    let after = after.as_ref().map_err(Fault::to_string)?;
    let (from, since) = match before {
        Some(before) => (before, Since::Start),
        None => (template.as_ref().map_err(Fault::to_string)?.as_ref(), Since::Clone),
    };
    let strangers = || "the database is no clone of what it would be compared with".to_owned();
    from.rewrites(after, since).ok_or_else(strangers)
}

fn schema(
    template: &Result<Arc<Catalogue>, Fault>,
    after: &Result<Catalogue, Fault>,
) -> Result<SchemaDiff, String> {
    let template = template.as_ref().map_err(Fault::to_string)?;
    Ok(template.diff(after.as_ref().map_err(Fault::to_string)?))
}
