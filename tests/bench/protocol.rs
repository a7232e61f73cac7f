//! What the stand-in for an API server answers: the verbs of Kubernetes, over its objects in memory.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/>. Refuses to know a kind that no preview is
//! made of, and selectors beyond equality and existence.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::api_server::{Asked, Shared};
use super::kinds::{kind, typed};
use super::objects::{How, Key, Refusal, Scope};

/// Asks for metadata alone.
pub const BARE: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The largest body that is read.
const BODY_BYTES: usize = 4 << 20;

type Answer = Result<Response, Refusal>;

/// One request, read.
struct Call {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    query: HashMap<String, String>,
    /// Whether metadata alone is wanted.
    bare: bool,
    how: How,
}

impl Call {
    fn of(parts: &Parts) -> Option<Self> {
        let path: Vec<_> = parts.uri.path().split('/').skip(1).collect();
        let prefix = if *path.first()? == "api" { 2 } else { 3 };
        let version = path.get(1..prefix)?.join("/");
        let (namespace, resource, name) = match path[prefix..] {
            ["namespaces", namespace, resource] => (Some(namespace), resource, None),
            ["namespaces", namespace, resource, name] => (Some(namespace), resource, Some(name)),
            [resource, name] => (None, resource, Some(name)),
            [resource] => (None, resource, None),
            _ => return None,
        };
        kind(resource).filter(|(_, it, _)| *it == version)?;
        let says = |header: HeaderName, what| {
            let value = parts.headers.get(header).and_then(|it| it.to_str().ok());
            value.is_some_and(|it| it.contains(what))
        };
        let query = parts.uri.query().unwrap_or_default();
        Some(Self {
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            bare: says(header::ACCEPT, "as=PartialObjectMetadata"),
            how: match () {
                () if parts.method == Method::POST => How::Create,
                () if says(header::CONTENT_TYPE, "apply-patch") => How::Apply,
                () => How::Merge,
            },
        })
    }

    fn asks<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.query.get(key)?.parse().ok()
    }

    fn verb(&self, method: &Method) -> &'static str {
        match (method, &self.name, self.how) {
            (&Method::GET, Some(_), _) => "get",
            (&Method::GET, None, _) if self.watches() => "watch",
            (&Method::GET, None, _) => "list",
            (&Method::DELETE, ..) => "delete",
            (_, _, How::Create) => "create",
            (_, _, How::Apply) => "apply",
            (_, _, How::Merge) => "merge",
        }
    }

    fn watches(&self) -> bool {
        self.query.get("watch").is_some_and(|it| it == "true" || it == "1")
    }

    fn key(&self, name: &str) -> Key {
        (self.resource.clone(), self.namespace.clone().unwrap_or_default(), name.to_owned())
    }

    fn scope(&self) -> Result<Scope, Refusal> {
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        let mut labels = Vec::new();
        for term in selector.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            if term.contains([' ', '!', '(']) {
                return Err(bad(format!("the selector {term:?} is beyond this stand-in")));
            }
            labels.push(match term.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.trim_matches('=').to_owned())),
                None => (term.to_owned(), None),
            });
        }
        Ok(Scope { resource: self.resource.clone(), namespace: self.namespace.clone(), labels })
    }
}

/// The object, or its metadata alone, as JSON.
fn shown(object: &Value, bare: bool) -> String {
    if !bare {
        return object.to_string();
    }
    let (version, kind) = ("meta.k8s.io/v1", "PartialObjectMetadata");
    let metadata = &object["metadata"];
    format!(r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{metadata}}}"#)
}

fn said(code: StatusCode, json: String) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}

pub async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let host = parts.headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if let Some(page) = shared.visit(host) {
        return page;
    }
    let latency = shared.latency();
    let body = to_bytes(body, BODY_BYTES).await.unwrap_or_default();
    until(at + latency / 2).await;
    let answer = match Call::of(&parts) {
        Some(call) => {
            let verb = call.verb(&parts.method);
            shared.all_asked().push(Asked { at, verb, resource: call.resource.clone() });
            done(&shared, &call, &parts.method, &body)
        }
        None => {
            let resource = parts.uri.path().to_owned();
            shared.all_asked().push(Asked { at, verb: "get", resource });
            version(parts.uri.path())
        }
    };
    until(at + latency).await;
    answer.unwrap_or_else(|Refusal { code, reason, message }| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, Json(status)).into_response()
    })
}

