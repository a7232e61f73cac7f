//! What to run in a preview, as data.
//!
//! Refuses to know where it runs: adapters of the cluster seam turn an order into processes or
//! objects.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::preview::{ComponentName, PreviewName, Revision, Suffix};

pub mod chart;
mod component;
pub mod gate;
mod image;
pub(crate) mod lines;
mod migrations;
mod object;
mod print;
mod secret;

pub use chart::Chart;
pub use component::{Component, Service, WEB, variable};
pub use image::{Image, ImageError, ImageName, ImageTag, ImageTemplate, TagTemplate};
pub use migrations::Migrations;
pub use object::{Object, ObjectRef, inventory};
pub use print::print;
pub use secret::{CONFIG_SECRET, ExternalSecret, RemoteKey, SecretCopy, external_name};

pub(crate) use image::is_registry;

/// What the team runs, from the repository's configuration; the same for each of its previews.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Program and arguments; in a cluster the image's own when empty. Never from the pull request.
    pub command: Vec<String>,
    /// The working directory; the controller's own when `None`.
    pub directory: Option<PathBuf>,
    /// Environment of every preview of the repository.
    pub env: Vec<(String, String)>,
    /// What migrates the database first, where something does.
    pub migrations: Option<Migrations>,
    /// The path whose 2xx or 3xx answer means "ready".
    pub probe_path: String,
    /// How an answer of the public URL shows which commit it is of.
    pub proof: Proof,
    /// Which image each commit has; also `pod.image` where it is the same for all.
    pub image: Option<ImageTemplate>,
    /// What a cluster that runs containers needs to know beside that.
    pub pod: PodShape,
    /// The team's own chart, which a cluster that runs containers deploys instead.
    pub chart: Option<Chart>,
    /// The tier that the pull request's labels chose, if the repository has tiers.
    pub tier: Option<String>,
    /// What each feature flag says; in the environment too.
    pub flags: BTreeMap<String, String>,
    /// Variables out of Secrets of the cluster's template namespace.
    pub secrets: Vec<SecretCopy>,
    /// Variables out of stores of secrets.
    pub external_secrets: Vec<ExternalSecret>,
    /// Which of its components have to be ready before it starts.
    pub needs: Vec<ComponentName>,
    /// The services beside it.
    pub components: Vec<Component>,
}

impl Shape {
    /// Every variable that comes out of a Secret, with that Secret's name in the preview's namespace.
    pub fn secret_variables(&self) -> impl Iterator<Item = (&String, String)> {
        let copied = self.secrets.iter().flat_map(|it| it.keys.keys());
        let external = self.external_secrets.iter().enumerate();
        copied.map(|variable| (variable, CONFIG_SECRET.to_owned())).chain(
            external.flat_map(|(at, it)| it.keys.keys().map(move |key| (key, external_name(at)))),
        )
    }

    /// Whether it, or a component, sets this variable.
    pub fn sets(&self, variable: &str) -> bool {
        let of_components = self.components.iter().flat_map(|it| &it.env);
        self.env.iter().chain(of_components).any(|(name, _)| name == variable)
            || self.secret_variables().any(|(name, _)| name == variable)
    }
}

/// How an answer of the public URL shows which commit it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// By [`COMMIT_HEADER`], which the route sets, or else the app, on the probe path's answer.
    #[default]
    Header,
    /// By the full commit id in what the app answers at this path.
    Path(String),
}

/// The header that says which commit answers.
pub const COMMIT_HEADER: &str = "x-preview-commit";

/// What the team runs, as containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodShape {
    /// The image, pinned; a cluster that runs containers cannot do without.
    pub image: Option<Image>,
    /// Where the container listens, and what `PORT` says to it.
    pub port: u16,
    /// How many pods.
    pub replicas: u16,
    /// What each asks for, and the most that it gets, in thousandths of a core.
    pub cpu_millicores: u32,
    /// The same of memory, in MiB.
    pub memory_mebibytes: u32,
    /// What it may reach beside its own namespace, DNS and its database.
    pub egress: Vec<Egress>,
    /// The sizes of the repository's tiers, one of which may be served until this one is.
    pub others: Vec<PodSize>,
}

/// How much runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodSize {
    /// How many pods.
    pub replicas: u16,
    /// What each gets, in thousandths of a core.
    pub cpu_millicores: u32,
    /// The same of memory, in MiB.
    pub memory_mebibytes: u32,
}

