//! The chart `charts/mayfly`, as helm renders it: what it refuses, and what it promises to a cluster.
//!
//! Without helm, and without Go to build it, these tests say so and pass; only those in `installed`
//! need a control plane too.

mod installed;
mod objects;
mod rights;
mod values;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

const CHART: &str = "charts/mayfly";
const MINIMAL: &str = "charts/mayfly/ci/minimal-values.yaml";
const FULL: &str = "charts/mayfly/ci/full-values.yaml";
const GATEWAY: &str = "charts/mayfly/ci/gateway-values.yaml";

/// helm, from the pins in `tests/tools`, or why there is none.
static HELM: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let build =
        Command::new("tests/tools/build").arg("helm").output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&build.stdout).into_owned();
    match text.trim().strip_prefix("helm ") {
        Some(path) if build.status.success() => Ok(path.to_owned()),
        _ => Err(String::from_utf8_lossy(&build.stderr).trim().to_owned()),
    }
});

/// Whether there is helm; says so past the test harness's capture where there is none.
fn helm_is_here() -> bool {
    if let Err(why) = &*HELM {
        let _ = writeln!(std::io::stderr(), "SKIPPED, the chart is not tested: {why}");
    }
    HELM.is_ok()
}

/// Runs helm with this on its standard input.
fn helm(arguments: &[&str], input: &str) -> Output {
    let home = std::env::temp_dir().join("mayfly-helm");
    let mut child = Command::new(HELM.as_ref().unwrap())
        .args(arguments)
        // Whatever somebody's own helm knows is no part of a test.
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The text that helm makes of these values over those of a file, or its complaint.
fn text(file: &str, more: &str) -> Result<String, String> {
    let release = ["template", "shop", CHART, "--namespace", "preview-system"];
    let arguments = [&release[..], &["--values", file, "--values", "-"]].concat();
    let more = if more.is_empty() { "{}" } else { more };
    let output = helm(&arguments, more);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What helm makes of a file of values, and of these over them.
fn rendered(file: &str, more: &str) -> Vec<Value> {
    let text = text(file, more).unwrap();
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let objects: Vec<_> = all.into_iter().filter(|object| !object.is_null()).collect();
    assert!(objects.len() > 5, "only {} objects", objects.len());
    objects
}

/// The one object of a kind and name.
#[track_caller]
fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "there are two {kind} {name}");
    object
}

fn controller(objects: &[Value]) -> &Value {
    one(objects, "Deployment", "shop-mayfly")
}

/// Every pod that the chart asks for, by the name of what asks.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let pods = objects.iter().filter_map(|object| {
        let spec = match object["kind"].as_str()? {
            "Pod" => &object["spec"],
            _ => object["spec"].get("template")?.get("spec")?,
        };
        Some((object["metadata"]["name"].as_str()?, spec))
    });
    pods.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_chart_passes_helms_own_strict_lint() {
    if !helm_is_here() {
        return;
    }
    for values in [None, Some(MINIMAL), Some(FULL), Some(GATEWAY)] {
        let mut arguments = vec!["lint", "--strict", CHART];
        arguments.extend(values.iter().flat_map(|file| ["--values", file]));
        let output = helm(&arguments, "");
        assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn each_value_is_described_in_the_charts_readme() {
    let values = std::fs::read_to_string(Path::new(CHART).join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let readme = std::fs::read_to_string(Path::new(CHART).join("README.md")).unwrap();
    let mut paths = Vec::new();
    leaves("", &values, &mut paths);
    assert!(paths.len() > 50, "only {} values were found", paths.len());
    for (path, value) in paths {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{path}` |")));
        let row = row.unwrap_or_else(|| panic!("{path} is not in README.md"));
        let default = match value {
            Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
            Value::String(text) => format!("`{text}`"),
            Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
            _ => continue,
        };
        let told = row.split('|').nth(2).unwrap().trim();
        assert_eq!(told, default, "README.md tells another default of {path}");
    }
}

/// Paths of all values; what Kubernetes shapes is one value, and so is an empty map.
fn leaves<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    let whole =
        ["resources.", "networkPolicy.ingress.", "networkPolicy.egress.", "dashboard.labels"];
    match value {
        Value::Object(map)
            if !map.is_empty() && !whole.iter().any(|start| path.starts_with(start)) =>
        {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}
