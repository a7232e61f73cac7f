//! Values: what is refused, in which words, and what the controller thinks of what is rendered.

use std::collections::BTreeMap;

use mayfly::config::{Config, ConfigError};
use mayfly::database::Seed;
use serde_json::Value;

use super::{
    CHART, FULL, GATEWAY, MINIMAL, controller, helm, helm_is_here, list, one, rendered, text,
};

#[track_caller]
fn refused(more: &str, words: &[&str]) {
    let Err(error) = text(MINIMAL, more) else { panic!("accepted:\n{more}") };
    for word in words {
        assert!(error.contains(word), "{more}\nsays {word:?}:\n{error}");
    }
}

#[test]
fn nothing_is_rendered_until_what_has_no_default_is_named() {
    if !helm_is_here() {
        return;
    }
    let output = helm(&["template", "shop", CHART], "");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    for key in ["previews.suffix", "cluster.kubernetes", "dns", "repositories"] {
        assert!(error.contains(&format!("config.{key} is missing: ")), "{error}");
    }
}

#[test]
fn a_value_of_the_wrong_type_or_an_unknown_one_is_refused_by_its_name() {
    if !helm_is_here() {
        return;
    }
    let cases = [
        ("colour: red", &["colour", "not allowed"]),
        ("replicas: two", &["/replicas", "want integer"]),
        ("replicas: -1", &["/replicas", "minimum"]),
        ("replica: 2", &["replica", "not allowed"]),
        ("rbac: {create: 'yes'}", &["/rbac/create", "want boolean"]),
        ("rbac: {creat: true}", &["creat", "not allowed"]),
        ("image: {digest: sha256:abc}", &["/image/digest", "pattern"]),
        ("image: {pullPolicy: Sometimes}", &["/image/pullPolicy", "one of"]),
        ("service: {port: 70000}", &["/service/port", "maximum"]),
        ("secrets: {ledgerUrl: {value: x}}", &["/secrets/ledgerUrl", "not allowed"]),
        ("secrets: {ledgerPassword: {}}", &["ledgerPassword", "not allowed"]),
        ("config: {repositories: acme/shop}", &["/config/repositories", "want array"]),
        ("config: [1]", &["config", "array"]),
        ("seeds: [{name: shop}]", &["/seeds/0", "oneOf"]),
        ("seeds: [{name: Shop, configMap: x}]", &["/seeds/0/name", "pattern"]),
        (
            "networkPolicy: {egress: {dns: {port: 53}}}",
            &["/networkPolicy/egress/dns", "not allowed"],
        ),
        ("extraEnv: [{name: MAYFLY_LEDGER__URL, value: x}]", &["/extraEnv/0/name", "not"]),
        ("ingress: {host: 'a b'}", &["/ingress/host", "pattern"]),
    ];
    for (more, words) in cases {
        refused(more, words);
    }
}

#[test]
fn what_a_schema_cannot_say_is_refused_with_its_cure() {
    if !helm_is_here() {
        return;
    }
    let app = "{githubAppPrivateKey: {existingSecret: app}}";
    let cases = [
        ("config: {cluster: {local: {data_dir: /x}}}".to_owned(), "use config.cluster.kubernetes"),
        ("config: {listen: nowhere}".to_owned(), "config.listen must be an address with its port"),
        (format!("secrets: {app}"), "config.github.app needs id and installation_id"),
        ("secrets: {githubToken: {existingSecret: ''}}".to_owned(), "to log in at GitHub"),
        (
            "secrets: {ledgerUrl: {existingSecret: ''}}".to_owned(),
            "secrets.ledgerUrl.existingSecret",
        ),
        ("terminationGracePeriodSeconds: 50".to_owned(), "must be more than 50"),
        ("config: {reconcile: {pass_deadline: 90s}}".to_owned(), "must be more than 95"),
        ("config: {reconcile: {pass_deadline: 2m}}".to_owned(), "must be more than 125"),
        ("config: {reconcile: {pass_deadline: 1h}}".to_owned(), "must be more than 3605"),
        ("config: {operations_listen: '127.0.0.1:9090'}".to_owned(), "is on loopback"),
        ("config: {operations_listen: '[::1]:9090'}".to_owned(), "is on loopback"),
        ("ingress: {enabled: true}".to_owned(), "ingress.host is missing"),
    ];
    for (more, words) in cases {
        refused(&more, &[words]);
    }
}

#[test]
fn the_controllers_own_host_is_never_under_the_previews_suffix() {
    if !helm_is_here() {
        return;
    }
    for host in ["mayfly.preview.example.com", "preview.example.com", "a.b.preview.example.com"] {
        refused(&format!("ingress: {{enabled: true, host: {host}}}"), &[host, "another domain"]);
    }
    for host in ["mayfly.example.com", "notpreview.example.com"] {
        text(MINIMAL, &format!("ingress: {{enabled: true, host: {host}}}")).unwrap();
    }
}

