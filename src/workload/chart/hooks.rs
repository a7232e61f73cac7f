//! Helm's hooks: objects that `helm install` would run at a moment of its own.
//!
//! Mayfly applies and prunes; there is no install and no upgrade at which to run them. They are told
//! apart here, so that none is applied by mistake. Refuses to guess at one that it does not know.
//! <https://helm.sh/docs/topics/charts_hooks/>

use super::{RenderError, Rendered};
use crate::workload::Object;

const ANNOTATION: &str = "helm.sh/hook";

/// A hook's object, and when helm would run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The object, annotations and all.
    pub object: Object,
    /// The moments, each once, as helm calls them: `pre-install`.
    pub events: Vec<&'static str>,
}

/// Those that come when a release is brought.
const BRINGING: [&str; 4] = ["pre-install", "post-install", "pre-upgrade", "post-upgrade"];
/// Those of a moment that previews do not have.
const NEVER: [&str; 4] = ["pre-delete", "post-delete", "pre-rollback", "post-rollback"];
/// Those that only `helm test` runs.
const TESTS: [&str; 3] = ["test", "test-success", "test-failure"];

/// Tells hooks from objects, and drops tests.
pub(super) fn sort(all: Vec<Object>) -> Result<Rendered, RenderError> {
    let mut rendered = Rendered::default();
    for object in all {
        let Some(words) = object.value()["metadata"]["annotations"].get(ANNOTATION) else {
            rendered.objects.push(object);
            continue;
        };
        let mut events = Vec::new();
        let mut is_test = false;
        for word in words.as_str().unwrap_or_default().split(',').map(str::trim) {
            let known = BRINGING.iter().chain(&NEVER).find(|event| **event == word);
            match known {
                Some(event) if events.contains(event) => {}
                Some(event) => events.push(*event),
                None if TESTS.contains(&word) => is_test = true,
                None => {
                    let why = format!("{}: {ANNOTATION} {word:?} is no hook", object.reference());
                    let known =
                        format!("; helm knows {}, {}", BRINGING.join(", "), NEVER.join(", "));
                    let error = RenderError::source(why + &known);
                    return Err(match object.source() {
                        Some(source) => error.at(source, None),
                        None => error,
                    });
                }
            }
        }
        if !events.is_empty() {
            rendered.hooks.push(Hook { object, events });
        } else if !is_test {
            return Err(RenderError::source(format!(
                "{}: {ANNOTATION} is empty",
                object.reference()
            )));
        }
    }
    Ok(rendered)
}

impl Rendered {
    /// The objects, if no hook has to run for them. Hooks of moments that a preview does not have
    /// (deletion, rollback) are left out.
    pub fn without_hooks(self) -> Result<Vec<Object>, RenderError> {
        let runs = |hook: &&Hook| hook.events.iter().any(|event| BRINGING.contains(event));
        let Some(hook) = self.hooks.iter().find(runs) else { return Ok(self.objects) };
        let error = RenderError::source(format!(
            "{} is a {} hook, which nobody runs here; turn it off by a value, and name its command \
             in workload.migrations",
            hook.object.reference(),
            hook.events.join(", ")
        ));
        Err(match hook.object.source() {
            Some(source) => error.at(source, None),
            None => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(events: &str) -> Object {
        let metadata = json!({"name": "migrate", "annotations": {ANNOTATION: events}});
        Object::new(json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": metadata}), None)
    }

    #[test]
    fn tests_are_dropped_hooks_are_set_apart_and_what_helm_does_not_know_is_refused() {
        let plain = Object::new(json!({"kind": "Service", "metadata": {"name": "a"}}), None);
        let rendered =
            sort(vec![plain.clone(), hook("test"), hook("pre-install, pre-upgrade,pre-install")]);
        let rendered = rendered.unwrap();
        assert_eq!(rendered.objects, std::slice::from_ref(&plain));
        assert_eq!(rendered.hooks.len(), 1);
        assert_eq!(rendered.hooks[0].events, ["pre-install", "pre-upgrade"]);
        let error = rendered.without_hooks().unwrap_err().to_string();
        assert!(error.contains("Job migrate") && error.contains("workload.migrations"), "{error}");

        let never = sort(vec![plain.clone(), hook("post-delete")]).unwrap();
        assert_eq!(never.without_hooks().unwrap(), [plain]);
        for wrong in ["", "pre-instal", "crd-install", "pre-install,,"] {
            assert!(sort(vec![hook(wrong)]).is_err(), "{wrong}");
        }
    }
}
