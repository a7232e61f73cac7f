//! Names, labels and annotations.
//!
//! Refuses names and marks that are Mayfly's own, what holds up an end, and words to controllers of the
//! cluster that reach further than the object does.

use super::field::{Field, Report};

/// Names of what Mayfly makes in the namespace itself, or Kubernetes does.
const RESERVED: [&str; 7] =
    ["preview", "default", "default-deny", "database", "tls", "web", "kube-root-ca.crt"];

/// How the names of what Mayfly makes for each revision begin.
const RESERVED_BEGINNINGS: [&str; 3] = ["web-", "migrate-", "mayfly-"];

/// Labels and annotations that begin like this, and why they are not taken.
const RESERVED_MARKS: [(&str, &str); 8] = [
    ("mayfly.dev/", "it is Mayfly's own mark; remove it"),
    ("external-dns.alpha.kubernetes.io/", "names are Mayfly's to give; remove it"),
    ("eks.amazonaws.com/", "a preview has no identity in a cloud; remove it"),
    ("iam.gke.io/", "a preview has no identity in a cloud; remove it"),
    ("azure.workload.identity/", "a preview has no identity in a cloud; remove it"),
    ("k8s.v1.cni.cncf.io/", "it would go around the preview's network; remove it"),
    ("container.apparmor.security.beta.kubernetes.io/", "use securityContext.appArmorProfile"),
    ("kubectl.kubernetes.io/last-applied-configuration", "it is kubectl's own copy; remove it"),
];

/// What labels and annotations with a prefix may begin with. Any other may be a word to a controller of
/// the cluster, which then brings another namespace's Secret, another network, or a container of its own.
const MARKS: [&str; 7] = [
    "app.kubernetes.io/",
    "helm.sh/",
    "meta.helm.sh/",
    "checksum/",
    "config.kubernetes.io/",
    "prometheus.io/",
    "kubectl.kubernetes.io/default-",
];

const UNKNOWN_MARK: &str = "a controller of the cluster may read it, and do more than the object says; \
                            of those with a prefix only app.kubernetes.io/, helm.sh/, checksum/, \
                            prometheus.io/ and the like are taken";

/// A DNS subdomain, as objects are called.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-' || c == '.')
}

/// The metadata of an object.
pub(super) fn named(metadata: &Field<'_>, report: &mut Report<'_>) {
    let name = metadata.at("name");
    match name.text() {
        None | Some("") => report.refuse(&name, "is missing; every object needs a name of its own"),
        Some(text) if !is_name(text) => {
            let why = "is no name: lower-case letters, digits, - and . (RFC 1123)";
            report.refuse(&name, why);
        }
        Some(text) => {
            let beginning = RESERVED_BEGINNINGS.iter().any(|start| text.starts_with(start));
            if beginning || RESERVED.contains(&text) {
                let why = format!("{text:?} is a name of Mayfly's own; choose another");
                report.refuse(&name, why);
            }
        }
    }
    marks(metadata, report);
}

/// The metadata of what controllers make of an object: pods, jobs, claims.
pub(super) fn of_template(metadata: &Field<'_>, report: &mut Report<'_>) {
    marks(metadata, report);
}

fn marks(metadata: &Field<'_>, report: &mut Report<'_>) {
    // `namespace` is overwritten, whatever it says.
    report.only(metadata, &["name", "namespace", "labels", "annotations"]);
    for part in ["labels", "annotations"] {
        for (key, field) in report.entries(&metadata.at(part)) {
            let reserved = RESERVED_MARKS.iter().find(|(start, _)| key.starts_with(start));
            let known = !key.contains('/') || MARKS.iter().any(|start| key.starts_with(start));
            match reserved {
                Some((_, why)) => report.refuse(&field, *why),
                None if !known => report.refuse(&field, UNKNOWN_MARK),
                None => {}
            }
        }
    }
}
