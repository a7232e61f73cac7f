//! The story: three pull requests live and go, and nothing is left.
//!
//! Every step is taken from outside: webhooks in, the API and the URLs asked. Refuses to end well
//! unless an independent look finds nothing.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::github::PullSpec;
use super::leftovers::RunDirectory;
use super::place::Place;
use super::screen::Screen;
use super::script::{DOCS, PULLS, Pull, SHOP, Script, commit};
use super::stage::Stage;
use super::visitor::{add_product, api_products, products, url, visit};
use super::watch::{fleet, steps, text, until, until_serves};
use super::witness;

/// Plays the whole of it; success only if nothing is left.
pub async fn tell(script: Script) -> anyhow::Result<ExitCode> {
    let (run, dead) = RunDirectory::make().await.context("making the demo's directory")?;
    let mut screen = Screen::new();
    screen.heading("Mayfly: a preview environment for every pull request");
    if dead > 0 {
        screen.say(&format!("cleaned up after {dead} demo(s) that were killed"));
    }
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(hear_signals(stop.clone(), hurry.clone()));
    screen.say("starting PostgreSQL, a GitHub stand-in and the controller");
    let outcome = match Stage::set(&script, &run).await {
        Ok(stage) => perform(&script, &run, stage, &mut screen, &stop, &hurry).await,
        Err(error) => Err(error),
    };
    let path = run.path().to_owned();
    run.remove().await.context("removing the demo's directory")?;
    outcome?;
    ensure!(!path.exists(), "{} is still there", path.display());
    screen.say("the database server, every process and every file of this demo are gone");
    Ok(if hurry.is_cancelled() { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// The first signal ends the story early and tears everything down; the second does so without
/// waiting for the controller.
async fn hear_signals(stop: CancellationToken, hurry: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return;
    };
    for token in [stop, hurry] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        token.cancel();
    }
}

async fn perform(
    script: &Script,
    run: &RunDirectory,
    stage: Stage,
    screen: &mut Screen,
    stop: &CancellationToken,
    hurry: &CancellationToken,
) -> anyhow::Result<()> {
    let told = async {
        let told = match stop.run_until_cancelled(play(script, &stage, screen)).await {
            Some(told) => told,
            None => Ok(()),
        };
        // Whatever happened, what is up is taken down, and somebody else looks.
        let ended = finale(script, run, &stage, screen).await;
        told.and(ended)
    };
    let outcome = hurry.run_until_cancelled(told).await.unwrap_or(Ok(()));
    if hurry.is_cancelled() {
        screen.say("at once, then");
        if let Place::Cluster(_) = script.place {
            let names = PULLS.map(|pull| pull.name).join(" ");
            screen.say(&format!("what is left: kubectl delete namespace {names}"));
        }
    }
    let Stage { app, postgres, .. } = stage;
    // Bounded: what does not end in time is ended with the run's directory.
    let _ = tokio::time::timeout(Duration::from_secs(10), app.stop()).await;
    let stopped = postgres.stop().await;
    outcome.and(stopped.map_err(Into::into))
}

async fn play(script: &Script, stage: &Stage, screen: &mut Screen) -> anyhow::Result<()> {
    screen.heading("Three pull requests open: signed webhooks, full payloads");
    for (pull, title, branch) in [
        (&PULLS[0], "Sell nectar by the drop", "nectar"),
        (&PULLS[1], "Show pond depths", "$(id)'; DROP TABLE previews;--"),
        (&PULLS[2], "Explain moulting", "docs/moulting"),
    ] {
        let mut spec = PullSpec::new(title, &commit(pull, 1));
        spec.branch = branch.to_owned();
        stage.github.open_pull(pull.repo, pull.number, spec);
        stage.deliver(pull.repo, pull.number, "opened").await?;
    }
    for pull in &PULLS {
        until(stage, screen, pull, "Ready").await?;
    }
    for pull in &PULLS {
        let page = visit(stage, pull, "/").await?;
        ensure!(page.commit == commit(pull, 1), "{} serves {}", pull.name, page.commit);
        let rows = products(stage, pull).await?;
        screen.say(&format!("{:<10} {}  {} seeded rows", pull.name, url(stage, pull), rows.len()));
        screen.print(&steps(stage, pull).await?);
    }

    screen.heading("Its migrations ran before it, and were watched");
    rehearsal(stage, screen, &PULLS[0]).await?;

    screen.heading("Its API is a component: another service, with a host of its own");
    let (url_of_api, rows) = api_products(stage, &PULLS[0]).await?;
    let page = visit(stage, &PULLS[0], "/").await?;
    let has = |row: &serde_json::Value| page.body.contains(text(&row["name"]));
    ensure!(!rows.is_empty() && rows.iter().all(has), "the page has other products than the API");
    screen.say(&format!("{url_of_api} has the {} products of the page", rows.len()));

    screen.heading("Each has its own data");
    let before = products(stage, &PULLS[1]).await?.len();
    add_product(stage, &PULLS[0], "Dragonfly lantern").await?;
    let (one, two) = (products(stage, &PULLS[0]).await?, products(stage, &PULLS[1]).await?);
    ensure!(one.len() == before + 1 && two.len() == before, "data leaked between previews");
    screen.say(&format!("a row added in pr-1: pr-1 has {}, pr-2 has {}", one.len(), two.len()));

    screen.heading("A push: the same URL, the new commit, the same data");
    stage.github.push(SHOP, 1, &commit(&PULLS[0], 2));
    stage.deliver(SHOP, 1, "synchronize").await?;
    until_serves(stage, screen, &PULLS[0], &commit(&PULLS[0], 2)).await?;
    let rows = products(stage, &PULLS[0]).await?.len();
    ensure!(rows == before + 1, "the push lost data");
    let short = &commit(&PULLS[0], 2)[..7];
    screen.say(&format!("pr-1 serves {short} at {} with its {rows} rows", url(stage, &PULLS[0])));

    screen.heading("Extended through the API");
    let extended = stage.post("previews/pr-1/extend", &json!({ "by": "24h" })).await?;
    screen.say(&format!("pr-1: {}", text(&extended["message"])));

    let ttl = script.place.short_ttl();
    screen.heading(&format!("One expires: its time to live is {ttl}"));
    until(stage, screen, &PULLS[2], "Gone").await?;
    receipt(stage, screen, &PULLS[2]).await?;

    screen.heading("One is merged");
    close(stage, screen, &PULLS[1], true).await?;
    if script.stay {
        stay(stage, screen);
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// What the migrations did, as the API tells it.
async fn rehearsal(stage: &Stage, screen: &mut Screen, pull: &Pull) -> anyhow::Result<()> {
    let report = stage.get(&format!("previews/{}/rehearsal", pull.name)).await?;
    ensure!(text(&report["ended"]) == "done", "{} migrated: {report}", pull.name);
    let changes = report["schema"]["changes"].as_array().context("no word of the schema")?;
    ensure!(!changes.is_empty(), "the migrations changed nothing: {report}");
    screen.say(&format!("{}: what its schema has otherwise than the seed's", pull.name));
    for change in changes {
        let (kind, name) = (text(&change["kind"]), text(&change["name"]));
        screen.print(&format!("{kind:<8} {name:<28} {}", text(&change["to"])));
    }
    Ok(())
}

/// Takes down what is still up, and lets the witness look.
async fn finale(
    script: &Script,
    run: &RunDirectory,
    stage: &Stage,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    screen.heading("Everything goes");
    for preview in fleet(stage).await? {
        if text(&preview["pull_request"]) != "open" || text(&preview["phase"]) == "Gone" {
            continue;
        }
        let name = text(&preview["name"]);
        if let Some(pull) = PULLS.iter().find(|pull| pull.name == name) {
            close(stage, screen, pull, false).await?;
        }
    }
    let hosts = PULLS.iter().flat_map(|pull| [pull.name.to_owned(), format!("{}-api", pull.name)]);
    let hosts: Vec<_> = hosts.map(|label| format!("{label}.preview.localhost")).collect();
    let data = run.path().join("data");
    let mut left = witness::leftovers(&data, &stage.postgres, stage.dns, &hosts).await?;
    left.extend(script.place.leftovers(&PULLS.map(|pull| pull.name)).await?);
    let active = [SHOP, DOCS].into_iter().flat_map(|repo| stage.github.deployments(repo));
    let active = active.filter(|deployment| deployment.state() != "inactive").count();
    if !left.is_empty() || active > 0 {
        bail!("left over: {} and {active} active deployments", left.join(", "));
    }
    let place = match script.place {
        Place::Machine(_) => "processes, directories",
        Place::Cluster(_) => "namespaces, pods",
    };
    screen.say(&format!("an independent look at {place}, pg_database, pg_roles, the DNS zone"));
    screen.say("and the deployments on GitHub found nothing left");
    Ok(())
}

async fn close(
    stage: &Stage,
    screen: &mut Screen,
    pull: &Pull,
    merged: bool,
) -> anyhow::Result<()> {
    stage.github.close(pull.repo, pull.number, merged);
    stage.deliver(pull.repo, pull.number, "closed").await?;
    until(stage, screen, pull, "Gone").await?;
    receipt(stage, screen, pull).await
}

/// The receipt, as the API gives it.
async fn receipt(stage: &Stage, screen: &mut Screen, pull: &Pull) -> anyhow::Result<()> {
    let receipt = stage.get(&format!("previews/{}/receipt", pull.name)).await?;
    screen.say(&format!("{} is gone; its receipt, asked of every backend:", pull.name));
    for answer in receipt["answers"].as_array().into_iter().flatten() {
        let (what, name) = (text(&answer["what"]), text(&answer["name"]));
        screen.print(&format!("{what:<11} {name:<28} {}", text(&answer["answer"])));
    }
    Ok(())
}

fn stay(stage: &Stage, screen: &mut Screen) {
    let (main, token) = (stage.main, &stage.token);
    screen.heading("It stays until Ctrl-C. To play with:");
    screen.print(&format!("the preview      {}", url(stage, &PULLS[0])));
    screen.print(&format!("the fleet        http://{main}/#token={token}"));
    screen.print(&format!("TOKEN={token}"));
    for line in [
        format!("curl -H \"Authorization: Bearer $TOKEN\" http://{main}/api/v1/previews"),
        format!(
            "curl -H \"Authorization: Bearer $TOKEN\" http://{main}/api/v1/previews/pr-1/journal"
        ),
        format!(
            "curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
             -d '{{\"by\":\"2h\"}}' http://{main}/api/v1/previews/pr-1/extend"
        ),
        format!(
            "curl -X POST -H \"Authorization: Bearer $TOKEN\" http://{main}/api/v1/previews/pr-1/stop"
        ),
        format!(
            "curl -X POST -H \"Authorization: Bearer $TOKEN\" http://{main}/api/v1/previews/pr-1/start"
        ),
        format!("curl http://{main}/api/v1/openapi.json"),
    ] {
        screen.print(&line);
    }
}
