//! What is ordered to run: the built-in shape, or what the team's chart renders to.
//!
//! Read-only. Refuses an object that the gate has not taken; a chart that does not render is told in
//! the words of whoever rendered it, and what runs goes on.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::forge::Forge;
use crate::preview::{PreviewName, PullNumber, Revision, Site};
use crate::repository::Repository;
use crate::workload::chart::{
    BASE, ChartSource, Facts, RenderError, RenderErrorKind, RenderLimits, SecretKey, Tools, render,
};
use crate::workload::gate::{GatePolicy, admit};
use crate::workload::{self, Chart, DatabaseUrls, Object, WorkloadOrder};

/// How many refusals are told; the others are counted.
const MOST_REFUSALS: usize = 5;

/// What renders charts, and what may come of it.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The programs.
    pub tools: Tools,
    /// What one rendering may take.
    pub limits: RenderLimits,
    /// The registries, as images' names have them, that images may come from.
    pub registries: Vec<String>,
}

/// One preview at one revision.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its repository, with the image of the commit.
    pub repository: &'a Repository,
    /// The preview.
    pub name: &'a PreviewName,
    /// The pull request.
    pub number: PullNumber,
    /// What is to run.
    pub revision: &'a Revision,
    /// Where it finds its databases.
    pub databases: &'a DatabaseUrls,
}

impl Renderer {
    /// Orders it.
    ///
    /// # Errors
    /// Permanent where the chart, the values or the configuration are wrong; transient where the forge
    /// or a registry could not be asked.
    pub async fn order(
        &self,
        wanted: Wanted<'_>,
        site: &Site,
        (forge, cluster): (&dyn Forge, &dyn Cluster),
    ) -> Result<WorkloadOrder, Fault> {
        let Wanted { repository, name, revision, databases, .. } = wanted;
        let shape = &repository.shape;
        let mut order = workload::order(shape, name, &site.suffix, revision, &databases.own);
        order.databases.clone_from(&databases.components);
        if let Some(chart) = &shape.chart {
            order.objects = self.objects(wanted, chart, site, (forge, cluster)).await?;
        }
        Ok(order)
    }

    async fn objects(
        &self,
        wanted: Wanted<'_>,
        chart: &Chart,
        site: &Site,
        (forge, cluster): (&dyn Forge, &dyn Cluster),
    ) -> Result<Vec<Object>, Fault> {
        let doing = format!("rendering the chart of {}", wanted.name);
        let reference = &wanted.repository.reference;
        // Only Helm has values.
        let base = match chart.source {
            ChartSource::Helm { .. } => forge.base_file(reference, wanted.number, BASE).await?,
            ChartSource::Kustomize { .. } | ChartSource::Manifests { .. } => None,
        };
        // For charts that ask; helm has an idea of its own where it is not known.
        let version = cluster.kubernetes().await.present().cloned();
        let facts = Facts { kubernetes_version: version, ..facts(wanted, site) };
        let rendered =
            render(&chart.source, base.as_deref(), &facts, &self.limits, &self.tools).await;
        let objects = rendered.and_then(|rendered| rendered.without_hooks());
        let objects = objects.map_err(|error| fault(&doing, &error))?;
        let policy = GatePolicy {
            namespace: wanted.name.namespace(),
            service_account: workload::SERVICE_ACCOUNT.to_owned(),
            registries: self.registries.clone(),
            persistent_volumes: false,
            service: Some(chart.service.clone()),
        };
        admit(objects, &policy).map_err(|refusals| {
            let mut told: Vec<_> =
                refusals.iter().take(MOST_REFUSALS).map(ToString::to_string).collect();
            if refusals.len() > told.len() {
                told.push(format!("and {} more", refusals.len() - told.len()));
            }
            Fault::permanent(&doing, format!("it may not be applied: {}", told.join("; ")))
        })
    }
}

fn facts(wanted: Wanted<'_>, site: &Site) -> Facts {
    let shape = &wanted.repository.shape;
    Facts {
        repository: wanted.repository.reference.full_name(),
        namespace: wanted.name.namespace(),
        host: wanted.name.host(&site.suffix),
        url: site.url(wanted.name),
        number: wanted.number,
        commit: wanted.revision.commit.clone(),
        database: SecretKey {
            name: workload::DATABASE_SECRET.to_owned(),
            key: workload::DATABASE_VARIABLE.to_owned(),
        },
        image: shape.pod.image.clone(),
        images: BTreeMap::new(),
        tier: shape.tier.clone(),
        flags: shape.flags.clone(),
        kubernetes_version: None,
    }
}

fn fault(doing: &str, error: &RenderError) -> Fault {
    match error.kind {
        RenderErrorKind::Source | RenderErrorKind::Limit | RenderErrorKind::Tool => {
            Fault::permanent(doing, error)
        }
        RenderErrorKind::Pull => Fault::transient(doing, error),
    }
}
