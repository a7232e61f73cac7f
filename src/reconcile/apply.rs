//! The one hand that reaches out: each step becomes one call of one seam.
//!
//! Refuses to choose: one exhaustive match, without a condition. The intent is in the ledger before
//! anything exists: the pass writes it there.

use super::act::Ground;
use super::rehearsal::shown;
use super::{Reconciler, Wanted, hosts};
use crate::database::DatabaseOrder;
use crate::database::rehearsal::MIGRATION_APPLICATION;
use crate::fault::{Disposition, Fault, Progress};
use crate::forge::Announcement;
use crate::ledger::{Lease, LeaseLost, LedgerError};
use crate::preview::{ComponentName, Host, Receipt, Step};
use crate::repository::Repository;
use crate::workload::{self, DatabaseUrls};

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The outside call failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Another replica has the row now: stop, and record nothing.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// The ledger could not be asked: stop, the lease ends by itself.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Does one step.
pub(super) async fn apply(
    this: &Reconciler,
    lease: &Lease,
    repository: &Repository,
    step: &Step,
    Ground { memory, receipt, .. }: Ground<'_>,
) -> Result<Progress, StepError> {
    let preview = &lease.preview;
    let name = &preview.name;
    let seams = &this.seams;
    match step {
        Step::EnsureNamespace => {
            let urls = database_urls(this, lease, repository);
            seams.cluster.ensure_namespace(name, &repository.shape, &urls).await?;
        }
        Step::EnsureDatabase { generation } => {
            let order = DatabaseOrder {
                seed: &repository.seed,
                generation: *generation,
                password: &preview.password,
                components: &repository.shape.databases(),
            };
            return Ok(seams.databases.ensure_database(name, &order).await?);
        }
        Step::EnsureMigration(revision) => {
            let data = memory.data_generation(&repository.policy);
            this.ledger.begin_rehearsal(lease, revision, data, this.clock.now()).await??;
            seams.rehearsals.watch(name, revision).await;
            let url = seams.databases.url(name, &preview.password);
            let (shape, suffix) = (&repository.shape, &this.site.suffix);
            let application = MIGRATION_APPLICATION;
            let order = workload::migration_order(shape, name, suffix, revision, &url, application);
            return Ok(seams.cluster.ensure_migration(name, &order).await?);
        }
        Step::EnsureReport { revision, ended } => {
            let report = seams.rehearsals.report(name, revision, &repository.seed).await;
            let (data, now) = (memory.data_generation(&repository.policy), this.clock.now());
            this.ledger.keep_rehearsal(lease, data, (ended, &report), now).await??;
        }
        Step::EnsureWorkload(revision) => {
            let number = memory.facts.key.number;
            let databases = &database_urls(this, lease, repository);
            let wanted = Wanted { repository, name, number, revision, databases };
            let asked = (seams.forge.as_ref(), seams.cluster.as_ref());
            let order = this.renderer.order(wanted, &this.site, asked).await?;
            seams.cluster.ensure_workload(name, &order).await?;
        }
        Step::EnsureRoute(revision) => {
            seams.cluster.ensure_route(name, &repository.shape, revision).await?;
        }
        Step::RemoveOthers(revision) => {
            seams.cluster.remove_others(name, &repository.shape, revision).await?;
        }
        Step::EnsureRecord => {
            let hosts = hosts::wanted(name, &repository.shape);
            this.ledger.intend_hosts(lease, &hosts).await??;
            return Ok(ensure_records(this, &hosts).await?);
        }
        Step::Publish(notice) => {
            this.ledger.unsure(lease).await??;
            let announcement = Announcement {
                name: name.clone(),
                url: this.site.url(name),
                components: hosts::urls(this, name, &repository.shape),
                notice: notice.clone(),
                rolled_back_from: (memory.commit() != &memory.facts.head)
                    .then(|| memory.facts.head.clone()),
                rehearsal: shown(this, preview, notice).await?,
                receipt: receipt.map(Receipt::sentences).unwrap_or_default(),
            };
            let number = memory.facts.key.number;
            seams.forge.publish(&preview.repository, number, &announcement).await?;
        }
        Step::RemoveLogin => {
            seams.databases.remove_login(name, &preview.password).await?;
            this.ledger.login_removed(lease).await??;
        }
        Step::RemoveRecord => {
            remove_records(this, &hosts::known(preview, &repository.shape)).await?;
        }
        Step::RemoveRoute => seams.cluster.remove_route(name).await?,
        Step::RemoveNamespace => seams.cluster.remove_namespace(name).await?,
        Step::RemoveDatabase => seams.databases.remove_database(name).await?,
        Step::RemoveRole => seams.databases.remove_role(name).await?,
    }
    Ok(Progress::Done)
}

/// Where what runs in the preview finds its databases.
fn database_urls(this: &Reconciler, lease: &Lease, repository: &Repository) -> DatabaseUrls {
    let (databases, preview) = (&this.seams.databases, &lease.preview);
    let (name, password) = (&preview.name, &preview.password);
    let of = |component: ComponentName| {
        let url = databases.component_url(name, password, &component);
        (component, url)
    };
    let components = repository.shape.databases().into_iter().map(of).collect();
    DatabaseUrls { own: databases.url(name, password), components }
}

/// Writes the record of each that is wanted.
async fn ensure_records(this: &Reconciler, hosts: &[Host]) -> Result<Progress, Fault> {
    let mut progress = Progress::Done;
    for host in hosts {
        if let Progress::Underway(what) = this.seams.dns.ensure_record(host).await? {
            progress = Progress::Underway(what);
        }
    }
    Ok(progress)
}

/// Removes the record of each, the preview's own last. What is not ours keeps nothing that is.
async fn remove_records(this: &Reconciler, hosts: &[Host]) -> Result<(), Fault> {
    let mut failed = Ok(());
    for host in hosts.iter().rev() {
        match this.seams.dns.remove_record(host).await {
            Err(fault) if fault.disposition == Disposition::NotOurs && hosts.len() > 1 => {}
            Err(fault) => failed = Err(fault),
            Ok(()) => {}
        }
    }
    failed
}
