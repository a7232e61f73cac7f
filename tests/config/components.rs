//! The services beside a preview's own: what is read, and what is refused with the cure.

use mayfly::config::Config;
use mayfly::workload::{ImageTemplate, Shape};

use super::*;

/// A local configuration whose workload has this beside its command.
fn with_components(text: &str) -> Result<Config, mayfly::config::ConfigError> {
    read(&with("command: [serve]", &format!("command: [serve], {text}")), &[])
}

fn shape(config: &Config) -> &Shape {
    &config.repositories.iter().next().unwrap().shape
}

#[test]
fn a_component_has_what_it_says_and_otherwise_what_the_workload_has() {
    let text = "env: {WHO: web, ALL: x}, directory: /opt, needs: [api], components: [\
        {name: api, public: true, command: [api, serve], env: {WHO: api}, probe_path: /up, proof: {path: /sha}}, \
        {name: mail-worker, command: [work], needs: [web], directory: /srv}]";
    let config = with_components(text).unwrap();
    let services = shape(&config).services();
    let names: Vec<_> = services.iter().map(|it| it.name()).collect();
    assert_eq!(names, ["api", "web", "mail-worker"], "each after those that it needs");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(services[0].shape.env, [pair("ALL", "x"), pair("WHO", "api")]);
    assert_eq!(services[0].shape.command, ["api", "serve"]);
    assert_eq!(services[0].shape.directory.as_deref(), Some(std::path::Path::new("/opt")));
    assert_eq!(services[2].shape.directory.as_deref(), Some(std::path::Path::new("/srv")));
    assert_eq!(services[0].shape.probe_path, "/up");
    assert!(services[0].is_public && services[1].is_public && !services[2].is_public);
    let public: Vec<_> = shape(&config).public_components().map(ToString::to_string).collect();
    assert_eq!(public, ["api"]);
}

#[test]
fn components_that_cannot_work_are_refused_by_their_key() {
    for (text, key, why) in [
        ("components: [{name: Api, command: [x]}]", "components[0].name", "lower-case"),
        (
            "components: [{name: far-too-long-a-name-is-this, command: [x]}]",
            "components[0].name",
            "20",
        ),
        ("components: [{name: database, command: [x]}]", "components[0].name", "DATABASE_URL"),
        ("components: [{name: preview, command: [x]}]", "components[0].name", "PREVIEW_HOST"),
        ("components: [{name: web, command: [x]}]", "components[0].name", "own service"),
        (
            "components: [{name: a, command: [x]}, {name: a, command: [x]}]",
            "components[1].name",
            "twice",
        ),
        ("components: [{name: a}]", "components[0].command", "runs a command"),
        ("components: [{name: a, command: [x], needs: [b]}]", "components[0].needs", "\"b\""),
        ("components: [{name: a, command: [x], needs: [a]}]", "components[0].needs", "itself"),
        ("needs: [a]", "needs", "name web, or a component"),
        ("needs: [web]", "needs", "itself"),
        (
            "needs: [a], components: [{name: a, command: [x], needs: [b]}, \
             {name: b, command: [x], needs: [web]}]",
            "components",
            "circle: web, a, b; let one",
        ),
        ("components: [{name: a, command: [x], env: {A_URL: x}}]", "components[0].env", "A_URL"),
        ("env: {WEB_HOST: x}, components: [{name: a, command: [x]}]", "env", "WEB_HOST"),
        (
            "components: [{name: a, command: [x], env: {PORT: '1'}}]",
            "components[0].env.PORT",
            "own",
        ),
        ("components: [{name: a, command: [x], env: {'a=b': x}}]", "components[0].env.a=b", "name"),
        ("env: {DATABASE_URL: x}", "env.DATABASE_URL", "own"),
        ("env: {'': x}", "env.", "no name"),
        ("components: [{name: a, command: [x], port: 0}]", "components[0].port", "at least 1"),
        ("components: [{name: a, command: [x], probe_path: x}]", "components[0].probe_path", "/"),
        ("components: [{name: a, command: [x], image: 'x'}]", "components[0].image", "registry"),
        ("components: [{name: a, command: [x], replicas: 0}]", "components[0].replicas", "least"),
    ] {
        let key = format!("repositories[0].workload.{key}");
        refused(with_components(text), &key, why);
    }
    let text = "external_secrets: [{store: s, keys: {A_URL: {key: k}}}], \
                components: [{name: a, command: [x]}]";
    let key = "repositories[0].workload.external_secrets";
    refused(kubernetes(("egress: []", text)), key, "A_URL");
    // Without components these are variables as any other.
    with_components("env: {WEB_HOST: x, API_URL: y}").unwrap();
}

#[test]
fn a_name_that_would_not_fit_behind_the_prefix_is_refused() {
    let text = with(
        "command: [serve]",
        "command: [serve], components: [{name: recommendations, command: [x]}]",
    );
    let prefix = format!("prefix: {}\n    workload:", "p".repeat(40));
    let text = text.replacen("workload:", &prefix, 1);
    refused(read(&text, &[]), "repositories[0].workload.components[0].name", "prefix");
}

#[test]
fn in_kubernetes_a_component_has_an_image_of_a_listed_registry_or_another_command() {
    let component = |text: &str| kubernetes(("egress: []", &format!("components: [{text}]")));
    let key = "repositories[0].workload.components[0]";
    refused(component("{name: api}"), &format!("{key}.command"), "again");
    refused(
        component("{name: api, image: 'quay.io/acme/api:{{ sha }}'}"),
        &format!("{key}.image"),
        "quay.io",
    );
    let config = component("{name: api, image: 'ghcr.io/acme/api:{{ sha }}'}").unwrap();
    let tagged = shape(&config).tagged();
    assert_eq!(tagged.len(), 1);
    assert_eq!(tagged[0].0.map(ToString::to_string).as_deref(), Some("api"));
    let config = component("{name: worker, command: [work]}").unwrap();
    let services = shape(&config).services();
    let image = |at: usize| services[at].shape.image.as_ref().map(ImageTemplate::name);
    assert!(image(0).is_some());
    assert_eq!(image(0), image(1), "the same image with another command");
    assert_eq!(services[0].shape.pod.image, services[1].shape.pod.image);
}

#[test]
fn a_tier_names_components_that_there_are() {
    let tiers = |names: &str| {
        let text =
            with("command: [serve]", "command: [serve], components: [{name: a, command: [x]}]");
        let tier =
            format!("tiers: [{{name: lite, label: l, components: [{names}]}}]\n    workload:");
        read(&text.replacen("workload:", &tier, 1), &[])
    };
    tiers("a").unwrap();
    tiers("").unwrap();
    refused(tiers("b"), "repositories[0].tiers[0].components", "\"b\"");
}
