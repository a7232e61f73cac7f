//! GitHub's published description of its API, and what of an exchange is not in it.
//!
//! The description is made by `tests/fixtures/github/refresh`. What it does not know is a flaw: a
//! path, a method, a query parameter, a property of a body. A stand-in that answers what GitHub would
//! not is one, too.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use mayfly::demo::github::{Exchange, GitHubStandIn};
use serde_json::{Value, json};

static PUBLISHED: LazyLock<Description> = LazyLock::new(|| {
    Description::new(serde_json::from_str(include_str!("../fixtures/github/api.json")).unwrap())
});

/// Panics where anything that a stand-in was asked, or answered, is not as GitHub describes it.
pub fn hold(hub: &GitHubStandIn) {
    let exchanges = hub.exchanges();
    let flaws: Vec<_> = exchanges.iter().flat_map(|exchange| PUBLISHED.flaws(exchange)).collect();
    assert!(flaws.is_empty(), "not as GitHub describes it:\n  {}", flaws.join("\n  "));
}

pub struct Description {
    text: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Description {
    pub fn new(text: Value) -> Self {
        Self { text, validators: Mutex::default() }
    }

    pub fn published() -> &'static Self {
        &PUBLISHED
    }

    pub fn text(&self) -> &Value {
        &self.text
    }

    /// What of this exchange is not as described.
    pub fn flaws(&self, exchange: &Exchange) -> Vec<String> {
        let url = reqwest::Url::parse(&format!("http://host{}", exchange.target)).unwrap();
        let asked = format!("{} {}", exchange.method, exchange.target);
        let Some((route, given)) = self.route(url.path()) else {
            return vec![format!("{asked}: no such path")];
        };
        let method = exchange.method.to_ascii_lowercase();
        let Some(operation) = self.text["paths"][&route].get(&method) else {
            return vec![format!("{asked}: no such method")];
        };
        let mut flaws = Vec::new();
        let mut flaw = |text: String| flaws.push(format!("{asked}: {text}"));
        if operation["deprecated"] == json!(true) {
            flaw("deprecated".to_owned());
        }
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let parameters = operation["parameters"].as_array().unwrap();
        for parameter in parameters {
            let (name, place) =
                (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
            let value = if place == "path" { given.get(name) } else { query.get(name) };
            match value {
                Some(value) => {
                    let key = format!("{method} {route} {place} {name}");
                    let value = scalar(value, &parameter["schema"]);
                    self.check(&key, &parameter["schema"], &value).into_iter().for_each(&mut flaw);
                }
                None if parameter["required"] == json!(true) => flaw(format!("without {name}")),
                None => {}
            }
        }
        for name in query.keys() {
            if !parameters.iter().any(|p| p["name"] == json!(name) && p["in"] == "query") {
                flaw(format!("no such query parameter: {name}"));
            }
        }
        match (&operation["body"], &exchange.body) {
            (Value::Null, Some(_)) => flaw("takes no body".to_owned()),
            (Value::Null, None) => {}
            (described, None) if described["required"] == json!(true) => {
                flaw("needs a body".to_owned());
            }
            (_, None) => {}
            (described, Some(body)) => {
                if exchange.content_type.as_deref() != Some("application/json") {
                    flaw(format!("a body of type {:?}", exchange.content_type));
                }
                let key = format!("{method} {route} body");
                let schema = strict(&described["schema"]);
                self.check(&key, &schema, body).into_iter().for_each(&mut flaw);
            }
        }
        if !exchange.ordered {
            let status = exchange.status;
            let described = operation["responses"].get(status.to_string());
            let error = json!({ "$ref": "#/schemas/basic-error" });
            let schema = match (described, status) {
                (Some(schema), _) => schema,
                // Every read may be conditional, a renamed repository redirects, and a refusal is
                // of one shape.
                (None, 301 | 304 | 307) => &Value::Null,
                (None, 400..500) => &error,
                (None, _) => {
                    flaw(format!("answered {status}, which is not described"));
                    &Value::Null
                }
            };
            let answer = exchange.answer.as_ref().unwrap_or(&Value::Null);
            if *schema != Value::Null && status != 301 && status != 307 {
                let key = format!("{method} {route} {status}");
                for text in self.check(&key, schema, answer) {
                    flaw(format!("the stand-in's answer {status}: {text}"));
                }
            }
        }
        flaws
    }

    /// The route of a path: of several, the one with the fewest blanks; and what is in the blanks.
    fn route(&self, path: &str) -> Option<(String, HashMap<String, String>)> {
        let parts: Vec<_> = path.split('/').collect();
        let routes = self.text["paths"].as_object().unwrap().keys();
        let fitting = routes.filter_map(|route| {
            let names: Vec<_> = route.split('/').collect();
            let mut given = HashMap::new();
            // A path within a repository has as many parts as it likes.
            let mut parts: Vec<_> = parts.iter().map(|&part| part.to_owned()).collect();
            if names.last() == Some(&"{path}") && parts.len() > names.len() {
                let path = parts.split_off(names.len() - 1).join("/");
                parts.push(path);
            }
            if names.len() != parts.len() {
                return None;
            }
            for (name, part) in names.iter().zip(&parts) {
                match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) if !part.is_empty() => {
                        given.insert(name.to_owned(), part.clone());
                    }
                    _ if name == part => {}
                    _ => return None,
                }
            }
            Some((route.clone(), given))
        });
        fitting.min_by_key(|(_, given)| given.len())
    }

    fn check(&self, key: &str, schema: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(key.to_owned()).or_insert_with(|| {
            let whole = json!({ "allOf": [schema], "schemas": self.text["schemas"] });
            let text = whole.to_string().replace("#/components/schemas/", "#/schemas/");
            let whole = serde_json::from_str(&text).unwrap();
            Arc::new(jsonschema::options().with_draft(Draft::Draft202012).build(&whole).unwrap())
        });
        let errors = validator.iter_errors(value);
        errors
            .map(|error| {
                let words: String = error.to_string().chars().rev().take(300).collect();
                let words: String = words.chars().rev().collect();
                format!("{}: {words}", error.instance_path())
            })
            .collect()
    }
}

/// A parameter's text as what the description says that it is.
fn scalar(text: &str, schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number" | "boolean") => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(text),
    }
}

/// The same schema, refusing properties that it does not name.
fn strict(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(strict).collect(),
        Value::Object(entries) => {
            let mut entries: serde_json::Map<_, _> = entries
                .iter()
                .map(|(key, value)| match (key.as_str(), value) {
                    ("properties", Value::Object(named)) => {
                        let named = named.iter().map(|(name, of)| (name.clone(), strict(of)));
                        (key.clone(), Value::Object(named.collect()))
                    }
                    _ => (key.clone(), strict(value)),
                })
                .collect();
            if entries.contains_key("properties") {
                entries.entry("additionalProperties").or_insert(json!(false));
            }
            Value::Object(entries)
        }
        other => other.clone(),
    }
}