#[test]
fn no_secret_can_be_a_value() {
    if !helm_is_here() {
        return;
    }
    let cases = [
        ("config: {ledger: {url: x}}", "secrets.ledgerUrl.existingSecret"),
        ("config: {databases: {admin_url: x}}", "secrets.databasesAdminUrl.existingSecret"),
        ("config: {github: {token: x}}", "secrets.githubToken.existingSecret"),
        ("config: {github: {webhook_secret: x}}", "secrets.githubWebhookSecret.existingSecret"),
        (
            "config: {github: {webhook_secret_previous: x}}",
            "secrets.githubWebhookSecretPrevious.existingSecret",
        ),
        (
            "config: {registries: [{host: r.example.com, password: hush}]}",
            "config.registries[0].password is a secret",
        ),
        ("config: {x: 'postgres://ada:hush@db/shop'}", "a URL with a password"),
        ("extraEnv: [{name: X, value: 'redis://:hush@db'}]", "a URL with a password"),
        ("podAnnotations: {x: '-----BEGIN RSA PRIVATE KEY-----'}", "a private key"),
        ("config: {x: ghp_0123456789abcdefghijklmnopqrstuvwxyz}", "a token of GitHub"),
    ];
    for (more, words) in cases {
        refused(more, &[words]);
        assert!(!text(MINIMAL, more).unwrap_err().contains("hush"), "repeats it: {more}");
    }
}

#[test]
fn secrets_reach_the_controller_as_files_that_the_cluster_holds() {
    if !helm_is_here() {
        return;
    }
    let objects = rendered(FULL, "");
    assert!(objects.iter().all(|object| object["kind"] != "Secret"), "the chart makes no Secret");
    let pod = &controller(&objects)["spec"]["template"]["spec"];
    let volume = list(&pod["volumes"]).iter().find(|volume| volume["name"] == "secrets").unwrap();
    let mut found = Vec::new();
    for source in list(&volume["projected"]["sources"]) {
        let secret = &source["secret"];
        let item = &secret["items"][0];
        let [name, key, path] =
            [&secret["name"], &item["key"], &item["path"]].map(|text| text.as_str().unwrap());
        found.push((name, key, path));
    }
    let expected = [
        ("mayfly-ledger", "url", "ledger-url"),
        ("mayfly-databases", "url", "databases-admin-url"),
        ("mayfly-github", "app.pem", "github-app-private-key"),
        ("mayfly-github", "webhook", "github-webhook-secret"),
        ("mayfly-github", "webhook-before", "github-webhook-secret-previous"),
        ("mayfly-dns", "tsig", "dns-tsig-key"),
    ];
    assert_eq!(found, expected, "an App needs no token");
    let minimal = rendered(MINIMAL, "");
    let token = list(&controller(&minimal)["spec"]["template"]["spec"]["containers"][0]["env"])
        .iter()
        .find(|variable| variable["name"] == "MAYFLY_GITHUB__TOKEN_FILE")
        .unwrap();
    assert_eq!(token["value"], "/etc/mayfly/secrets/github-token");
}

/// What the controller says to the configuration that a container of it is given.
fn read(objects: &[Value], container: &Value) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    let pod = &controller(objects)["spec"]["template"]["spec"];
    let secrets = list(&pod["volumes"]).iter().find(|volume| volume["name"] == "secrets").unwrap();
    for source in list(&secrets["projected"]["sources"]) {
        let file = source["secret"]["items"][0]["path"].as_str().unwrap();
        let value = if file.ends_with("url") { "postgres://mayfly@db/mayfly" } else { "hush" };
        std::fs::write(directory.path().join(file), value).unwrap();
    }
    for mount in list(&container["volumeMounts"]) {
        if let Some(seed) = mount["mountPath"].as_str().unwrap().strip_prefix("/etc/mayfly/seeds/")
        {
            std::fs::create_dir_all(directory.path().join(seed)).unwrap();
        }
    }
    let local = |text: &str| {
        ["secrets", "seeds"]
            .into_iter()
            .fold(text.to_owned(), |text, room| text.replace(&format!("/etc/mayfly/{room}"), here))
    };
    let variables: BTreeMap<_, _> = list(&container["env"])
        .iter()
        .map(|v| (v["name"].as_str().unwrap().to_owned(), local(v["value"].as_str().unwrap())))
        .collect();
    assert_eq!(variables["MAYFLY_CONFIG"], "/etc/mayfly/mayfly.yaml");
    let config = one(objects, "ConfigMap", "shop-mayfly")["data"]["mayfly.yaml"].as_str().unwrap();
    Config::parse(&local(config), variables.into_iter())
}

/// Every container of every rendering reads its configuration.
fn is_accepted() {
    for file in [MINIMAL, FULL, GATEWAY] {
        let objects = rendered(file, "");
        let pod = &controller(&objects)["spec"]["template"]["spec"];
        let both = list(&pod["initContainers"]).iter().chain(list(&pod["containers"]));
        for container in both {
            let config =
                read(&objects, container).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(config.listen.to_string(), "0.0.0.0:8081");
            assert_eq!(config.operations_listen.to_string(), "0.0.0.0:9090");
            let first = config.repositories.iter().next().unwrap();
            let id = (file == FULL).then_some(mayfly::preview::RepositoryId(4_711_000_001));
            assert_eq!(first.id, id, "a large number is still one");
        }
    }
}

#[test]
fn a_rendered_configuration_is_one_that_the_controller_accepts() {
    if helm_is_here() {
        is_accepted();
    }
}

#[test]
fn a_seed_in_a_mounted_config_map_is_read_once() {
    // As the kubelet lays it out: https://kubernetes.io/docs/concepts/configuration/configmap
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let version = here.join("..2026_01_01_00_00_00.123456789");
    std::fs::create_dir(&version).unwrap();
    std::fs::write(version.join("001.sql"), "SELECT 1").unwrap();
    std::os::unix::fs::symlink(&version, here.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/001.sql", here.join("001.sql")).unwrap();
    let seed = Seed::read(&[here.to_owned()], &[]).unwrap();
    let paths: Vec<_> = seed.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["001.sql"], "and no time of a mount is in the digest");
}
