//! The kinds of objects that a preview is made of, and the few that are only read.
//!
//! Refuses to know a kind that the chart's RBAC does not grant: what is not in this list cannot be
//! touched.

use kube::core::{ApiResource, GroupVersionKind};

use crate::workload::ObjectRef;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Namespace,
    ResourceQuota,
    LimitRange,
    ServiceAccount,
    NetworkPolicy,
    Secret,
    Deployment,
    Job,
    Service,
    Ingress,
    HttpRoute,
    ExternalSecret,
    // Of a team's chart, beside some of the above:
    ConfigMap,
    StatefulSet,
    CronJob,
    Autoscaler,
    AutoscalerV1,
    DisruptionBudget,
    // Only read:
    Pod,
    IngressClass,
    Gateway,
    Certificate,
}

const AUTOSCALER: &str = "HorizontalPodAutoscaler";

/// What a chart may be made of, as [`crate::workload::gate`] takes it.
const OF_CHARTS: [Kind; 11] = [
    Kind::ConfigMap,
    Kind::Secret,
    Kind::ServiceAccount,
    Kind::Service,
    Kind::DisruptionBudget,
    Kind::Autoscaler,
    Kind::AutoscalerV1,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::Job,
    Kind::CronJob,
];

impl Kind {
    /// The kind of an object of a chart; `None` where it is none that a chart may be made of.
    pub(super) fn of_chart(object: &ObjectRef) -> Option<Self> {
        OF_CHARTS.into_iter().find(|kind| {
            let resource = kind.resource();
            resource.kind == object.kind && resource.api_version == object.api_version
        })
    }

    /// Whether it makes pods, and so has to find what they read.
    pub(super) fn has_pods(self) -> bool {
        matches!(self, Self::Deployment | Self::StatefulSet | Self::Job | Self::CronJob)
    }

    /// As the API server addresses it.
    pub(super) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Namespace => ("", "v1", "Namespace", "namespaces"),
            Self::ResourceQuota => ("", "v1", "ResourceQuota", "resourcequotas"),
            Self::LimitRange => ("", "v1", "LimitRange", "limitranges"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Ingress => ("networking.k8s.io", "v1", "Ingress", "ingresses"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::ExternalSecret => {
                ("external-secrets.io", "v1", "ExternalSecret", "externalsecrets")
            }
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::CronJob => ("batch", "v1", "CronJob", "cronjobs"),
            Self::Autoscaler => ("autoscaling", "v2", AUTOSCALER, "horizontalpodautoscalers"),
            Self::AutoscalerV1 => ("autoscaling", "v1", AUTOSCALER, "horizontalpodautoscalers"),
            Self::DisruptionBudget => {
                ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
            }
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::IngressClass => ("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
            Self::Certificate => ("cert-manager.io", "v1", "Certificate", "certificates"),
            Self::Gateway => ("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        ApiResource::from_gvk_with_plural(&gvk, plural)
    }
}
