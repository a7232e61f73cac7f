//! The configuration as a tree of keys, before it means anything: finding a key, and setting one.
//!
//! An entry of a list is a key too, by its place: `registries.0.host`. Refuses to make a list longer:
//! which entry was meant would depend on the order of variables.

use serde_json::Value;

/// The keys of a place, from the top.
pub(super) type Path = Vec<String>;

/// Whether a path is this one, where `*` stands for any entry.
pub(super) fn is_named(path: &[String], pattern: &[&str]) -> bool {
    path.len() == pattern.len()
        && path.iter().zip(pattern).all(|(key, wanted)| *wanted == "*" || key == wanted)
}

/// The first place of this pattern that the tree has, if any.
pub(super) fn written(tree: &Value, pattern: &[&str]) -> Option<Path> {
    let Some((first, rest)) = pattern.split_first() else { return Some(Path::new()) };
    let below = |key: &str, value: &Value| {
        let mut path = written(value, rest)?;
        path.insert(0, key.to_owned());
        Some(path)
    };
    match tree {
        Value::Object(map) => below(first, map.get(*first)?),
        Value::Array(list) if *first == "*" => {
            list.iter().enumerate().find_map(|(index, value)| below(&index.to_string(), value))
        }
        _ => None,
    }
}

/// Sets one key, making the sections above it; fails with the path of what has no such key.
pub(super) fn set(tree: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let mut here = tree;
    for (depth, key) in path.iter().enumerate() {
        // A section that is written without a key in it is null.
        if here.is_null() {
            *here = Value::Object(serde_json::Map::new());
        }
        let next = match here {
            Value::Object(map) => Some(map.entry(key.clone()).or_insert(Value::Null)),
            Value::Array(list) => key.parse().ok().and_then(|it: usize| list.get_mut(it)),
            _ => None,
        };
        here = next.ok_or_else(|| path[..depth].join("."))?;
    }
    *here = value;
    Ok(())
}

/// A path as people and libraries write it, `registries[0].host`, as keys.
pub(super) fn keys(path: &str) -> Path {
    path.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_set_in_sections_and_in_the_entries_that_a_list_has() {
        let mut tree = json!({ "a": { "b": 1 }, "list": [{ "x": 1 }, null], "empty": null });
        for path in ["a.b", "a.c", "list[0].x", "list.1.y", "empty.z", "new.deep.er"] {
            set(&mut tree, &keys(path), json!("set")).unwrap();
        }
        let after = json!({
            "a": { "b": "set", "c": "set" },
            "list": [{ "x": "set" }, { "y": "set" }],
            "empty": { "z": "set" },
            "new": { "deep": { "er": "set" } },
        });
        assert_eq!(tree, after);
        for (path, here) in [("list.2.x", "list"), ("list.x", "list"), ("a.b.c", "a.b")] {
            assert_eq!(set(&mut tree, &keys(path), json!(1)), Err(here.to_owned()));
        }
        assert_eq!(tree, after, "what fails changes nothing");
    }

    #[test]
    fn a_secret_is_found_wherever_its_pattern_leads() {
        let tree = json!({ "a": { "s": null }, "list": [{ "host": 1 }, { "password": "x" }] });
        assert_eq!(written(&tree, &["a", "s"]), Some(keys("a.s")), "even an empty one");
        assert_eq!(written(&tree, &["list", "*", "password"]), Some(keys("list[1].password")));
        assert_eq!(written(&tree, &["list", "*", "token"]), None);
        assert_eq!(written(&tree, &["a", "*", "s"]), None);
        assert!(is_named(&keys("list[7].password"), &["list", "*", "password"]));
        assert!(!is_named(&keys("list[7]"), &["list", "*", "password"]));
    }
}
