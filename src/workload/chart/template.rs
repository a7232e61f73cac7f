//! The one template language of Mayfly's own: Jinja, of a text and the facts.
//!
//! Refuses a name that means nothing, to include anything, to escape anything, and to run for ever.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::RenderError;

/// How many steps one text may take.
const FUEL_STEPS: u64 = 100_000;

/// What is said of one that takes more, here and by the process that expands manifests.
pub(super) const TOO_MUCH: &str =
    "it takes too many steps, or makes too long a text; make it simpler";

/// Expands one text that is called like this.
pub(super) fn expand(name: &str, text: &str, context: &Value) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(
        SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()
            .expect("these are the usual delimiters"),
    );
    environment.set_fuel(Some(FUEL_STEPS));
    environment.render_named_str(name, text, Serde(context)).map_err(|error| {
        let line = error.line().and_then(|line| u32::try_from(line).ok());
        if error.kind() == ErrorKind::OutOfFuel {
            return RenderError::limit(TOO_MUCH).at(name, line);
        }
        let words = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        RenderError::source(words).at(name, line)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_expanded_as_it_is_and_an_unknown_name_is_an_error_with_its_line() {
        let context = json!({"mayfly": {"host": "a<b>&c", "pr": 7}});
        let text = "a: {{ mayfly.host }}\nb: {{ mayfly.pr }}\n";
        assert_eq!(expand("x.yaml", text, &context).unwrap(), "a: a<b>&c\nb: 7\n");
        for wrong in
            ["\n{{ mayfly.hots }}", "\n{{ other }}", "\n{{ mayfly. }}", "\n{% include 'y' %}"]
        {
            let error = expand("x.yaml", wrong, &context).unwrap_err();
            assert!(error.to_string().starts_with("x.yaml:2: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_text_that_never_ends_is_ended() {
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = expand("x.yaml", endless, &json!({})).unwrap_err();
        assert_eq!(error.kind, crate::workload::chart::RenderErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("x.yaml"), "{error}");
    }
}
