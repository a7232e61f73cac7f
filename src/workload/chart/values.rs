//! Helm's values: the repository's own from its base branch, then the controller's, then the facts.
//!
//! Refuses what is no mapping, and a word about `mayfly` from anybody but Mayfly.

use serde_json::{Map, Value};

use super::facts::KEY;
use super::{Facts, RenderError, stream, template};

/// What a repository calls its values for previews.
pub const BASE: &str = "values-preview.yaml";

/// The key of the controller's own values, for errors.
const OVERLAY: &str = "workload.chart.helm.values";

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;

/// Checks the repository's own values; what is passed on is their text.
pub(super) fn check_base(text: &str) -> Result<(), RenderError> {
    let value = stream::value(text).map_err(|error| {
        let line = error.place.as_ref().and_then(|place| place.line);
        error.at(BASE, line)
    })?;
    match value {
        Value::Null => Ok(()),
        Value::Object(map) if !map.contains_key(KEY) => Ok(()),
        Value::Object(_) => {
            let words = format!("{KEY} is Mayfly's own; remove it");
            Err(RenderError::source(words).at(BASE, None))
        }
        _ => Err(RenderError::source("values have to be a mapping: key: value").at(BASE, None)),
    }
}

/// The controller's own values with the facts in their texts.
pub(super) fn overlay(values: &Map<String, Value>, facts: &Facts) -> Result<Value, RenderError> {
    if values.contains_key(KEY) {
        return Err(
            RenderError::source("is Mayfly's own; remove it").at(&format!("{OVERLAY}.{KEY}"), None)
        );
    }
    fill(OVERLAY, &Value::Object(values.clone()), &facts.context(), MAX_DEPTH)
}

fn fill(path: &str, value: &Value, context: &Value, depth: usize) -> Result<Value, RenderError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(RenderError::source("is nested too deeply").at(path, None));
    };
    Ok(match value {
        Value::String(text) => Value::String(template::expand(path, text, context)?),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let filled = items.map(|(at, it)| fill(&format!("{path}[{at}]"), it, context, depth));
            Value::Array(filled.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let filled = map.iter().map(|(key, it)| {
                Ok((key.clone(), fill(&format!("{path}.{key}"), it, context, depth)?))
            });
            Value::Object(filled.collect::<Result<_, RenderError>>()?)
        }
        plain => plain.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mapping_without_a_word_about_mayfly_is_taken_from_a_repository() {
        for fine in ["", "# nothing", "{}", "a: {b: 1}", "global: {mayfly: {host: x}}"] {
            assert_eq!(check_base(fine), Ok(()), "{fine}");
        }
        for (wrong, words) in [
            ("- a", "mapping"),
            ("text", "mapping"),
            ("mayfly: {host: evil.example}", "remove it"),
            ("mayfly:", "remove it"),
            ("a: [", "not YAML"),
        ] {
            let error = check_base(wrong).unwrap_err().to_string();
            assert!(error.starts_with(BASE) && error.contains(words), "{wrong}: {error}");
        }
    }
}
