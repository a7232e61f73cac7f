//! Who a pod is, and what it may do on its node: the *restricted* pod security, said field by field.
//!
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>. Refuses root,
//! added capabilities but the one that the standard has, profiles of the node's own, and tokens.

use serde_json::Value;

use super::field::{Field, Report};

/// A Secret of these types holds a text; of others it asks the cluster for a credential.
const SECRET_TYPES: [&str; 6] = [
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
    "kubernetes.io/dockercfg",
];

/// The one capability that may be added.
const BIND: &str = "NET_BIND_SERVICE";

/// The pod's own context.
pub(super) fn of_pod(context: &Field<'_>, report: &mut Report<'_>) {
    let own = ["fsGroup", "fsGroupChangePolicy", "supplementalGroups", "supplementalGroupsPolicy"];
    report.only(context, &[&COMMON[..], &own].concat());
    common(context, report);
}

/// A container's context.
pub(super) fn of_container(context: &Field<'_>, report: &mut Report<'_>) {
    let own = ["allowPrivilegeEscalation", "capabilities", "procMount", "readOnlyRootFilesystem"];
    report.only(context, &[&COMMON[..], &own].concat());
    common(context, report);
    report.one_of(&context.at("procMount"), &["Default"]);
    let escalation = context.at("allowPrivilegeEscalation");
    if !matches!(escalation.value, Value::Null | Value::Bool(false)) {
        report.refuse(&escalation, "has to be false: no container of a preview becomes more");
    }
    let capabilities = context.at("capabilities");
    report.only(&capabilities, &["add", "drop"]);
    for added in report.items(&capabilities.at("add")) {
        report.one_of(&added, &[BIND]);
    }
}

const COMMON: [&str; 5] =
    ["appArmorProfile", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile"];

fn common(context: &Field<'_>, report: &mut Report<'_>) {
    let not_root = context.at("runAsNonRoot");
    if !matches!(not_root.value, Value::Null | Value::Bool(true)) {
        report.refuse(&not_root, "has to be true: nothing of a preview is root");
    }
    let user = context.at("runAsUser");
    if !user.value.is_null() && user.value.as_i64().is_none_or(|user| user <= 0) {
        report.refuse(&user, "has to be a number above 0: nothing of a preview is root");
    }
    for profile in ["seccompProfile", "appArmorProfile"] {
        let profile = context.at(profile);
        report.only(&profile, &["type"]);
        report.one_of(&profile.at("type"), &["RuntimeDefault"]);
    }
}

/// A pod or an identity that asks for a token to be mounted.
pub(super) fn no_token(field: &Field<'_>, report: &mut Report<'_>) {
    let token = field.at("automountServiceAccountToken");
    if !matches!(token.value, Value::Null | Value::Bool(false)) {
        let why =
            "has to be false: no pod of a preview gets a token (often serviceAccount.automount)";
        report.refuse(&token, why);
    }
}

/// What a Secret is.
pub(super) fn secret_type(field: &Field<'_>, report: &mut Report<'_>) {
    report.one_of(field, &SECRET_TYPES);
}
