//! A repository with a chart of its own, through the loop: rendered by the real programs, gated, and
//! told about when it is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use mayfly::preview::{Notice, Part, Phase};
use mayfly::reconcile::Renderer;
use mayfly::workload::chart::{ChartSource, HelmChart, Quota, ServicePort};
use mayfly::workload::{Chart, Image, ImageTemplate};
use serde_json::{Map, Value};

use crate::workload::programs::Kitchen;
use crate::world::faults::Mode;
use crate::world::{World, number, repository, sha, shop};

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
";

fn deployment(image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop, labels: {{sha: '{{{{ mayfly.shortSha }}}}'}}}}
spec:
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      {more}
      containers: [{{name: shop, image: '{image}'}}]
"
    )
}

/// A world whose repository has this chart.
async fn charted(kitchen: &Kitchen, source: ChartSource) -> World {
    let mut world = World::new().await;
    let mut repository = repository();
    let image = format!("ghcr.io/acme/shop@sha256:{}", "7".repeat(64));
    let image = Image::parse(&image).unwrap();
    repository.shape.image = Some(ImageTemplate::Pinned(image.clone()));
    repository.shape.pod.image = Some(image);
    let service = ServicePort { name: "shop".to_owned(), port: 80 };
    repository.shape.chart = Some(Chart { source, service, quota: Quota::default() });
    let renderer = Renderer {
        tools: kitchen.tools.clone(),
        limits: kitchen.limits.clone(),
        registries: vec!["ghcr.io".to_owned()],
    };
    world.configure_with(repository, renderer);
    world
}

fn manifests(kitchen: &Kitchen) -> PathBuf {
    let text = deployment("{{ mayfly.image.reference }}", "");
    kitchen.directory("manifests", &[("service.yaml", SERVICE), ("shop.yaml", &text)])
}

fn write(directory: &Path, text: &str) {
    fs::write(directory.join("shop.yaml"), text).unwrap();
}

async fn condition(world: &World, part: Part) -> String {
    let preview = world.preview(7).await;
    preview.conditions.into_iter().find(|it| it.part == part).unwrap().message
}

/// What the pull request was last told of a failure.
fn told(world: &World) -> (String, Option<String>) {
    match world.forge.comment(number(7)).unwrap().notice {
        Notice::Failing { why, serves, .. } => (why, serves.map(|it| it.to_string())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_chart_renders_to_is_what_is_ordered() {
    let Some(kitchen) = Kitchen::real() else { return };
    let directory = manifests(&kitchen);
    let world = charted(&kitchen, ChartSource::Manifests { directory }).await;
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "{:#?}", world.preview(7).await);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let kinds: Vec<_> = order.objects.iter().map(|it| it.reference().to_string()).collect();
    assert_eq!(kinds, ["Service shop", "Deployment shop"]);
    let shop = order.objects[1].value();
    assert_eq!(shop["metadata"]["namespace"], "pr-7");
    assert_eq!(shop["metadata"]["labels"]["sha"], sha('a').short());
    let pod = &shop["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "the gate filled it in");
}

#[tokio::test]
async fn a_chart_that_does_not_render_says_its_line_on_the_pull_request_and_the_last_good_serves() {
    let Some(kitchen) = Kitchen::real() else { return };
    let directory = manifests(&kitchen);
    let world = charted(&kitchen, ChartSource::Manifests { directory: directory.clone() }).await;
    world.open(7, 'a').await;
    world.settle().await;
    write(&directory, "kind: Deployment\nmetadata: {name: '{{ mayfly.hots }}'}\n");
    world.push(7, 'b').await;
    world.settle_for(chrono::TimeDelta::minutes(2)).await;
    assert!(world.serves(7, 'a'));
    assert_ne!(world.phase(7).await, Phase::Ready);
    let message = condition(&world, Part::Workload).await;
    let (why, serves) = told(&world);
    for text in [&message, &why] {
        assert!(text.contains("shop.yaml:2: "), "{text}");
    }
    assert_eq!(serves, Some(sha('a').to_string()));

    // What is mended goes on by itself.
    write(&directory, &deployment("{{ mayfly.image.reference }}", ""));
    world.settle_for(chrono::TimeDelta::hours(1)).await;
    assert!(world.serves(7, 'b'));
    assert_eq!(world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn what_the_gate_refuses_is_not_ordered_and_told_with_its_cure() {
    let Some(kitchen) = Kitchen::real() else { return };
    let directory = manifests(&kitchen);
    let world = charted(&kitchen, ChartSource::Manifests { directory: directory.clone() }).await;
    for (text, words) in [
        (deployment("{{ mayfly.image.reference }}", "hostNetwork: true"), "the node's network"),
        (deployment("evil.example/shop@sha256:{{ mayfly.image.digest }}", ""), "image"),
        (deployment("ghcr.io/acme/shop:latest", ""), "digest"),
    ] {
        write(&directory, &text);
        world.push(7, 'a').await;
        world.settle_for(chrono::TimeDelta::minutes(2)).await;
        let (why, _) = told(&world);
        assert!(why.contains("Deployment shop") && why.contains(words), "{words}: {why}");
        assert!(world.cluster.orders().is_empty());
    }
}

#[tokio::test]
async fn helm_is_given_the_repositorys_values_from_its_base_branch() {
    let Some(kitchen) = Kitchen::real() else { return };
    let text = deployment("{{ .Values.mayfly.image.reference }}", "")
        .replace("{{ mayfly.shortSha }}", "{{ .Values.colour }}");
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n"),
        ("values.yaml", "colour: grey\n"),
        ("templates/service.yaml", SERVICE),
        ("templates/shop.yaml", &text),
    ];
    let directory = kitchen.directory("chart", &files);
    let source = ChartSource::Helm {
        chart: HelmChart::Directory(directory),
        release: "shop".to_owned(),
        overlays: vec![Map::<String, Value>::new()],
    };
    let world = charted(&kitchen, source).await;
    world.forge.put_file(&shop(), "values-preview.yaml", "colour: green\n");
    world.open(7, 'a').await;
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready, "{:#?}", world.preview(7).await);
    let (_, order) = world.cluster.orders().pop().unwrap();
    let shop_object = order.objects.iter().find(|it| it.reference().kind == "Deployment").unwrap();
    assert_eq!(shop_object.value()["metadata"]["labels"]["sha"], "green");

    // A forge that does not answer is waited for: other values than the team's would be another preview.
    world.faults.always("forge.base_file", Mode::FailBefore);
    world.push(7, 'c').await;
    world.settle_for(chrono::TimeDelta::minutes(2)).await;
    assert!(world.serves(7, 'a') && world.cluster.orders().len() == 1);
    let said = world.forge.comment(number(7)).unwrap().notice;
    assert!(matches!(said, Notice::Ready { .. }), "no reason to tell anybody: {said:?}");
    world.faults.heal();
    world.settle_for(chrono::TimeDelta::hours(1)).await;
    assert!(world.serves(7, 'c'));

    // Values that are no mapping are the team's to mend, and say so.
    world.forge.put_file(&shop(), "values-preview.yaml", "- colour\n");
    world.push(7, 'b').await;
    world.settle_for(chrono::TimeDelta::minutes(2)).await;
    let (why, _) = told(&world);
    assert!(why.contains("values-preview.yaml"), "{why}");
    assert!(world.serves(7, 'c'));
}
