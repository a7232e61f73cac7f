//! Our reading of webhooks against GitHub's published payloads and their schemas.
//!
//! Made by `tests/fixtures/github/refresh`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Draft;
use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::forge::event::{Event, parse};
use serde_json::{Value, json};

use super::SHA;

static PUBLISHED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../fixtures/github/webhooks.json")).unwrap()
});

/// What we read of a delivery, and the types that we take it for; `null` where we bear it.
const READ: [(&str, &[&str]); 20] = [
    ("/action", &["string"]),
    ("/repository/id", &["integer"]),
    ("/repository/full_name", &["string"]),
    ("/pull_request/number", &["integer"]),
    ("/pull_request/state", &["string"]),
    ("/pull_request/merged", &["boolean", "null"]),
    ("/pull_request/merged_at", &["string", "null"]),
    ("/pull_request/head/sha", &["string"]),
    ("/pull_request/head/repo", &["object", "null"]),
    ("/pull_request/head/repo/id", &["integer"]),
    ("/pull_request/base/repo", &["object"]),
    ("/pull_request/base/repo/id", &["integer"]),
    ("/pull_request/author_association", &["string"]),
    ("/pull_request/draft", &["boolean"]),
    ("/pull_request/labels", &["array"]),
    ("/pull_request/labels/0/name", &["string"]),
    ("/pull_request/user", &["object", "null"]),
    ("/pull_request/user/login", &["string"]),
    ("/pull_request/title", &["string"]),
    ("/pull_request/updated_at", &["string"]),
];

fn examples() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let examples = PUBLISHED["examples"].as_object().unwrap();
    examples.iter().map(|(name, payload)| (name.split('$').next().unwrap(), payload))
}

/// The schemas of a place in a payload: several, where it may be of several kinds.
fn at<'a>(root: &'a Value, schema: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return at(root, root.pointer(&name[1..]).unwrap(), path);
    }
    let kinds = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array());
    let mut found: Vec<_> = kinds.flatten().flat_map(|kind| at(root, kind, path)).collect();
    match path.split_first() {
        None if found.is_empty() => found.push(schema),
        None => {}
        Some((&"0", rest)) => match &schema["items"] {
            Value::Null => {}
            items => found.extend(at(root, items, rest)),
        },
        Some((name, rest)) => {
            if let Some(property) = schema["properties"].get(name) {
                found.extend(at(root, property, rest));
            }
        }
    }
    found
}

