//! How the adapter is set up: where the cluster is, and what is the same for every preview in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::preview::Suffix;

/// What stands for the commit in an annotation of the configuration: an ingress controller that can
/// set a header by annotation says with it which commit answers.
pub const COMMIT_PLACEHOLDER: &str = "{{ commit }}";

/// What [`super::KubernetesCluster`] needs to know.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// How to reach the cluster; what the environment says when `None`: `KUBECONFIG`, or the pod's
    /// own identity.
    pub kubeconfig: Option<PathBuf>,
    /// How long one call may take.
    pub timeout: Duration,
    /// This installation's name, for stamps and labels.
    pub instance: String,
    /// The DNS name under which previews are served.
    pub suffix: Suffix,
    /// How visitors come in.
    pub entry: Entry,
    /// What the route's TLS is made of.
    pub tls: Tls,
    /// Who may talk to whom.
    pub network: Network,
    /// Where the Secrets are that are copied into previews' namespaces, if any are.
    pub template_namespace: Option<String>,
    /// The Secret there with which images are pulled, if they take a login.
    pub image_pull_secret: Option<String>,
    /// How long a revision may take to become ready before it counts as failing, in seconds.
    pub progress_deadline_seconds: u32,
}

/// How visitors come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An Ingress of this class.
    Ingress {
        /// The IngressClass.
        class: String,
        /// Annotations of every Ingress, for its controller; [`COMMIT_PLACEHOLDER`] is filled in.
        annotations: BTreeMap<String, String>,
    },
    /// An HTTPRoute at this Gateway.
    Gateway {
        /// The Gateway's namespace.
        namespace: String,
        /// The Gateway.
        name: String,
        /// One of its listeners; any that allows the host when `None`.
        section: Option<String>,
    },
}

/// What the route's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP, or the ingress controller's own certificate.
    None,
    /// A wildcard certificate, copied into each namespace.
    Secret {
        /// Where it is kept.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A certificate for each preview from this ClusterIssuer of cert-manager.
    ClusterIssuer(String),
}

/// Some pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Their namespace.
    pub namespace: String,
    /// Their labels; every pod there when empty.
    pub labels: BTreeMap<String, String>,
}

/// Where the previews' databases are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePeer {
    /// At an address.
    Address {
        /// The range.
        cidr: IpNet,
        /// The TCP port.
        port: u16,
    },
    /// In pods of this cluster.
    Pods {
        /// Which.
        peer: Peer,
        /// The TCP port.
        port: u16,
    },
}

/// Who may talk to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The ingress controller's pods. `None` where it runs on the nodes themselves, which network
    /// policies do not hold.
    pub ingress: Option<Peer>,
    /// The cluster's DNS.
    pub dns: Peer,
    /// The databases.
    pub database: Vec<DatabasePeer>,
    /// What no preview may reach, whatever its repository allows.
    pub forbidden: Vec<IpNet>,
}
