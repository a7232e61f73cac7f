//! Whatever comes: nothing that was admitted has what no preview may have, and nothing panics.

use mayfly::workload::gate::{GatePolicy, admit};
use mayfly::workload::{Object, print};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::gate::{deployment, pinned};
use super::programs::{CHART, Kitchen, facts, helm, policy};

/// Words that mean something to a gate, in places where they do and where they do not.
const WORDS: [&str; 44] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostPath",
    "hostPort",
    "privileged",
    "capabilities",
    "add",
    "procMount",
    "ephemeralContainers",
    "nodeName",
    "serviceAccountName",
    "serviceAccount",
    "volumes",
    "projected",
    "sources",
    "serviceAccountToken",
    "secret",
    "secretName",
    "name",
    "tls",
    "containers",
    "initContainers",
    "securityContext",
    "runAsUser",
    "runAsNonRoot",
    "seccompProfile",
    "type",
    "Unconfined",
    "allowPrivilegeEscalation",
    "image",
    "envFrom",
    "secretRef",
    "livenessProbe",
    "httpGet",
    "host",
    "mountPropagation",
    "volumeMounts",
    "finalizers",
    "ownerReferences",
    "mayfly.dev/preview",
    "SYS_ADMIN",
    "automountServiceAccountToken",
    "emptyDir",
];

