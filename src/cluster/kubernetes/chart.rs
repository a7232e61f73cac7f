//! Runs a team's chart: applies its objects as one release, looks at it, and takes it away.
//!
//! `release` says what is written down, `rollout` how it is doing. Refuses to apply what the gate has
//! not taken: an order holds only such objects.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::KubernetesCluster;
use super::health::{is_patient, of_pods};
use super::kinds::Kind;
use super::look::{LOOKING, last_lines};
use super::marks::{APPLIED, REVISION, annotation, label};
use super::pods::secret;
use super::release::{OF_RELEASE, RELEASE, Release, marked};
use super::rollout::{self, Live, Verdict};
use crate::fault::Fault;
use crate::preview::observed::{Health, WorkloadSeen};
use crate::preview::{PreviewName, Seen};
use crate::workload::{Chart, ObjectRef, Shape, WorkloadOrder};

impl KubernetesCluster {
    /// Applies what a chart was rendered to, and prunes what it no longer has.
    pub(super) async fn deploy(
        &self,
        doing: &str,
        name: &PreviewName,
        order: &WorkloadOrder,
        chart: &Chart,
    ) -> Result<(), Fault> {
        let here = name.namespace();
        let found = self.calls.get(doing, Kind::ConfigMap, Some(&here), RELEASE).await?;
        let before = found.as_ref().map(|it| Release::read(it).ok_or_else(|| unreadable(doing)));
        let before = before.transpose()?;
        let now = self.now_milliseconds();
        let fingerprint = fingerprint(&order.shape, chart);
        let secrets = self.bring_secrets(doing, name, &order.shape).await?;
        let same = |it: &&Release| it.revision == order.revision && it.fingerprint == fingerprint;
        if let (Some(anchor), Some(it)) = (&found, before.as_ref().filter(same))
            && !it.stale.is_empty()
            && self.is_replaced(&here, anchor, it).await?
        {
            // All that takes its place is ready: what is no longer rendered goes.
            self.prune(doing, &here, &it.stale).await?;
            let pruned = Release { stale: vec![], ..before.expect("it was just looked at") };
            let anchor = pruned.object(&self.config, name, now);
            return self.calls.apply(doing, Kind::ConfigMap, Some(&here), &anchor).await;
        }
        let mut release = Release::begun(order, fingerprint, secrets, before);
        let mut waves = [Vec::new(), Vec::new()];
        for object in &order.objects {
            let reference = object.reference();
            let Some(kind) = Kind::of_chart(&reference) else {
                return Err(Fault::permanent(doing, format!("{reference} is not taken")));
            };
            let secrets = release.secrets.as_deref();
            let wanted = marked(&self.config, name, &order.revision, secrets, (kind, object));
            waves[usize::from(kind.has_pods())].push((kind, wanted));
        }
        let anchor = release.object(&self.config, name, now);
        self.calls.apply(doing, Kind::ConfigMap, Some(&here), &anchor).await?;
        let database = secret(&self.config, name, &order.database_urls());
        self.calls.apply(doing, Kind::Secret, Some(&here), &database).await?;
        // What pods read is there before the pods.
        for wave in &waves {
            let calls = wave.iter().map(|(kind, wanted)| self.bring(doing, &here, *kind, wanted));
            try_join_all(calls).await?;
        }
        release.whole = true;
        let anchor = release.object(&self.config, name, now);
        self.calls.apply(doing, Kind::ConfigMap, Some(&here), &anchor).await
    }

    /// Whether everything of a release is ready but for what it no longer has.
    async fn is_replaced(
        &self,
        here: &str,
        anchor: &Value,
        release: &Release,
    ) -> Result<bool, Fault> {
        let live = self.live(LOOKING, here, release).await?;
        let verdict = rollout::judge(release, anchor, &live, self.now_milliseconds());
        Ok(matches!(verdict, Verdict::Known(Health::Dead(why)) if why == rollout::STALE))
    }

    /// Applies one object. A Job cannot be changed: another one takes its place.
    async fn bring(
        &self,
        doing: &str,
        here: &str,
        kind: Kind,
        wanted: &Value,
    ) -> Result<(), Fault> {
        if kind == Kind::Job {
            let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
            let live = self.calls.get(doing, kind, Some(here), name).await?;
            let same = |live: &&Value| annotation(live, APPLIED) == annotation(wanted, APPLIED);
            if let Some(other) = live.as_ref().filter(|live| !same(live)) {
                self.calls.delete(doing, kind, Some(here), other).await?;
            }
        }
        match self.calls.apply(doing, kind, Some(here), wanted).await {
            Err(fault) if fault.why.contains("immutable") => {
                self.replace(doing, here, kind, wanted, fault).await
            }
            applied => applied,
        }
    }

    /// Puts an object in the place of one that cannot become it, unless pods of that are served.
    async fn replace(
        &self,
        doing: &str,
        here: &str,
        kind: Kind,
        wanted: &Value,
        refused: Fault,
    ) -> Result<(), Fault> {
        if matches!(kind, Kind::Deployment | Kind::StatefulSet) {
            let cure = "what cannot be changed wants another name; or stop and start the preview";
            return Err(Fault::permanent(doing, format!("{}; {cure}", refused.why)));
        }
        let name = &wanted["metadata"]["name"];
        self.calls
            .delete(doing, kind, Some(here), &json!({ "metadata": { "name": name } }))
            .await?;
        self.calls.apply(doing, kind, Some(here), wanted).await
    }

