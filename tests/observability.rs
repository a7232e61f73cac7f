//! What the process says about itself: one span for each pass, metrics that Prometheus takes and that
//! rules and dashboard ask for, spans for a collector, and a secret in none of them.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use chrono::TimeDelta;
use mayfly::clock::fresh_id;
use mayfly::http;
use mayfly::ledger::Role;
use mayfly::preview::Part;
use mayfly::telemetry::logs::subscriber;
use mayfly::telemetry::{LogFormat, Metrics, OtlpConfig, Spans};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use reqwest::Method;
use serde_json::Value;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::world::World;
use crate::world::faults::Mode;
use crate::world::listener::{Listener, OLD_SECRET, SECRET, state};
use crate::world::wait::until;

/// A second subscriber, which hears nothing. While a process has a single one, whoever meets a line or a
/// span first decides for all whether it is of interest, and a test beside that has none says no.
static DEAF: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry().with(LevelFilter::OFF)));

/// Log lines, kept.
#[derive(Clone)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Default for Lines {
    fn default() -> Self {
        LazyLock::force(&DEAF);
        Self(Arc::default())
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn all(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What the adapter of GitHub counts, whose budget no test here spends.
#[derive(Debug)]
struct Budget;

impl Collector for Budget {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for name in ["github_budget_limit", "github_budget_remaining"] {
            let gauge = ConstGauge::new(5000);
            gauge.encode(encoder.encode_descriptor(name, "Calls", None, gauge.metric_type())?)?;
        }
        let calls = ConstCounter::new(1_u64);
        let kind = calls.metric_type();
        calls.encode(encoder.encode_descriptor("github_requests", "Calls", None, kind)?)
    }
}

/// A life with every trouble that has a metric: from opening to receipt, with a fault in between.
async fn live(world: &World) {
    world.open(1, 'a').await;
    world.settle().await;
    world.faults.plan("cluster.ensure_workload", 2, Mode::FailBefore);
    world.push(1, 'b').await;
    world.settle().await;
    world.close(1, 'b').await;
    world.settle().await;
}

fn spans_of(line: &Value) -> Vec<&Value> {
    let spans = line["spans"].as_array().into_iter().flatten();
    spans.filter(|span| span["name"] == "pass").collect()
}

#[tokio::test]
async fn every_line_of_a_pass_is_in_its_one_span_with_preview_epoch_and_replica() {
    let world = World::new().await;
    let lines = Lines::default();
    let guard =
        tracing::subscriber::set_default(subscriber(LogFormat::Json, None, lines.clone(), None));
    live(&world).await;
    drop(guard);
    let mut epochs = BTreeSet::new();
    let (mut steps, mut phases, mut faults) = (BTreeSet::new(), Vec::new(), 0);
    for line in lines.all() {
        let spans = spans_of(&line);
        assert_eq!(spans.len(), 1, "{line}");
        assert_eq!(spans[0]["preview"], "pr-1", "{line}");
        assert_eq!(spans[0]["replica"], world.reconciler.replica.to_string(), "{line}");
        epochs.insert(spans[0]["epoch"].as_i64().unwrap());
        let fields = &line["fields"];
        match fields["message"].as_str().unwrap() {
            "step" => {
                assert!(fields["seconds"].as_f64().unwrap() >= 0.0, "{line}");
                faults += u32::from(fields["fine"] == false);
                steps.insert(fields["step"].as_str().unwrap().to_owned());
            }
            "phase" => phases.push(fields["to"].as_str().unwrap().to_owned()),
            other => panic!("another line: {other}"),
        }
    }
    for step in ["ensure_database", "ensure_workload", "publish", "remove_role"] {
        assert!(steps.contains(step), "{steps:?}");
    }
    assert_eq!(phases.first().map(String::as_str), Some("Starting"));
    assert_eq!(phases.last().map(String::as_str), Some("Gone"));
    assert!(epochs.len() > 5, "a span for each pass: {epochs:?}");
    assert!(faults > 0, "the fault of a step is said");
}

#[tokio::test]
async fn at_level_warn_a_warning_inside_a_pass_still_names_its_preview() {
    let lines = Lines::default();
    let fewer = subscriber(LogFormat::Json, Some("warn"), lines.clone(), None);
    tracing::subscriber::with_default(fewer, || {
        // As the library makes it: this is another crate.
        let pass = tracing::info_span!(target: "mayfly::reconcile::pass", "pass", preview = "pr-1");
        let _within = pass.entered();
        tracing::info!("step");
        tracing::warn!("a pass exceeded its deadline");
    });
    let lines = lines.all();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(spans_of(&lines[0])[0]["preview"], "pr-1", "{lines:?}");
}

#[tokio::test]
async fn no_secret_is_in_any_line_metric_answer_or_journal_of_a_whole_life() {
    let world = World::new().await;
    let token = format!("mayfly_{}", "5ec2e7".repeat(8));
    let (now, id) = (world.now(), fresh_id());
    let until = now + TimeDelta::days(30);
    world.ledger.add_token(id, "ada", Role::Admin, &token, until, now).await.unwrap();
    let lines = Lines::default();
    let everything = Some("trace,h2=off,hyper=off,sqlx=debug");
    let guard = tracing::subscriber::set_default(subscriber(
        LogFormat::Json,
        everything,
        lines.clone(),
        None,
    ));
    let main = Listener::start(http::router(state(&world.reconciler))).await;
    let operations = Listener::start(http::operations(state(&world.reconciler))).await;
    live(&world).await;
    let mut said = operations.look(operations.request(Method::GET, "/metrics")).await.text;
    for path in ["", "/pr-1", "/pr-1/receipt", "/pr-1/journal"] {
        let request = main.request(Method::GET, &format!("/api/v1/previews{path}"));
        let answer = main.look(request.bearer_auth(&token)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        said.push_str(&answer.text);
    }
    let signed =
        main.request(Method::POST, "/webhooks/github").header("x-hub-signature-256", "sha256=00");
    said.push_str(&main.look(signed.body("{}")).await.text);
    drop(guard);
    said.push_str(&lines.text());
    assert!(said.contains("remove_role"), "it was a whole life");
    let password = world.preview(1).await.password.reveal().to_owned();
    for secret in [&password, &token, SECRET, OLD_SECRET] {
        let at = said.find(secret);
        assert!(at.is_none(), "{:?}", at.map(|at| &said[at.saturating_sub(200)..at]));
    }
}

/// A world after a life, with one preview that is up, and what a scrape of it says.
async fn scrape(accept: &str) -> (String, String) {
    let mut world = World::new().await;
    let mut metrics = Metrics::default();
    metrics.collect(Box::new(Budget));
    world.count_with(metrics);
    live(&world).await;
    world.open(2, 'c').await;
    world.settle().await;
    world.reconciler.metrics.brake_engaged();
    world.reconciler.metrics.delivery("accepted");
    let operations = Listener::start(http::operations(state(&world.reconciler))).await;
    let request = operations.request(Method::GET, "/metrics").header("accept", accept);
    let answer = operations.look(request).await;
    (answer.header("content-type").to_owned(), answer.text)
}

/// The program, where it is: in the path, or where scripts/deps.sh puts it.
fn promtool() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(cache.map(|cache| cache.join("mayfly/bin")))
        .map(|folder| folder.join("promtool"))
        .find(|program| program.exists());
    if found.is_none() {
        eprintln!("SKIPPED: promtool is missing; scripts/deps.sh tests fetches it");
    }
    found
}

fn ask(promtool: &PathBuf, arguments: &[&str], input: &str) {
    let mut child = Command::new(promtool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(done.status.success(), "promtool {arguments:?}: {said}\n{input}");
}

#[tokio::test]
async fn promtool_finds_no_fault_with_a_scrape() {
    let (kind, text) = scrape("").await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let Some(promtool) = promtool() else { return };
    ask(&promtool, &["check", "metrics"], &text);
}

#[test]
fn promtool_finds_no_fault_with_the_rules_and_they_fire_when_they_should() {
    let Some(promtool) = promtool() else { return };
    ask(&promtool, &["check", "rules", "charts/mayfly/files/alerts.yaml"], "");
    ask(&promtool, &["test", "rules", "tests/prometheus/alerts_test.yaml"], "");
}

#[tokio::test]
async fn who_asks_for_openmetrics_gets_it_to_its_last_line() {
    let (kind, text) = scrape("application/openmetrics-text;version=1.0.0,text/plain;q=0.3").await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("# TYPE mayfly_passes counter\n"), "{text}");
}

/// Names of metrics in a text: a word of ours, or a process's.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let ours = |word: &&str| word.starts_with("mayfly_") || word.starts_with("process_");
    let base = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    text.split(word).filter(ours).map(base).collect()
}

