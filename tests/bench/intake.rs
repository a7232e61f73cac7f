//! Rows 1 and 2: how many deliveries are taken in for good, and how soon each is answered.
//!
//! A 202 is a promise that survives a power cut, so the baseline is a database that makes the same
//! promise about the same bytes: pgbench, one row and one commit for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use mayfly::clock::fresh_id;
use mayfly::demo::postgres::binaries;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use super::plain::connect;
use super::report::{Goal, Row, Spread};
use super::stage::{Signed, Stage, run};

/// How long deliveries come in before anything is measured.
const STORM: Duration = Duration::from_secs(20);

/// How long learning from what it left may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection over which deliveries come; another one when it was closed for its silence.
pub struct Sender {
    to: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
}

impl Sender {
    pub async fn connect(to: SocketAddr) -> Result<Self> {
        Ok(Self { to, requests: connect(to).await? })
    }

    /// Sends it under an id; whether it was answered with 202.
    pub async fn send(&mut self, delivery: &Signed, id: &str) -> Result<bool> {
        if self.requests.ready().await.is_err() {
            *self = Self::connect(self.to).await?;
        }
        let request = Request::post("/webhooks/github")
            .header("host", "mayfly.localhost")
            .header("content-type", "application/json")
            .header("x-github-event", "pull_request")
            .header("x-github-delivery", id)
            .header("x-hub-signature-256", &delivery.signature)
            .body(Full::new(Bytes::copy_from_slice(&delivery.body)))?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status == 202)
    }
}

/// What came of a while of deliveries.
pub struct Heard {
    /// How long each answer took, in order.
    answers: Vec<Duration>,
    pub errors: usize,
    per_second: f64,
}

impl Heard {
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let last = self.answers.len().saturating_sub(1);
        self.answers.get(last * of_hundred / 100).copied().unwrap_or_default()
    }
}

/// Delivers over so many connections for so long, each the next as soon as it is answered.
pub async fn deliver(
    to: SocketAddr,
    deliveries: &Arc<Vec<Signed>>,
    connections: usize,
    length: Duration,
) -> Heard {
    let begun = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|at| {
            let deliveries = deliveries.clone();
            tokio::spawn(async move { one(to, &deliveries, at, begun + length).await })
        })
        .collect();
    let (mut answers, mut errors) = (Vec::new(), 0);
    for sender in senders {
        match sender.await {
            Ok(Ok((took, failed))) => {
                answers.extend(took);
                errors += failed;
            }
            Ok(Err(_)) | Err(_) => errors += 1,
        }
    }
    let per_second = answers.len() as f64 / begun.elapsed().as_secs_f64();
    answers.sort_unstable();
    Heard { answers, errors, per_second }
}

async fn one(
    to: SocketAddr,
    deliveries: &[Signed],
    at: usize,
    end: Instant,
) -> Result<(Vec<Duration>, usize)> {
    let mut sender = Sender::connect(to).await?;
    let (mut answers, mut errors) = (Vec::new(), 0);
    for turn in 0.. {
        if Instant::now() >= end {
            break;
        }
        let delivery = &deliveries[(at * 7919 + turn) % deliveries.len()];
        let sent = Instant::now();
        let taken = sender.send(delivery, &fresh_id().to_string()).await?;
        if taken {
            answers.push(sent.elapsed());
        } else {
            errors += 1;
        }
    }
    Ok((answers, errors))
}

/// pgbench's inserts a second, and their mean latency in milliseconds.
async fn pgbench(
    stage: &Stage,
    (script, body): (&std::path::Path, &str),
    clients: usize,
    length: Duration,
) -> Result<(f64, f64)> {
    let program = binaries().context("no PostgreSQL")?.join("pgbench");
    let seconds = length.as_secs().max(1).to_string();
    let (clients, body) = (clients.to_string(), format!("body={body}"));
    let mut command = Command::new(program);
    command.args(["-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", &seconds]);
    command.args(["-D", &body, "-f"]).arg(script).arg(stage.ledger.url("mayfly"));
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let after = |word: &str| {
        let (_, rest) = said.split_once(word)?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let failed = || format!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr));
    let per_second = after("tps = ").with_context(failed)?;
    Ok((per_second, after("latency average = ").with_context(failed)?))
}

