//! What a container may be.
//!
//! Refuses a port of the node, a device, a probe of another machine, and the certificate's key.

use super::field::{Field, Report};
use super::{GatePolicy, image, security};
use crate::workload::{CONFIG_SECRET, external_name};

const TAKEN: [&str; 23] = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeMounts",
    "workingDir",
];

/// What a container may ask for; anything else is a device.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// How a volume is mounted.
const MOUNT: [&str; 7] = [
    "mountPath",
    "mountPropagation",
    "name",
    "readOnly",
    "recursiveReadOnly",
    "subPath",
    "subPathExpr",
];

/// The Secret with the key of the route's certificate, often everybody's.
const CERTIFICATE: &str = "tls";

/// Checks a container, of whichever list.
pub(super) fn check(container: &Field<'_>, policy: &GatePolicy, report: &mut Report<'_>) {
    report.only(container, &TAKEN);
    report.text(&container.at("name"));
    image::check(&container.at("image"), policy, report);
    for port in report.items(&container.at("ports")) {
        report.only(&port, &["containerPort", "name", "protocol"]);
    }
    for variable in report.items(&container.at("env")) {
        let from = variable.at("valueFrom");
        let known = ["configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"];
        report.only(&variable, &["name", "value", "valueFrom"]);
        report.text(&variable.at("value"));
        report.only(&from, &known);
        report.only(&from.at("configMapKeyRef"), &["key", "name", "optional"]);
        report.only(&from.at("secretKeyRef"), &["key", "name", "optional"]);
        report.only(&from.at("fieldRef"), &["apiVersion", "fieldPath"]);
        report.only(&from.at("resourceFieldRef"), &["containerName", "divisor", "resource"]);
        readable(&from.at("secretKeyRef").at("name"), report);
    }
    for source in report.items(&container.at("envFrom")) {
        report.only(&source, &["configMapRef", "prefix", "secretRef"]);
        report.only(&source.at("configMapRef"), &["name", "optional"]);
        report.only(&source.at("secretRef"), &["name", "optional"]);
        readable(&source.at("secretRef").at("name"), report);
    }
    for mount in report.items(&container.at("volumeMounts")) {
        report.only(&mount, &MOUNT);
        report.text(&mount.at("name"));
        report.one_of(&mount.at("mountPropagation"), &["None"]);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        handler(&container.at(probe), report);
    }
    let lifecycle = container.at("lifecycle");
    report.only(&lifecycle, &["postStart", "preStop", "stopSignal"]);
    handler(&lifecycle.at("postStart"), report);
    handler(&lifecycle.at("preStop"), report);
    let resources = container.at("resources");
    report.only(&resources, &["limits", "requests"]);
    report.only(&resources.at("limits"), &RESOURCES);
    report.only(&resources.at("requests"), &RESOURCES);
    security::of_container(&container.at("securityContext"), report);
}

/// A probe or a hook: what the kubelet does, from the node's own network.
fn handler(handler: &Field<'_>, report: &mut Report<'_>) {
    let taken = [
        "exec",
        "failureThreshold",
        "grpc",
        "httpGet",
        "initialDelaySeconds",
        "periodSeconds",
        "sleep",
        "successThreshold",
        "tcpSocket",
        "terminationGracePeriodSeconds",
        "timeoutSeconds",
    ];
    report.only(handler, &taken);
    report.only(&handler.at("httpGet"), &["httpHeaders", "path", "port", "scheme"]);
    report.only(&handler.at("tcpSocket"), &["port"]);
    report.only(&handler.at("grpc"), &["port", "service"]);
}

/// Refuses the name of the one Secret that is not the preview's to read.
pub(super) fn readable(name: &Field<'_>, report: &mut Report<'_>) {
    report.text(name);
    let text = name.text().unwrap_or_default();
    let offered = text == CONFIG_SECRET || text.starts_with(external_name(0).trim_end_matches('0'));
    if text.starts_with("mayfly-") && !offered {
        let why = "it is Mayfly's own, and not for pods; of those there are only mayfly-config and \
                   mayfly-external-…";
        report.refuse(name, why);
    }
    if text == CERTIFICATE {
        report.refuse(name, "the certificate is the route's, and not for pods; remove it");
    }
}
