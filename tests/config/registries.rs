//! `registries`, and images that have to be in one of them.

use std::net::IpAddr;

use mayfly::config::{ClusterConfig, Config, ConfigError};
use mayfly::workload::ImageTemplate;
use secrecy::ExposeSecret;

use super::{GOOD, kubernetes, read, refused};

const PASSWORD: (&str, &str) = ("MAYFLY_REGISTRIES__0__PASSWORD", "hush-registry");

/// The good text with these entries, and an image.
fn listed(entries: &str, image: &str) -> String {
    let text = format!("registries: [{entries}]\n{GOOD}");
    text.replace("command: [serve]", &format!("command: [serve], image: '{image}'"))
}

fn digest() -> String {
    format!("ghcr.io/acme/shop@sha256:{}", "0a".repeat(32))
}

fn image_of(config: &Config) -> (Option<&ImageTemplate>, Option<String>) {
    let shape = &config.repositories.iter().next().unwrap().shape;
    (shape.image.as_ref(), shape.pod.image.as_ref().map(ToString::to_string))
}

fn read_listed(entries: &str) -> Result<Config, ConfigError> {
    read(&listed(entries, "ghcr.io/acme/shop:{{ sha }}"), &[])
}

#[test]
fn an_image_is_a_template_or_pinned_and_in_a_registry_of_the_list() {
    let config = read_listed("{host: ghcr.io}").unwrap();
    let (template, pinned) = image_of(&config);
    assert!(matches!(template, Some(ImageTemplate::Tagged(_))));
    assert_eq!(pinned, None, "which one it is depends on the commit");
    let config = read(&listed("{host: ghcr.io}", &digest()), &[]).unwrap();
    let (template, pinned) = image_of(&config);
    assert!(matches!(template, Some(ImageTemplate::Pinned(_))));
    assert_eq!(pinned, Some(digest()));
    assert_eq!(image_of(&read(GOOD, &[]).unwrap()), (None, None));
    let key = "repositories[0].workload.image";
    for image in ["ghcr.io/acme/shop:{{ sha }}", &digest()] {
        for entries in ["", "{host: 'ghcr.io:443'}", "{host: example.com}"] {
            refused(read(&listed(entries, image), &[]), key, "add `- host: ghcr.io`");
        }
    }
    for (image, cure) in [
        ("ghcr.io/acme/shop:latest", "{{ sha }}"),
        ("acme/shop:{{ sha }}", "full name"),
        ("ghcr.io/acme/shop:{{ branch }}", "no placeholder"),
    ] {
        refused(read(&listed("{host: ghcr.io}", image), &[]), key, cure);
    }
}

#[test]
fn kubernetes_takes_an_image_for_each_commit() {
    let pinned = format!("@sha256:{}", "0a".repeat(32));
    let config = kubernetes((&pinned, ":{{ sha }}")).unwrap();
    assert!(matches!(config.cluster, ClusterConfig::Kubernetes(_)));
    assert!(matches!(image_of(&config), (Some(ImageTemplate::Tagged(_)), None)));
    refused(
        kubernetes((&format!("image: 'ghcr.io/acme/shop{pinned}', "), "")),
        "workload.image",
        "{{ sha }}",
    );
}