/// Waits until then. The runtime's own timers are a millisecond coarse, a tenth of what is measured.
async fn until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        let _ = tokio::task::spawn_blocking(move || std::thread::sleep(left)).await;
    }
}

fn done(shared: &Arc<Shared>, call: &Call, method: &Method, body: &[u8]) -> Answer {
    let given = || serde_json::from_slice::<Value>(body).map_err(|error| bad(error.to_string()));
    match (method, &call.name) {
        (&Method::GET, Some(name)) => {
            let found = shared.objects().get(&call.key(name))?;
            Ok(said(StatusCode::OK, shown(&found, call.bare)))
        }
        (&Method::GET, None) if call.watches() => follow(shared.clone(), call),
        (&Method::GET, None) => list(shared, call),
        (&Method::DELETE, Some(name)) => {
            let options = if body.is_empty() { Value::Null } else { given()? };
            let uid = options["preconditions"]["uid"].as_str();
            let mut objects = shared.objects();
            objects.delete(&call.key(name), uid)?;
            shared.version.send_replace(objects.version());
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" });
            Ok(Json(status).into_response())
        }
        (&Method::POST | &Method::PATCH, name) => {
            let given = typed(&call.resource, given()?);
            let own = given["metadata"]["name"].as_str();
            let key = call.key(name.as_deref().or(own).unwrap_or_default());
            let mut objects = shared.objects();
            let written = objects.write(key, &given, call.how)?;
            shared.version.send_replace(objects.version());
            let code = if call.how == How::Create { StatusCode::CREATED } else { StatusCode::OK };
            Ok(said(code, shown(&written, call.bare)))
        }
        _ => Err(bad(format!("{method} is beyond this stand-in"))),
    }
}

fn list(shared: &Shared, call: &Call) -> Answer {
    let (scope, limit) = (call.scope()?, call.asks("limit").unwrap_or(usize::MAX));
    let after = call.query.get("continue").and_then(|it| serde_json::from_str::<Key>(it).ok());
    let ((page, last), at) = {
        let objects = shared.objects();
        (objects.list(&scope, after.as_ref(), limit), objects.version().to_string())
    };
    let next = last.map(|key| json!(key).to_string()).unwrap_or_default();
    let (version, kind) = match kind(&call.resource) {
        Some((_, version, kind)) if !call.bare => (*version, format!("{kind}List")),
        _ => ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned()),
    };
    let items: Vec<_> = page.iter().map(|it| shown(it, call.bare)).collect();
    let (items, metadata) = (items.join(","), json!({ "resourceVersion": at, "continue": next }));
    let list = format!(
        r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{metadata},"items":[{items}]}}"#
    );
    Ok(said(StatusCode::OK, list))
}

/// Tells every change after that version, as a line each, for as long as was asked.
fn follow(shared: Arc<Shared>, call: &Call) -> Answer {
    let scope = call.scope()?;
    let seen = call.asks("resourceVersion").unwrap_or_else(|| shared.objects().version());
    let length = Duration::from_secs(call.asks("timeoutSeconds").unwrap_or(290));
    let end = tokio::time::Instant::now() + length;
    let (begin, bare) = ((shared.version.subscribe(), seen), call.bare);
    let lines = unfold(begin, move |(mut changed, mut seen)| {
        let (shared, scope) = (shared.clone(), scope.clone());
        async move {
            loop {
                changed.mark_unchanged();
                let (news, version) = {
                    let objects = shared.objects();
                    (objects.since(seen, &scope), objects.version())
                };
                seen = version;
                if !news.is_empty() {
                    let line = |(what, object): &(&str, Arc<Value>)| {
                        let object = shown(object, bare);
                        format!("{{\"type\":\"{what}\",\"object\":{object}}}\n")
                    };
                    let lines: String = news.iter().map(line).collect();
                    return Some((Ok::<_, Infallible>(lines), (changed, seen)));
                }
                timeout_at(end, changed.changed()).await.ok()?.ok()?;
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

fn version(path: &str) -> Answer {
    if path != "/version" {
        let message = "the server could not find the requested resource".to_owned();
        return Err(Refusal { code: 404, reason: "NotFound", message });
    }
    let said = json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-08-27T00:00:00Z", "goVersion": "go1.24", "compiler": "gc",
        "platform": "linux/amd64",
    });
    Ok(Json(said).into_response())
}

fn bad(message: String) -> Refusal {
    Refusal { code: 400, reason: "BadRequest", message }
}
