//! Variables out of Secrets: where they cannot be had, or who else sets them, is refused.

use super::{kubernetes, read, refused, with};

/// A configuration for Kubernetes whose workload has these keys.
fn secret(keys: &str) -> Result<mayfly::config::Config, mayfly::config::ConfigError> {
    kubernetes(("egress: []", &format!("env: {{GREETING: hello}}, {keys}")))
}

#[test]
fn secrets_are_taken_with_their_keys_and_no_other() {
    let digest = "0a".repeat(32);
    let text = with(
        "  local: {data_dir: /var/lib/mayfly, proxy_listen: '127.0.0.1:8080'}\n",
        "  kubernetes: {ingress: {class: a}, template_namespace: templates, network: {database: [{cidr: 10.0.0.5/32}]}}\n",
    )
    .replace(
        "{command: [serve]}",
        &format!(
            "{{image: 'ghcr.io/acme/shop@sha256:{digest}', secrets: [{{secret: shop, keys: {{STRIPE_KEY: stripe}}}}],
             external_secrets: [{{store: vault, keys: {{MAIL: {{key: previews/shop, property: mail}}}}}}]}}"
        ),
    )
    .replace("repositories:", "registries: [{host: ghcr.io}]\nrepositories:")
    .replace("embedded: {", "embedded: {data_dir: /tmp/mayfly, ");
    let config = read(&text, &[]).unwrap();
    let shape = &config.repositories.iter().next().unwrap().shape;
    let variables: Vec<_> =
        shape.secret_variables().map(|(name, secret)| format!("{name} {secret}")).collect();
    assert_eq!(variables, ["STRIPE_KEY mayfly-config", "MAIL mayfly-external-0"]);
    assert_eq!(shape.external_secrets[0].kind, "ClusterSecretStore");
}

#[test]
fn secrets_that_cannot_work_are_refused_by_their_keys() {
    let base = "repositories[0].workload";
    let missing = secret("secrets: [{secret: shop, keys: {A: a}}]");
    refused(missing, "cluster.kubernetes.template_namespace", "is missing");
    let key = |field: &str| format!("{base}.external_secrets[0].{field}");
    for (entry, field, cure) in [
        ("{store: V!, keys: {A: {key: a}}}", "store", "no name"),
        ("{store: vault, kind: SecretStore, keys: {A: {key: a}}}", "kind", "ClusterSecretStore"),
        ("{store: vault, keys: {}}", "keys", "name the variables"),
        ("{store: vault, keys: {A-B: {key: a}}}", "keys.A-B", "letters"),
        ("{store: vault, keys: {PORT: {key: a}}}", "keys.PORT", "own"),
        ("{store: vault, keys: {DATABASE_URL: {key: a}}}", "keys.DATABASE_URL", "own"),
        ("{store: vault, keys: {GREETING: {key: a}}}", "keys.GREETING", "already"),
    ] {
        refused(secret(&format!("external_secrets: [{entry}]")), &key(field), cure);
    }
    for (namespace, cure) in [("pr-7", "preview"), ("A b", "namespace")] {
        let to = format!("class: nginx}}\n    template_namespace: {namespace}");
        let outcome = kubernetes(("class: nginx}", &to));
        refused(outcome, "cluster.kubernetes.template_namespace", cure);
    }
    for (keys, field) in [
        ("secrets: [{secret: shop, keys: {A: a}}]", "secrets"),
        ("external_secrets: [{store: vault, keys: {A: {key: a}}}]", "external_secrets"),
    ] {
        let text = with("{command: [serve]}", &format!("{{command: [serve], {keys}}}"));
        refused(read(&text, &[]), &format!("{base}.{field}"), "the local cluster has no Secrets");
    }
}
