//! Migrations in a cluster: one Job at a time, the newest, which stays with its log.
//!
//! Refuses to start a revision's Job twice, and to start one while a pod of another's may still be at
//! the database.

use serde_json::Value;

use super::KubernetesCluster;
use super::health::LogOf;
use super::jobs::{job, judge};
use super::kinds::Kind;
use super::look::{LOOKING, last_lines};
use super::marks::{MIGRATION, label, leaving};
use super::pods::{CONTAINER, migration_name, secret};
use crate::fault::{Fault, Progress};
use crate::preview::{Ended, MigrationSeen, MigrationState, PreviewName, Revision, Seen};
use crate::workload::{Shape, WorkloadOrder};

impl KubernetesCluster {
    /// Starts the Job of this revision, unless it is there.
    pub(super) async fn migrate(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        let doing = format!("migrating {name} at {}", order.revision.commit.short());
        let here = name.namespace();
        let Some(migrations) = &order.shape.migrations else {
            return Err(Fault::permanent(doing, "its repository has no workload.migrations"));
        };
        if order.shape.pod.image.is_none() {
            let why = "its repository has no workload.image; configure one, pinned by digest";
            return Err(Fault::permanent(doing, why));
        }
        self.enter(name, &doing).await?;
        let all = self.calls.list(&doing, Kind::Job, Some(&here), MIGRATION).await?;
        let wanted = migration_name(&order.revision);
        let of_want = |live: &Value| live["metadata"]["name"] == wanted.as_str();
        for other in all.iter().filter(|live| !of_want(live)) {
            self.calls.delete(&doing, Kind::Job, Some(&here), other).await?;
        }
        // Until it is seen gone, its controller may still make a pod of it.
        if all.iter().any(|live| !of_want(live)) {
            let what = "migrations: those of the commit before are being ended";
            return Ok(Progress::Underway(what.to_owned()));
        }
        match all.iter().find(|live| of_want(live)) {
            Some(live) if leaving(live).is_none() => return Ok(Progress::Done),
            Some(_) => {
                let what = "migrations: their Job of before is being taken away";
                return Ok(Progress::Underway(what.to_owned()));
            }
            None => {}
        }
        let pods = self.calls.list(&doing, Kind::Pod, Some(&here), MIGRATION).await?;
        let is_over =
            |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if !pods.iter().all(is_over) {
            let what = "migrations: those of the commit before are being ended";
            return Ok(Progress::Underway(what.to_owned()));
        }
        let secret = secret(&self.config, name, &order.database_urls());
        self.calls.apply(&doing, Kind::Secret, Some(&here), &secret).await?;
        self.bring_secrets(&doing, name, &order.shape).await?;
        let job = job(&self.config, name, order, migrations);
        self.calls.apply(&doing, Kind::Job, Some(&here), &job).await?;
        Ok(Progress::Done)
    }

    /// How far the newest Job is; its pods are asked, and their log where they failed.
    pub(super) async fn look_at_migration(
        &self,
        here: &str,
        shape: &Shape,
    ) -> Result<Seen<MigrationSeen>, Fault> {
        let Some(migrations) = &shape.migrations else { return Ok(Seen::Absent) };
        let all = self.calls.list(LOOKING, Kind::Job, Some(here), MIGRATION).await?;
        let stays = all.iter().filter(|live| leaving(live).is_none());
        // As the API server writes instants, the latest one is the last in order.
        let newest = stays.max_by_key(|live| live["metadata"]["creationTimestamp"].as_str());
        let found = newest.and_then(|live| Some((live, Revision::parse(label(live, MIGRATION)?)?)));
        let Some((live, revision)) = found else { return Ok(Seen::Absent) };
        let labels = format!("{MIGRATION}={revision}");
        let pods = self.calls.list(LOOKING, Kind::Pod, Some(here), &labels).await?;
        let state = match judge(live, &pods, migrations) {
            (MigrationState::Ended(Ended::Failed { why, .. }), Some(pod)) => {
                let of = LogOf { pod, container: CONTAINER.to_owned(), previous: false };
                let log = last_lines(&self.calls, here, &of).await;
                MigrationState::Ended(Ended::Failed { why, log })
            }
            (state, _) => state,
        };
        Ok(Seen::Present(MigrationSeen { revision, state }))
    }
}
