//! Charts in the style of public ones, rendered by the real programs, and what each error says.

use mayfly::workload::chart::{ChartSource, RenderErrorKind};
use mayfly::workload::gate::admit;
use mayfly::workload::{Object, inventory, print};
use serde_json::{Value, json};

use super::programs::{CHART, Kitchen, facts, fixture, helm, image, policy};

/// What the controller's own values say to a chart that knows nothing of Mayfly.
fn overlay() -> Value {
    json!({
        "who": "overlay",
        "image": { "tag": "{{ mayfly.sha }}@{{ mayfly.image.digest }}" },
        "ingress": { "enabled": false },
        "serviceAccount": { "automount": false },
    })
}

#[track_caller]
fn golden(name: &str, objects: Vec<Object>) {
    let admitted = admit(objects, &policy()).unwrap_or_else(|refusals| {
        let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        panic!("refused:\n{}", lines.join("\n"));
    });
    insta::assert_snapshot!(name, print(&admitted));
}

#[tokio::test]
async fn a_web_application_as_helm_create_makes_it_is_rendered_like_this() {
    let Some(kitchen) = Kitchen::real() else { return };
    let base = "replicaCount: 1\nwho: base\nlogLevel: debug\nimage: {tag: evil}\n";
    let source = helm(fixture("plain-web"), overlay());
    let rendered = kitchen.render(&source, Some(base)).await.unwrap();
    golden("plain-web", rendered.without_hooks().unwrap());
}

#[tokio::test]
async fn an_umbrella_with_hooks_and_a_subchart_is_rendered_like_this() {
    let Some(kitchen) = Kitchen::real() else { return };
    let rendered = kitchen.render(&helm(fixture("shop-suite"), json!({})), None).await.unwrap();
    let hooks: Vec<_> =
        rendered.hooks.iter().map(|it| (it.object.reference().name, it.events.clone())).collect();
    let migrate = ("shop-migrate".to_owned(), vec!["pre-install", "pre-upgrade"]);
    let cleanup = ("shop-cleanup".to_owned(), vec!["post-delete"]);
    assert_eq!(hooks.len(), 2, "the test is dropped: {hooks:?}");
    assert!(hooks.contains(&migrate) && hooks.contains(&cleanup), "{hooks:?}");
    let error = rendered.without_hooks().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("workload.migrations"), "{text}");
    assert_eq!(error.place.unwrap().file, "suite/templates/hooks.yaml");

    let off = helm(fixture("shop-suite"), json!({ "migrations": { "enabled": false } }));
    let rendered = kitchen.render(&off, None).await.unwrap();
    golden("shop-suite", rendered.without_hooks().unwrap());
}

#[tokio::test]
async fn a_kustomize_overlay_is_rendered_like_this() {
    let Some(kitchen) = Kitchen::real() else { return };
    let source = ChartSource::Kustomize {
        directory: fixture("kustomize"),
        overlay: "overlays/preview".into(),
    };
    golden("kustomize", kitchen.render(&source, None).await.unwrap().without_hooks().unwrap());
}

#[tokio::test]
async fn plain_manifests_are_rendered_like_this() {
    let kitchen = Kitchen::with("/nonexistent".as_ref(), "/nonexistent".as_ref());
    let source = ChartSource::Manifests { directory: fixture("manifests") };
    let objects = kitchen.render(&source, None).await.unwrap().without_hooks().unwrap();
    let names: Vec<_> = inventory(&objects).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Deployment shop", "Service shop"]);
    golden("manifests", objects);
}

