//! The objects of the stand-in for an API server: made, merged, listed by their labels, watched, gone.
//!
//! Refuses what a real server refuses: a second object of one name, anything in a namespace that is not
//! there, and to touch an object whose uid is not the one that was named.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use mayfly::clock::machine_time;
use serde_json::{Value, json};

/// The resource, the namespace (empty for what is in none), the name.
pub type Key = (String, String, String);

/// How an object is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    Create,
    Apply,
    Merge,
}

/// Why not, as a `Status` says it.
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

/// Something that a watch tells.
struct Change {
    version: u64,
    what: &'static str,
    key: Key,
    object: Arc<Value>,
}

/// Which objects are meant.
#[derive(Clone, Default)]
pub struct Scope {
    pub resource: String,
    /// Those of every namespace when `None`.
    pub namespace: Option<String>,
    /// Labels that they have, with this value or any.
    pub labels: Vec<(String, Option<String>)>,
}

impl Scope {
    fn holds(&self, key: &Key, object: &Value) -> bool {
        let (resource, namespace, _) = key;
        let labels = &object["metadata"]["labels"];
        *resource == self.resource
            && self.namespace.as_ref().is_none_or(|it| it == namespace)
            && self.labels.iter().all(|(label, wanted)| {
                let found = labels[label].as_str();
                found.is_some() && wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
            })
    }
}

/// All of them.
#[derive(Default)]
pub struct Objects {
    all: BTreeMap<Key, Arc<Value>>,
    changes: Vec<Change>,
    version: u64,
    first: HashMap<Key, Instant>,
    /// Whether the pods of a Deployment are there as soon as it is.
    pub ready_at_once: bool,
}

impl Objects {
    /// Which change was the last.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, key: &Key) -> Result<Arc<Value>, Refusal> {
        self.all.get(key).cloned().ok_or_else(|| absent(key))
    }

    /// Puts an object there of which no watch is told, and no moment remembered.
    pub fn seed(&mut self, key: Key, object: Value) {
        self.version += 1;
        let object = self.made(&key, object);
        self.all.insert(key, Arc::new(object));
    }

    pub fn write(&mut self, key: Key, given: &Value, how: How) -> Result<Arc<Value>, Refusal> {
        let before = self.all.get(&key).cloned();
        match (&before, how) {
            (Some(_), How::Create) => {
                let message = format!("{} {:?} already exists", key.0, key.2);
                return Err(Refusal { code: 409, reason: "AlreadyExists", message });
            }
            (None, How::Merge) => return Err(absent(&key)),
            _ => {}
        }
        let home = ("namespaces".to_owned(), String::new(), key.1.clone());
        if !key.1.is_empty() && !self.all.contains_key(&home) {
            return Err(absent(&home));
        }
        is_meant(before.as_deref(), given["metadata"]["uid"].as_str())?;
        let mut object = before.as_deref().cloned().unwrap_or_else(|| json!({}));
        merge(&mut object, given);
        if before.as_deref() == Some(&object) {
            return Ok(Arc::new(object));
        }
        self.version += 1;
        match &before {
            None => object = self.made(&key, object),
            Some(before) => {
                let generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
                let changed = i64::from(before["spec"] != object["spec"]);
                object["metadata"]["generation"] = json!(generation + changed);
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.run(&key, &mut object);
            }
        }
        let object = Arc::new(object);
        self.first.entry(key.clone()).or_insert_with(Instant::now);
        self.tell(if before.is_none() { "ADDED" } else { "MODIFIED" }, &key, object.clone());
        self.all.insert(key, object.clone());
        Ok(object)
    }

    /// Takes an object away, and with a namespace all that is in it.
    pub fn delete(&mut self, key: &Key, uid: Option<&str>) -> Result<(), Refusal> {
        let Some(found) = self.all.get(key) else { return Err(absent(key)) };
        is_meant(Some(found), uid)?;
        let goes = |it: &&Key| *it == key || key.0 == "namespaces" && it.1 == key.2;
        let all: Vec<_> = self.all.keys().filter(goes).cloned().collect();
        for key in all {
            self.version += 1;
            if let Some(object) = self.all.remove(&key) {
                let mut object = (*object).clone();
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.tell("DELETED", &key, Arc::new(object));
            }
        }
        Ok(())
    }

    /// Those that are meant, in order, at most so many after this one, and the last of them where there
    /// may be more.
    pub fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
    ) -> (Vec<Arc<Value>>, Option<Key>) {
        let begin =
            (scope.resource.clone(), scope.namespace.clone().unwrap_or_default(), String::new());
        let meant = self
            .all
            .range(after.unwrap_or(&begin)..)
            .take_while(|(key, _)| {
                key.0 == scope.resource && scope.namespace.as_ref().is_none_or(|it| *it == key.1)
            })
            .filter(|(key, object)| after != Some(key) && scope.holds(key, object));
        let page: Vec<_> = meant.take(limit).collect();
        let last = page.last().filter(|_| page.len() == limit).map(|(key, _)| (*key).clone());
        (page.into_iter().map(|(_, object)| object.clone()).collect(), last)
    }

    /// What changed after that version.
    pub fn since(&self, version: u64, scope: &Scope) -> Vec<(&'static str, Arc<Value>)> {
        let begin = self.changes.partition_point(|it| it.version <= version);
        let meant = self.changes[begin..].iter().filter(|it| scope.holds(&it.key, &it.object));
        meant.map(|it| (it.what, it.object.clone())).collect()
    }

    /// What a preview has, itself among it, and when each was there first.
    pub fn of(&self, namespace: &str) -> Vec<(Key, Instant)> {
        let of_it = |key: &Key| key.1 == namespace || key.0 == "namespaces" && key.2 == namespace;
        let first = self.first.iter().filter(|(key, _)| of_it(key));
        first.map(|(key, at)| (key.clone(), *at)).collect()
    }

    fn tell(&mut self, what: &'static str, key: &Key, object: Arc<Value>) {
        self.changes.push(Change { version: self.version, what, key: key.clone(), object });
    }

    /// What a server adds to an object that is new.
    fn made(&self, key: &Key, mut object: Value) -> Value {
        let (_, namespace, name) = key;
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.version));
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!(machine_time().format("%FT%TZ").to_string());
        self.run(key, &mut object);
        object
    }

    fn run(&self, key: &Key, object: &mut Value) {
        if key.0 == "deployments" && self.ready_at_once {
            let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
            object["status"] = json!({
                "observedGeneration": object["metadata"]["generation"],
                "replicas": replicas,
                "updatedReplicas": replicas,
                "readyReplicas": replicas,
                "availableReplicas": replicas,
            });
        }
    }
}

/// What is said takes the place of what was said before; maps are merged, and null takes away.
fn merge(object: &mut Value, given: &Value) {
    let Value::Object(given) = given else {
        *object = given.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, given) in given {
        if !given.is_null() {
            merge(&mut object[key], given);
        } else if let Some(object) = object.as_object_mut() {
            object.remove(key);
        }
    }
}

fn absent((resource, _, name): &Key) -> Refusal {
    Refusal { code: 404, reason: "NotFound", message: format!("{resource} {name:?} not found") }
}

/// Whether it is the one whose uid was named, if one was.
fn is_meant(found: Option<&Value>, uid: Option<&str>) -> Result<(), Refusal> {
    let live = found.and_then(|it| it["metadata"]["uid"].as_str()).unwrap_or_default();
    match uid {
        Some(uid) if uid != live => {
            let message = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {live}"
            );
            Err(Refusal { code: 409, reason: "Conflict", message })
        }
        _ => Ok(()),
    }
}
