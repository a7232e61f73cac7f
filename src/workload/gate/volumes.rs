//! What a pod may mount.
//!
//! Refuses files of the node, drivers, tokens, and a volume that somebody else has made.

use super::containers::readable;
use super::field::{Field, Report};
use super::kinds::VOLUMES;
use super::{GatePolicy, metadata};

const TAKEN: [&str; 8] = [
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "name",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Checks one volume of a pod.
pub(super) fn check(volume: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    report.choice(volume, &TAKEN);
    report.text(&volume.at("name"));
    report.only(&volume.at("emptyDir"), &["medium", "sizeLimit"]);
    report.only(&volume.at("configMap"), &["defaultMode", "items", "name", "optional"]);
    report.only(&volume.at("downwardAPI"), &["defaultMode", "items"]);
    report.only(&volume.at("secret"), &["defaultMode", "items", "optional", "secretName"]);
    readable(&volume.at("secret").at("secretName"), report);
    let projected = volume.at("projected");
    report.only(&projected, &["defaultMode", "sources"]);
    for source in report.items(&projected.at("sources")) {
        report.choice(&source, &["configMap", "downwardAPI", "secret"]);
        report.only(&source.at("configMap"), &["items", "name", "optional"]);
        report.only(&source.at("downwardAPI"), &["items"]);
        report.only(&source.at("secret"), &["items", "name", "optional"]);
        readable(&source.at("secret").at("name"), report);
    }
    let claimed = volume.at("persistentVolumeClaim");
    report.only(&claimed, &["claimName", "readOnly"]);
    if !claimed.value.is_null() && !policy.persistent_volumes {
        report.refuse(&claimed, VOLUMES);
    }
    let ephemeral = volume.at("ephemeral");
    if !ephemeral.value.is_null() {
        report.only(&ephemeral, &["volumeClaimTemplate"]);
        claim_template(&ephemeral.at("volumeClaimTemplate"), policy, report);
    }
}

/// A claim that a controller makes, for a StatefulSet or a pod.
pub(super) fn claim_template(template: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    if !policy.persistent_volumes {
        report.refuse(template, VOLUMES);
    }
    report.only(template, &["apiVersion", "kind", "metadata", "spec", "status"]);
    metadata::of_template(&template.at("metadata"), report);
    claim(&template.at("spec"), report);
}

/// The spec of a claim: a new and empty volume, and no other.
pub(super) fn claim(spec: &Field<'_>, report: &mut Report<'_>) {
    report.only(spec, &["accessModes", "resources", "storageClassName", "volumeMode"]);
    report.one_of(&spec.at("volumeMode"), &["Filesystem"]);
}
