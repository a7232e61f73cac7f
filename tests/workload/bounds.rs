//! What a chart cannot do: run for ever, take all memory, write without end, or learn of anything but
//! itself.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use mayfly::workload::chart::{ChartSource, HelmChart, RenderError, RenderErrorKind};
use serde_json::json;

use super::programs::{CHART, Kitchen, fixture, helm};

#[track_caller]
fn ended(error: &RenderError, words: &str) {
    assert_eq!(error.kind, RenderErrorKind::Limit, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_chart_that_never_ends_is_ended_with_all_that_it_started() {
    let Some(mut kitchen) = Kitchen::real() else { return };
    kitchen.limits.timeout = Duration::from_secs(2);
    let endless = "{{ range until 100000 }}{{ range until 100000 }}{{ $_ := sha256sum \"x\" }}{{ end }}{{ end }}";
    let begun = Instant::now();
    ended(&kitchen.template(endless).await.unwrap_err(), "tools.timeout");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A program of the fixtures in the place of helm.
fn stand_in(name: &str) -> Kitchen {
    Kitchen::with(&fixture("programs").join(name), "/nonexistent".as_ref())
}

/// Whether a process has this word among its arguments.
fn runs(word: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|it| it.path().join("cmdline"));
    all.filter_map(|path| std::fs::read(path).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

#[tokio::test]
async fn a_program_that_detaches_a_child_leaves_none_behind() {
    let mut kitchen = stand_in("detaches");
    kitchen.limits.timeout = Duration::from_secs(5);
    let chart = HelmChart::Directory(kitchen.directory("chart", &[("Chart.yaml", CHART)]));
    let release = format!("detached-{}", std::process::id());
    let child = format!("{release}-child");
    let source = ChartSource::Helm { chart, release, overlays: vec![] };
    let seen = crate::world::wait::until("the child runs", async || runs(&child));
    let (rendered, ()) = tokio::join!(kitchen.render(&source, None), seen);
    ended(&rendered.unwrap_err(), "tools.timeout");
    crate::world::wait::until("the child has ended", async || !runs(&child)).await;
}

#[tokio::test]
async fn a_chart_that_takes_all_memory_is_ended_by_its_limit() {
    let Some(mut kitchen) = Kitchen::real() else { return };
    kitchen.limits.memory_mebibytes = 192;
    kitchen.limits.timeout = Duration::from_secs(60);
    let doubling = "{{ $x := repeat 1000000 \"x\" }}{{ range until 12 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}{{ len $x }}";
    ended(&kitchen.template(doubling).await.unwrap_err(), "tools.memory_mebibytes");
}

#[tokio::test]
async fn manifests_that_take_all_memory_are_ended_by_their_limit() {
    let mut kitchen = Kitchen::with("/nonexistent".as_ref(), "/nonexistent".as_ref());
    kitchen.limits.memory_mebibytes = 192;
    kitchen.limits.timeout = Duration::from_secs(60);
    // Each in few steps: what is bounded is not their number.
    let mut doubling = "{% set x = 'xxxxxxxx' %}".to_owned();
    doubling.push_str(&"{% set x = x ~ x %}".repeat(30));
    let megabyte = "x".repeat(1024 * 1024);
    let repeated = format!("{{% set x %}}{megabyte}{{% endset %}}{}", "{{ x }}".repeat(600));
    for (name, text) in [("doubling", doubling), ("repeated", repeated)] {
        let directory = kitchen.directory(name, &[("a.yaml", &text)]);
        let error = kitchen.render(&ChartSource::Manifests { directory }, None).await.unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::Limit, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_chart_that_writes_without_end_is_ended_by_its_limit() {
    let Some(mut kitchen) = Kitchen::real() else { return };
    kitchen.limits.output_bytes = 100_000;
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: {{ repeat 200000 \"x\" }}}\n";
    ended(&kitchen.template(object).await.unwrap_err(), "tools.output_bytes");
    kitchen.limits.max_objects = 5;
    let many = "{{ range until 6 }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a{{ . }}}\n{{ end }}";
    ended(&kitchen.template(many).await.unwrap_err(), "tools.max_objects");
}

#[tokio::test]
async fn a_chart_that_is_too_much_is_not_even_read() {
    let mut kitchen = Kitchen::with("/nonexistent".as_ref(), "/nonexistent".as_ref());
    kitchen.limits.source_bytes = 1000;
    kitchen.limits.source_entries = 10;
    let big = "x".repeat(1001);
    let big = kitchen.directory("big", &[("a.yaml", &big)]);
    let many: Vec<_> = (0..11).map(|at| format!("{at}.yaml")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let many = kitchen.directory("many", &many);
    for (directory, words) in [(big, "tools.source_bytes"), (many, "tools.source_entries")] {
        let source = ChartSource::Manifests { directory };
        ended(&kitchen.render(&source, None).await.unwrap_err(), words);
    }
}

#[tokio::test]
async fn a_program_knows_nothing_of_the_controllers_environment() {
    let kitchen = stand_in("tells");
    let source = helm(kitchen.directory("chart", &[("Chart.yaml", CHART)]), json!({}));
    let said = kitchen.render(&source, None).await.unwrap_err().to_string();
    assert!(
        std::env::vars().any(|(name, _)| name == "CARGO_MANIFEST_DIR"),
        "there is one to learn"
    );
    assert_eq!(said, "unknown:\ncluster: /dev/null");
}

#[tokio::test]
async fn a_chart_reads_no_variable_no_file_outside_no_cluster_and_no_name_server() {
    let Some(kitchen) = Kitchen::real() else { return };
    for asks in ["{{ env \"HOME\" }}", "{{ expandenv \"$HOME\" }}"] {
        let error = kitchen.template(asks).await.unwrap_err().to_string();
        assert!(error.contains("not defined"), "{asks}: {error}");
    }
    let looks = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  \
                 cluster: {{ lookup \"v1\" \"Namespace\" \"\" \"default\" | toJson | quote }}\n  \
                 host: {{ getHostByName \"localhost\" | quote }}\n  \
                 file: {{ .Files.Get \"/etc/passwd\" | quote }}\n  \
                 above: {{ .Files.Get \"../../../../etc/passwd\" | quote }}\n";
    let objects = kitchen.template(looks).await.unwrap();
    let expected = json!({ "cluster": "{}", "host": "", "file": "", "above": "" });
    assert_eq!(objects[0].value()["data"], expected);
}

#[tokio::test]
async fn a_link_that_leads_out_of_a_chart_is_refused_and_one_within_is_followed() {
    let kitchen = Kitchen::with("/nonexistent".as_ref(), "/nonexistent".as_ref());
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    // As a ConfigMap is mounted.
    let directory = kitchen.directory("mounted", &[("..data/a.yaml", object)]);
    symlink("..data/a.yaml", directory.join("a.yaml")).unwrap();
    let source = ChartSource::Manifests { directory: directory.clone() };
    assert_eq!(kitchen.render(&source, None).await.unwrap().objects.len(), 1);
    symlink("/etc/passwd", directory.join("b.yaml")).unwrap();
    let error = kitchen.render(&source, None).await.unwrap_err().to_string();
    assert!(error.contains("b.yaml") && error.contains("leads out"), "{error}");
}

#[tokio::test]
async fn an_overlay_that_names_anything_outside_is_refused_and_asks_nobody() {
    let Some(kitchen) = Kitchen::real() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/a.yaml", listener.local_addr().unwrap());
    let cases = [
        format!("resources: ['{url}']"),
        format!("components: ['{url}']"),
        "resources: [github.com/acme/shop//deploy?ref=main]".to_owned(),
        "resources: ['git@github.com:acme/shop']".to_owned(),
        "resources: [/etc]".to_owned(),
        "bases: [../../../../../../../../etc]".to_owned(),
        format!("patches: [{{path: '{url}'}}]"),
        format!("patchesStrategicMerge: ['{url}']"),
        format!("openapi: {{path: '{url}'}}"),
        format!("configMapGenerator: [{{name: a, files: ['{url}']}}]"),
        format!("replacements: [{{path: '{url}'}}]"),
        "generators: [a.yaml]".to_owned(),
        "transformers: [a.yaml]".to_owned(),
        "helmCharts: [{name: a, repo: 'https://example.com'}]".to_owned(),
        "configMapGenerator: [{name: a, files: [/etc/passwd]}]".to_owned(),
        "configMapGenerator: [{name: a, files: [../../../../../../../etc/passwd]}]".to_owned(),
    ];
    for text in cases {
        let directory = kitchen.directory("remote", &[("kustomization.yaml", &text)]);
        let source = ChartSource::Kustomize { directory, overlay: ".".into() };
        let error = kitchen.render(&source, None).await.unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::Source, "{text}: {error}");
    }
    let asked = listener.accept().map(|(mut stream, _)| stream.read(&mut [0; 16]));
    assert!(asked.is_err(), "somebody was asked");
}