    /// Deletes objects of a release. Of a Secret only the name is known, since none is read.
    async fn prune(&self, doing: &str, here: &str, objects: &[ObjectRef]) -> Result<(), Fault> {
        // By Services others see that something is there: they go last.
        let (services, others): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object.kind == "Service");
        for object in others.into_iter().chain(services) {
            let Some(kind) = Kind::of_chart(object) else { continue };
            let found = match kind {
                Kind::Secret => Some(json!({ "metadata": { "name": object.name } })),
                _ => self.calls.get(doing, kind, Some(here), &object.name).await?,
            };
            let ours = |it: &Value| kind == Kind::Secret || label(it, OF_RELEASE).is_some();
            if let Some(found) = found.filter(ours) {
                self.calls.delete(doing, kind, Some(here), &found).await?;
            }
        }
        Ok(())
    }

    /// Takes a release away, its own object last.
    pub(super) async fn withdraw(&self, doing: &str, here: &str) -> Result<(), Fault> {
        let found = self.calls.get(doing, Kind::ConfigMap, Some(here), RELEASE).await?;
        let Some(anchor) = found else { return Ok(()) };
        if let Some(release) = Release::read(&anchor) {
            self.prune(doing, here, &[release.objects, release.stale].concat()).await?;
        }
        self.calls.delete(doing, Kind::ConfigMap, Some(here), &anchor).await
    }

    /// How a release is doing.
    pub(super) async fn look_at_release(
        &self,
        name: &PreviewName,
        (shape, chart): (&Shape, &Chart),
        secrets: Option<&str>,
    ) -> Result<Seen<WorkloadSeen>, Fault> {
        let here = &name.namespace();
        let found = self.calls.get(LOOKING, Kind::ConfigMap, Some(here), RELEASE).await?;
        let Some(anchor) = found else { return Ok(Seen::Absent) };
        let Some(release) = Release::read(&anchor) else { return Ok(Seen::Absent) };
        let now = self.now_milliseconds();
        let other = release.fingerprint != fingerprint(shape, chart);
        // A version that cannot be told is no reason to touch what runs.
        let renewed = secrets.is_some() && release.secrets.as_deref() != secrets;
        let health = if (other || renewed) && !is_patient(&anchor, now) {
            let what = if other { "chart" } else { "secrets" };
            Health::Dead(format!("the configuration changed its {what}"))
        } else {
            let live = self.live(LOOKING, here, &release).await?;
            match rollout::judge(&release, &anchor, &live, now) {
                Verdict::Known(health) => health,
                Verdict::AskPods(unready) => {
                    let health = self.ask_pods(here, (&release, &anchor), &unready).await?;
                    self.external_complaint(name, shape).await?.unwrap_or(health)
                }
            }
        };
        let others = self.calls.list(LOOKING, Kind::Deployment, Some(here), REVISION).await?;
        let others = !others.is_empty();
        Ok(Seen::Present(WorkloadSeen { revision: release.revision, health, others }))
    }

    /// Everything that is live of the kinds of a release. Secrets are not read.
    async fn live(&self, doing: &str, here: &str, release: &Release) -> Result<Vec<Live>, Fault> {
        let kinds: HashSet<_> = release.objects.iter().filter_map(Kind::of_chart).collect();
        let kinds = kinds.into_iter().filter(|kind| *kind != Kind::Secret);
        let lists = kinds.map(async |kind| {
            let all = self.calls.list(doing, kind, Some(here), OF_RELEASE).await?;
            Ok::<_, Fault>((kind, all))
        });
        try_join_all(lists).await
    }

    /// The worst of what the pods of these say.
    async fn ask_pods(
        &self,
        here: &str,
        (release, anchor): (&Release, &Value),
        unready: &[&Value],
    ) -> Result<Health, Fault> {
        let now = self.now_milliseconds();
        let mut worst: Option<Health> = None;
        for live in unready {
            if let Some(why) = rollout::failed_job(live) {
                return Ok(Health::Failing { why, log: String::new() });
            }
            let labels = rollout::pods_of(live);
            let mut pods = self.calls.list(LOOKING, Kind::Pod, Some(here), &labels).await?;
            pods.retain(|pod| rollout::is_of(pod, live));
            let name = live["metadata"]["name"].as_str().unwrap_or_default();
            let named = |why: String| format!("{name}: {why}");
            let (health, complaint) = of_pods(live, &pods, now);
            match health {
                Health::Failing { why, log } => {
                    let log = match complaint.and_then(|it| it.log_of) {
                        Some(of) => last_lines(&self.calls, here, &of).await,
                        None => log,
                    };
                    return Ok(Health::Failing { why: named(why), log });
                }
                Health::Dead(why) => {
                    let detail = complaint.map_or_else(String::new, |it| it.detail);
                    worst = Some(match release.brings(&detail) {
                        true if is_patient(anchor, now) => Health::Progressing(named(why)),
                        true => Health::Dead(named(why)),
                        // Applying it again brings no Secret that the chart itself does not have.
                        false => {
                            return Ok(Health::Failing { why: named(why), log: detail });
                        }
                    });
                }
                Health::Progressing(why) if worst.is_none() => {
                    worst = Some(Health::Progressing(named(why)));
                }
                Health::Progressing(_) | Health::Ready => {}
            }
        }
        Ok(worst.unwrap_or_else(|| Health::Progressing("its pods are being started".to_owned())))
    }
}

/// Changes with the configuration of the chart, and with what labels chose of it.
fn fingerprint(shape: &Shape, chart: &Chart) -> String {
    chart.fingerprint(&format!("{:?}{:?}", shape.tier, shape.flags))
}

fn unreadable(doing: &str) -> Fault {
    let why = format!(
        "somebody changed the ConfigMap {RELEASE}, which says what belongs to the chart; delete the \
         preview, and push or start it again"
    );
    Fault::permanent(doing, why)
}
