//! Objects as a stream of YAML for people: `mayfly render` prints it.
//!
//! The same objects print the same text, in whatever order they come. Refuses to show a Secret's
//! values: of each there is the beginning of its SHA-256, enough to see whether it changed.

use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Object;

const SHOWN_HEX_DIGITS: usize = 8;

/// Prints the objects, by kind and name.
pub fn print(objects: &[Object]) -> String {
    let mut sorted: Vec<_> = objects.iter().collect();
    sorted.sort_by_key(|object| object.reference());
    let mut text = String::new();
    for object in sorted {
        text.push_str("---\n");
        if let Some(source) = object.source() {
            text.push_str(&format!("# Source: {source}\n"));
        }
        let yaml = serde_saphyr::to_string(&hidden(object.value()));
        text.push_str(&yaml.expect("keys of JSON are strings, which YAML has too"));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// The object with a Secret's values replaced.
fn hidden(object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"] == "Secret" {
        for part in ["data", "stringData"] {
            let Some(values) = object.get_mut(part).and_then(Value::as_object_mut) else {
                continue;
            };
            for value in values.values_mut() {
                *value = Value::String(sum(part, value));
            }
        }
    }
    object
}

fn sum(part: &str, value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let encoded = part == "data";
    // The same bytes have the same sum, however they are written.
    let bytes = encoded.then(|| BASE64.decode(text.as_bytes()).ok()).flatten();
    let sum = Sha256::digest(bytes.unwrap_or(text.into_bytes()));
    let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}…", &hex[..SHOWN_HEX_DIGITS])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::new(value, None)
    }

    #[test]
    fn objects_print_the_same_in_whatever_order_they_come() {
        let a = object(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}}));
        let b = object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
        let text = print(&[a.clone(), b.clone()]);
        assert_eq!(text, print(&[b, a]));
        let back: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(back[0]["kind"], "ConfigMap");
        assert_eq!(back[1]["metadata"]["name"], "b");
    }

    #[test]
    fn texts_that_look_like_something_else_are_still_texts_when_read_again() {
        let words = [
            "12e4", "0644", "yes", "no", "~", "null", "0x1f", "1:30", "", " a", "a: b", "- a",
            "a\nb",
        ];
        let value = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": words});
        let text = print(&[object(value.clone())]);
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
    }

    #[test]
    fn a_secrets_values_are_never_printed_and_a_change_of_one_is_seen() {
        let secret = |part: &str, value: &str| {
            let metadata = json!({"name": "s"});
            print(&[object(json!({"kind": "Secret", "metadata": metadata, part: {"key": value}}))])
        };
        let plain = secret("stringData", "hunter2");
        assert!(!plain.contains("hunter2"), "{plain}");
        let encoded = secret("data", &BASE64.encode(b"hunter2"));
        assert!(!encoded.contains(&BASE64.encode(b"hunter2")), "{encoded}");
        let shown = |text: &str| text.lines().find(|it| it.contains("sha256")).map(str::to_owned);
        assert!(shown(&plain).is_some());
        assert_eq!(shown(&plain), shown(&encoded), "the same value, however it is written");
        assert_ne!(plain, secret("stringData", "hunter3"));
        let debugged = format!("{:?}", object(json!({"kind": "Secret", "data": {"k": "hunter2"}})));
        assert!(!debugged.contains("hunter2"), "{debugged}");
    }
}
