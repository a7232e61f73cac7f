//! The certificate that cert-manager makes for a route: whether it is there yet.
//!
//! cert-manager makes a Certificate named as the Secret in the Ingress, and says in its conditions
//! how far it is (<https://cert-manager.io/docs/usage/certificate/>). Pure but for the one look.
//! Refuses to read the Secret itself, which holds a private key: `Ready` says that it is there.

use serde_json::Value;

use super::KubernetesCluster;
use super::calls::brief;
use super::config::Tls;
use super::kinds::Kind;
use super::look::LOOKING;
use super::route::TLS_SECRET;
use crate::fault::Fault;
use crate::preview::observed::Standing;

impl KubernetesCluster {
    /// How a route stands for its certificate's sake; `None` where cert-manager makes none.
    pub(super) async fn issuance(&self, here: &str) -> Result<Option<Standing>, Fault> {
        let Tls::ClusterIssuer(issuer) = &self.config.tls else { return Ok(None) };
        let found = self.calls.get_foreign(LOOKING, Kind::Certificate, here, TLS_SECRET).await?;
        Ok(Some(issued(found.as_ref(), here, issuer)))
    }
}

fn issued(found: Option<&Value>, here: &str, issuer: &str) -> Standing {
    let look = format!("look: kubectl describe certificate {TLS_SECRET} -n {here}");
    let Some(live) = found else {
        return Standing::Awaited(format!(
            "waiting for cert-manager to take up the Ingress for ClusterIssuer {issuer:?}; see that \
             cert-manager runs; {look}"
        ));
    };
    let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
    let condition = |kind: &str| {
        let mut all = live["status"]["conditions"].as_array().into_iter().flatten();
        all.find(|it| {
            it["type"] == kind
                && it["observedGeneration"].as_i64().unwrap_or(generation) >= generation
        })
    };
    let said = |it: &Value| brief(it["message"].as_str().unwrap_or_default());
    match (condition("Ready"), condition("Issuing")) {
        // A renewal that fails leaves the certificate that is there.
        (Some(ready), _) if ready["status"] == "True" => Standing::Served,
        // cert-manager itself tries again, an hour later at first.
        (_, Some(it)) if it["status"] == "False" && it["reason"] == "Failed" => {
            Standing::Refused(format!(
                "cert-manager got no certificate from ClusterIssuer {issuer:?}; {look}; it says: {}",
                said(it)
            ))
        }
        (ready, _) => {
            let said = ready.map(said).filter(|it| !it.is_empty());
            let said = said.map(|it| format!("; it says: {it}")).unwrap_or_default();
            Standing::Awaited(format!(
                "waiting for cert-manager to get the certificate from ClusterIssuer {issuer:?}; \
                 {look}{said}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stands(conditions: &Value) -> Standing {
        let live =
            json!({ "metadata": { "generation": 2 }, "status": { "conditions": conditions } });
        issued(Some(&live), "pr-7", "letsencrypt")
    }

    #[test]
    fn only_a_certificate_that_is_ready_in_this_version_serves() {
        let ready = |status: &str, generation: i64| {
            json!({ "type": "Ready", "status": status, "observedGeneration": generation,
                    "reason": "DoesNotExist", "message": "Issuing certificate" })
        };
        let issuing = |status: &str, reason: &str| {
            json!({ "type": "Issuing", "status": status, "reason": reason,
                    "message": "the order is invalid" })
        };
        assert_eq!(stands(&json!([ready("True", 2)])), Standing::Served);
        let renewing = json!([ready("True", 2), issuing("False", "Failed")]);
        assert_eq!(stands(&renewing), Standing::Served, "a renewal that fails takes nothing away");
        for waits in [
            json!([]),
            json!([ready("True", 1)]),
            json!([ready("False", 2)]),
            json!([ready("False", 2), issuing("True", "DoesNotExist")]),
        ] {
            let Standing::Awaited(why) = stands(&waits) else { panic!("{waits}") };
            assert!(why.contains("letsencrypt"), "{why}");
            assert!(why.contains("kubectl describe certificate tls -n pr-7"), "{why}");
        }
        let failed = json!([ready("False", 2), issuing("False", "Failed")]);
        let Standing::Refused(why) = stands(&failed) else { panic!("it failed") };
        assert!(why.contains("the order is invalid"), "{why}");
        assert!(why.contains("kubectl describe certificate tls -n pr-7"), "{why}");
    }

    #[test]
    fn without_a_certificate_the_route_waits_for_cert_manager() {
        let Standing::Awaited(why) = issued(None, "pr-7", "letsencrypt") else {
            panic!("it waits")
        };
        assert!(why.contains("cert-manager") && why.contains("letsencrypt"), "{why}");
    }
}