impl PodShape {
    /// How much runs.
    pub fn size(&self) -> PodSize {
        let Self { replicas, cpu_millicores, memory_mebibytes, .. } = *self;
        PodSize { replicas, cpu_millicores, memory_mebibytes }
    }
}

impl Default for PodShape {
    fn default() -> Self {
        Self {
            image: None,
            port: 8080,
            replicas: 1,
            cpu_millicores: 250,
            memory_mebibytes: 256,
            egress: Vec::new(),
            others: Vec::new(),
        }
    }
}

/// A way out that a repository's configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The addresses.
    pub cidr: IpNet,
    /// The TCP ports; all of them when empty.
    pub ports: Vec<u16>,
}

/// One workload, ready to be run.
#[derive(Clone, PartialEq)]
pub struct WorkloadOrder {
    /// Which revision this is.
    pub revision: Revision,
    /// The team's shape.
    pub shape: Shape,
    /// The preview's own environment, which wins over the shape's; holds the database password.
    pub env: Vec<(String, String)>,
    /// What the team's chart was rendered to, as the gate has taken it; none without a chart.
    pub objects: Vec<Object>,
    /// The URL of each component's own database; holds the password too.
    pub databases: Vec<(ComponentName, String)>,
}

impl fmt::Debug for WorkloadOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("WorkloadOrder")
            .field("revision", &self.revision)
            .field("command", &self.shape.command)
            .field("env", &names)
            .field("objects", &self.objects)
            .finish_non_exhaustive()
    }
}

/// Where a preview's services find their databases. Holds passwords, and so is not printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DatabaseUrls {
    /// Its own.
    pub own: String,
    /// Of each component that has one of its own.
    pub components: Vec<(ComponentName, String)>,
}

impl fmt::Debug for DatabaseUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.components.iter().map(|(name, _)| name).collect();
        f.debug_struct("DatabaseUrls").field("components", &names).finish_non_exhaustive()
    }
}

impl WorkloadOrder {
    /// Where its services find their databases.
    pub fn database_urls(&self) -> DatabaseUrls {
        let own = self.env.iter().find(|(key, _)| key == DATABASE_VARIABLE);
        let own = own.map(|(_, url)| url.clone()).unwrap_or_default();
        DatabaseUrls { own, components: self.databases.clone() }
    }
}

/// The identity that every pod of a preview has, if its chart makes no other.
pub const SERVICE_ACCOUNT: &str = "preview";

/// The Secret of a preview that holds the URL of its database.
pub const DATABASE_SECRET: &str = "database";

/// The key in it, and the variable in which a workload finds it.
pub const DATABASE_VARIABLE: &str = "DATABASE_URL";

/// The variables that are the preview's own, whatever its shape says.
pub const OWN_VARIABLES: [&str; 5] =
    [DATABASE_VARIABLE, "PR_NUMBER", "COMMIT_SHA", "PREVIEW_NAME", "PREVIEW_HOST"];

/// Whether a variable is the preview's own: one of those, or where to listen, which only an adapter knows.
pub fn is_own_variable(name: &str) -> bool {
    OWN_VARIABLES.contains(&name) || name == "PORT"
}

/// Orders the migrations of a revision: the environment of its workload, and the name under which their
/// sessions are told from others' (libpq's `PGAPPNAME`).
pub fn migration_order(
    shape: &Shape,
    name: &PreviewName,
    suffix: &Suffix,
    revision: &Revision,
    database_url: &str,
    application: &str,
) -> WorkloadOrder {
    let mut order = order(shape, name, suffix, revision, database_url);
    order.env.push(("PGAPPNAME".to_owned(), application.to_owned()));
    order
}

/// Orders the built-in shape: the configured command with the preview's environment.
///
/// `PORT` is the adapter's to add, since only it knows which port is free.
pub fn order(
    shape: &Shape,
    name: &PreviewName,
    suffix: &Suffix,
    revision: &Revision,
    database_url: &str,
) -> WorkloadOrder {
    let values = [
        database_url.to_owned(),
        name.number().to_string(),
        revision.commit.to_string(),
        name.namespace(),
        name.host(suffix),
    ];
    let own = OWN_VARIABLES.into_iter().map(str::to_owned).zip(values);
    WorkloadOrder {
        revision: revision.clone(),
        shape: shape.clone(),
        env: own.chain(shape.public_hosts(name, suffix)).collect(),
        objects: Vec::new(),
        databases: Vec::new(),
    }
}