/// Waits until all is learned from: what one storm leaves is not measured with the next.
async fn learned(stage: &Stage) -> Result<()> {
    let mut session = PgConnection::connect(&stage.ledger.url("mayfly")).await?;
    let begun = Instant::now();
    let left = "SELECT EXISTS (SELECT FROM unlearned)";
    while sqlx::query_scalar(left).fetch_one(&mut session).await? {
        ensure!(begun.elapsed() < PATIENCE, "not all is learned from in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(session.close().await?)
}

/// Measures both rows.
pub async fn measure(
    stage: &Stage,
    directory: &std::path::Path,
    rounds: usize,
    length: Duration,
) -> Result<Vec<Row>> {
    run(&stage.ledger, "mayfly", &["CREATE TABLE bench (LIKE deliveries INCLUDING ALL)"]).await?;
    // A storm that goes on: the forge's budget is spent, and the loop has found its pace.
    let storm = Arc::new(stage.deliveries(1_000));
    let first = if rounds > 1 { STORM } else { STORM / 4 };
    let begun = deliver(stage.main, &storm, 8, first).await;
    ensure!(begun.errors == 0, "{} of the first deliveries were not taken", begun.errors);
    let mut rows = Vec::new();
    for (label, bytes, goal) in [("22 kB", 22_000, 1.2), ("1 kB", 1_000, 2.0)] {
        let deliveries = Arc::new(stage.deliveries(bytes));
        let script = directory.join("insert.sql");
        // A parameter: the bytes travel to the server with each insert, as a delivery's do.
        let body = std::str::from_utf8(&deliveries[0].body)?;
        std::fs::write(
            &script,
            "INSERT INTO bench (id, event, body, received_at) VALUES \
             (gen_random_uuid()::text, 'pull_request', convert_to(:body, 'UTF8'), now());\n",
        )?;
        let warm = deliver(stage.main, &deliveries, 16, length / 2).await;
        ensure!(warm.errors == 0, "{} of the first deliveries were not taken", warm.errors);
        let (mut ratios, mut theirs, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        let (mut p50, mut tail, mut means) = (Vec::new(), Vec::new(), Vec::new());
        let mut halves = Vec::new();
        for _ in 0..rounds {
            let mut best = 0_f64;
            learned(stage).await?;
            for clients in [1, 4, 16, 32] {
                let (per_second, mean) = pgbench(stage, (&script, body), clients, length).await?;
                if clients == 1 {
                    means.push(mean);
                }
                best = best.max(per_second);
            }
            let mut most = 0_f64;
            learned(stage).await?;
            for connections in [1, 4, 16, 32] {
                let heard = deliver(stage.main, &deliveries, connections, length).await;
                ensure!(heard.errors == 0, "{} deliveries were not taken", heard.errors);
                if connections == 1 {
                    p50.push(heard.percentile(50).as_secs_f64() * 1000.0);
                }
                most = most.max(heard.per_second);
            }
            let many = deliver(stage.main, &deliveries, 64, length).await;
            halves.push(many.percentile(50).as_secs_f64() * 1000.0);
            tail.push(many.percentile(99).as_secs_f64() * 1000.0);
            ratios.push(most / best);
            theirs.push(best);
            ours.push(most);
            run(&stage.ledger, "mayfly", &["TRUNCATE bench"]).await?;
        }
        let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
        rows.push(Row::new(
            "1",
            &format!("durable 202/s ÷ pgbench's best, {label}"),
            Goal::AtLeast(goal),
            (format!("{:.0}/s", middle(&theirs)), format!("{:.0}/s", middle(&ours))),
            Spread::of(ratios),
        ));
        if bytes > 4096 {
            let each = |of: &[f64], by: &[f64]| of.iter().zip(by).map(|(a, b)| a / b).collect();
            rows.push(Row::new(
                "2",
                "202: p50 at 1 connection ÷ pgbench's mean at 1 client",
                Goal::AtMost(1.5),
                (format!("{:.2} ms", middle(&means)), format!("{:.2} ms", middle(&p50))),
                Spread::of(each(&p50, &means)),
            ));
            rows.push(Row::new(
                "2",
                "202: p99 at 64 connections ÷ its p50",
                Goal::AtMost(2.5),
                (format!("{:.1} ms", middle(&halves)), format!("{:.1} ms", middle(&tail))),
                Spread::of(each(&tail, &halves)),
            ));
            let crowd = deliver(stage.main, &deliveries, 256, length).await;
            let last = crowd.percentile(99).as_secs_f64() * 1000.0;
            let errors = format!("{} errors", crowd.errors);
            let figure = if crowd.errors == 0 { last } else { f64::INFINITY };
            rows.push(Row::new(
                "2",
                "202: p99 at 256 connections, without an error, in ms",
                Goal::AtMost(100.0),
                (errors, format!("{last:.0} ms")),
                Spread::of(vec![figure]),
            ));
        }
    }
    Ok(rows)
}
