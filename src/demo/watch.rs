//! Watching the fleet through the API, as anybody can.
//!
//! Refuses to look behind the API: what is shown is what an admin would see.

use std::time::Duration;

use anyhow::{bail, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::screen::Screen;
use super::script::Pull;
use super::stage::Stage;
use super::visitor::visit;

/// How often the API is asked while waiting for a state.
const GLANCE: Duration = Duration::from_millis(40);

/// Shows how a preview gets on until it is in this phase.
pub(super) async fn until(
    stage: &Stage,
    screen: &mut Screen,
    pull: &Pull,
    phase: &str,
) -> anyhow::Result<()> {
    watch(stage, screen, pull, |preview| text(&preview["phase"]) == phase).await
}

pub(super) async fn until_serves(
    stage: &Stage,
    screen: &mut Screen,
    pull: &Pull,
    sha: &str,
) -> anyhow::Result<()> {
    watch(stage, screen, pull, |preview| {
        text(&preview["phase"]) == "Ready" && text(&preview["head"]) == sha
    })
    .await?;
    let page = visit(stage, pull, "/").await?;
    ensure!(page.commit == sha, "{} is Ready and serves {}", pull.name, page.commit);
    Ok(())
}

/// Looks at the whole fleet until one preview satisfies, so that every line stays fresh.
pub(super) async fn watch(
    stage: &Stage,
    screen: &mut Screen,
    pull: &Pull,
    satisfied: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let waiting = async {
        loop {
            let mut done = false;
            for preview in fleet(stage).await? {
                show(screen, &preview);
                done |= text(&preview["name"]) == pull.name && satisfied(&preview);
            }
            if done {
                return Ok(());
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    match tokio::time::timeout(stage.patience, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let preview = stage.get(&format!("previews/{}", pull.name)).await?;
            bail!("{} did not get on: {preview:#}", pull.name)
        }
    }
}

pub(super) fn show(screen: &mut Screen, preview: &Value) {
    let parts: String = preview["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| match text(&condition["status"]) {
            "True" => '●',
            "False" => '○',
            _ => '◌',
        })
        .collect();
    let note = match preview["last_error"].as_str() {
        Some(error) => error,
        None => text(&preview["plan"]),
    };
    let short: String = text(&preview["head"]).chars().take(7).collect();
    let line = format!("{parts:<7} {:<9} {short} {note}", text(&preview["phase"]));
    screen.status(text(&preview["name"]), line.trim_end());
}

pub(super) async fn fleet(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    let page = stage.get("previews?limit=200").await?;
    Ok(page["previews"].as_array().cloned().unwrap_or_default())
}

/// What was done for a preview, and how long after its event, as its journal says.
pub(super) async fn steps(stage: &Stage, pull: &Pull) -> anyhow::Result<String> {
    let journal = stage.get(&format!("previews/{}/journal", pull.name)).await?;
    let entries = journal["entries"].as_array().cloned().unwrap_or_default();
    let at = |entry: &Value| text(&entry["at"]).parse::<DateTime<Utc>>();
    let Some(first) = entries.first() else { return Ok(String::new()) };
    let begin = at(first)?;
    let mut words = Vec::new();
    for entry in &entries {
        let (action, reason) = (text(&entry["action"]), text(&entry["reason"]));
        let what = if action == "phase" { reason } else { action };
        // What only waits says so in its reason.
        if action == "learned" || (action != "phase" && !reason.is_empty()) {
            continue;
        }
        words.push(format!("{what} {:.2}s", (at(entry)? - begin).as_seconds_f64()));
    }
    Ok(words.join(" · "))
}

/// A JSON string, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
