//! Tiers and feature flags: what two labels, names or variables could mean is refused.

use mayfly::preview::choice::TierLabel;

use super::{read, refused, with};

/// A configuration with these keys of its repository.
fn tiered(keys: &str) -> String {
    with("    seed: {directories: []}\n", &format!("    seed: {{directories: []}}\n{keys}\n"))
        .replace("{command: [serve]}", "{command: [serve], env: {HOME_PAGE: new}}")
}

#[test]
fn tiers_and_flags_are_taken_with_their_defaults() {
    let seeds = tempfile::tempdir().unwrap();
    std::fs::write(seeds.path().join("a.sql"), "SELECT 1;").unwrap();
    let seed = format!("seed: {{directories: [{}]}}", seeds.path().display());
    let config = read(
        &tiered(&format!(
            "    tiers:
      - {{name: lite, label: 'preview:lite', env: {{SIZE: small}}, memory_mebibytes: 128}}
      - {{name: full, label: 'preview:full', {seed}}}
      - {{name: huge, label: 'preview:huge', replicas: 3, {seed}}}
    default_tier: lite
    flags:
      - {{name: new-checkout, label: 'flag:new-checkout'}}
      - {{name: theme, label: dark, env: THEME, on: dark, off: light}}"
        )),
        &[],
    );
    let config = config.unwrap();
    let repository = config.repositories.iter().next().unwrap();
    let choices = &repository.policy.choices;
    let data = |tier: &TierLabel| tier.data_of.clone();
    let data: Vec<_> = choices.tiers.iter().map(data).collect();
    assert!(data[0].is_none() && data[1].is_some(), "{data:?}");
    assert_eq!(data[1], data[2], "the same directories are the same data, whichever tier is first");
    let shape = repository.chosen(&choices.choose(&["dark".to_owned()])).shape;
    assert_eq!(shape.tier.as_deref(), Some("lite"));
    assert_eq!((shape.pod.memory_mebibytes, shape.pod.replicas), (128, 1));
    let env: Vec<_> = shape.env.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        env,
        [
            ("FEATURE_NEW_CHECKOUT", "false"),
            ("HOME_PAGE", "new"),
            ("SIZE", "small"),
            ("THEME", "dark"),
        ]
    );
    assert_eq!(shape.flags["theme"], "dark");
    assert_eq!(repository.seeds().count(), 3);
}

#[test]
fn tiers_and_flags_that_cannot_be_told_apart_are_refused_by_their_keys() {
    let base = "repositories[0]";
    for (keys, key, cure) in [
        ("    default_tier: lite", "default_tier", "none of the repository's tiers"),
        ("    tiers: [{name: a, label: x}, {name: a, label: y}]", "tiers[1].name", "twice"),
        ("    tiers: [{name: a, label: x}, {name: b, label: x}]", "tiers[1].label", "its own"),
        ("    tiers: [{name: A b, label: x}]", "tiers[0].name", "lower-case"),
        ("    tiers: [{name: a, label: ''}]", "tiers[0].label", "empty"),
        ("    tiers: [{name: a, label: x, replicas: 0}]", "tiers[0].replicas", "at least 1"),
        ("    tiers: [{name: a, label: x, env: {PORT: '1'}}]", "tiers[0].env.PORT", "own"),
        ("    tiers: [{name: a, label: x, values: {b: 1}}]", "tiers[0].values", "helm"),
        (
            "    tiers: [{name: a, label: x, seed: {directories: [/nowhere/at/all]}}]",
            "tiers[0].seed",
            "/nowhere",
        ),
        ("    flags: [{name: a, label: x}, {name: a, label: y}]", "flags[1].name", "twice"),
        (
            "    tiers: [{name: a, label: x}]\n    flags: [{name: a, label: x}]",
            "flags[0].label",
            "its own",
        ),
        ("    flags: [{name: a, label: x, env: DATABASE_URL}]", "flags[0].env", "own"),
        ("    flags: [{name: a, label: x, env: HOME_PAGE}]", "flags[0].env", "already"),
        ("    flags: [{name: a, label: x, env: 'A=B'}]", "flags[0].env", "letters"),
        (
            "    flags: [{name: a-b, label: x}, {name: a.b, label: y}]",
            "flags[1].env",
            "FEATURE_A_B",
        ),
        (
            "    tiers: [{name: a, label: x, env: {SIZE: s}}]\n    flags: [{name: b, label: y, env: SIZE}]",
            "flags[0].env",
            "already",
        ),
    ] {
        refused(read(&tiered(keys), &[]), &format!("{base}.{key}"), cure);
    }
}

#[test]
fn what_is_stated_of_production_has_to_be_a_version_that_can_be_compared() {
    let good = "    production: {postgres: 17, kubernetes: '1.34'}";
    let config = read(&tiered(good), &[]).unwrap();
    let production = &config.repositories.iter().next().unwrap().production;
    assert_eq!((production.postgres, production.kubernetes.as_deref()), (Some(17), Some("1.34")));
    for (stated, field, cure) in [
        ("{postgres: 170004}", "postgres", "major version"),
        ("{kubernetes: '1.34.2'}", "kubernetes", "minor version"),
        ("{kubernetes: v1}", "kubernetes", "minor version"),
        ("{kubernetes: 1.34}", "kubernetes", "expected a string"),
        ("{chart: 2.3.1}", "chart", "workload.chart.helm.directory"),
    ] {
        let text = tiered(&format!("    production: {stated}"));
        refused(read(&text, &[]), &format!("repositories[0].production.{field}"), cure);
    }
}
