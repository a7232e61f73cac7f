//! One object for a cluster, as it was rendered: data that nobody has judged yet.
//!
//! Refuses to show what is in it when it is debugged: it may be a Secret.

use std::fmt;

use serde_json::Value;

/// An object, and where it came from.
#[derive(Clone, PartialEq)]
pub struct Object {
    value: Value,
    source: Option<String>,
}

/// Which object. Ordered by kind, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// The version that it is written in, such as `apps/v1`.
    pub api_version: String,
    /// Its name; empty where it has none.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Object {
    /// Takes what a file, relative to its chart, was rendered to.
    pub fn new(value: Value, source: Option<String>) -> Self {
        Self { value, source }
    }

    /// The object itself.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object itself, to be changed.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The file that it came from, where that is known.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Which object it is.
    pub fn reference(&self) -> ObjectRef {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ObjectRef {
            kind: text(&self.value["kind"]),
            api_version: text(&self.value["apiVersion"]),
            name: text(&self.value["metadata"]["name"]),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.reference())
    }
}

/// Which objects these are, in order and each once: what is live and not among them is to be
/// pruned.
pub fn inventory(objects: &[Object]) -> Vec<ObjectRef> {
    let mut all: Vec<_> = objects.iter().map(Object::reference).collect();
    all.sort();
    all.dedup();
    all
}
