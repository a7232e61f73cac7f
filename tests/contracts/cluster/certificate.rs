//! A route whose certificate cert-manager makes. The API server is real; cert-manager is pretended: it
//! writes the Certificate's conditions and the Secret when it is told to.

use mayfly::cluster::kubernetes::config::Tls;
use mayfly::preview::observed::Standing;
use serde_json::{Value, json};

use super::*;

/// cert-manager's own kind, as far as it is looked at.
fn certificates() -> Value {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({ "spec": {
        "group": "cert-manager.io",
        "scope": "Namespaced",
        "names": { "kind": "Certificate", "plural": "certificates", "singular": "certificate" },
        "versions": [{
            "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": open },
        }],
    }})
}

#[tokio::test]
async fn a_route_is_served_once_cert_manager_says_that_its_certificate_is_there() {
    let issuer = "letsencrypt".to_owned();
    let it = RealCluster::with(|config| config.tls = Tls::ClusterIssuer(issuer)).await;
    let Some(it) = it else { return };
    if !it.pretended {
        return;
    }
    let (name, order) = (it.name(7), order(&revision('a')));
    let here = name.namespace();
    let standing = async || match it.cluster.observe(&name, &order.shape).await.route {
        Seen::Present(route) => route.standing,
        other => panic!("{other:?}"),
    };
    let awaited = async |words: &str| match standing().await {
        Standing::Awaited(why) => {
            assert!(why.contains("\"letsencrypt\""), "{why}");
            assert!(why.contains(&format!("kubectl describe certificate tls -n {here}")), "{why}");
            assert!(why.contains(words), "{why}");
        }
        other => panic!("{other:?}"),
    };
    it.cluster.ensure_namespace(&name, &order.shape, &Default::default()).await.unwrap();
    it.cluster.ensure_workload(&name, &order).await.unwrap();
    until_ready(&*it.cluster, &name, &order.revision).await;
    it.cluster.ensure_route(&name, &shape(), &order.revision).await.unwrap();
    let ingress = it.read("Ingress", &here, "web").await.unwrap();
    let asks = &ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"];
    assert_eq!(
        (asks, &ingress["spec"]["tls"][0]["secretName"]),
        (&json!("letsencrypt"), &json!("tls"))
    );
    awaited("see that cert-manager runs").await;

    it.make("CustomResourceDefinition", "", "certificates.cert-manager.io", certificates()).await;
    until("the kind is served", async || it.can_list("Certificate", &here).await).await;
    awaited("see that cert-manager runs").await;
    let secret = json!({ "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                         "spec": { "secretName": "tls" } });
    it.make("Certificate", &here, "tls", secret).await;
    awaited("waiting for cert-manager").await;
    let say = async |conditions: Value| {
        it.meddle("Certificate", &here, "tls", json!({ "status": { "conditions": conditions } }))
            .await;
    };
    let ready = |status: &str, message: &str| json!({ "type": "Ready", "status": status, "message": message });
    let missing = ready("False", "Issuing certificate as Secret does not exist");
    say(json!([missing.clone()])).await;
    awaited("Secret does not exist").await;
    let failed = json!({ "type": "Issuing", "status": "False", "reason": "Failed",
                         "message": "no such zone" });
    say(json!([missing, failed])).await;
    let refused = standing().await;
    assert!(
        matches!(&refused, Standing::Refused(why) if why.contains("no such zone")),
        "{refused:?}"
    );
    let data = json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "Y2VydA==", "tls.key": "a2V5" } });
    it.make("Secret", &here, "tls", data).await;
    say(json!([ready("True", "Certificate is up to date and has not expired")])).await;
    assert_eq!(standing().await, Standing::Served);
    it.delete("CustomResourceDefinition", "", "certificates.cert-manager.io").await;
}
