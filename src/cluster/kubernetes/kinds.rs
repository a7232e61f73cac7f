//! The kinds of objects that a preview is made of, and the few that are only read.
//!
//! Refuses to know a kind that the chart's RBAC does not grant: what is not in this list cannot be
//! touched.

use kube::core::{ApiResource, GroupVersionKind};

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
    Service,
    Ingress,
    HttpRoute,
    ExternalSecret,
    // Only read:
    Pod,
    IngressClass,
    Gateway,
    Certificate,
}

impl Kind {
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
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::IngressClass => ("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
            Self::Certificate => ("cert-manager.io", "v1", "Certificate", "certificates"),
            Self::Gateway => ("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        ApiResource::from_gvk_with_plural(&gvk, plural)
    }
}