fn types(schema: &Value) -> Vec<String> {
    let values = schema["enum"].as_array().cloned();
    let values = values.or_else(|| schema.get("const").map(|value| vec![value.clone()]));
    match (&schema["type"], values) {
        (Value::String(one), _) => vec![one.clone()],
        (Value::Array(all), _) => all.iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
        (_, Some(values)) => values.iter().map(|value| kind(value).to_owned()).collect(),
        _ => Vec::new(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What we read of the events that say that something was built.
const BUILT: [(&str, &str, &str); 7] = [
    ("workflow_run$completed", "/workflow_run/head_sha", "string"),
    ("workflow_run$completed", "/repository/id", "integer"),
    ("check_suite$completed", "/check_suite/head_sha", "string"),
    ("check_suite$completed", "/repository/full_name", "string"),
    ("registry_package$published", "/repository/id", "integer"),
    ("package$published", "/repository/full_name", "string"),
    ("package$published", "/action", "string"),
];

/// What of our reading is not in these definitions.
fn drifts(root: &Value) -> Vec<String> {
    let mut drifts = Vec::new();
    let definitions = root["definitions"].as_object().unwrap();
    for (name, schema) in definitions.iter().filter(|(name, _)| name.starts_with("pull_request$")) {
        for (place, taken) in READ {
            let path: Vec<_> = place.split('/').skip(1).collect();
            let found = at(root, schema, &path);
            let types: Vec<_> = found.into_iter().flat_map(types).collect();
            // A closer definition may only narrow what a type was: it says no type then.
            if types.is_empty() || types.iter().any(|t| !taken.contains(&t.as_str())) {
                drifts.push(format!("{name}{place}: {types:?}, taken for {taken:?}"));
            }
        }
    }
    for (name, place, taken) in BUILT {
        let path: Vec<_> = place.split('/').skip(1).collect();
        let found = definitions.get(name).map(|schema| at(root, schema, &path));
        let types: BTreeSet<_> = found.into_iter().flatten().flat_map(types).collect();
        if !types.iter().eq([taken]) {
            drifts.push(format!("{name}{place}: {types:?}, taken for {taken}"));
        }
    }
    drifts
}

#[test]
fn every_published_example_is_read() {
    let mut read = 0;
    for (event, payload) in examples() {
        let parsed = parse(event, payload.to_string().as_bytes());
        match parsed.unwrap_or_else(|error| panic!("{event} {}: {error}", payload["action"])) {
            Event::Ping => assert_eq!(event, "ping"),
            Event::Pull { repository_id, action, facts, .. } => {
                assert_eq!(json!(repository_id.0), payload["repository"]["id"]);
                assert_eq!(json!(action), payload["action"]);
                assert_eq!(json!(facts.key.number.get()), payload["number"]);
                assert_eq!(json!(facts.head.as_str()), payload["pull_request"]["head"]["sha"]);
            }
            Event::Built { repository_id, commit, .. } => {
                assert_eq!(json!(repository_id.0), payload["repository"]["id"]);
                let head = &payload[event]["head_sha"];
                assert_eq!(
                    commit.map(|it| json!(it.as_str())),
                    Some(head.clone()).filter(|it| !it.is_null())
                );
            }
            Event::Ignored(other) => {
                assert!(payload["action"] != "completed" && event != "pull_request", "{other}");
            }
        }
        read += 1;
    }
    assert!(read > 10, "{read} examples");
}

#[test]
fn each_field_that_we_read_is_published_with_the_type_that_we_take_it_for() {
    assert_eq!(drifts(&PUBLISHED), Vec::<String>::new());
}

#[test]
fn a_published_schema_that_changed_is_noticed() {
    let drift = |change: &dyn Fn(&mut Value)| {
        let mut root = PUBLISHED.clone();
        change(&mut root["definitions"]["pull-request"]["properties"]);
        drifts(&root).len()
    };
    assert!(drift(&|pull| drop(pull.as_object_mut().unwrap().remove("updated_at"))) > 0);
    assert!(drift(&|pull| pull["number"] = json!({ "type": "string" })) > 0);
    let mut root = PUBLISHED.clone();
    root["definitions"].as_object_mut().unwrap().remove("workflow_run$completed");
    assert_eq!(drifts(&root).len(), 2);
    assert!(drift(&|pull| pull["title"] = json!({ "type": ["string", "null"] })) > 0);
}

#[tokio::test]
async fn the_stand_ins_deliveries_are_as_github_publishes_them() {
    let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    hub.add_repository(42, "acme/shop");
    let fork = PullSpec { fork: true, labels: vec!["x".to_owned()], ..PullSpec::new("Two", SHA) };
    hub.open_pull("acme/shop", 1, PullSpec::new("One", SHA));
    hub.open_pull("acme/shop", 2, fork);
    // GitHub sends some fields that its schemas do not know yet; those that they know are held to.
    let text = PUBLISHED["definitions"].to_string();
    let text = text.replace("\"additionalProperties\":false", "\"additionalProperties\":true");
    let definitions: Value = serde_json::from_str(&text).unwrap();
    for (number, action) in [(1, "opened"), (2, "opened"), (2, "synchronize"), (1, "closed")] {
        if action == "closed" {
            hub.close("acme/shop", number, true);
        }
        let name = format!("#/definitions/pull_request${action}");
        let schema = json!({ "allOf": [{ "$ref": name }], "definitions": definitions });
        let schema = jsonschema::options().with_draft(Draft::Draft7).build(&schema).unwrap();
        let payload = hub.payload("acme/shop", number, action);
        let errors: Vec<_> = schema
            .iter_errors(&payload)
            .map(|error| format!("{}: {}", error.instance_path(), error.kind().keyword()))
            .collect();
        assert!(errors.is_empty(), "{action}: {errors:#?}");
    }
}