#[tokio::test]
async fn values_come_in_their_order_and_nobody_overrides_the_facts() {
    let Some(kitchen) = Kitchen::real() else { return };
    let values = "a: chart\nb: chart\nc: chart\nmayfly: {sha: chart, host: chart, extra: chart}\n";
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  \
                    {{- range $key := list \"a\" \"b\" \"c\" }}\n  {{ $key }}: {{ index $.Values $key }}\n  \
                    {{- end }}\n  mayfly: {{ toJson .Values.mayfly | quote }}\n";
    let files = [("Chart.yaml", CHART), ("values.yaml", values), ("templates/a.yaml", template)];
    let directory = kitchen.directory("order", &files);
    let source = helm(directory, json!({ "c": "overlay {{ mayfly.pr }}" }));
    let rendered = kitchen.render(&source, Some("b: base\nc: base\n")).await.unwrap();
    let data = &rendered.objects[0].value()["data"];
    assert_eq!((&data["a"], &data["b"]), (&json!("chart"), &json!("base")));
    assert_eq!(data["c"], "overlay 7");
    let mut seen: Value = serde_json::from_str(data["mayfly"].as_str().unwrap()).unwrap();
    seen.as_object_mut().unwrap().remove("extra");
    assert_eq!(seen, facts().values(), "what a chart's own defaults say of the facts is nothing");

    for (base, overlay) in [("mayfly: {host: x}", json!({})), ("{}", json!({ "mayfly": null }))] {
        let source = helm(fixture("plain-web"), overlay);
        let error = kitchen.render(&source, Some(base)).await.unwrap_err();
        assert!(error.to_string().contains("Mayfly's own"), "{error}");
    }
}

#[tokio::test]
async fn an_error_says_its_file_and_line_in_the_tools_own_words_and_no_secret() {
    let Some(kitchen) = Kitchen::real() else { return };
    let cases = [
        ("a: 1\nb: {{ .Values.x.y.z }}\n", Some(2), "nil pointer"),
        ("a: 1\n{{ fail \"postgres://a:hush@db/x is wrong\" }}\n", Some(2), "is wrong"),
        ("a: {{ required \"a.b is missing\" .Values.a }}\n", Some(1), "a.b is missing"),
        ("kind: A\napiVersion: v1\nb: [\n", None, "YAML"),
        ("{{ if }}", Some(1), "missing value"),
        ("just: words\n", None, "no kind"),
    ];
    for (template, line, words) in cases {
        let error = kitchen.template(template).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind, RenderErrorKind::Source, "{template}: {text}");
        let place = error.place.clone().unwrap_or_else(|| panic!("{template}: no place: {text}"));
        assert_eq!(place.file, "small/templates/a.yaml", "{text}");
        assert!(line.is_none() || place.line == line, "{template}: {place}: {text}");
        assert!(text.contains(words) && !text.contains("hush"), "{template}: {text}");
        let room = kitchen.room.path().display().to_string();
        assert!(!text.contains(&room) && text.lines().count() <= 5, "{text}");
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_named() {
    let Some(kitchen) = Kitchen::real() else { return };
    let schema = r#"{"type": "object", "properties": {"replicas": {"type": "integer"}}}"#;
    let files = [("Chart.yaml", CHART), ("values.schema.json", schema), ("values.yaml", "{}")];
    let source = helm(kitchen.directory("typed", &files), json!({}));
    for (base, words) in [
        ("replicas: two", "replicas"),
        ("- a", "values-preview.yaml: values have to be a mapping"),
        ("a: [", "values-preview.yaml:"),
        ("a: &a [*a]", "values-preview.yaml:"),
    ] {
        let error = kitchen.render(&source, Some(base)).await.unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::Source);
        assert!(error.to_string().contains(words), "{base}: {error}");
    }
    let source = helm(fixture("plain-web"), json!({ "who": { "deep": ["{{ mayfly.hots }}"] } }));
    let error = kitchen.render(&source, None).await.unwrap_err().to_string();
    assert!(error.starts_with("workload.chart.helm.values.who.deep[0]:1: "), "{error}");
}

#[tokio::test]
async fn a_program_or_a_directory_that_is_not_there_is_said_with_its_key() {
    let kitchen = Kitchen::with("/nonexistent/helm".as_ref(), "/nonexistent/kubectl".as_ref());
    let kustomize = ChartSource::Kustomize { directory: fixture("kustomize"), overlay: ".".into() };
    for (source, key) in
        [(helm(fixture("plain-web"), json!({})), "tools.helm"), (kustomize, "tools.kubectl")]
    {
        let error = kitchen.render(&source, None).await.unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::Tool);
        assert!(error.to_string().contains(key), "{error}");
    }
    let gone = ChartSource::Manifests { directory: "/nonexistent/chart".into() };
    let error = kitchen.render(&gone, None).await.unwrap_err().to_string();
    assert!(error.contains("workload.chart") && !error.contains("/nonexistent"), "{error}");
}

#[tokio::test]
async fn an_image_in_an_overlay_is_replaced_by_name_and_only_that_one() {
    let Some(kitchen) = Kitchen::real() else { return };
    let pods = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: \
                {containers: [{name: a, image: 'ghcr.io/acme/shop:1'}, {name: b, image: 'redis:7'}]}}}\n";
    let files = [("kustomization.yaml", "resources: [a.yaml]"), ("a.yaml", pods)];
    let directory = kitchen.directory("images", &files);
    let source = ChartSource::Kustomize { directory, overlay: ".".into() };
    let rendered = kitchen.render(&source, None).await.unwrap();
    let mut pods = rendered.objects.iter().filter(|it| it.reference().kind == "Deployment");
    let containers = &pods.next().unwrap().value()["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["image"], image().to_string());
    assert_eq!(containers[1]["image"], "redis:7");
}