#[test]
fn a_registry_that_cannot_work_is_refused_by_its_key() {
    let insecure = |more: &str| format!("{{host: 'ghcr.io', insecure: true{more}}}");
    for (entries, key, cure) in [
        ("{}", "registries[0]", "missing field `host`"),
        ("{host: ghcr.io, colour: red}", "registries[0]", "unknown field"),
        ("{host: ''}", "registries[0].host", "such as ghcr.io"),
        ("{host: ghcr}", "registries[0].host", "such as ghcr.io"),
        ("{host: 'https://ghcr.io'}", "registries[0].host", "such as ghcr.io"),
        ("{host: ghcr.io/acme}", "registries[0].host", "such as ghcr.io"),
        ("{host: 'ghcr.io:0'}", "registries[0].host", "such as ghcr.io"),
        ("{host: ghcr.io}, {host: ghcr.io}", "registries[1].host", "there twice"),
        ("{host: ghcr.io, username: ada}", "registries.0.password", PASSWORD.0),
        ("{host: ghcr.io, password_file: /x}", "registries[0].username", "a name"),
        ("{host: ghcr.io, username: 'a:b', password_file: /x}", "registries[0].username", "colon"),
        (
            "{host: ghcr.io, username: a, password_file: /nonexistent}",
            "registries.0.password_file",
            "cannot be read",
        ),
        ("{host: ghcr.io, ca_file: /nonexistent}", "registries[0].ca_file", "cannot be read"),
        ("{host: ghcr.io, addresses: [10.0.0.0/33]}", "registries[0].addresses", "invalid"),
        ("{host: ghcr.io, addresses: [169.254.169.254/32]}", "registries[0].addresses", "metadata"),
        (&insecure(""), "registries[0].addresses", "is empty"),
        (&insecure(", addresses: [8.8.8.0/24]"), "registries[0].addresses", "use TLS"),
        (&insecure(", addresses: [10.0.0.1/32, 0.0.0.0/0]"), "registries[0].addresses", "use TLS"),
    ] {
        refused(read_listed(entries), key, cure);
    }
}

#[test]
fn where_a_registry_may_be_is_what_the_configuration_says() {
    let allows = |config: &Config, address: &str| {
        config.registries[0].reach.allows(address.parse::<IpAddr>().unwrap())
    };
    let config = read_listed("{host: ghcr.io}").unwrap();
    assert!(allows(&config, "8.8.8.8") && !allows(&config, "10.0.0.7"));
    let config = read_listed("{host: ghcr.io, addresses: [10.0.0.7/24]}").unwrap();
    assert!(allows(&config, "8.8.8.8") && allows(&config, "10.0.0.9"));
    let config = read_listed("{host: ghcr.io, insecure: true, addresses: [127.0.0.1/32]}").unwrap();
    assert!(allows(&config, "127.0.0.1") && !allows(&config, "8.8.8.8"));
    let config = kubernetes(("[10.0.0.0/8]", "[8.8.8.0/24]")).unwrap();
    assert!(!allows(&config, "8.8.8.8"), "what no preview may reach, no registry has");
    assert!(!allows(&config, "10.0.0.7"), "a private address neither");
}

#[test]
fn a_registrys_password_comes_from_its_variable_or_its_file_and_is_not_shown() {
    let text = listed("{host: ghcr.io, username: ada}", "ghcr.io/acme/shop:{{ sha }}");
    let config = read(&text, &[PASSWORD]).unwrap();
    let login = config.registries[0].login.clone().unwrap();
    assert_eq!(login.password.expose_secret(), PASSWORD.1);
    assert_eq!(login.password_file, None);
    assert!(!format!("{config:?}").contains("hush"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hush-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let config = read(&text, &[("MAYFLY_REGISTRIES__0__PASSWORD_FILE", path)]).unwrap();
    let login = config.registries[0].login.clone().unwrap();
    assert_eq!(login.password.expose_secret(), "hush-file");
    assert_eq!(login.password_file.as_deref(), Some(file.path()), "to be read again");
    let number = read(&text, &[("MAYFLY_REGISTRIES__0__PASSWORD", "007")]).unwrap();
    let login = number.registries[0].login.clone().unwrap();
    assert_eq!(login.password.expose_secret(), "007", "a password that looks like a number");
    for (entries, key) in [
        ("{host: ghcr.io, username: ada, password: hush}", "registries.0.password"),
        ("{host: a.io}, {host: ghcr.io, password: hush}", "registries.1.password"),
    ] {
        refused(read_listed(entries), key, "is a secret; set MAYFLY_REGISTRIES__");
    }
    // Somebody put the password where its section belongs.
    refused(read_listed("'ghcr.io:hush'"), "registries[0]", "is a section");
    refused(read(&format!("registries: hush\n{GOOD}"), &[]), "registries", "is a section");
    refused(
        read(&text, &[("MAYFLY_REGISTRIES__7__PASSWORD", "hush")]),
        "registries",
        "sets nothing",
    );
}