/// Every string below a key of a JSON or YAML tree.
fn values(tree: &Value, key: &str, found: &mut Vec<String>) {
    match tree {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| values(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| values(value, key, found)),
        _ => {}
    }
}

fn expressions(path: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let tree: Value = serde_saphyr::from_str(&text).unwrap();
    let mut found = Vec::new();
    values(&tree, "expr", &mut found);
    assert!(found.len() > 5, "{path}: {found:?}");
    names(&found.join("\n"))
}

#[tokio::test]
async fn what_rules_and_dashboard_ask_for_is_in_a_scrape_and_all_of_it_is_on_the_dashboard() {
    let (_, text) = scrape("").await;
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let there = names(&samples.join("\n"));
    let rules = expressions("charts/mayfly/files/alerts.yaml");
    let dashboard = expressions("charts/mayfly/files/dashboard.json");
    let asked: BTreeSet<_> = rules.union(&dashboard).cloned().collect();
    assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "{text}");
    assert_eq!(there.difference(&dashboard).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn a_scrape_tells_how_long_the_loop_is_behind_and_how_long_a_preview_is_stuck() {
    let world = World::new().await;
    world.open(1, 'a').await;
    world.clock.advance(TimeDelta::seconds(90));
    let survey = world.ledger.survey(world.now()).await.unwrap();
    assert!((89..=91).contains(&survey.overdue.num_seconds()), "{survey:?}");
    world.settle().await;
    let survey = world.ledger.survey(world.now()).await.unwrap();
    assert_eq!((survey.overdue, survey.not_ready), (TimeDelta::zero(), TimeDelta::zero()));
    let healthy = survey.conditions.iter().filter(|(_, status, _)| status.as_str() == "True");
    let all = i64::try_from(Part::ALL.len()).unwrap();
    assert_eq!(healthy.map(|(_, _, count)| count).sum::<i64>(), all, "{survey:?}");
    world.close(1, 'a').await;
    world.settle().await;
    assert_eq!(world.ledger.survey(world.now()).await.unwrap().conditions, vec![]);
}

#[tokio::test]
async fn readiness_after_a_webhook_is_measured_and_healing_is_not() {
    let world = World::new().await;
    let count = || {
        let text = world.reconciler.metrics.render(None, mayfly::telemetry::Exposition::Plain);
        let name = "mayfly_webhook_to_ready_seconds_count ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u32>().unwrap()
    };
    world.open(1, 'a').await;
    world.settle().await;
    assert_eq!(count(), 1);
    world.clock.advance(TimeDelta::hours(2));
    world.cluster.crash(&crate::world::pr(1));
    world.settle().await;
    assert_eq!(count(), 1, "it was healed");
    world.push(1, 'b').await;
    world.settle().await;
    assert_eq!(count(), 2);
}

async fn keep(State(all): State<Lines>, body: Bytes) {
    all.0.lock().unwrap().extend_from_slice(&body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_the_spans_of_passes_with_their_steps() {
    let received = Lines::default();
    let router =
        Router::new().route("/v1/traces", axum::routing::post(keep)).with_state(received.clone());
    let collector = Listener::start(router).await;
    let config = OtlpConfig {
        endpoint: format!("http://{}/", collector.address),
        service_name: "mayfly-under-test".to_owned(),
    };
    let spans = Arc::new(Spans::start(&config).unwrap());
    let world = World::new().await;
    // Spans come at every level of lines.
    let subscriber = subscriber(LogFormat::Json, Some("warn"), std::io::sink, Some(&spans));
    let dispatch = tracing::Dispatch::new(subscriber);
    // Passes are tasks of their own, on any thread: each is told where its spans go.
    let world = Arc::new(world);
    let living = {
        let world = world.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tracing::dispatcher::with_default(&dispatch, || {
                runtime.block_on(async {
                    live(&world).await;
                    // Asked here: the sessions of the pool end with this runtime.
                    world.preview(1).await.password.reveal().to_owned()
                })
            })
        })
    };
    let password = tokio::task::spawn_blocking(move || living.join().unwrap()).await.unwrap();
    let stopping = spans.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.unwrap();
    let holds = |what: &str| {
        let bytes = received.0.lock().unwrap();
        bytes.windows(what.len()).any(|window| window == what.as_bytes())
    };
    until("the spans", async || holds("pass") && holds("mayfly-under-test")).await;
    for what in ["pr-1", "epoch", "replica", "ensure_database", "remove_role"] {
        assert!(holds(what), "{what}");
    }
    assert!(!holds(&password));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_gone_holds_up_no_pass() {
    let gone = {
        let socket = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        socket.local_addr().unwrap()
    };
    let config = OtlpConfig { endpoint: format!("http://{gone}"), service_name: "x".to_owned() };
    let spans = Arc::new(Spans::start(&config).unwrap());
    let subscriber = subscriber(LogFormat::Json, None, std::io::sink, Some(&spans));
    // Many more than the queue holds.
    let thread = std::thread::spawn(move || {
        tracing::subscriber::with_default(subscriber, || {
            for epoch in 0..10_000 {
                let _span = tracing::info_span!("pass", epoch).entered();
            }
        });
    });
    let ended = tokio::task::spawn_blocking(move || thread.join().unwrap());
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("not held up").unwrap();
    let stopping = spans.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.unwrap();
}