/// Where a mutation may land.
const PLACES: [&str; 12] = [
    "/metadata",
    "/spec",
    "/spec/template",
    "/spec/template/metadata",
    "/spec/template/metadata/labels",
    "/spec/template/spec",
    "/spec/template/spec/securityContext",
    "/spec/template/spec/volumes/0",
    "/spec/template/spec/initContainers/0",
    "/spec/template/spec/containers/0",
    "/spec/template/spec/containers/0/securityContext",
    "/spec/template/spec/containers/0/livenessProbe",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => "[a-zA-Z./]{0,8}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_i64..3).prop_map(Value::from),
        word().prop_map(Value::from),
        Just(json!(pinned("shop"))),
        Just(json!({})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A Deployment with room for trouble.
fn roomy() -> Value {
    let mut object = deployment("", &Value::Null).into_value();
    let template = &mut object["spec"]["template"];
    template["metadata"] = json!({"labels": {"app": "shop"}});
    template["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    template["spec"]["initContainers"] = json!([{"name": "i", "image": pinned("shop")}]);
    template["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"port": 80}});
    object
}

/// What must not be anywhere in a pod, found without a word of the gate's own.
fn forbidden(path: &str, value: &Value, found: &mut Vec<String>) {
    let mut wrong = |is_wrong: bool| {
        if is_wrong {
            found.push(format!("{path}: {value}"));
        }
    };
    let is_on = |value: &Value| {
        let off = [json!(null), json!(false), json!(""), json!([]), json!({})];
        !off.contains(value)
    };
    let parts: Vec<_> = path.rsplit('/').collect();
    let of_container = parts.len() > 2 && ["containers", "initContainers"].contains(&parts[2]);
    match parts[0] {
        "hostNetwork"
        | "hostPID"
        | "hostIPC"
        | "privileged"
        | "allowPrivilegeEscalation"
        | "automountServiceAccountToken"
        | "nodeName"
        | "hostPort"
        | "host" => wrong(is_on(value)),
        // As a volume's source, an empty mapping is a choice; deeper it is a field that nobody has.
        "hostPath" if parts.len() == 4 && parts[2] == "volumes" => wrong(!value.is_null()),
        "serviceAccountToken" if parts.len() == 7 && parts[2] == "sources" => {
            wrong(!value.is_null());
        }
        "hostPath" | "serviceAccountToken" => wrong(is_on(value)),
        "serviceAccount" => wrong(is_on(value)),
        // Elsewhere they are words without a meaning.
        "runAsNonRoot" if parts.get(1) == Some(&"securityContext") => {
            wrong(!value.is_null() && *value != Value::Bool(true));
        }
        "runAsUser" if parts.get(1) == Some(&"securityContext") => wrong(*value == json!(0)),
        "procMount" => wrong(is_on(value) && *value != json!("Default")),
        "serviceAccountName" => {
            let of_pod = path == "/serviceAccountName";
            wrong(if of_pod { *value != json!("preview") } else { is_on(value) });
        }
        "image" if of_container => {
            let text = value.as_str().unwrap_or_default();
            wrong(!text.starts_with("ghcr.io/") || !text.contains("@sha256:"));
        }
        _ => {}
    }
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                forbidden(&format!("{path}/{at}"), item, found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                forbidden(&format!("{path}/{key}"), item, found);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_that_was_admitted_has_what_no_preview_may_have(
        mutations in prop::collection::vec((prop::sample::select(&PLACES[..]), word(), value()), 1..4),
    ) {
        let mut object = roomy();
        for (place, key, value) in mutations {
            // An earlier mutation may have taken the place away.
            if let Some(map) = object.pointer_mut(place).and_then(Value::as_object_mut) {
                map.insert(key, value);
            }
        }
        let policy = GatePolicy { service: None, ..policy() };
        if let Ok(admitted) = admit(vec![Object::new(object, None)], &policy) {
            let admitted = admitted[0].value();
            let pod = &admitted["spec"]["template"]["spec"];
            // Labels and selectors are free text; the pod and its metadata's keys are not.
            let mut found = Vec::new();
            for (key, part) in pod.as_object().unwrap() {
                forbidden(&format!("/{key}"), part, &mut found);
            }
            prop_assert_eq!(&pod["securityContext"]["runAsNonRoot"], true);
            prop_assert!(found.is_empty(), "{found:?} in {admitted}");
            for metadata in [&admitted["metadata"], &admitted["spec"]["template"]["metadata"]] {
                let keys = ["finalizers", "ownerReferences"];
                prop_assert!(keys.iter().all(|key| metadata[*key].as_array().is_none_or(Vec::is_empty)));
            }
            prop_assert_eq!(&admitted["metadata"]["namespace"], "pr-7");
            for list in ["containers", "initContainers"] {
                for container in pod[list].as_array().into_iter().flatten() {
                    let drop = &container["securityContext"]["capabilities"]["drop"];
                    prop_assert_eq!(drop, &json!(["ALL"]));
                    let added = &container["securityContext"]["capabilities"]["add"];
                    prop_assert!(!added.to_string().contains("SYS_ADMIN"));
                }
            }
        }
    }

    #[test]
    fn whatever_an_object_is_the_gate_and_the_printer_have_an_answer(
        kind in prop_oneof![word(), prop::sample::select(vec![
            "Deployment", "StatefulSet", "Service", "CronJob", "Job", "Secret", "ConfigMap",
            "PersistentVolumeClaim", "HorizontalPodAutoscaler", "ServiceAccount",
        ]).prop_map(str::to_owned)],
        whole in value(),
        spec in value(),
    ) {
        let version = if kind == "Deployment" || kind == "StatefulSet" { "apps/v1" } else { "v1" };
        let object = json!({
            "apiVersion": version, "kind": kind, "metadata": whole, "spec": spec, "data": whole,
        });
        let objects = vec![Object::new(object, None), Object::new(whole, None)];
        print(&objects);
        if let Err(refusals) = admit(objects, &policy()) {
            prop_assert!(refusals.iter().all(|it| !it.why.is_empty() && it.to_string().len() < 2000));
        }
    }
}

/// What a team may have written into `values-preview.yaml`: a mapping, most of the time.
fn values_file() -> impl Strategy<Value = String> {
    let keys = prop_oneof![
        4 => word(),
        2 => prop::sample::select(vec!["mayfly", "global", "a", "{{ mayfly.sha }}", "image"])
            .prop_map(str::to_owned),
    ];
    let mapping = prop::collection::btree_map(keys, value(), 0..5);
    let text = "[ -~\n]{0,60}";
    prop_oneof![6 => mapping.prop_map(|it| json!(it).to_string()), 1 => text]
}

/// Whatever is in the values, the chart gets Mayfly's facts and the controller's own values, or the team
/// an error in words that it can place; the real helm is asked.
#[test]
fn whatever_values_a_team_writes_the_facts_stand_or_an_error_says_where() {
    let Some(kitchen) = Kitchen::real() else { return };
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  \
                    mine: {{ .Values.mine | quote }}\n  \
                    facts: {{ toJson .Values.mayfly | quote }}\n";
    let files = [("Chart.yaml", CHART), ("values.yaml", "{}"), ("templates/a.yaml", template)];
    let source = helm(kitchen.directory("fuzzed", &files), json!({ "mine": "{{ mayfly.pr }}" }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(96), |(base in values_file())| {
        match runtime.block_on(kitchen.render(&source, Some(&base))) {
            Ok(rendered) => {
                let data = &rendered.objects[0].value()["data"];
                prop_assert_eq!(&data["mine"], "7");
                let seen: Value = serde_json::from_str(data["facts"].as_str().unwrap()).unwrap();
                prop_assert_eq!(seen, facts().values());
            }
            Err(error) => {
                let text = error.to_string();
                let is_placed = text.contains("values-preview.yaml") || text.contains("small/");
                prop_assert!(is_placed && text.len() < 2000, "{base:?}: {text}");
            }
        }
    });
}
