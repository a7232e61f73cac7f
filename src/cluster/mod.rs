//! The seam to whatever runs previews: a namespace, migrations and the workload in it, the route to it.
//!
//! Domain words in and out; no adapter's type crosses this line. `observe` changes nothing,
//! `ensure_*` twice is the same as once, `remove_*` of what is absent succeeds, and nothing that
//! does not carry our stamp is ever touched.

pub mod kubernetes;
pub mod local;

use async_trait::async_trait;

use crate::fault::{Fault, Progress};
use crate::preview::observed::{NamespaceSeen, RouteSeen, WorkloadSeen};
use crate::preview::{MigrationSeen, PreviewName, Revision, Seen};
use crate::workload::{DatabaseUrls, Shape, WorkloadOrder};

/// One look at a preview's part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSeen {
    /// The namespace.
    pub namespace: Seen<NamespaceSeen>,
    /// The migrations that were last asked for.
    pub migration: Seen<MigrationSeen>,
    /// The workload that was last asked for.
    pub workload: Seen<WorkloadSeen>,
    /// The route of the public host.
    pub route: Seen<RouteSeen>,
}

impl ClusterSeen {
    /// Nothing of it is there.
    pub fn nothing() -> Self {
        let (migration, workload, route) = (Seen::Absent, Seen::Absent, Seen::Absent);
        Self { namespace: Seen::Absent, migration, workload, route }
    }

    /// A look that failed as a whole.
    pub fn unknown(why: &str) -> Self {
        Self {
            namespace: Seen::Unknown(why.to_owned()),
            migration: Seen::Unknown(why.to_owned()),
            workload: Seen::Unknown(why.to_owned()),
            route: Seen::Unknown(why.to_owned()),
        }
    }
}

/// What runs previews.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Looks. A part that cannot be looked at is [`Seen::Unknown`].
    /// The shape is what is to run there, and decides how the fences have to be.
    async fn observe(&self, name: &PreviewName, shape: &Shape) -> ClusterSeen;

    /// Creates the namespace with its stamp, and the fences for what is to run in it, or converges
    /// both; what is to run there will find its databases at these URLs.
    async fn ensure_namespace(
        &self,
        name: &PreviewName,
        shape: &Shape,
        urls: &DatabaseUrls,
    ) -> Result<(), Fault>;

    /// Starts the migrations of this revision, once: whether they run, ended or failed, they are not
    /// started again. Those of another revision end first, since two at one database are none.
    async fn ensure_migration(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault>;

    /// Makes the workload run as ordered; an older revision goes on serving until the route moves. Where
    /// no way in is yet, one may be opened early that counts as none: a look says that it leads nowhere.
    async fn ensure_workload(&self, name: &PreviewName, order: &WorkloadOrder)
    -> Result<(), Fault>;

    /// Leads the public host to the workload of this revision, which has to be ready. Where visitors
    /// hear of that a moment later, what was served before stays.
    async fn ensure_route(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault>;

    /// Takes away what is there of other revisions or shapes than this one, which the route leads to.
    async fn remove_others(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault>;

    /// Whether nothing of another revision than this runs any more, not even what is on its way out.
    /// Looks only.
    async fn is_alone(&self, _: &PreviewName, _: &Revision) -> Result<bool, Fault> {
        Ok(true)
    }

    /// Takes the route away.
    async fn remove_route(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Starts the removal of the namespace and everything in it; [`Cluster::observe`] says
    /// [`Seen::Leaving`] until it is done.
    async fn remove_namespace(&self, name: &PreviewName) -> Result<(), Fault>;

    /// Kubernetes' minor version, such as `1.34`; absent where there is no Kubernetes. Asked now and
    /// then, not at each call.
    async fn kubernetes(&self) -> Seen<String> {
        Seen::Absent
    }

    /// Every preview of which something with our stamp is here. All or a fault, never a part.
    async fn owned(&self) -> Result<Vec<PreviewName>, Fault>;
}
