//! From a stream of YAML to objects.
//!
//! Read as Kubernetes reads it (YAML 1.1: `yes` is true, `0644` is octal, of two equal keys the last
//! counts). Refuses what multiplies itself by aliases, and never repeats what it read: it may be a
//! Secret.

use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

use super::{RenderError, RenderLimits};
use crate::workload::Object;

/// The comment by which helm, and we, name a document's file.
pub(super) const SOURCE: &str = "# Source: ";

/// How much text may come of one document after its aliases are expanded, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// How many values may be in one document after its aliases are expanded.
const MAX_NODES: usize = 100_000;

/// Reads every object of a stream.
pub(super) fn read(text: &str, limits: &RenderLimits) -> Result<Vec<Object>, RenderError> {
    let mut objects = Vec::new();
    for document in documents(text) {
        let source = document.lines().find_map(|line| line.strip_prefix(SOURCE));
        let source = source.map(|source| source.trim().to_owned());
        let at = |error: RenderError| match &source {
            Some(source) if error.place.as_ref().is_none_or(|place| place.file.is_empty()) => {
                let line = error.place.as_ref().and_then(|place| place.line);
                error.at(source, line)
            }
            _ => error,
        };
        let value = value(document).map_err(at)?;
        flatten(value, &source, &mut objects).map_err(at)?;
        if objects.len() > limits.max_objects {
            let words = format!("more than {} objects were rendered", limits.max_objects);
            return Err(RenderError::limit(words + "; render fewer, or raise tools.max_objects"));
        }
    }
    Ok(objects)
}

/// Reads one document as Kubernetes does.
pub(super) fn value(text: &str) -> Result<Value, RenderError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_TEXT_BYTES,
            max_recorded_anchor_bytes: MAX_TEXT_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().and_then(|at| u32::try_from(at.line()).ok());
        // Of the library's words only the first line: others may show the text itself.
        let words = error.to_string();
        let words = words.lines().next().unwrap_or_default();
        RenderError::source(format!("is not YAML: {words}")).at("", line)
    })
}

/// Where documents begin: a marker in the first column cannot be inside of one.
pub(super) fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            let marker = line.strip_prefix("---").is_some_and(|after| {
                after.is_empty() || after.starts_with(|c: char| c.is_whitespace())
            });
            if marker && end > 0 {
                break;
            }
            end += line.len();
        }
        let (document, after) = rest.split_at(end);
        rest = after;
        Some(document)
    })
}

/// Takes an object, or those of a `List`.
fn flatten(
    value: Value,
    source: &Option<String>,
    objects: &mut Vec<Object>,
) -> Result<(), RenderError> {
    let word = |key: &str| value[key].as_str().unwrap_or_default();
    match &value {
        Value::Null => Ok(()),
        Value::Object(_) if word("kind") == "List" && word("apiVersion") == "v1" => {
            let items = value["items"].as_array().into_iter().flatten();
            // A list in a list is not Kubernetes's, and here none either.
            objects.extend(items.map(|item| Object::new(item.clone(), source.clone())));
            Ok(())
        }
        Value::Object(_) if !word("kind").is_empty() && !word("apiVersion").is_empty() => {
            objects.push(Object::new(value, source.clone()));
            Ok(())
        }
        Value::Object(_) => Err(RenderError::source("an object has no kind or no apiVersion")),
        _ => Err(RenderError::source("what is rendered is no object: a mapping is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str) -> Result<Vec<Object>, RenderError> {
        read(text, &RenderLimits::default())
    }

    #[test]
    fn each_document_becomes_an_object_that_knows_its_file() {
        let text = "---\n# Source: shop/templates/a.yaml\nkind: A\napiVersion: v1\n---\n---\n# nothing\n\
                    --- \n# Source: b.yaml\nkind: List\napiVersion: v1\nitems: [{kind: B}, {kind: C}]\n";
        let found = objects(text).unwrap();
        let told: Vec<_> =
            found.iter().map(|it| (it.reference().kind, it.source().unwrap_or("?"))).collect();
        let [a, b, c] = &told[..] else { panic!("{told:?}") };
        assert_eq!(a, &("A".to_owned(), "shop/templates/a.yaml"));
        assert_eq!((&b.0[..], &c.0[..], b.1), ("B", "C", "b.yaml"));
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubernetes() {
        let read = value("mode: 0644\non: yes\ntwice: 1\ntwice: 2\ntext: '0644'").unwrap();
        assert_eq!(read, serde_json::json!({"mode": 420, "on": true, "twice": 2, "text": "0644"}));
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_file() {
        for (body, words) in [
            ("[1, 2]", "mapping"),
            ("text", "mapping"),
            ("a: 1", "no kind"),
            ("kind: A", "no apiVersion"),
            ("a: [", "not YAML"),
        ] {
            let error = objects(&format!("---\n# Source: x.yaml\n{body}\n")).unwrap_err();
            assert_eq!(error.place.as_ref().unwrap().file, "x.yaml", "{body}");
            assert!(error.to_string().contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn what_multiplies_itself_is_refused_in_no_time() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
        }
        let big = "x".repeat(1024 * 1024);
        let long = format!("a: &a {big}\nb: [{}]\n", "*a, ".repeat(90));
        for text in [bomb, long, "[".repeat(100_000), "a: ".repeat(10_000)] {
            assert!(value(&text).is_err());
        }
    }

    #[test]
    fn what_could_not_be_read_is_not_repeated() {
        let error = value("password: \"hunter2\n").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
